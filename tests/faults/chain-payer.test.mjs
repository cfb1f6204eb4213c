// Payers and third parties who are quicker than our settlement, clocks that are wrong, a settling key without gas. See chain.mjs.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { encodeFunctionData, parseAbi, toHex } from 'viem';
import { chainAccount } from '../../script/lib/chain.mjs';
import { PERMIT2 } from '../../script/deploy.mjs';
import { ChainRig, fault, gwei, helpers, KINDS, SETTLER } from './chain.mjs';
import { waitFor } from './rig.mjs';

let c;
const rig = () => c;
before(async () => { c = await ChainRig.start(); });
after(() => c?.stop());

const { ordersMake, inPool, mining, settled } = helpers(rig);
const one = (random) => KINDS[random.int(0, KINDS.length - 1)];

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

/// The settler knows the newest block: a look may be under way, the next one sees it, and when a third one ends that has been dealt with.
async function seen() {
  const looks = () => c.proxy.asked.eth_maxPriorityFeePerGas ?? 0, before = looks();
  await waitFor('the settler has looked at the chain', () => looks() >= before + 3, { every: 25 });
}

/// The chain's clock that much off ours; a block makes it known.
async function shifted(seconds, work) {
  await c.rpc('anvil_setTime', toHex(Math.floor(Date.now() / 1000) + seconds));
  await c.mine();
  await seen();
  try {
    await work(Number((await c.chain.client.getBlock()).timestamp));
  } finally {
    await c.rpc('anvil_setTime', toHex(Math.floor(Date.now() / 1000)));
    await c.mine();
    await seen();
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
  await seen();
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
