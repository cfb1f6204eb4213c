// Nodes that ask different prices, and answers whose headers must come through. The nodes are fakes, because a real one serves
// what everybody else serves, too.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chainAccount } from '../../script/lib/chain.mjs';
import { sha, EvilNode } from '../faults/evil-node.mjs';
import { accountMake, adderBody, api, assertBooks, assertStatus, call, dev, OPG, sql, tokenBalance, uuid, waitFor } from './stack.mjs';
import { assertCustody, buyerMake, eip3009, envelope, offersOf, pay, permit2, termsOf } from './payer.mjs';

const base64url = (text) => Buffer.from(text).toString('base64url');
let cheap, dear, model_id, infer, account;

before(async () => {
  const rig = { accounts: { operator: chainAccount(2) }, closers: [], gateway_address: dev.gateway_address, api: () => api };
  const author = await api.signIn(chainAccount(1).account, dev.chain_id);
  const name = `market-${uuid().slice(0, 8)}`;
  const model = await author.modelPublish({ name, title: name, description: name, surface: 'tensor', price: { input: '1000', output: '0' }, files: [{ path: 'm.onnx', bytes: Buffer.from(name) }] });
  model_id = model.id;
  infer = `/v2/models/${model_id}/infer`;
  cheap = await EvilNode.start(rig, { models: [model], ask: { input: '2000', output: '0' } });
  dear = await EvilNode.start(rig, { models: [model], ask: { input: '5000', output: '0' } });
  account = await accountMake({ opg: OPG });
});

after(async () => {
  await waitFor('nothing is open', () => sql("SELECT 1 FROM payment WHERE state IN ('claimed', 'settling', 'failed')").length === 0, { seconds: 60 });
  await cheap.leave();
  await dear.leave();
  await assertCustody();
  await assertBooks();
});

const priceNow = async () => (await offersOf(infer, adderBody(1))).eip3009.amount;
async function ask(node, input) {
  node.ask = { input, output: '0' };
  await node.offer(1000);
}
const payFor = async (kind, make) => {
  const wallet = await buyerMake(OPG, { approve: true });
  const body = adderBody(1);
  const offer = (await offersOf(infer, body))[kind];
  const made = envelope(offer, await make(wallet, offer)), again = () => pay(infer, body, made);
  return { wallet, offer, again, answer: await again() };
};

// (ask + royalty 1000) × 1.1 is the price: 3300 at the cheap node, 6600 at the dear one
test('a wallet is offered up to twice the cheapest price, for the sake of failover, and not a unit more', async () => {
  assert.equal(await priceNow(), '6600', 'twice: both may serve');
  await ask(dear, '5001');
  assert.equal(await priceNow(), '3300', 'the dear one is left out');
  await ask(dear, String(10n ** 30n));
  assert.equal(await priceNow(), '3300', 'nobody makes it dear by an absurd ask');
  await ask(dear, '3000');
  assert.equal(await priceNow(), '4400');
  await ask(dear, '5000');
});

test('with the price of both paid, the dear node serves when the cheap one fails', async () => {
  cheap.mode = 'error_500';
  const before = dear.calls.length;
  const { wallet, offer, answer } = await payFor('eip3009', eip3009);
  cheap.mode = 'good';
  assertStatus(answer, 200);
  assert.deepEqual([dear.calls.length - before, OPG - (await tokenBalance(wallet.address))], [1, BigInt(offer.amount)]);
});

for (const [kind, make] of [['eip3009', eip3009], ['permit2', permit2]])
  test(`a node that was too dear for the offer is not asked when the cheap one fails: ${kind}`, async () => {
    await ask(dear, '5001');
    cheap.mode = 'error_500';
    const before = dear.calls.length;
    const { wallet, answer } = await payFor(kind, make);
    cheap.mode = 'good';
    await ask(dear, '5000');
    assert.equal(answer.status, 502, answer.bytes.toString());
    assert.deepEqual([dear.calls.length - before, await tokenBalance(wallet.address)], [0, OPG]);
  });

// ---- what one node asked, and another ----

const askOfJob = (wallet) => sql(`SELECT j.ask FROM job j JOIN payment p ON p.job = j.id WHERE p.payer = '\\x${wallet.address.slice(2).toLowerCase()}'`).map(([asked]) => asked);
/// An offer made while only the cheap one is in it, and what pays it.
async function offerOfTheCheap() {
  await ask(dear, '50000');
  const wallet = await buyerMake(OPG), body = adderBody(2);
  const { eip3009: offer } = await offersOf(infer, body);
  assert.equal(offer.amount, '3300');
  const made = envelope(offer, await eip3009(wallet, offer)), calls = dear.calls.length;
  return { wallet, send: () => pay(infer, body, made), worked: () => dear.calls.length - calls };
}

