// opgate next to the official x402 stack, on one chain that mines each transaction at once: requests paid by a wallet and settled
// on chain before they are answered, and checking payments without anything else. Called by bench.mjs.
//   BENCH_PAYMENTS=240   payments of a run of the official stack, tuned; opgate gets four times as many, so that both take about as long. As it is
//                        published it may sleep a second over a receipt, and gets forty
// Called once for each round of each case, each on a stack of its own: anvil makes up the whole state's root for every block, and each payment
// leaves a nonce there, so that a block costs 7 ms at first and 22 after five thousand, as on no real chain.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { maxUint256, toHex } from 'viem';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { PERMIT2 } from '../../script/deploy.mjs';
import { chainAccount, chainOpen } from '../../script/lib/chain.mjs';
import { inRoot, inVar } from '../../script/lib/paths.mjs';
import { portsFree, progress, waitFor } from '../../script/lib/wait.mjs';
import { paymentsOpen } from '../stack/payments.mjs';
import { cpuOf, machineTicks, median, spread } from './measure.mjs';
import { load, requestBytes } from './x402_load.mjs';

const PAYMENTS = Number(process.env.BENCH_PAYMENTS ?? 240), MORE = 4;
const CONNECTIONS = 8;
const OPG = 10n ** 18n;
const base64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64');
const unbase64 = (text) => JSON.parse(Buffer.from(text, 'base64').toString());
const texts = (value) => (typeof value === 'bigint' ? String(value) : typeof value === 'object' ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, texts(v)])) : value);
const p = (values, share) => [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))];

// ---- payments ----

/// Signs as a buyer's wallet does, for whatever offer is accepted: {payload} of the envelope.
async function payloadMake(pay, wallet, offer) {
  const deadline = BigInt(Math.floor(Date.now() / 1000) + 3600);
  const random = () => toHex(crypto.getRandomValues(new Uint8Array(32)));
  if (!offer.extra.assetTransferMethod || offer.extra.assetTransferMethod === 'eip3009') {
    const { message, args } = await pay.eip3009(wallet, { form: 'bytes', to: offer.payTo, value: BigInt(offer.amount), validBefore: deadline, nonce: random() });
    return { signature: args.at(-1), authorization: texts(message) };
  }
  const make = offer.scheme === 'upto' ? pay.upto : pay.exact;
  const { message, args } = await make(wallet, { max: BigInt(offer.amount), to: offer.payTo, facilitator: offer.extra.facilitatorAddress, deadline });
  return { signature: args.at(-1), permit2Authorization: texts({ from: wallet.address, ...message }) };
}

async function envelopesMake(pay, wallets, offer, count) {
  const made = [];
  for (let i = 0; i < count; i++)
    made.push({ x402Version: 2, accepted: offer, payload: await payloadMake(pay, wallets[i % wallets.length], offer) });
  return made;
}

// ---- the two sellers ----

/// The offers of a route: what it answers to a request without a payment.
async function offersOf(url, body) {
  const answer = await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
  await answer.arrayBuffer();
  if (answer.status !== 402) throw new Error(`${url} answers ${answer.status} to a request without a payment`);
  return unbase64(answer.headers.get('PAYMENT-REQUIRED')).accepts;
}

const KINDS = {
  eip3009: (offer) => offer.scheme === 'exact' && offer.extra.assetTransferMethod !== 'permit2',
  permit2: (offer) => offer.scheme === 'exact' && offer.extra.assetTransferMethod === 'permit2',
  upto: (offer) => offer.scheme === 'upto',
};

class Peer {
  static async start(settings) {
    const peer = new Peer();
    peer.child = spawn(process.execPath, [inRoot('tests/bench/x402_peer.mjs'), JSON.stringify(settings)], { stdio: ['pipe', 'pipe', 'inherit'] });
    peer.lines = createInterface({ input: peer.child.stdout })[Symbol.asyncIterator]();
    if ((await peer.lines.next()).value !== 'ready') throw new Error('the official stack did not start');
    peer.pid = peer.child.pid;
    peer.urlOf = (kind) => `http://127.0.0.1:${settings.port}/${kind}`;
    return peer;
  }

