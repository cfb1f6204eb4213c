// Prices in USD: what they are in OPG, what is locked when the rate moves, and that nothing is sold without a rate. This stack has no
// sources; the test writes the rate that tests/faults/usd.test.mjs gets from real ones.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chainAccount } from '../../script/lib/chain.mjs';
import { EvilNode } from '../faults/evil-node.mjs';
import { buyerMake, eip3009, envelope, offersOf, pay } from './payer.mjs';
import { accountMake, adderBody, api, assertBooks, assertError, assertStatus, call, dev, jobEnded, OPG, sql, splitOf, tokenBalance, uuid, waitFor } from './stack.mjs';

const USD = 10n ** 18n;
const CENT = USD / 100n;
const ROYALTY = 3n * CENT + 1n, ASK = 7n * CENT;
let node, model, caller;

const rateSet = (value) => sql(`INSERT INTO usd_rate VALUES (true, ${value}, now(), now() + interval '1 hour') ON CONFLICT (one) DO UPDATE SET value = EXCLUDED.value, at = now(), good_until = EXCLUDED.good_until`);
const rateEnd = () => sql('UPDATE usd_rate SET good_until = now()');
/// In OPG at a rate, rounded up; and the price by the rule: the fee on the sum of both.
const opg = (usd, rate) => (usd * OPG + rate - 1n) / rate;
const price = (rate) => {
  const [royalty, ask] = [opg(ROYALTY, rate), opg(ASK, rate)];
  const fee = ((royalty + ask) * 1000n + 9999n) / 10000n;
  return { author: royalty, node: ask, platform: fee, charged: royalty + ask + fee };
};
const infer = () => `/v2/models/${model.id}/infer`;
const body = () => adderBody(Math.floor(Math.random() * 1e6));

before(async () => {
  const author = await api.signIn(chainAccount(1).account, dev.chain_id);
  const name = `usd-${uuid().slice(0, 8)}`;
  model = await author.modelPublish({ name, title: name, description: name, surface: 'tensor', price: { currency: 'USD', input: String(ROYALTY) }, files: [{ path: 'm.onnx', bytes: Buffer.from(name) }] });
  const rig = { accounts: { operator: chainAccount(2) }, closers: [], gateway_address: dev.gateway_address, api: () => api };
  node = await EvilNode.start(rig, { models: [model], ask: { currency: 'USD', input: String(ASK), output: '0' } });
  caller = await accountMake({ opg: 100n * OPG });
});
after(async () => {
  await node.leave();
  rateEnd();
  await assertBooks();
});

test('a price in USD is shown as it was named, and in OPG by the rate', async () => {
  rateSet(CENT * 5n);
  const listed = (await call('GET', '/v1/models')).json.data.find(({ id }) => id === model.id);
  assert.deepEqual(listed.royalty, { currency: 'USD', input: String(ROYALTY), output: '0' });
  const { charged } = price(CENT * 5n);
  assert.deepEqual(listed.price, { input: String(charged), output: '0', asset: 'OPG', decimals: 18 });
  const one = assertStatus(await call('GET', `/v1/models/${model.id}`), 200).json;
  assert.deepEqual([one.price, one.versions[0].price, one.offers[0].ask], [listed.price, listed.royalty, { currency: 'USD', input: String(ASK), output: '0' }]);
  const rate = assertStatus(await call('GET', '/v1/rates'), 200).json;
  assert.deepEqual([rate.pair, rate.rate, rate.good], ['OPG/USD', String(CENT * 5n), true]);
});

test('a job is charged by the rate it was opened at', async () => {
  for (const rate of [CENT * 5n, CENT * 7n, USD * 3n]) {
    rateSet(rate);
    const answer = assertStatus(await call('POST', infer(), { key: caller.key, body: body() }), 200);
    assert.deepEqual(splitOf(await jobEnded(caller.key, answer.headers.get('Opgate-Job'))), price(rate));
  }
});

test('a rate that moves while a job runs changes nothing', async () => {
  rateSet(CENT * 5n);
  let moved = false;
  node.mode = async (...args) => {
    rateSet(USD);
    moved = true;
    const { answer } = await import('../faults/evil-node.mjs');
    return answer(...args);
  };
  const answer = await call('POST', infer(), { key: caller.key, body: body() });
  node.mode = 'good';
  assertStatus(answer, 200);
  assert.ok(moved);
  assert.deepEqual(splitOf(await jobEnded(caller.key, answer.headers.get('Opgate-Job'))), price(CENT * 5n));
});

test('a wallet pays what it was offered, whatever the rate has become', async () => {
  const wallet = await buyerMake(10n * OPG);
  const asked = body();
  rateSet(CENT * 5n);
  const { eip3009: offer } = await offersOf(infer(), asked);
  assert.equal(BigInt(offer.amount), price(CENT * 5n).charged);
  rateSet(CENT * 2n);
  assert.ok(BigInt((await offersOf(infer(), asked)).eip3009.amount) > BigInt(offer.amount), 'others see the new price');
  const before = await tokenBalance(wallet.address);
  assertStatus(await pay(infer(), asked, envelope(offer, await eip3009(wallet, offer))), 200);
  assert.equal(before - (await tokenBalance(wallet.address)), BigInt(offer.amount));
});

// ---- jobs in the background: a node may come to them long after their price was made ----

