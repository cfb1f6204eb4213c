// kill -9 at the points of deposits and settlements that only a fault of the chain brings about (server/base/fault.h); those of an
// ordinary payment are in payments.test.mjs. See chain.mjs.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { toHex } from 'viem';
import { chainAccount } from '../../script/lib/chain.mjs';
import { inRoot } from '../../script/lib/paths.mjs';

process.env.OPGATE_BIN = process.env.OPGATE_FAULTS_BIN || inRoot('build/faults/opgate');
const { ChainRig, CONFIRMATIONS, fault, gwei, KINDS, pause, SETTLER } = await import('./chain.mjs');
const { OPG, waitFor } = await import('./rig.mjs');

const ALL = [...fs.readFileSync(inRoot('server/base/fault.h'), 'utf8').matchAll(/^\tX\(((?:payment|settlement|deposit)_\w+)\)/gm)].map(([, name]) => name);
const ELSEWHERE = /^payment_(claimed|produced|settling|closed)$|^settlement_(written|sent|mined|final)$/; // payments.test.mjs
let c;
const rig = () => c;
before(async () => {
  assert.ok(fs.existsSync(process.env.OPGATE_BIN), `${process.env.OPGATE_BIN} is missing: make FAULTS=1 BUILD=build/faults`);
  c = await ChainRig.start();
});
after(() => c?.stop());

const one = (random) => KINDS[random.int(0, KINDS.length - 1)];
async function mining() {
  await c.rpc('evm_setAutomine', true);
  await c.mine();
}
async function armed(point) {
  await c.rig.kill('gateway');
  await c.rig.gatewaySpawn('gateway', `${point}:1`);
  await c.rig.gatewayReady();
}
async function dies() {
  await waitFor('the gateway is gone', () => c.rig.gone('gateway'), { seconds: 40, every: 10 });
  await c.rig.gatewaySpawn('gateway');
  await c.rig.gatewayReady();
}
const waiting = (order) => waitFor('it is on its way', async () => (await c.row(order))?.state === 'settling' && (await c.transactions('signed')).length > 0, { every: 20 });
/// What a client that lost its connection is told when it asks again.
async function ends(order, state) {
  await c.ended();
  await c.ends(order, state);
}

/// How each point is reached, and how the payment ends that was under way.
const REACHED = {
  settlement_found_out: async (random) => {
    const order = await c.order(one(random));
    await armed('settlement_found_out');
    await c.rpc('evm_setAutomine', false);
    const sent = c.send(order);
    await waiting(order);
    await c.drain(order.buyer, { first: true });
    await mining();
    await dies();
    await sent;
    await ends(order, 'dropped');
  },
  settlement_bumped: async (random) => {
    const order = await c.order(one(random));
    await armed('settlement_bumped');
    await c.rpc('evm_setAutomine', false);
    const sent = c.send(order);
    await waiting(order);
    await c.outbid(gwei(random.int(1, 20)));
    await c.mine();
    await dies();
    await mining();
    await sent;
    await ends(order, 'settled');
  },
  settlement_replaced: async (random) => {
    const order = await c.order(one(random));
    await armed('settlement_replaced');
    await c.rpc('evm_setAutomine', false);
    const sent = c.send(order);
    await waiting(order);
    const [{ nonce }] = await c.transactions('signed');
    await c.chain.wallet(SETTLER.account).sendTransaction({ to: chainAccount(4).address, value: 1n, nonce, gas: 21000n, maxFeePerGas: gwei(300), maxPriorityFeePerGas: gwei(300) });
    await mining();
    await dies();
    await sent;
    await ends(order, 'settled');
  },
  settlement_filled: async (random) => {
    const order = await c.order(one(random));
    await armed('settlement_filled');
    const far = random.int(1, 3);
    const sent = c.proxy.during(async ({ method, params }, forward) => {
      if (method !== 'eth_getTransactionCount' || params[1] !== 'latest') return undefined;
      return { result: toHex(Number((await forward()).result) + far) };
    }, () => waitFor('it is signed', async () => (await c.transactions('signed')).length > 0, { every: 10 }));
    const told = c.send(order);
    await sent;
    await dies();
    await told;
    await ends(order, 'settled');
  },
  settlement_unmined: async (random) => {
    const order = await c.order(one(random));
    await c.mine(20);
    await armed('settlement_unmined');
    await c.served(order);
    await c.mine(random.int(0, 5));
    await c.rpc('anvil_reorg', random.int(6, 20), []);
    await dies();
    await ends(order, 'settled');
  },
};
for (const [point, reach] of Object.entries(REACHED)) fault(`kill -9 at ${point}`, rig, (_, random) => reach(random));

for (const point of ['deposit_seen', 'deposit_written', 'deposit_rewound'])
  fault(`kill -9 at ${point}`, rig, async (_, random) => {
    await c.mine(20 + CONFIRMATIONS);
    await waitFor('the watcher is there', async () => (await c.rig.sql('SELECT number FROM chain_cursor'))[0].number >= await c.head(), { every: 25 });
    const balance = await c.rig.consumer.balance();
    await armed(point);
    await c.rig.deposit('consumer', OPG, { wait: false });
    if (point === 'deposit_rewound') {
      await waitFor('it is seen', async () => (await c.rig.sql("SELECT 1 FROM deposit WHERE state = 'seen'")).length > 0, { every: 25 });
      await c.rpc('anvil_reorg', random.int(1, 20), []);
    }
    if (point !== 'deposit_seen') await c.mine(CONFIRMATIONS);
    await dies();
    await pause(random.int(0, 100));
    await c.mine(CONFIRMATIONS);
    await waitFor('the watcher has seen all', async () => (await c.rig.sql('SELECT number FROM chain_cursor'))[0].number >= await c.head(), { every: 25 });
    const taken = (await c.rig.sql("SELECT 1 FROM deposit WHERE state = 'seen'")).length;
    assert.equal(taken, 0);
    const held = await c.payments.read('balanceOf', c.rig.accounts.treasury.address);
    const [{ sum }] = await c.rig.sql("SELECT coalesce(sum(amount), 0)::text AS sum FROM deposit WHERE state = 'credited'");
    assert.equal(held, BigInt(sum), 'credited is what the treasury has');
    assert.ok([balance, balance + OPG].includes(await c.rig.consumer.balance()));
  });

test('every point of deposits and settlements is killed at', () => {
  const here = new Set([...Object.keys(REACHED), 'deposit_seen', 'deposit_written', 'deposit_rewound']);
  assert.deepEqual(ALL.filter((name) => !here.has(name) && !ELSEWHERE.test(name)), []);
});
