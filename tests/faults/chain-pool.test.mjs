// What happens to transactions before they are mined: dropped, underpriced, replaced, their nonce taken; payers and third parties who
// are quicker; two gateways with one key; clocks that are wrong; a key without gas. See chain.mjs.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { encodeFunctionData, parseAbi, toHex } from 'viem';
import { chainAccount } from '../../script/lib/chain.mjs';
import { PERMIT2 } from '../../script/deploy.mjs';
import { ChainRig, fault, gwei, KINDS, pause, SETTLER } from './chain.mjs';
import { waitFor } from './rig.mjs';

const GAS_CAP = gwei(100); // gas_fee_max
let c;
const rig = () => c;
before(async () => { c = await ChainRig.start(); });
after(() => c?.stop());

const ordersMake = (kinds = KINDS) => Promise.all(kinds.map((kind) => c.order(kind)));
const one = (random) => KINDS[random.int(0, KINDS.length - 1)];
/// Sent, and its settlement is in the pool where nothing is mined. Returns {told (a promise), hash, nonce}.
async function inPool(orders) {
  await c.rpc('evm_setAutomine', false);
  const told = Promise.all(orders.map((order) => c.send(order)));
  await waitFor('all of them are on their way', async () => {
    for (const order of orders) if ((await c.row(order))?.state !== 'settling') return false;
    const [{ waiting }] = await c.rig.sql("SELECT count(*) AS waiting FROM payment WHERE state = 'settling' AND tx IS NULL");
    return waiting === 0 && (await inside()).length > 0;
  }, { every: 20 });
  return { told, list: await inside() };
}
async function inside() {
  const { pending } = await c.rpc('txpool_content');
  return Object.values(Object.entries(pending).find(([from]) => from.toLowerCase() === SETTLER.address)?.[1] ?? {});
}
async function mining() {
  await c.rpc('evm_setAutomine', true);
  await c.mine();
}
const settled = async (orders, state = 'settled') => {
  await c.ended();
  for (const order of orders) await c.ends(order, state);
};
const versions = () => c.rig.sql(`SELECT tx, count(*) AS n, max(max_fee)::text AS fee FROM settlement_tx_version v JOIN settlement_tx t ON t.id = v.tx
  WHERE t.state = 'signed' GROUP BY tx ORDER BY n DESC, tx LIMIT 3`);
const replaced = () => waitFor('one is replaced', async () => (await versions())[0].n > 1, { every: 25 });
const baseFee = (fee) => c.rpc('anvil_setNextBlockBaseFeePerGas', toHex(fee));
/// A transaction of the settling key that is not ours.
const foreign = (nonce) => c.chain.wallet(SETTLER.account).sendTransaction({ to: chainAccount(4).address, value: 1n, nonce, gas: 21000n, maxFeePerGas: gwei(300), maxPriorityFeePerGas: gwei(300) });

fault('dropped from the pool', rig, async (_, random) => {
  const orders = await ordersMake();
  const { told, list } = await inPool(orders);
  await pause(random.int(0, 300));
  for (const { hash } of list) await c.rpc('anvil_dropTransaction', hash);
  await mining();
  await told;
  await settled(orders);
});

fault('underpriced: replaced by a dearer one', rig, async (_, random) => {
  const orders = await ordersMake();
  const { told } = await inPool(orders);
  await baseFee(gwei(random.int(15, 40)));
  await c.mine();
  await replaced();
  await mining();
  await told;
  await settled(orders);
});

fault('gas costs more than the cap, and then less', rig, async (_, random) => {
  const orders = await ordersMake();
  const { told } = await inPool(orders.slice(1));
  const last = c.send(orders[0]);
  await waitFor('the last one waits, too', async () => (await c.row(orders[0]))?.state === 'settling', { every: 20 });
  for (let block = 0; block < 4; block++) {
    await baseFee(gwei(random.int(150, 300)));
    await c.mine();
    await pause(random.int(100, 500));
  }
  for (const { fee } of await versions()) assert.ok(BigInt(fee) <= GAS_CAP, `${fee} is not above the cap`);
  await baseFee(gwei(1));
  await mining();
  await Promise.all([told, last]);
  await settled(orders);
});

