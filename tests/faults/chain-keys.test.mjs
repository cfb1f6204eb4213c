// A settling key that is replaced while what it sent is under way: whatever became of that, its payments are paid once, and the new key
// needs nothing from the old one. See chain.mjs.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { toHex } from 'viem';
import { SETTLER_OWNER } from '../../script/deploy.mjs';
import { contractsCompile } from '../../script/contracts.mjs';
import { chainAccount } from '../../script/lib/chain.mjs';
import { ChainRig, fault, helpers, SETTLER } from './chain.mjs';
import { waitFor } from './rig.mjs';

const FAR = 1000; // more than any gap is
let c, old, keys = 12; // numbers of published accounts that no role has
const rig = () => c;
before(async () => { c = await ChainRig.start({ settlement_patience_ms: 2000 }); });
after(() => c?.stop());

const { ordersMake, mining, settled } = helpers(rig);
const keyIs = (account) => c.rig.gatewayAgain({ settler_key_file: c.rig.keyFile('settler', account) });
/// What the old key has signed: the newest form of each.
const sent = (state) => c.rig.sql(`SELECT DISTINCT ON (t.id) t.nonce, '0x' || encode(v.raw, 'hex') AS raw, '0x' || encode(v.hash, 'hex') AS hash FROM settlement_tx t JOIN settlement_tx_version v ON v.tx = t.id
  WHERE t.sender = '\\x${old.address.slice(2)}' AND t.state = '${state}' ORDER BY t.id, v.sent_at DESC`);

/// The gateway has a key of its own for each of these faults, before it is replaced by the one that stays.
async function oldKey() {
  old = chainAccount(keys++);
  await c.rpc('anvil_setBalance', old.address, toHex(10n ** 20n));
  await c.chain.write(chainAccount(SETTLER_OWNER).account, { address: c.rig.chain.settler, abi: contractsCompile().Settler.abi, functionName: 'setCaller', args: [old.address, true] });
  await keyIs(old);
}

/// All of them have a transaction of the old key, and nothing is mined.
async function inTransactions(orders) {
  await c.rpc('evm_setAutomine', false);
  const told = Promise.all(orders.map((order) => c.send(order)));
  await waitFor('all of them are signed for', async () => {
    for (const order of orders) if ((await c.row(order))?.state !== 'settling') return false;
    return (await c.rig.sql("SELECT FROM payment WHERE state = 'settling' AND tx IS NULL")).length === 0;
  }, { every: 20 });
  await told; // 202: the chain has not said anything
}

/// Signed for a nonce the key is far from: nothing can mine them as long as that is so.
async function unminable(orders) {
  const at = Number(await c.rpc('eth_getTransactionCount', old.address, 'latest'));
  await c.rpc('anvil_setNonce', old.address, toHex(at + FAR));
  await inTransactions(orders);
  await c.rpc('anvil_dropAllTransactions');
  await c.rpc('anvil_setNonce', old.address, toHex(at));
  return at + FAR;
}

fault('a key is replaced, and what it had sent is mined', rig, async (_, random) => {
  await oldKey();
  const orders = await ordersMake();
  await inTransactions(orders);
  await keyIs(SETTLER);
  if (random.chance(0.5)) await c.rpc('anvil_dropAllTransactions'); // it is sent again, whoever has the key
  await mining();
  await settled(orders);
  const next = await c.order();
  await c.served(next);
  await settled([next]);
  await c.finish();
  assert.equal((await sent('replaced')).length, 0);
});

fault('a key is replaced, and what it had sent cannot be mined', rig, async () => {
  await oldKey();
  const orders = await ordersMake();
  await unminable(orders);
  await mining();
  await keyIs(SETTLER);
  await settled(orders);
  await c.finish();
  assert.ok(c.logged('former_key_given_up') > 0);
});

fault('a key is replaced, what it had sent is given up, and mined after all', rig, async () => {
  await oldKey();
  const orders = await ordersMake();
  const nonce = await unminable(orders);
  const was = await sent('signed');
  await keyIs(SETTLER);
  await waitFor('it is given up, and the new key signs', async () => (await sent('signed')).length === 0
    && (await c.rig.sql("SELECT FROM payment WHERE state = 'settling' AND tx IS NULL")).length === 0, { seconds: 30, every: 25 });
  await c.rpc('anvil_dropAllTransactions');
  await c.rpc('anvil_setNonce', old.address, toHex(nonce));
  for (const { raw } of was) await c.rpc('eth_sendRawTransaction', raw);
  await c.mine();
  for (const { hash } of was) assert.equal((await c.chain.client.getTransactionReceipt({ hash })).status, 'success');
  await mining();
  await settled(orders);
  await c.finish();
});

fault('a key is replaced while another gateway still has it', rig, async () => {
  await oldKey();
  const logged = () => c.logged('former_key_given_up') + c.logged('former_key_stuck');
  const before = logged();
  await c.rig.gatewayStart('other');
  const orders = await ordersMake();
  await unminable(orders);
  await c.rig.kill('gateway');
  await waitFor('the other one has the key', async () => (await c.rig.sql(`SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND (classid::bigint << 32 | objid::bigint) = hashtextextended('settler:${old.address}', 0)`)).length > 0, { every: 25 });
  await keyIs(SETTLER);
  await c.rpc('evm_setAutomine', true);
  const next = await c.order();
  await c.served(next); // the new key's own go on
  await waitFor('they wait for longer than they should', async () => (await c.rig.sql(`SELECT FROM settlement_tx_version v JOIN settlement_tx t ON t.id = v.tx
    WHERE t.state = 'signed' AND clock_timestamp() - v.sent_at > interval '4 seconds'`)).length > 0, { every: 50 });
  assert.equal(logged(), before, 'what the old one sent is left to who can sign for it');
  assert.ok((await sent('signed')).length > 0);
  await c.rig.kill('other');
  await settled([...orders, next]);
  await c.finish();
});