test('a node works for no less than it asks because another asked less and is gone: there are new terms', async () => {
  const { wallet, send, worked } = await offerOfTheCheap();
  const models = cheap.models;
  cheap.models = [];
  await cheap.offer(1000);
  for (let i = 0; i < 2; i++) { // nor one by one
    const answer = assertStatus(await send(), 402);
    assert.equal(termsOf(answer).accepts[0].amount, '56100');
  }
  assert.deepEqual([worked(), await tokenBalance(wallet.address), askOfJob(wallet)], [0, OPG, []]);
  await ask(dear, '1500'); // whoever asks no more than was promised may do it
  assertStatus(await send(), 200);
  assert.deepEqual([worked(), OPG - (await tokenBalance(wallet.address)), askOfJob(wallet)], [1, 3300n, ['1500']]);
  cheap.models = models;
  await ask(cheap, '2000');
  await ask(dear, '5000');
});

test('a node that raised its ask keeps what it asked, however dear it is beside others, and they keep theirs', async () => {
  const { wallet, send, worked } = await offerOfTheCheap();
  await ask(cheap, '9000000'); // by now it is too dear for a new offer
  assert.equal(await priceNow(), '56100');
  const calls = cheap.calls.length;
  assertStatus(await send(), 200);
  assert.deepEqual([worked(), cheap.calls.length - calls, OPG - (await tokenBalance(wallet.address)), askOfJob(wallet)], [0, 1, 3300n, ['2000']]);
  await ask(cheap, '2000');
  await ask(dear, '5000');
});

test('an account is held what its balance allows, dear nodes included', async () => {
  await ask(dear, '9000');
  cheap.mode = 'error_500';
  const before = dear.calls.length;
  const answer = await call('POST', infer, { key: account.key, body: adderBody(1) });
  cheap.mode = 'good';
  await ask(dear, '5000');
  assertStatus(answer, 200);
  assert.equal(dear.calls.length - before, 1);
});

// ---- headers of an answer ----

const BINARY = Buffer.from([123, 125, 0, 1, 2, 255]);
/// The node answers with these bytes and this header length.
const binary = (length) => async (one) => {
  const text = await one.node.receipt(one, sha(BINARY));
  one.response.writeHead(200, {
    'Content-Type': 'application/octet-stream', 'Content-Length': BINARY.length, 'Opgate-Receipt': base64url(text), ...(length !== undefined && { 'Inference-Header-Content-Length': length }),
  });
  one.response.end(BINARY);
};

test('the header length of a binary answer comes through, and nothing that is no length', async () => {
  try {
    for (const [sent, got] of [['2', '2'], ['0', '0'], ['1234567890123456789', '1234567890123456789'], [undefined, null], ['', null], ['-1', null], ['2x', null], ['1e3', null], ['12345678901234567890', null]]) {
      cheap.mode = binary(sent);
      const answer = assertStatus(await call('POST', infer, { key: account.key, body: adderBody(1) }), 200);
      assert.deepEqual([answer.headers.get('Inference-Header-Content-Length'), answer.bytes], [got, BINARY], `${sent}`);
    }
    cheap.mode = binary('2');
    const read = (answer) => [assertStatus(answer, 200).headers.get('Inference-Header-Content-Length'), answer.bytes];
    const { answer, again } = await payFor('eip3009', eip3009);
    assert.deepEqual(read(answer), ['2', BINARY], 'paid by a wallet');
    assert.deepEqual(read(await again()), ['2', BINARY], 'the same payment again');
    const key = { key: account.key, body: adderBody(1), headers: { 'Idempotency-Key': uuid() } };
    for (const what of ['with an Idempotency-Key', 'again']) assert.deepEqual(read(await call('POST', infer, key)), ['2', BINARY], what);
    const job = assertStatus(await call('POST', `/v1/jobs?model=${model_id}`, { key: account.key, body: adderBody(1), headers: { Prefer: 'wait=20' } }), 200).json;
    assert.deepEqual(read(await call('GET', `/v1/jobs/${job.id}/output`, { key: account.key })), ['2', BINARY], 'of a job in the background');
  } finally {
    cheap.mode = 'good';
  }
});