fault('replaced, and then the first form is mined', rig, async (_, random) => {
  const orders = await ordersMake([one(random)]);
  const { told } = await inPool(orders);
  await baseFee(gwei(30));
  await c.mine();
  await replaced();
  const [{ raw }] = await c.rig.sql("SELECT '0x' || encode(raw, 'hex') AS raw FROM settlement_tx_version ORDER BY tx DESC, sent_at LIMIT 1");
  await c.rpc('anvil_dropAllTransactions');
  await baseFee(gwei(1) / 100n);
  await c.mine();
  await c.rpc('anvil_dropAllTransactions');
  await c.rpc('eth_sendRawTransaction', raw).catch(() => {}); // or ours was quicker
  await mining();
  await told;
  await settled(orders);
});

fault('its nonce is taken by another sender of the same key', rig, async (_, random) => {
  const orders = await ordersMake();
  const { told, list } = await inPool(orders);
  await pause(random.int(0, 300));
  await foreign(Number(list[0].nonce));
  await mining();
  await told;
  await settled(orders);
  assert.ok(c.logged('settlement_replaced') > 0);
});

fault('what took its nonce is gone again', rig, async (_, random) => {
  const orders = await ordersMake();
  const { told, list } = await inPool(orders);
  const replaced = (await c.transactions('replaced')).length;
  await foreign(Number(list[0].nonce));
  await c.mine();
  await waitFor('its payments have another one', async () => (await c.transactions('replaced')).length > replaced && (await c.transactions('signed')).some(({ nonce }) => nonce === Number(list[0].nonce) + 1), { every: 25 });
  await pause(random.int(0, 300));
  await c.rpc('anvil_reorg', 1, []);
  await mining();
  const again = setInterval(() => c.mine().catch(() => {}), 200); // anvil holds what came behind a gap
  await told;
  await settled(orders).finally(() => clearInterval(again));
});

fault('two gateways with one database and one key', rig, async (_, random) => {
  const base_url = await c.rig.gatewayStart('second');
  const orders = await ordersMake([...KINDS, ...KINDS]);
  const sent = orders.flatMap((order) => [c.send(order), pause(random.int(0, 30)).then(() => c.send(order, { base_url }))]);
  if (random.chance(0.5)) { // and one of them dies: whichever has the key
    await pause(random.int(0, 500));
    const dies = random.chance(0.5) ? 'gateway' : 'second';
    await c.rig.kill(dies);
    if (dies === 'gateway') {
      await c.rig.gatewaySpawn('gateway');
      await c.rig.gatewayReady();
    }
  }
  await Promise.all(sent);
  await c.ended();
  for (const order of orders) { // one whose gateway died may have been left: then nothing was taken
    const row = await c.row(order);
    await c.ends(order, row?.state ?? 'none');
    assert.ok(!row || ['settled', 'dropped'].includes(row.state), JSON.stringify(row));
  }
  await c.rig.kill('second');
});

fault('a gateway that sleeps with the key', rig, async () => {
  const base_url = await c.rig.gatewayStart('second');
  const order = await c.order('eip3009');
  const told = await c.send(order);
  assert.equal(told.status, 200);
  await c.rig.kill('gateway', 'SIGSTOP');
  const next = await orderAt(base_url);
  await c.send(next, { base_url });
  await c.stands(next, 'settled', 60);
  await c.rig.kill('gateway', 'SIGCONT');
  await c.rig.gatewayReady();
  await settled([order, next]);
  await c.rig.kill('second');
}, { rounds: 1 });

/// An order made at another gateway, while the first cannot answer.
async function orderAt(base_url) {
  const own = c.rig.base_url;
  c.rig.base_url = base_url;
  try {
    return await c.order('eip3009');
  } finally {
    c.rig.base_url = own;
  }
}

fault('the payer empties the balance between verification and settlement', rig, async (_, random) => {
  const orders = await ordersMake();
  const empty = orders.splice(random.int(0, orders.length - 1), 1)[0];
  const { told } = await inPool([...orders, empty]);
  await c.drain(empty.buyer, { first: true });
  await mining();
  await told;
  await settled(orders);
  await settled([empty], 'dropped');
});

