// What happens to transactions before they are mined: dropped, underpriced, replaced, their nonce taken; and two gateways with one key.
// See chain.mjs.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { toHex } from 'viem';
import { chainAccount } from '../../script/lib/chain.mjs';
import { ChainRig, fault, gwei, helpers, KINDS, pause, SETTLER } from './chain.mjs';
import { waitFor } from './rig.mjs';

const GAS_CAP = gwei(100); // gas_fee_max
let c;
const rig = () => c;
before(async () => { c = await ChainRig.start(); });
after(() => c?.stop());

const { ordersMake, inPool, mining, settled } = helpers(rig);
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
  await c.outbid(gwei(random.int(1, 20)));
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
  const orders = await ordersMake([KINDS[random.int(0, 2)]]);
  const { told } = await inPool(orders);
  await c.outbid(gwei(random.int(1, 20)));
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
  const before = (await c.transactions('replaced')).length;
  await foreign(Number(list[0].nonce));
  await c.mine();
  await waitFor('its payments have another one', async () => (await c.transactions('replaced')).length > before && (await c.transactions('signed')).some(({ nonce }) => nonce > Number(list[0].nonce)), { every: 25 });
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
  await c.served(order);
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
