// What the tables of cases are run by: buyers made by the dozen, requests with any headers, and the checks each answer must pass.
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import { encodeFunctionData, maxUint256, toHex } from 'viem';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { PERMIT2 } from '../../../script/deploy.mjs';
import { chainAccount } from '../../../script/lib/chain.mjs';
import { adderBody, chain, dev, mine, modelOf, OPG, rpc, sql, token, tokenBalance, uuid, waitFor } from '../stack.mjs';
import { base64, eip3009, now, offersOf, permit2, unbase64 } from '../payer.mjs';
import { MALFORMED, officialAnswer, officialAnswerV1 } from './official.mjs';

export const CHAT = '/v1/chat/completions';
export const COMPLETIONS = '/v1/completions';
export const INFER = `/v2/models/${modelOf('tensor').id}/infer`;
const llama = modelOf('chat').id;
export const inferBody = () => adderBody(Math.floor(Math.random() * 1e6));
export const chatBody = (over = {}) => JSON.stringify({ model: llama, max_tokens: 2, temperature: 0, messages: [{ role: 'user', content: `Say ${uuid()}` }], ...over });
export const completionBody = () => JSON.stringify({ model: llama, max_tokens: 2, temperature: 0, prompt: `Say ${uuid()}` });
/// Where each kind of payment is tried, unless a case says otherwise.
const PLACES = { eip3009: [INFER, inferBody], permit2: [CHAT, chatBody], upto: [CHAT, chatBody] };
export const KINDS = Object.keys(PLACES);
export const makerOf = (kind) => (kind === 'eip3009' ? eip3009 : permit2);

// ---- HTTP ----

const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });
const { hostname, port } = new URL(dev.base_url);

/// POST with any headers; a list repeats one. {status, headers, bytes, json}.
export function post(path, body, headers = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request({ agent, hostname, port, path, method: 'POST', headers: { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body), ...headers } }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part)).on('error', reject).on('end', () => {
        const bytes = Buffer.concat(parts);
        resolve({ status: response.statusCode, headers: new Headers(response.headers), bytes, get json() { return JSON.parse(bytes.toString()); } });
      });
    });
    request.setTimeout(60_000, () => request.destroy(new Error('no answer in a minute'))).on('error', reject).end(body);
  });
}

/// The status line and headers that come back for these exact bytes.
export function postBytes(path, body, line) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(Number(port), hostname);
    let text = '';
    socket.setTimeout(60_000, () => socket.destroy(new Error(`no answer in a minute; so far: ${text}`)));
    socket.on('data', (part) => { text += part.toString('latin1'); }).on('error', reject).on('close', () => resolve({ status: Number(text.split(' ')[1]), text }));
    socket.write(Buffer.concat([
      Buffer.from(`POST ${path} HTTP/1.1\r\nHost: ${hostname}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n`), line, Buffer.from(`\r\n\r\n${body}`),
    ]));
  });
}

export const termsIn = (answer) => (answer.headers.has('PAYMENT-REQUIRED') ? unbase64(answer.headers.get('PAYMENT-REQUIRED')) : undefined);
export const receiptIn = (answer) => (answer.headers.has('PAYMENT-RESPONSE') ? unbase64(answer.headers.get('PAYMENT-RESPONSE')) : undefined);

// ---- buyers ----

/// Many wallets in few blocks: {private_key, account, address}, each with `opg`; Permit2 approved where asked.
export async function buyersMake(count, { opg = OPG, approve = false } = {}) {
  const wallets = Array.from({ length: count }, () => {
    const private_key = generatePrivateKey();
    const account = privateKeyToAccount(private_key);
    return { private_key, account, address: account.address.toLowerCase() };
  });
  await Promise.all(wallets.map(({ account }) => rpc('anvil_setBalance', account.address, toHex(10n ** 18n))));
  await fund(wallets.map(({ address }) => address), opg);
  if (approve) {
    const hashes = await Promise.all(wallets.map(({ account }) => chain.wallet(account).writeContract({ ...token, functionName: 'approve', args: [PERMIT2, maxUint256], nonce: 0, gas: 100_000n })));
    await minedAll(hashes);
  }
  return wallets;
}

async function minedAll(hashes) {
  await mine();
  for (const hash of hashes) assert.equal((await chain.receiptOf(hash)).status, 'success', hash);
}

/// Mints to each address. All are paid for by one account, whose transactions are numbered: one after another.
let funding = Promise.resolve();
function fund(addresses, opg) {
  funding = funding.then(() => fundNow(addresses, opg));
  return funding;
}
async function fundNow(addresses, opg) {
  if (opg === 0n) return;
  const { account } = chainAccount(9);
  const first = await chain.client.getTransactionCount({ address: account.address, blockTag: 'pending' });
  await minedAll(await Promise.all(addresses.map((address, i) => chain.wallet(account).writeContract({ ...token, functionName: 'mint', args: [address, opg], nonce: first + i, gas: 200_000n }))));
}

