// What the faults of the chain are made on: a gateway that sells one model of each kind, a chain that mines at once and does what it is
// told, an endpoint between them that can be made to lie, and buyers with a wallet each. Whatever happened, `ends` holds every
// client's answers, the database and the chain against each other.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { test } from 'node:test';
import { encodeFunctionData, keccak256, parseAbiItem, toHex } from 'viem';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { chainAccount, chainOpen } from '../../script/lib/chain.mjs';
import { paymentsOpen } from '../stack/payments.mjs';
import { booksCheck } from './books.mjs';
import { EvilNode } from './evil-node.mjs';
import { randomFrom } from './kill.mjs';
import { CHAIN_ID, OPG, PAY_TO, Rig, SETTLER, waitFor } from './rig.mjs';
import { RpcProxy } from './rpc-proxy.mjs';

export const ROUNDS = Number(process.env.CHAIN_ROUNDS || 1);
export const SEED = Number(process.env.SEED || Date.now() % 2 ** 31);
export const CONFIRMATIONS = 24; // more than any reorganisation here is deep
export const KINDS = ['eip3009', 'permit2', 'upto'];
export { PAY_TO, SETTLER };
export const gwei = (n) => BigInt(n) * 10n ** 9n;
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const TRANSFER = parseAbiItem('event Transfer(address indexed from, address indexed to, uint256 value)');
const base64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64');
const texts = (value) => (typeof value === 'bigint' ? String(value) : typeof value === 'object' ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, texts(v)])) : value);
const OPEN = "SELECT (SELECT count(*) FROM payment WHERE state IN ('claimed', 'settling', 'failed')) + (SELECT count(*) FROM job WHERE outcome IS NULL) AS open";

export const ends_met = new Set(); // rows of docs/CHARGING.md that were met

export class ChainRig {
  static async start(settings = {}) {
    const c = new ChainRig();
    c.random = randomFrom(SEED);
    c.orders = [];
    console.log(`# seed ${SEED}, ${ROUNDS} rounds`);
    c.rig = await Rig.start({ instance_timeout_ms: 1000, job_timeout_ms: 120000 });
    try {
      await c.build(settings);
      return c;
    } catch (error) {
      await c.stop();
      throw error;
    }
  }

  async build(settings) {
    const { rig } = this;
    this.proxy = await RpcProxy.start(rig.rpc_url);
    const more = {
      ...rig.walletSettings(), rpc_url: this.proxy.url, deposit_confirmations: CONFIRMATIONS, settlement_patience_ms: 1000,
      payment_wait_ms: 2000, node_timeout_ms: 600000, ...settings,
    };
    this.chain = chainOpen(rig.rpc_url);
    await this.rpc('evm_setIntervalMining', 0);
    await this.rpc('evm_setAutomine', true);
    await rig.gatewayAgain(more);
    this.payments = paymentsOpen(this.chain, { ...rig.chain, chain_id: CHAIN_ID });
    this.models = {
      tensor: await rig.modelPublish('paid', 'tensor', { input: '1000', output: '0' }),
      chat: await rig.modelPublish('talks', 'chat', { input: '101', output: '203' }, { max_output_tokens: 50 }),
    };
    this.node = await EvilNode.start(rig, { models: Object.values(this.models) });
    this.before = await this.received();
  }

  rpc(method, ...params) {
    return this.chain.client.request({ method, params });
  }

  mine(blocks = 1) {
    return this.rpc('anvil_mine', toHex(blocks));
  }

  /// The next block's base fee is so much above what any of our waiting transactions pays.
  async outbid(by) {
    const [{ fee }] = await this.rig.sql("SELECT max(max_fee)::text AS fee FROM settlement_tx_version v JOIN settlement_tx t ON t.id = v.tx WHERE t.state = 'signed'");
    return this.rpc('anvil_setNextBlockBaseFeePerGas', toHex(BigInt(fee) + by));
  }

  head = async () => Number(await this.chain.client.getBlockNumber());
  received = () => this.payments.read('balanceOf', PAY_TO);