  async verify(payments, at_once) {
    this.child.stdin.write(`${JSON.stringify({ payments, at_once })}\n`);
    return JSON.parse((await this.lines.next()).value);
  }

  stop() {
    this.child.kill('SIGKILL');
  }
}

// ---- one run ----

async function balances(pay, addresses) {
  return Promise.all(addresses.map((address) => pay.read('balanceOf', address)));
}

/// Why a payment was not taken, by what the answer's headers hold.
function reasonOf(headers) {
  const { error, errorReason, errorMessage } = Object.assign({}, ...['payment-required', 'payment-response'].map((name) => headers[name] && unbase64(headers[name])));
  return [errorReason, errorMessage, error].filter(Boolean).join('; ');
}

/// Every answer is 200 and names a transaction that succeeded; the buyers lost and the seller got exactly what the answers say.
async function check(name, { chain, pay }, wallets, offer, price, answers, before) {
  const hashes = new Set();
  for (const { status, headers, body } of answers) {
    if (status !== 200) throw new Error(`${name}: an answer is ${status}: ${body.slice(0, 300)} ${reasonOf(headers)}`);
    const receipt = unbase64(headers['payment-response']);
    if (!receipt.success) throw new Error(`${name}: ${JSON.stringify(receipt)}`);
    hashes.add(receipt.transaction);
  }
  for (const hash of hashes) {
    const { status } = await chain.client.getTransactionReceipt({ hash });
    if (status !== 'success') throw new Error(`${name}: ${hash} was reverted`);
  }
  const after = await balances(pay, [...wallets.map(({ address }) => address), offer.payTo]);
  const got = after.at(-1) - before.at(-1), given = before.slice(0, -1).reduce((sum, one, i) => sum + one - after[i], 0n);
  const due = price * BigInt(answers.length);
  if (got !== due || given !== due) throw new Error(`${name}: ${answers.length} payments of ${price} moved ${given} from the buyers and ${got} to the seller`);
  return hashes.size;
}

/// The gateway looks at every block for deposits, those of the official stack's settlements, too: that is no part of a run.
async function quiet(pid) {
  await waitFor('the gateway has seen every block', async () => {
    const before = cpuOf(pid);
    await new Promise((resolve) => setTimeout(resolve, 400));
    return cpuOf(pid) - before <= 20_000;
  }, { seconds: 60 });
}

async function runOnce(name, world, wallets, seller, kind, price, count) {
  const url = seller.urlOf(kind), offer = (await offersOf(url, seller.body(kind))).find(KINDS[kind]);
  const envelopes = await envelopesMake(world.pay, wallets, offer, count);
  const requests = envelopes.map((one) => requestBytes(url, { headers: { 'PAYMENT-SIGNATURE': base64(one) }, body: seller.body(kind) }));
  const before = await balances(world.pay, [...wallets.map(({ address }) => address), offer.payTo]);
  await quiet(world.pids.gateway);
  const pids = { server: seller.pid, anvil: world.pids.anvil, ...(seller.postgres && { postgres: seller.postgres }) };
  const cpu = Object.fromEntries(Object.entries(pids).map(([group, pid]) => [group, cpuOf(pid)]));
  const ticks = machineTicks();
  const { us, answers, latencies_us, cpu_us } = await load(url, CONNECTIONS, requests);
  const now = machineTicks(), stolen = (now.stolen - ticks.stolen) / (now.all - ticks.all);
  for (const [group, pid] of Object.entries(pids)) cpu[group] = (cpuOf(pid) - cpu[group]) / count / 1000;
  const transactions = await check(name, world, wallets, offer, price, answers, before);
  return { rate: count / (us / 1e6), p50: p(latencies_us, 0.5) / 1000, p99: p(latencies_us, 0.99) / 1000, cpu: { ...cpu, client: cpu_us / count / 1000 }, grouped: count / transactions, stolen };
}

function row(name, all) {
  const cpu = Object.keys(all[0].cpu).map((group) => `${group} ${spread(all.map((one) => one.cpu[group]))}`).join(', ');
  const of = (what) => spread(all.map((one) => one[what]));
  return `| ${name} | ${of('rate')} | ${of('p50')} | ${of('p99')} | ${cpu} | ${of('grouped')} |`;
}