const jobs = () => `/v1/jobs?model=${encodeURIComponent(model.id)}`;
/// While this runs the node has no room; afterwards it has.
async function whileBusy(work) {
  let free;
  const busy = new Promise((resolve) => { free = resolve; });
  node.mode = async (...args) => { await busy; return (await import('../faults/evil-node.mjs')).answer(...args); };
  await node.offer(1);
  const calls = node.calls.length;
  const held = call('POST', infer(), { key: caller.key, body: body() });
  await waitFor('it is busy', () => node.calls.length > calls);
  try {
    return await work();
  } finally {
    free();
    assertStatus(await held, 200);
    node.mode = 'good';
    await node.offer(1000);
  }
}

test('a job that waits is done at the rate it was opened at', async () => {
  rateSet(CENT * 5n);
  const made = await whileBusy(async () => {
    const answer = assertStatus(await call('POST', jobs(), { key: caller.key, body: body() }), 202);
    assert.equal(answer.json.state, 'queued');
    rateSet(CENT * 2n);
    return answer;
  });
  assert.deepEqual(splitOf(await jobEnded(caller.key, made.headers.get('Opgate-Job'))), price(CENT * 5n));
});

test('a job that a wallet pays is done at the rate of what it was offered', async () => {
  const wallet = await buyerMake(10n * OPG);
  const asked = body();
  rateSet(CENT * 5n);
  const { eip3009: offer } = await offersOf(jobs(), asked);
  rateSet(CENT * 2n);
  const made = assertStatus(await pay(jobs(), asked, envelope(offer, await eip3009(wallet, offer))), 202);
  const job = await waitFor('it ends', () => sql(`SELECT outcome, ask, charged FROM job WHERE id = '${made.headers.get('Opgate-Job')}' AND outcome IS NOT NULL`)[0], { seconds: 60 });
  const { node: its, charged } = price(CENT * 5n);
  assert.deepEqual(job, ['delivered', String(its), String(charged)]);
});

test('a node that asks in USD does not work for what another asked', async () => {
  rateSet(CENT * 5n);
  const rig = { accounts: { operator: chainAccount(3) }, closers: [], gateway_address: dev.gateway_address, api: () => api };
  const own = await EvilNode.start(rig, { models: [model], ask: { input: '1', output: '0' }, mode: 'error_500' });
  const bound = (opg(ROYALTY, CENT * 5n) + 1n) * 2n;
  const calls = node.calls.length;
  try {
    const made = await call('POST', `${jobs()}&max_price=${bound}`, { key: caller.key, body: body() });
    assert.ok([200, 202].includes(made.status), JSON.stringify(made.json)); // the node fails at once, and the job may have ended before it is shown
    const job = await jobEnded(caller.key, made.headers.get('Opgate-Job'));
    assert.deepEqual([job.state, job.charged, own.calls.length, node.calls.length - calls], ['failed', '0', 1, 0]);
  } finally {
    await own.leave();
  }
});

test('without a good rate nothing priced in USD is sold, and what is in OPG is', async () => {
  rateSet(CENT * 5n);
  const wallet = await buyerMake(10n * OPG);
  const { eip3009: offer } = await offersOf(infer(), body());
  const before = [infer(), body(), envelope(offer, await eip3009(wallet, offer))];
  const answered = assertStatus(await pay(...before), 200);
  rateEnd();
  const calls = node.calls.length;
  assert.deepEqual(assertStatus(await pay(...before), 200).bytes, answered.bytes); // sold before
  assertError(await call('POST', infer(), { key: caller.key, body: body() }), 'oip', 503, 'no_node'); // the node's ask has no price
  assertError(await pay(infer(), body(), envelope(offer, await eip3009(wallet, offer))), 'oip', 503, 'no_node');
  node.ask = { input: '5', output: '0' };
  await node.offer(1000);
  const refused = await call('POST', infer(), { key: caller.key, body: body() });
  assertError(refused, 'oip', 503, 'no_rate');
  assert.ok(Number(refused.headers.get('Retry-After')) > 0);
  assert.equal(node.calls.length, calls);
  const listed = (await call('GET', '/v1/models')).json.data.find(({ id }) => id === model.id);
  assert.equal(listed.price, null);
  assert.equal((await call('GET', '/v1/rates')).json.good, false);
  const adder = dev.models.find(({ surface }) => surface === 'tensor');
  assertStatus(await call('POST', `/v2/models/${adder.id}/infer`, { key: caller.key, body: body() }), 200);
  rateSet(CENT * 5n);
  await waitFor('it is sold again', async () => (await call('POST', infer(), { key: caller.key, body: body() })).status === 200);
  node.ask = { currency: 'USD', input: String(ASK), output: '0' };
  await node.offer(1000);
});

test('of two nodes the one that is cheaper at this rate is asked', async () => {
  const rig = { accounts: { operator: chainAccount(3) }, closers: [], gateway_address: dev.gateway_address, api: () => api };
  const other = await EvilNode.start(rig, { models: [model], ask: { input: String(OPG), output: '0' } }); // one OPG; the first asks 7 cents
  try {
    for (const [rate, cheap, dear] of [[CENT * 10n, node, other], [CENT * 5n, other, node]]) {
      rateSet(rate);
      const before = [cheap.calls.length, dear.calls.length];
      assertStatus(await call('POST', infer(), { key: caller.key, body: body() }), 200);
      assert.deepEqual([cheap.calls.length - before[0], dear.calls.length - before[1]], [1, 0]);
    }
  } finally {
    await other.leave();
  }
});

test('a currency that is none is refused', async () => {
  const path = `/v1/models/${model.id}/versions`;
  const author = await api.signIn(chainAccount(1).account, dev.chain_id);
  for (const currency of ['usd', 'EUR', '', 5])
    assertError(await call('POST', path, { key: author.bearer, body: { surface: 'tensor', price: { currency, input: '1' } } }), 'problem', 400, 'bad_field');
});