  /// A wallet of its own for each order: what moved for it can be counted.
  buyer() {
    const make = async () => {
      const account = privateKeyToAccount(generatePrivateKey());
      await this.payments.mint(account.address, OPG);
      await this.payments.approvePermit2(account.address);
      return account;
    };
    return (this.buying = (this.buying ?? Promise.resolve()).catch(() => {}).then(make)); // one key mints: one at a time
  }

  /// A transaction of this address, whoever has its key; `first`: before everything that waits in the pool.
  async as({ address }, call, { first = false } = {}) {
    await this.rpc('anvil_setBalance', address, toHex(10n ** 20n));
    await this.rpc('anvil_impersonateAccount', address);
    const fees = first ? { maxFeePerGas: toHex(gwei(500)), maxPriorityFeePerGas: toHex(gwei(400)) } : {};
    return this.rpc('eth_sendTransaction', { from: address, ...call, gas: toHex(100000), ...fees });
  }

  /// The buyer sends all he has to somebody else.
  async drain(buyer, more) {
    const { token } = this.payments;
    const args = [chainAccount(3).address, await this.payments.read('balanceOf', buyer.address)];
    return this.as(buyer, { to: token.address, data: encodeFunctionData({ abi: token.abi, functionName: 'transfer', args }) }, more);
  }

  /// A request and its payment, signed and not sent.
  async order(kind = 'eip3009', { buyer } = {}) {
    buyer ??= await this.buyer();
    const chat = kind === 'upto';
    const model = this.models[chat ? 'chat' : 'tensor'];
    const word = randomBytes(6).toString('hex');
    const body = JSON.stringify(chat ? { model: model.id, max_tokens: 20, messages: [{ role: 'user', content: word }] } : { id: word, inputs: [{ name: 'x', shape: [1], datatype: 'FP32', data: [1] }] });
    const order = { kind, buyer, body, path: chat ? '/v1/chat/completions' : `/v2/models/${model.id}/infer`, told: [] };
    await this.sells();
    const asked = await this.send(order, { paid: false });
    assert.equal(asked.status, 402, asked.text);
    const { accepts } = JSON.parse(Buffer.from(asked.headers.get('PAYMENT-REQUIRED'), 'base64'));
    const offer = accepts.find((one) => (kind === 'upto' ? one.scheme === 'upto' : one.scheme === 'exact') && Boolean(one.extra.assetTransferMethod) === (kind !== 'eip3009'));
    const now = Number((await this.chain.client.getBlock()).timestamp);
    await this.sign(order, offer, BigInt(Math.max(now, Math.floor(Date.now() / 1000)) + 600));
    order.told.length = 0;
    this.orders.push(order);
    return order;
  }

  /// The authorization is good until `until`, on the chain's clock.
  async sign(order, offer, until) {
    const { buyer } = order;
    const to = offer.payTo;
    const max = BigInt(offer.amount);
    order.amount = max;
    order.offer = offer;
    if (order.kind === 'eip3009') {
      order.made = await this.payments.eip3009(buyer, { form: 'bytes', to, value: max, validBefore: until, nonce: keccak256(randomBytes(32)) });
      order.nonce = order.made.message.nonce;
      order.payload = { signature: order.made.args.at(-1), authorization: { ...texts(order.made.message), nonce: order.nonce } };
    } else {
      const { scheme, extra } = offer;
      order.made = await this.payments[scheme](buyer, { max, to, facilitator: extra.facilitatorAddress, deadline: until });
      order.nonce = toHex(order.made.message.nonce, { size: 32 });
      order.payload = { signature: order.made.args.at(-1), permit2Authorization: { from: buyer.address, ...texts(order.made.message) } };
    }
    order.header = { 'PAYMENT-SIGNATURE': base64({ x402Version: 2, accepted: offer, payload: order.payload }) };
  }

  /// One try of the client; everything it was ever told is kept.
  async send(order, { paid = true, base_url = this.rig.base_url } = {}) {
    const headers = { 'Content-Type': 'application/json', ...(paid && order.header) };
    const told = await fetch(base_url + order.path, { method: 'POST', body: order.body, headers, signal: AbortSignal.timeout(60_000) })
      .then(async (response) => ({ status: response.status, headers: response.headers, text: await response.text() }), (error) => ({ broken: error.cause?.code ?? error.name }));
    order.told.push(told);
    return told;
  }