function verdict(what, value, wanted, more) {
  const good = more ? value >= wanted : value <= wanted;
  console.log(`${good ? 'met    ' : 'NOT MET'}  ${what}: ${value.toFixed(value < 1 ? 3 : 1)} (wanted: ${more ? 'at least' : 'at most'} ${wanted})`);
}

const middle = (all, what) => median(all.map(what));

/// A run of the official stack. Under load viem's nonceManager now and then gives out a nonce that is used, or forgets one: such a run is made again.
async function peerRun(...run) {
  for (let tries = 1; ; tries++) {
    try {
      return await runOnce(...run);
    } catch (error) {
      if (tries === 3 || !/nonce|Transaction creation failed/i.test(error.message)) throw error;
      progress(`once more: ${error.message.split('\n')[0]}`);
    }
  }
}

async function paid(world, wallets, sellers, kind, price, count) {
  await peerRun('official, warm-up', world, wallets, sellers.peer, kind, price, CONNECTIONS * 4);
  await runOnce('warm-up', world, wallets, sellers.opgate, kind, price, CONNECTIONS * 8);
  return {
    peer: await peerRun(`official ${kind}`, world, wallets, sellers.peer, kind, price, count),
    opgate: await runOnce(`opgate ${kind}`, world, wallets, sellers.opgate, kind, price, PAYMENTS * MORE),
  };
}

// ---- checking alone ----