/// Lets Permit2 take from a wallet that has no key.
export async function approveAs(address) {
  await rpc('anvil_setBalance', address, toHex(10n ** 18n));
  await rpc('anvil_impersonateAccount', address);
  await minedAll([await chain.wallet(address).writeContract({ ...token, functionName: 'approve', args: [PERMIT2, maxUint256], gas: 100_000n })]);
  await rpc('anvil_stopImpersonatingAccount', address);
}

/// Calls the contract as its owner, mined.
export async function send(wallet, to, abi, functionName, ...args) {
  await minedAll([await chain.wallet(wallet.account).sendTransaction({ to, data: encodeFunctionData({ abi, functionName, args }), gas: 500_000n })]);
}

export const vrs = (signature) => [Number(`0x${signature.slice(130)}`), signature.slice(0, 66), `0x${signature.slice(66, 130)}`];
/// The wallet takes an authorization by EIP-3009 back.
export async function cancelled(wallet, offer, { from, nonce }) {
  const domain = { name: offer.extra.name, version: offer.extra.version, chainId: dev.chain_id, verifyingContract: offer.asset };
  const types = { CancelAuthorization: [{ name: 'authorizer', type: 'address' }, { name: 'nonce', type: 'bytes32' }] };
  const signature = await wallet.account.signTypedData({ domain, types, primaryType: 'CancelAuthorization', message: { authorizer: from, nonce } });
  await send(wallet, token.address, token.abi, 'cancelAuthorization', from, nonce, ...vrs(signature));
}

const bytea = (address) => `'\\x${address.slice(2).toLowerCase()}'`;
/// [payments, jobs, attempts at nodes] of these payers.
export function workOf(...addresses) {
  const list = addresses.map(bytea).join(',');
  return sql(`SELECT (SELECT count(*) FROM payment WHERE payer IN (${list})), (SELECT count(*) FROM job j JOIN account a ON a.id = j.account WHERE a.address IN (${list})),
    (SELECT count(*) FROM job_attempt t JOIN job j ON j.id = t.job JOIN account a ON a.id = j.account WHERE a.address IN (${list}))`)[0].map(Number);
}

// ---- a table ----

let settler;
async function asked({ terms: { accepts }, v1 }, headers) {
  if (headers['X-PAYMENT'] && !headers['PAYMENT-SIGNATURE']) return officialAnswerV1(v1.accepts, headers['X-PAYMENT']);
  settler ??= (await offersOf(CHAT, chatBody())).upto.extra.facilitatorAddress;
  return officialAnswer(accepts, headers, settler);
}

/// What a case gets: who pays, for what, by which offer, and when it is.
async function contextOf(kind, wallet, place = PLACES[kind]) {
  const [path, bodyMake] = place;
  const body = bodyMake();
  const { answer, terms, ...offers } = await offersOf(path, body);
  return { kind, wallet, path, body, terms, v1: answer.json, offers, offer: offers[kind], amount: BigInt(offers[kind].amount), at: BigInt(now()), make: (...args) => makerOf(kind)(wallet, offers[kind], ...args) };
}

/// The headers of a case: an envelope, the text of the header, or {headers}.
const headersOf = (sent) => (sent?.headers ? sent.headers : { 'PAYMENT-SIGNATURE': typeof sent === 'string' ? sent : base64(sent) });

/// Whatever is refused says what would be right, in both versions, and nothing else happened.
function assertRefusal(answer, { status, reason }) {
  const terms = termsIn(answer);
  assert.deepEqual([answer.status, terms?.error], [status, reason], answer.bytes.toString().slice(0, 300));
  assert.equal(answer.headers.get('PAYMENT-RESPONSE'), null);
  assert.equal(answer.headers.get('X-PAYMENT-RESPONSE'), null);
  assert.equal(answer.headers.get('Opgate-Job'), null);
  assert.equal(answer.headers.get('Cache-Control'), 'no-store');
  assert.deepEqual([terms.x402Version, answer.json.x402Version, answer.json.error], [2, 1, reason]);
  assert.ok(terms.accepts.length >= 2 && answer.json.accepts.length === 1);
}