  /// Sent until it is answered: a caller who waited too long for the chain has the status link, and asks again with the same payment.
  async served(order) {
    for (;;) {
      const { status, broken, text } = await this.send(order);
      if (status === 200) return;
      assert.equal(status, 202, text ?? broken);
    }
  }

  /// Paid work goes on: it stops for a moment when the books are looked at in the middle of a reorganisation.
  sells = () => waitFor('paid work goes on', () => fetch(`${this.rig.base_url}/readyz`).then(({ status }) => status === 200), { every: 50 });

  async row({ nonce, buyer }) {
    const rows = await this.rig.sql(`SELECT p.id, p.state, p.amount::text, p.reason, p.reorganised, j.outcome, j.id AS job, (SELECT count(*) FROM job_attempt a WHERE a.job = j.id) AS attempts,
      (SELECT coalesce(sum(b.amount), 0)::text FROM ledger_balance b WHERE b.account = p.account * 16 + 1) AS available
      FROM payment p JOIN job j ON j.id = p.job WHERE p.nonce = '\\x${nonce.slice(2)}' AND p.payer = '\\x${buyer.address.slice(2).toLowerCase()}'`);
    assert.ok(rows.length <= 1, 'one authorization, one payment');
    return rows[0];
  }

  stands = (order, states, seconds = 30) => waitFor(`the payment is ${states}`, async () => {
    const row = await this.row(order);
    return row && [states].flat().includes(row.state) && row;
  }, { seconds, every: 25 });

  /// What the buyer has paid us on the chain as it stands.
  async paid({ buyer }) {
    const logs = await this.chain.client.getLogs({ address: this.rig.chain.opg_token, event: TRANSFER, args: { from: buyer.address, to: PAY_TO }, fromBlock: 0n });
    return logs.reduce((sum, { args }) => sum + args.value, 0n);
  }

  transactions = (state) => this.rig.sql(`SELECT id, nonce, state, block_number, succeeded FROM settlement_tx WHERE state IN (${[state].flat().map((one) => `'${one}'`)}) ORDER BY nonce`);

  logged = (event) => fs.readFileSync(this.rig.procs.logOf('gateway'), 'utf8').split('\n').filter((line) => line.includes(`"event":"${event}"`)).length;

  /// All is over: nothing is open, on the wire or in the pool.
  async ended(seconds = 60) {
    await waitFor('everything has ended', async () => {
      const [{ open }] = await this.rig.sql(OPEN);
      return open === 0 && (await this.transactions('signed')).length === 0;
    }, { seconds, every: 50 });
  }

  /// Makes what is mined final.
  async finish() {
    await this.ended();
    await this.mine(CONFIRMATIONS);
    await waitFor('all transactions are final', async () => { // one may have to be mined again first
      if ((await this.transactions(['signed', 'mined'])).length === 0) return true;
      await this.mine();
      return false;
    }, { seconds: 60, every: 100 });
  }

  /// The end of one order, and whether all its client was told is true. `state`: what must have become of the payment.
  async ends(order, state) {
    const row = await this.row(order);
    const paid = await this.paid(order);
    const words = `${order.kind}: ${JSON.stringify(row)}, paid ${paid}, told ${order.told.map(({ status, broken }) => status ?? broken)}`;
    assert.equal(row?.state ?? 'none', state, words);
    ends_met.add(state);
    assert.equal(paid, ['settled', 'credited'].includes(state) && !order.by_hand ? BigInt(row.amount) : order.by_hand ?? 0n, `money moved once, or not at all; ${words}`);
    if (row) assert.ok(row.attempts <= 1, `the model ran once; ${words}`);
    for (const { status, text } of order.told) {
      if (status === 200) assert.ok(['settled', 'lost'].includes(state), `an answer is paid for; ${words}`);
      if (status === 402 || status === 412) assert.equal(paid, 0n, `nobody who paid is asked to pay again; ${words}, ${text}`);
    }
    if (state === 'settled' && row.outcome !== 'delivered') assert.ok(BigInt(row.available) >= paid, `what was paid for nothing is the payer's; ${words}`);
    if (state === 'credited') assert.ok(BigInt(row.available) >= paid, `it is the payer's; ${words}`);
    if (!row) return;
    await this.sells();
    const again = await this.send(order);
    const right = state === 'settled' && row.outcome === 'delivered' ? [200] : state === 'lost' ? [200] : state === 'dropped' ? [402, 412] : [409];
    assert.ok(right.includes(again.status), `asked again: ${again.status} ${again.text}; ${words}`);
    if (state === 'settled' && row.outcome === 'delivered') assert.equal(again.headers.get('Idempotent-Replayed'), 'true');
  }