async function verifyOurs(file, at_once) {
  const program = path.join(path.resolve(process.env.BENCH_BIN ?? inRoot('build/bench')), 'bench_verify');
  const child = spawn(program, [file, String(at_once)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const chunks = [];
  for await (const chunk of child.stdout) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString());
}

/// By how many at once: {1: {peer, opgate}, 8: …}.
async function verification(world, wallets, sellers, kind) {
  const offers = await offersOf(sellers.opgate.urlOf(kind), sellers.opgate.body(kind)), offer = offers.find(KINDS[kind]);
  const result = ({ us, cpu_us, latencies_us, bad, reasons }, count) => {
    if (bad) throw new Error(`${bad} good payments were refused: ${reasons}`);
    return { rate: count / (us / 1e6), p50: p(latencies_us, 0.5) / 1000, p99: p(latencies_us, 0.99) / 1000, cpu: { checking: cpu_us / count / 1000 }, grouped: 1 };
  };
  const results = {};
  for (const at_once of [1, CONNECTIONS]) {
    const envelopes = await envelopesMake(world.pay, wallets, offer, PAYMENTS * MORE), few = envelopes.slice(0, PAYMENTS);
    const file = inVar('payments.txt');
    fs.writeFileSync(file, [JSON.stringify({ rpc_url: world.dev.rpc_url, chain_id: world.dev.chain_id, offer }), ...envelopes.map(base64)].join('\n'));
    results[at_once] = {
      peer: result(await sellers.peer.verify(few.map((payload) => ({ payload, requirements: offer })), at_once), few.length),
      opgate: result(await verifyOurs(file, at_once), envelopes.length),
    };
  }
  return results;
}

// ---- all of it ----

async function walletsMake(chain, pay) {
  const wallets = Array.from({ length: CONNECTIONS }, () => privateKeyToAccount(generatePrivateKey()));
  for (const { address } of wallets) {
    await pay.mint(address, OPG);
    await pay.approvePermit2(address, maxUint256);
  }
  return wallets;
}

/// One round of one of x402Cases: {paid: {peer, opgate}, checks, stolen}: the share of the machine that others took during the worse run.
export async function x402(dev, { urlOf, bodyOf, gateway, postgres, anvil }, { kind, published = false, checks = false }) {
  const chain = chainOpen(dev.rpc_url);
  await chain.client.request({ method: 'evm_setIntervalMining', params: [0] });
  await chain.client.request({ method: 'evm_setAutomine', params: [true] });
  const pay = paymentsOpen(chain, { opg_token: dev.opg_token, chain_id: dev.chain_id });
  const wallets = await walletsMake(chain, pay);
  const world = { dev, chain, pay, pids: { anvil, gateway } };
  const opgate = { pid: gateway, postgres, urlOf, body: bodyOf };
  const priceOf = async (name) => BigInt((await offersOf(urlOf(name), bodyOf(name))).find(KINDS[name]).amount);
  const price = await priceOf('eip3009'); // what upto captures, too
  const [port, facilitator_port] = await portsFree(2);
  const key = generatePrivateKey();
  await chain.client.request({ method: 'anvil_setBalance', params: [privateKeyToAccount(key).address, toHex(10n ** 20n)] });
  const peer = await Peer.start({ port, ...(published ? { facilitator_port } : { polling_ms: 20 }), rpc_url: dev.rpc_url, chain_id: dev.chain_id, private_key: key, asset: pay.token.address, pay_to: chainAccount(9).account.address,
    amount: String(price), upto_max: String(await priceOf('upto')) });
  peer.body = bodyOf;
  const sellers = { peer, opgate };
  try {
    const paid_runs = await paid(world, wallets, sellers, kind, price, published ? CONNECTIONS * 5 : PAYMENTS);
    const stolen = Math.max(paid_runs.peer.stolen, paid_runs.opgate.stolen);
    return { paid: paid_runs, stolen, checks: checks ? await verification(world, wallets, sellers, kind) : null };
  } finally {
    peer.stop();
  }
}

/// The official stack as it is published: seller and facilitator apart, receipts asked for as often as viem does on Base. And tuned, so that it
/// neither waits for nothing nor pays for a second process: the facilitator in the seller's, receipts asked for every 20 ms.
export const x402Cases = [
  { kind: 'eip3009', published: true }, { kind: 'permit2', published: true }, { kind: 'upto', published: true }, { kind: 'eip3009', checks: true }, { kind: 'permit2' }, { kind: 'upto' },
];

const bothOf = (rounds, runs) => ({ peer: rounds.map((one) => runs(one).peer), opgate: rounds.map((one) => runs(one).opgate) });
const head = (title, rounds) => console.log(`\n${title} (min/median/max of ${rounds} rounds; load ${os.loadavg()[0].toFixed(1)})\n
| case | per second | p50 ms | p99 ms | processor ms each | payments in a transaction |\n|---|---|---|---|---|---|`);

/// Prints the rounds of a case and returns them by seller: {what, paid, checks}.
export function x402Case({ kind, published, checks }, rounds) {
  const how = published ? 'as published' : 'tuned';
  const all = { what: `${kind}, official stack ${how}`, paid: bothOf(rounds, (one) => one.paid), checks: {} };
  head(`Paid by ${kind}, settled on chain before the answer; anvil mines each transaction at once; ${CONNECTIONS} connections; the official stack ${how}`, rounds.length);
  console.log(row(`official stack, ${kind}`, all.paid.peer));
  console.log(row(`opgate, ${kind}`, all.paid.opgate));
  if (!checks) return all;
  head('Checking a payment, nothing else', rounds.length);
  for (const at_once of [1, CONNECTIONS]) {
    all.checks[at_once] = bothOf(rounds, (one) => one.checks[at_once]);
    console.log(row(`official verify(), ${kind}, ${at_once} at once`, all.checks[at_once].peer));
    console.log(row(`opgate check, ${kind}, ${at_once} at once`, all.checks[at_once].opgate));
  }
  return all;
}

export function x402Verdicts(all) {
  console.log('');
  for (const { what, paid: { peer: theirs, opgate: ours } } of all) {
    verdict(`paid requests/s, opgate / ${what}`, middle(ours, ({ rate }) => rate) / middle(theirs, ({ rate }) => rate), 5, true);
    verdict(`processor time of the server per payment, opgate / ${what}`, middle(ours, ({ cpu }) => cpu.server) / middle(theirs, ({ cpu }) => cpu.server), 0.1, false);
  }
  for (const { checks } of all.filter((one) => one.checks[CONNECTIONS])) {
    const { peer: theirs, opgate: ours } = checks[CONNECTIONS];
    verdict(`checks/s, ${CONNECTIONS} at once, opgate / official verify()`, middle(ours, ({ rate }) => rate) / middle(theirs, ({ rate }) => rate), 20, true);
    verdict('check, one at a time, p50 ms', middle(checks[1].opgate, ({ p50 }) => p50), 1, false);
  }
}
