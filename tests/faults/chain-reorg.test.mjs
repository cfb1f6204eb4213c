// Reorganisations of 1 to 20 blocks at every stage of a deposit, a claim and a settlement. anvil_reorg writes other blocks in place of
// the last ones, without their transactions; evm_revert leaves a shorter chain. See chain.mjs.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { chainAccount } from '../../script/lib/chain.mjs';
import { inRoot } from '../../script/lib/paths.mjs';
import { ChainRig, CONFIRMATIONS, ends_met, fault, KINDS, PAY_TO, pause } from './chain.mjs';
import { answer } from './evil-node.mjs';
import { OPG, waitFor } from './rig.mjs';

const DEPTH = 20;
let c;
const rig = () => c;
before(async () => { c = await ChainRig.start(); });
after(() => c?.stop());

const one = (random) => KINDS[random.int(0, KINDS.length - 1)];
/// An order that no reorganisation here reaches.
async function orderOld(kind) {
  const order = await c.order(kind);
  await c.mine(DEPTH);
  return order;
}
/// So many blocks are on top, and then they are others, down to `under` below the first.
async function reorganise(random, { since }) {
  const depth = random.int((await c.head()) - since + 1, DEPTH);
  await c.rpc('anvil_reorg', depth, []);
  return depth;
}
const settledAgain = async (order) => {
  await c.finish();
  await c.ends(order, 'settled');
};

fault('a reorganisation while the work is done', rig, async (_, random) => {
  const order = await orderOld(one(random));
  const mode = c.node.mode;
  let work;
  const begun = new Promise((resolve) => { work = resolve; });
  c.node.mode = async (call) => { work(); await pause(random.int(100, 400)); await answer(call); };
  const sent = c.send(order);
  await begun;
  await c.rpc('anvil_reorg', random.int(1, DEPTH), []);
  await sent;
  c.node.mode = mode;
  await settledAgain(order);
});

fault('a reorganisation while the settlement waits in the pool', rig, async (_, random) => {
  const order = await orderOld(one(random));
  await c.rpc('evm_setAutomine', false);
  const sent = c.send(order);
  await c.stands(order, 'settling');
  await pause(random.int(0, 300));
  await c.rpc('anvil_reorg', random.int(1, DEPTH), []);
  await c.rpc('evm_setAutomine', true);
  await c.mine();
  await sent;
  await settledAgain(order);
});

fault('a reorganisation takes back a settlement that was answered', rig, async (_, random) => {
  const order = await orderOld(one(random));
  const since = (await c.head()) + 1;
  await c.served(order);
  await c.mine(random.int(0, DEPTH - 2));
  await pause(random.int(0, 200));
  await reorganise(random, { since });
  await waitFor('it was open again', async () => (await c.row(order)).reorganised > 0, { every: 25 });
  await settledAgain(order);
});

fault('the chain goes back behind a settlement that was answered', rig, async (_, random) => {
  const order = await orderOld(one(random));
  const snapshot = await c.rpc('evm_snapshot');
  await c.served(order);
  await c.mine(random.int(0, DEPTH - 2));
  await pause(random.int(0, 200));
  await c.rpc('evm_revert', snapshot);
  assert.equal(await c.paid(order), 0n);
  await waitFor('it is sent again', async () => (await c.paid(order)) > 0n, { every: 25 });
  await c.mine(DEPTH);
  await waitFor('its new block is known', async () => { // the same one even, when it was mined in the same second
    const [{ tx, block }] = await c.rig.sql(`SELECT '0x' || encode(p.tx_hash, 'hex') AS tx, '0x' || encode(t.block_hash, 'hex') AS block FROM payment p JOIN settlement_tx t ON t.id = p.tx WHERE p.nonce = '\\x${order.nonce.slice(2)}'`);
    return tx && (await c.rpc('eth_getTransactionReceipt', tx))?.blockHash === block;
  }, { every: 25 });
  await settledAgain(order);
});

fault('a reorganisation takes back a settlement, and the payer takes the money', rig, async (_, random) => {
  const order = await orderOld(one(random));
  const since = (await c.head()) + 1;
  await c.served(order);
  await c.mine(random.int(0, DEPTH - 2));
  await c.rpc('evm_setAutomine', false);
  await reorganise(random, { since });
  await c.drain(order.buyer, { first: true });
  await c.mine();
  await c.rpc('evm_setAutomine', true);
  await c.mine();
  await c.stands(order, 'lost');
  await c.finish();
  await c.payments.mint(PAY_TO, order.amount); // the loss is ours: we cover it, or custody is short and paid work stops
  c.before += order.amount;
  await c.ends(order, 'lost');
});

fault('a reorganisation lets a payment through that had failed', rig, async (_, random) => {
  const order = await orderOld(one(random));
  await c.rpc('evm_setAutomine', false);
  const sent = c.send(order);
  await c.stands(order, 'settling');
  await waitFor('it is in the pool', async () => (await c.transactions('signed')).length > 0, { every: 20 });
  const since = (await c.head()) + 1;
  await c.drain(order.buyer, { first: true });
  await c.mine();
  await sent;
  await c.stands(order, 'dropped');
  order.told.length = 0; // it was told the truth of that block
  await c.mine(random.int(0, DEPTH - 2));
  await reorganise(random, { since }); // what took the money is gone, and only ours is sent again
  await c.rpc('evm_setAutomine', true);
  await waitFor('it went through', async () => (await c.paid(order)) > 0n, { every: 25 });
  await c.finish();
  await c.stands(order, 'credited');
  await c.ends(order, 'credited');
});

