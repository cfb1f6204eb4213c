// One balance and many authorizations at once: they are taken as far as it reaches, whether the work comes before the settlement or after.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chainAccount } from '../../script/lib/chain.mjs';
import { EvilNode } from '../faults/evil-node.mjs';
import { assertCustody, buyerMake, eip3009, envelope, offersOf, pay, paymentsOf, termsOf } from './payer.mjs';
import { adderBody, api, assertBooks, dev, OPG, rpc, sql, tokenBalance, uuid, waitFor } from './stack.mjs';

let node;

before(async () => {
  const rig = { accounts: { operator: chainAccount(2) }, closers: [], gateway_address: dev.gateway_address, api: () => api };
  const author = await api.signIn(chainAccount(1).account, dev.chain_id);
  const name = `x402-balance-${uuid().slice(0, 8)}`;
  const model = await author.modelPublish({ name, title: name, description: name, surface: 'tensor', price: { input: '1000', output: '0' }, files: [{ path: 'm.onnx', bytes: Buffer.from(name) }] });
  node = await EvilNode.start(rig, { models: [model], ask: { input: '2000', output: '3000' } });
});

after(async () => {
  await waitFor('nothing is open', () => sql("SELECT 1 FROM payment WHERE state IN ('claimed', 'settling', 'failed')").length === 0, { seconds: 60 });
  await node.leave();
  await assertCustody();
  await assertBooks();
});

const infer = () => `/v2/models/${node.models[0].id}/infer`;
const body = () => adderBody(Math.floor(Math.random() * 1e6));

/// That many payments of one wallet, each for a request of its own, signed beforehand.
async function paymentsOfOne(wallet, count, path = infer()) {
  const made = [];
  for (let i = 0; i < count; i++) {
    const asked = body();
    const { eip3009: offer } = await offersOf(path, asked);
    made.push({ amount: BigInt(offer.amount), send: ((payment) => () => pay(path, asked, payment))(envelope(offer, await eip3009(wallet, offer))) });
  }
  return made;
}

test('one balance is promised once, by however many authorizations at once', async () => {
  const [{ amount }] = await paymentsOfOne(await buyerMake(OPG), 1);
  for (const path of [infer(), `/v1/jobs?model=${encodeURIComponent(node.models[0].id)}`]) {
    const wallet = await buyerMake(2n * amount + amount / 2n);
    const made = await paymentsOfOne(wallet, 12, path);
    await rpc('evm_setIntervalMining', 0); // nothing is settled before all have come
    const calls = node.calls.length, refused = [];
    const sent = made.map(async ({ send }) => { const answer = await send(); if (answer.status === 402) refused.push(answer); });
    try {
      await waitFor('the others are refused', () => refused.length === 10);
    } finally {
      await rpc('evm_setIntervalMining', 1);
    }
    await Promise.all(sent);
    for (const answer of refused) assert.deepEqual([termsOf(answer).error, answer.headers.get('Retry-After')], ['insufficient_funds', '2']);
    await waitFor('both are paid', () => paymentsOf(wallet.address).every(({ state, outcome }) => state === 'settled' && outcome === 'delivered'), { seconds: 60 });
    assert.deepEqual([paymentsOf(wallet.address).length, node.calls.length - calls, await tokenBalance(wallet.address)], [2, 2, amount / 2n]);
  }
});

test('who has the money for all is served all, if not at once', async () => {
  const [{ amount }] = await paymentsOfOne(await buyerMake(OPG), 1);
  const wallet = await buyerMake(16n * amount);
  const made = await paymentsOfOne(wallet, 16);
  const head = async () => Number(await rpc('eth_blockNumber')), first = await head();
  let again = 0;
  await Promise.all(made.map(async ({ send }, i) => {
    await waitFor('a block came after the six before', async () => (await head()) >= first + Math.floor(i / 6));
    await waitFor('it is served', async () => {
      const answer = await send();
      if (answer.status === 402) assert.deepEqual([termsOf(answer).error, answer.headers.get('Retry-After'), ++again > 0], ['insufficient_funds', '2', true]);
      return answer.status === 200;
    }, { seconds: 60, every: 500 });
  }));
  console.log(`# ${again} asked again`);
  assert.deepEqual([paymentsOf(wallet.address).length, await tokenBalance(wallet.address)], [16, 0n]);
});