/// Cases that are all refused, each [name, reason, sent(context), {official, status}]. `official` is the official server's reason
/// where it is another one, {status, reason} where it serves, true where its words are a JavaScript exception's, false where it is not
/// asked. Returns how many.
export async function refuse(t, kind, cases, { wallet, place } = {}) {
  const [buyer] = wallet ? [wallet] : await buyersMake(1, { approve: kind !== 'eip3009' });
  const context = await contextOf(kind, buyer, place);
  const before = await tokenBalance(buyer.address);
  context.good = await context.make();
  context.buyers = (count) => buyersMake(count, { approve: kind !== 'eip3009' });
  context.payers = [buyer.address]; // a case may add others
  context.stranger = privateKeyToAccount(generatePrivateKey());
  for (const [name, reason, sent, { official = reason, status = 402 } = {}] of cases)
    await t.test(`${kind}: ${name}`, async () => {
      const headers = headersOf(await sent(context));
      if (official !== false) {
        const theirs = await asked(context, headers);
        if (official === true || theirs.reason === MALFORMED) assert.equal(theirs.status, status, `the official server: ${theirs.reason}`);
        else assert.deepEqual(theirs, official.status ? official : { status, reason: official }, 'the official server');
      }
      assertRefusal(await post(context.path, context.body, headers), { status, reason });
    });
  await t.test(`${kind}: after ${cases.length} refusals nothing was done and nothing was paid`, async () => {
    assert.deepEqual(workOf(...context.payers), [0, 0, 0]);
    assert.equal(await tokenBalance(buyer.address), before);
  });
  return cases.length;
}

/// Of the list, as many at once as the two nodes have room for.
async function someAtATime(list, work) {
  const results = [];
  let next = 0;
  await Promise.all(Array.from({ length: 12 }, async () => {
    for (let i = next++; i < list.length; i = next++) results[i] = await work(list[i], i);
  }));
  return results;
}

/// Cases that are all served, at the same time, each [name, sent(context), {kind, place, official, buyer, version}].
export async function serve(t, kind, cases) {
  const wallets = await buyersMake(cases.length, { approve: kind !== 'eip3009' });
  const contexts = await Promise.all(cases.map(([, , { place } = {}], i) => contextOf(kind, wallets[i], place)));
  const results = await someAtATime(cases, async ([, sent, { official = true } = {}], i) => {
    try {
      const context = contexts[i];
      const made = await sent(context);
      const payer = context.payer ?? context.wallet.address;
      const before = await tokenBalance(payer);
      const headers = headersOf(made);
      const theirs = official === false ? null : await asked(context, headers);
      return { headers, theirs, payer, before, answer: await post(context.path, context.body, headers) };
    } catch (error) {
      return { error };
    }
  });
  for (const [i, [name, , { official = true } = {}]] of cases.entries())
    await t.test(`${kind}: ${name}`, async () => {
      const { error, theirs, answer, payer, before } = results[i];
      if (error) throw error;
      if (official !== false) assert.deepEqual(theirs, official === true ? { status: 200, reason: null } : official, 'the official server');
      await assertServed(contexts[i], answer, payer, before);
    });
  return cases.length;
}

/// Cases that check for themselves, each [name, work()], some at the same time.
export async function each(t, cases) {
  const errors = await someAtATime(cases, async ([, work]) => {
    try {
      await work();
    } catch (error) {
      return error;
    }
  });
  for (const [i, [name]] of cases.entries())
    await t.test(name, () => {
      if (errors[i]) throw errors[i];
    });
  return cases.length;
}

async function assertServed(context, answer, payer, before) {
  assert.equal(answer.status, 200, `${termsIn(answer)?.error} ${JSON.stringify(receiptIn(answer))} ${answer.bytes.toString().slice(0, 300)}`);
  assert.equal(answer.headers.get('PAYMENT-REQUIRED'), null);
  const streamed = context.kind === 'upto' && answer.headers.get('Content-Type').startsWith('text/event-stream');
  const v1 = answer.headers.get('X-PAYMENT-RESPONSE');
  const receipt = v1 ? unbase64(v1) : receiptIn(answer);
  const { amount } = await settledOf(answer.headers.get('Opgate-Payment'));
  if (!streamed) {
    assert.deepEqual([receipt.success, receipt.payer.toLowerCase(), receipt.network], [true, payer.toLowerCase(), v1 ? 'base-sepolia' : 'eip155:84532']);
    assert.match(receipt.transaction, /^0x[0-9a-f]{64}$/);
    if (context.kind === 'upto') assert.equal(receipt.amount, amount);
  }
  assert.equal(before - (await tokenBalance(payer)), BigInt(amount), 'exactly what the payment says');
  if (context.kind === 'upto') assert.ok(BigInt(amount) > 0n && BigInt(amount) <= context.amount);
  else assert.equal(BigInt(amount), context.pays ?? context.amount);
  assert.deepEqual(workOf(payer), [1, 1, 1], 'one payment, one job, one node asked');
}

/// The payment's public state once the chain has said yes.
export const settledOf = (id) => waitFor(`payment ${id} is settled`, async () => {
  const row = await (await fetch(`${dev.base_url}/v1/payments/${id}`)).json();
  assert.ok(!['dropped', 'failed'].includes(row.state), JSON.stringify(row));
  return row.state === 'settled' && row;
}, { seconds: 60 });