/// The caller was told so, or has the status link because all of this took longer than anybody waits; then it is so before the test goes on.
async function told(order, { status }, expected) {
  if (status !== 202) assert.equal(status, expected);
  await waitFor('it is not open any more', async () => (await c.row(order)).state !== 'settling', { every: 20 });
}

fault('a reorganisation, and the payment fails again', rig, async (_, random) => {
  const order = await orderOld(one(random));
  await c.rpc('evm_setAutomine', false);
  const sent = c.send(order);
  await c.stands(order, 'settling');
  await waitFor('it is in the pool', async () => (await c.transactions('signed')).length > 0, { every: 20 });
  const since = (await c.head()) + 1;
  await c.drain(order.buyer, { first: true });
  await c.mine();
  await told(order, await sent, 402);
  await c.mine(random.int(0, DEPTH - 2));
  await reorganise(random, { since });
  await c.drain(order.buyer, { first: true });
  await c.mine();
  await c.rpc('evm_setAutomine', true);
  await c.mine();
  await c.finish();
  await c.ends(order, 'dropped');
});

fault('a reorganisation takes back what a third party had sent', rig, async (_, random) => {
  const order = await orderOld(random.chance(0.5) ? 'eip3009' : 'permit2');
  await c.rpc('evm_setAutomine', false);
  const sent = c.send(order);
  await c.stands(order, 'settling');
  await waitFor('it is in the pool', async () => (await c.transactions('signed')).length > 0, { every: 20 });
  const since = (await c.head()) + 1;
  await c.chain.wallet(chainAccount(3).account).sendTransaction({ to: order.made.to, data: order.made.data, gas: 300000n, maxFeePerGas: 500n * 10n ** 9n, maxPriorityFeePerGas: 400n * 10n ** 9n });
  await c.mine();
  await told(order, await sent, 200);
  await c.mine(random.int(0, DEPTH - 2));
  await reorganise(random, { since });
  await c.rpc('evm_setAutomine', true);
  await c.mine();
  await waitFor('it was open again', async () => (await c.row(order)).reorganised > 0, { every: 25 });
  await settledAgain(order);
});

// ---- deposits ----

const deposits = () => c.rig.sql("SELECT state, count(*) AS n, sum(amount)::text AS sum FROM deposit GROUP BY state");
const credited = async () => BigInt((await deposits()).find(({ state }) => state === 'credited')?.sum ?? 0);

fault('a reorganisation takes back a deposit that was seen', rig, async (_, random) => {
  await c.mine(DEPTH + CONFIRMATIONS);
  await waitFor('nothing is unconfirmed', async () => !(await deposits()).some(({ state }) => state === 'seen'), { every: 50 });
  const [had, balance] = [await credited(), await c.rig.consumer.balance()];
  const before = await c.head();
  await c.rig.deposit('consumer', OPG, { wait: false });
  const since = before + 2; // minted one block before
  await c.mine(random.int(0, DEPTH - 3));
  if (random.chance(0.8)) await waitFor('it is seen', async () => (await deposits()).some(({ state }) => state === 'seen'), { every: 25 });
  await reorganise(random, { since });
  await c.mine(2 * CONFIRMATIONS);
  await waitFor('it is not credited', async () => !(await deposits()).some(({ state }) => state === 'seen') && (await c.rig.sql('SELECT number FROM chain_cursor'))[0].number >= before + 2 * CONFIRMATIONS, { every: 50 });
  assert.deepEqual([await credited(), await c.rig.consumer.balance()], [had, balance]);
  await c.rig.deposit('consumer', OPG, { wait: false }); // and one that stays
  await c.mine(CONFIRMATIONS);
  await waitFor('the next one is credited', async () => (await credited()) === had + OPG, { every: 50 });
});

fault('a reorganisation takes back a deposit that was credited', rig, async (_, random) => {
  const { port } = new URL(c.rig.base_url);
  await c.mine(DEPTH + CONFIRMATIONS);
  await waitFor('nothing is unconfirmed', async () => !(await deposits()).some(({ state }) => state === 'seen'), { every: 50 });
  await c.rig.kill('gateway');
  await c.rig.gatewayStart('gateway', { port, settings: { deposit_confirmations: 3 } });
  const balance = await c.rig.consumer.balance();
  const before = await c.head();
  await c.rig.deposit('consumer', OPG, { wait: false });
  await c.mine(random.int(2, DEPTH - 4));
  await waitFor('it is credited', async () => (await c.rig.consumer.balance()) === balance + OPG, { every: 25 });
  await reorganise(random, { since: before + 2 });
  await c.mine(3);
  await waitFor('it is taken back', async () => (await c.rig.consumer.balance()) === balance, { every: 25 });
  await c.mine(DEPTH);
  await c.rig.kill('gateway');
  await c.rig.gatewayStart('gateway', { port });
});

test('every end of a payment in docs/CHARGING.md was met', () => {
  const table = fs.readFileSync(inRoot('docs/CHARGING.md'), 'utf8').split('| the payment is |')[1].split('\n\n')[0];
  const rows = [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name);
  assert.deepEqual(rows.filter((name) => !ends_met.has(name)), []);
  assert.deepEqual([...ends_met].filter((name) => !rows.includes(name)), []);
});