fault('a third party uses the authorization first', rig, async (_, random) => {
  const order = await c.order(random.chance(0.5) ? 'eip3009' : 'permit2'); // of upto only our contract can
  const { told } = await inPool([order]);
  await c.chain.wallet(chainAccount(3).account).sendTransaction({ to: order.made.to, data: order.made.data, gas: 300000n, maxFeePerGas: gwei(500), maxPriorityFeePerGas: gwei(400) });
  await mining();
  await told;
  await settled([order]);
});

fault('the payer makes the authorization void first', rig, async (_, random) => {
  const order = await c.order(random.chance(0.5) ? 'permit2' : 'upto');
  const { told } = await inPool([order]);
  const nonce = BigInt(order.nonce);
  const data = encodeFunctionData({ abi: parseAbi(['function invalidateUnorderedNonces(uint256, uint256)']), functionName: 'invalidateUnorderedNonces', args: [nonce >> 8n, 1n << (nonce & 255n)] });
  await c.as(order.buyer, { to: PERMIT2, data }, { first: true });
  await mining();
  await told;
  await settled([order], 'dropped');
});

/// The chain's clock that much off ours; a block makes it known.
async function shifted(seconds, work) {
  await c.rpc('anvil_setTime', toHex(Math.floor(Date.now() / 1000) + seconds));
  await c.mine();
  await pause(600); // the next look at the chain
  try {
    await work(Number((await c.chain.client.getBlock()).timestamp));
  } finally {
    await c.rpc('anvil_setTime', toHex(Math.floor(Date.now() / 1000)));
    await c.mine();
    await pause(600);
  }
}

for (const hours of [1, -1])
  fault(`the clock is an hour ${hours > 0 ? 'behind' : 'ahead of'} the chain`, rig, (_, random) => shifted(hours * 3600, async (now) => {
    const [good, late] = await Promise.all([c.order(one(random)), c.order(one(random))]);
    await c.sign(good, good.offer, BigInt(now + 300));
    await c.sign(late, late.offer, BigInt(now - 60)); // over, by the clock that counts
    await Promise.all([c.send(good), c.send(late)]);
    assert.ok([402, 412].includes(late.told.at(-1).status), late.told.at(-1).text);
    await settled([good]);
    assert.equal(await c.row(late), undefined, 'nothing was begun for it');
  }));

fault('the chain\'s clock jumps an hour while a payment is under way', rig, async (_, random) => {
  const order = await c.order(one(random));
  const { told } = await inPool([order]);
  await c.rpc('anvil_setTime', toHex(Math.floor(Date.now() / 1000) + 3600));
  await mining();
  await told;
  await settled([order], 'dropped');
  await c.rpc('anvil_setTime', toHex(Math.floor(Date.now() / 1000)));
  await c.mine();
  await pause(600);
});

fault('the settling key is short of gas', rig, async () => {
  const earlier = await c.order('eip3009');
  await c.send(earlier);
  const ready = (is) => waitFor(`x402 is ${is}`, async () => (await fetch(`${c.rig.base_url}/readyz`).then((r) => r.json())).checks.x402 === is, { every: 25 });
  await c.rpc('anvil_setBalance', SETTLER.address, toHex(10n ** 15n));
  await ready(false);
  const { status, headers } = await c.send(earlier, { paid: false });
  earlier.told.pop();
  assert.deepEqual([status, headers.get('PAYMENT-REQUIRED')], [503, null], 'no terms that cannot be settled');
  assert.equal((await fetch(`${c.rig.base_url}/readyz`)).status, 200, 'keys are served');
  assert.match(await (await fetch(`${c.rig.base_url}/metrics`)).text(), /opgate_settler_gas_wei 1000000000000000\n/);
  await c.ends(earlier, 'settled'); // what was paid for is given
  await c.rpc('anvil_setBalance', SETTLER.address, toHex(10n ** 22n));
  await ready(true);
  const next = await c.order('eip3009');
  await c.send(next);
  await settled([next]);
});