  /// The books, and that we have exactly what was paid to us.
  async books({ ended = true } = {}) {
    const seen = await booksCheck(this.rig, { ended });
    const paid = (await Promise.all(this.orders.map((order) => this.paid(order)))).reduce((sum, one) => sum + one, 0n);
    assert.equal((await this.received()) - this.before, paid, 'only what was ordered moved');
    const { ok, ledger_sum, custody } = await this.rig.reconciliation();
    assert.deepEqual([ok, ledger_sum], [true, '0']);
    if (ended) assert.equal(custody.unsettled, '0');
    return seen;
  }

  async stop() {
    await this.proxy?.stop();
    await this.rig.stop();
  }
}

/// A named fault, ROUNDS times. `start` gives the rig, `work(c, random, round)` makes the fault and says what must have come of it.
export function fault(name, rig, work, { timeout = 120_000, rounds = ROUNDS } = {}) {
  for (let round = 1; round <= Math.min(rounds, ROUNDS); round++)
    test(`${name}${ROUNDS > 1 ? ` (${round})` : ''}`, { timeout }, async () => {
      const c = rig();
      c.orders = [];
      c.before = await c.received();
      try {
        await work(c, c.random, round);
        await c.books();
      } catch (error) {
        console.log(`# seed ${SEED}, round ${round} of "${name}" failed; the gateway's last words:\n${c.rig.logTail('gateway', 15).replace(/^/gm, '#   ')}`);
        throw error;
      } finally {
        c.proxy.fault = null;
        for (const name of ['second', 'other']) if (c.rig.procs.list[name] && !c.rig.gone(name)) await c.rig.kill(name); // what a failed one left
        await c.rpc('evm_setAutomine', true);
        await c.rpc('anvil_setNextBlockBaseFeePerGas', toHex(gwei(1))); // the next fault begins as this one did
        await c.mine();
      }
    });
}

/// What the tests of the pool do again and again.
export function helpers(rig) {
  const inside = async () => {
    const { pending } = await rig().rpc('txpool_content');
    return Object.values(Object.entries(pending).find(([from]) => from.toLowerCase() === SETTLER.address)?.[1] ?? {});
  };
  return {
    ordersMake: (kinds = KINDS) => Promise.all(kinds.map((kind) => rig().order(kind))),
    /// Sent, and its settlement is in the pool where nothing is mined: {told (a promise), list (of transactions)}.
    inPool: async (orders) => {
      const c = rig();
      await c.rpc('evm_setAutomine', false);
      const told = Promise.all(orders.map((order) => c.send(order)));
      await waitFor('all of them are on their way', async () => {
        for (const order of orders) if ((await c.row(order))?.state !== 'settling') return false;
        const [{ waiting }] = await c.rig.sql("SELECT count(*) AS waiting FROM payment WHERE state = 'settling' AND tx IS NULL");
        return waiting === 0 && (await inside()).length > 0;
      }, { every: 20 });
      return { told, list: await inside() };
    },
    mining: async () => {
      await rig().rpc('evm_setAutomine', true);
      await rig().mine();
    },
    settled: async (orders, state = 'settled') => {
      await rig().ended();
      for (const order of orders) await rig().ends(order, state);
    },
  };
}
