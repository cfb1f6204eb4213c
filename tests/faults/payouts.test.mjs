// kill -9 at every named point of a payout's life (server/base/fault.h), reorganisations, a receiver the token refuses, two gateways
// on one key, a database that forgot. After each: every payout was paid once on chain or went back to its source, the ledger sums to
// zero, nothing is in between any more, and custody covers what is owed.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { inRoot } from '../../script/lib/paths.mjs';

process.env.OPGATE_BIN = process.env.OPGATE_FAULTS_BIN || inRoot('build/faults/opgate');
const { Rig, OPG, CHAIN_ID, waitFor } = await import('./rig.mjs');
const { EvilNode } = await import('./evil-node.mjs');
const { chainAccount, chainOpen } = await import('../../script/lib/chain.mjs');
const { contractsCompile } = await import('../../script/contracts.mjs');
const { SETTLER_OWNER } = await import('../../script/deploy.mjs');

const ROUNDS = Number(process.env.PAYMENT_ROUNDS || 1);
const AT_ONCE = 3;
const POINTS = [...fs.readFileSync(inRoot('server/base/fault.h'), 'utf8').matchAll(/^\tX\((payout_\w+)\)/gm)].map(([, name]) => name);
const { OPG: TOKEN, Payouts, TestRefusal } = contractsCompile();
let rig, chain, node, model, asked_in_all = 0;

before(async () => {
  assert.ok(fs.existsSync(process.env.OPGATE_BIN), `${process.env.OPGATE_BIN} is missing: make FAULTS=1 BUILD=build/faults`);
  assert.ok(POINTS.length >= 8);
  rig = await Rig.start({ instance_timeout_ms: 1000, payout_minimum: 1000, payout_sign_in_ms: 3_600_000 });
  await rig.gatewayAgain({ payouts_contract: rig.chain.payouts, payout_key_file: rig.keyFile('payout', chainAccount(10)), deposit_confirmations: 2 });
  chain = chainOpen(rig.rpc_url);
  model = await rig.modelPublish('earning', 'tensor', { input: '1000000', output: '0' });
  node = await EvilNode.start(rig, { models: [model], ask: { input: '2000000', output: '0' } });
});
after(() => rig?.stop());

const rpc = (method, ...params) => chain.client.request({ method, params });
const balance = (address) => chain.read({ address: rig.chain.opg_token, abi: TOKEN.abi, functionName: 'balanceOf', args: [address] });
const totalPaid = () => chain.read({ address: rig.chain.payouts, abi: Payouts.abi, functionName: 'totalPaid' });
const signIn = (role, base_url) => rig.api(base_url).signIn(rig.accounts[role].account, CHAIN_ID);

/// Asks until it is known what became of it: the same key again and again, as a careful client does.
async function withdraw(api, amount, key = randomUUID(), body = { source: 'available', amount: String(amount) }) {
  return waitFor('the withdrawal is known', () => api.json('POST', '/v1/withdrawals', body, { 'Idempotency-Key': key }).catch((error) => {
    if (error.status && error.status < 500) throw error;
  }), { seconds: 60, every: 100 });
}

/// Makes the author earn, and his schedule due.
async function earnAndFallDue() {
  const body = JSON.stringify({ inputs: [{ name: 'x', shape: [1], datatype: 'FP32', data: [1] }] });
  await rig.caller.json('POST', `/v2/models/${model.id}/infer`, body);
  const author = await signIn('author');
  await author.json('PUT', '/v1/payouts/settings', { schedule: 'daily' });
  await rig.sqlRun("UPDATE payout_setting SET next_at = now() - interval '1 second'");
}

const open = async () => (await rig.sql("SELECT count(*) AS n FROM payout WHERE state IN ('pending', 'sent')"))[0].n;
const allEnded = () => waitFor('every payout has ended', async () => (await open()) === 0, { seconds: 60 });

/// Everything is somewhere, once: on chain, or back.
async function check(before) {
  await allEnded();
  const [sums] = await rig.sql(`SELECT (SELECT coalesce(sum(amount), 0)::text FROM ledger_entry) AS ledger, (SELECT coalesce(sum(amount), 0)::text FROM ledger_entry WHERE account = 12) AS between,
    (SELECT coalesce(sum(amount), 0)::text FROM payout WHERE state = 'paid') AS paid, (SELECT count(*) FROM payout WHERE asked_by = 'account') AS asked,
    (SELECT count(*) FROM ledger_balance b WHERE b.amount <> (SELECT coalesce(sum(e.amount), 0) FROM ledger_entry e WHERE e.account = b.account)) AS wrong`);
  assert.deepEqual([sums.ledger, sums.between, sums.wrong, sums.asked], ['0', '0', 0, asked_in_all], 'the books');
  assert.equal(await totalPaid(), BigInt(sums.paid), 'the contract paid what the books say');
  for (const [role, had] of Object.entries(before)) {
    const { address } = rig.accounts[role];
    const [{ paid }] = await rig.sql(`SELECT coalesce(sum(amount), 0)::text AS paid FROM payout WHERE state = 'paid' AND address = '\\x${address.slice(2)}'`);
    assert.equal((await balance(address)) - had.balance, BigInt(paid) - had.paid, `${role} has what was paid`);
  }
  // Each Transfer of the token proves one payout, and each payout has one.
  const [proofs] = await rig.sql("SELECT count(*) AS n, count(DISTINCT (tx_hash, log_index)) AS different FROM payout WHERE state = 'paid'");
  assert.equal(proofs.n, proofs.different);
  const covered = await rig.sql(`SELECT o.id FROM payout o WHERE o.state = 'paid' AND o.upto_xid IS NOT NULL AND o.amount <> (SELECT coalesce(sum(e.amount), 0) FROM ledger_entry e
    JOIN ledger_transfer t ON t.id = e.transfer WHERE e.account = o.source AND t.kind = 'capture' AND e.xid >= o.from_xid AND e.xid < o.upto_xid)`);
  assert.deepEqual(covered, [], 'a payout of earnings is the sum of its jobs');
  const books = await rig.reconciliation();
  assert.deepEqual([books.ok, books.payouts_ok, books.custody_ok, books.custody.leaving], [true, true, true, '0'], JSON.stringify(books));
}

async function snapshot() {
  const of = async (role) => {
    const { address } = rig.accounts[role];
    const [{ paid }] = await rig.sql(`SELECT coalesce(sum(amount), 0)::text AS paid FROM payout WHERE state = 'paid' AND address = '\\x${address.slice(2)}'`);
    return { balance: await balance(address), paid: BigInt(paid) };
  };
  return { consumer: await of('consumer'), author: await of('author') };
}

async function restart(fault) {
  await rig.kill('gateway');
  await rig.gatewaySpawn('gateway', fault);
  await rig.gatewayReady();
}

for (let i = 0; i < ROUNDS; i++)
  for (const point of POINTS)
    test(`kill -9 at ${point}${i ? ` (${i + 1})` : ''}`, { timeout: 180_000 }, async () => {
      const start = await snapshot();
      await restart(`${point}:${point === 'payout_asked' ? 1 + Math.floor(Math.random() * AT_ONCE) : 1}`);
      const consumer = await signIn('consumer');
      await earnAndFallDue().catch((error) => assert.ok(rig.gone('gateway'), error));
      const answers = Array.from({ length: AT_ONCE }, () => withdraw(consumer, OPG / 1000n));
      asked_in_all += AT_ONCE;
      await waitFor('the gateway is gone', () => rig.gone('gateway'), { seconds: 60 });
      await rig.gatewaySpawn('gateway');
      await rig.gatewayReady();
      assert.equal(new Set((await Promise.all(answers)).map(({ id }) => id)).size, AT_ONCE);
      await check(start);
    });

test('a reorganisation takes a payout back: it comes again, and once', { timeout: 180_000 }, async () => {
  const start = await snapshot();
  rig.settings.deposit_confirmations = 4;
  await rig.kill('gateway');
  await rig.gatewayStart('gateway', { port: new URL(rig.base_url).port });
  await rpc('evm_setIntervalMining', 0);
  try {
    const consumer = await signIn('consumer');
    for (const depth of [1, 2, 3]) {
      const { id } = await withdraw(consumer, OPG / 1000n);
      asked_in_all++;
      const state = (name) => waitFor(`its transaction is ${name}`, async () =>
        (await rig.sql(`SELECT t.state FROM payout o JOIN settlement_tx t ON t.id = o.tx WHERE o.id = '${id}'`))[0]?.state === name, { seconds: 30 });
      await state('signed');
      await waitFor('the chain has it', async () => (await rpc('txpool_status')).pending !== '0x0');
      await rpc('anvil_mine', `0x${depth.toString(16)}`);
      await state('mined');
      assert.equal((await rig.reconciliation()).ok, true);
      const before = await totalPaid();
      await rpc('anvil_reorg', depth, []);
      assert.equal(await totalPaid(), before - OPG / 1000n, 'the chain took it back');
      assert.equal((await rig.reconciliation()).ok, true, 'it is owed, and the treasury has it');
      await rpc('anvil_mine', '0x4'); // it is looked at again only after its confirmations
      await state('signed');
      await waitFor('the chain has it again', async () => (await rpc('txpool_status')).pending !== '0x0', { seconds: 30 });
      await rpc('anvil_mine', '0x5');
      await waitFor('it is paid', async () => (await rig.sql(`SELECT state FROM payout WHERE id = '${id}'`))[0].state === 'paid', { seconds: 30 });
    }
  } finally {
    await rpc('evm_setIntervalMining', 1);
    rig.settings.deposit_confirmations = 2;
  }
  await check(start);
});

test('a receiver the token refuses gets nothing, and the money goes back once', { timeout: 180_000 }, async () => {
  const start = await snapshot();
  const refused = '0x000000000000000000000000000000000000bad1', moved = '0x000000000000000000000000000000000000c0de';
  const code = await rpc('eth_getCode', rig.chain.opg_token, 'latest');
  await rpc('anvil_setCode', moved, code);
  await rpc('anvil_setCode', rig.chain.opg_token, TestRefusal.code);
  const consumer = await signIn('consumer');
  await rig.sqlRun(`INSERT INTO payout_address (account, address, valid_at, chosen_at) SELECT id, '\\x${refused.slice(2)}', now(), '-infinity' FROM account WHERE address = '\\x${rig.accounts.consumer.address.slice(2)}'`);
  await restart('payout_ending:1'); // and it dies before it could write that down
  const had = await consumer.balance();
  const answers = [withdraw(consumer, 0, randomUUID(), { source: 'available', amount: '5000', address: refused }),
    withdraw(consumer, 0, randomUUID(), { source: 'available', amount: '7000', address: rig.accounts.consumer.address })];
  asked_in_all += 2;
  await waitFor('the gateway is gone', () => rig.gone('gateway'), { seconds: 60 });
  await rig.gatewaySpawn('gateway');
  await rig.gatewayReady();
  const [bad, good] = await Promise.all(answers);
  await allEnded();
  const states = await rig.sql(`SELECT state, reason FROM payout WHERE id IN ('${bad.id}', '${good.id}') ORDER BY amount`);
  assert.deepEqual(states, [{ state: 'returned', reason: 'the token refuses this receiver' }, { state: 'paid', reason: null }]);
  assert.equal(await consumer.balance(), had - 7000n);
  await rpc('anvil_setCode', rig.chain.opg_token, code);
  await rig.sqlRun('UPDATE payout_address SET cancelled_at = now() WHERE cancelled_at IS NULL');
  await check(start);
});

test('two gateways on one key, one of them killed: each payout once', { timeout: 180_000 }, async () => {
  const start = await snapshot();
  const other = await rig.gatewayStart('other', {});
  const apis = [await signIn('consumer'), await signIn('consumer', other)];
  const answers = Array.from({ length: 8 }, (_, i) => withdraw(apis[i % 2], 2000n + BigInt(i)));
  asked_in_all += 8;
  await waitFor('some are on their way', async () => (await rig.sql("SELECT count(*) AS n FROM payout WHERE state = 'sent'"))[0].n > 0);
  await rig.kill('gateway');
  await rig.gatewaySpawn('gateway');
  await rig.gatewayReady();
  await Promise.all(answers);
  await allEnded();
  await rig.kill('other');
  await check(start);
});

test('a payout key is replaced: what it sent is paid once, by it or by the new one', { timeout: 180_000 }, async () => {
  const start = await snapshot();
  const old = chainAccount(10), next = chainAccount(11), consumer = () => signIn('consumer');
  const transaction = async (id) => (await rig.sql(`SELECT t.state, '0x' || encode(t.sender, 'hex') AS sender FROM payout o JOIN settlement_tx t ON t.id = o.tx WHERE o.id = '${id}'`))[0];
  const keyIs = (account) => rig.gatewayAgain({ payout_key_file: rig.keyFile('payout', account), settlement_patience_ms: 2000 });
  await rpc('anvil_setBalance', next.address, '0x56bc75e2d63100000');
  await chain.write(chainAccount(SETTLER_OWNER).account, { address: rig.chain.payouts, abi: Payouts.abi, functionName: 'setCaller', args: [next.address, true] });
  await keyIs(old);
  await rpc('evm_setIntervalMining', 0);
  try {
    const mined = await withdraw(await consumer(), 4000);
    await waitFor('it is signed for', async () => (await transaction(mined.id))?.state === 'signed');
    await keyIs(next);
    await waitFor('the chain has it', async () => (await rpc('txpool_status')).pending !== '0x0', { seconds: 30 });
    await rpc('anvil_mine', '0x5');
    await allEnded();
    assert.equal((await transaction(mined.id)).sender, old.address.toLowerCase());

    await keyIs(old);
    const nonce = await rpc('eth_getTransactionCount', old.address, 'latest');
    await rpc('anvil_setNonce', old.address, `0x${(Number(nonce) + 1000).toString(16)}`);
    const stuck = await withdraw(await consumer(), 6000);
    asked_in_all += 2;
    await waitFor('it is signed for', async () => (await transaction(stuck.id))?.state === 'signed');
    await rpc('anvil_dropAllTransactions');
    await rpc('anvil_setNonce', old.address, nonce);
    await keyIs(next);
    await waitFor('the new key pays', async () => (await transaction(stuck.id))?.sender === next.address.toLowerCase(), { seconds: 30 });
    await waitFor('the chain has it', async () => (await rpc('txpool_status')).pending !== '0x0', { seconds: 30 });
    await rpc('anvil_mine', '0x5');
    await allEnded();
  } finally {
    await rpc('evm_setIntervalMining', 1);
  }
  await rpc('anvil_setNonce', old.address, `0x${(2000).toString(16)}`);
  await keyIs(old);
  await check(start);
});

test('a database that forgot that it paid does not pay again', { timeout: 180_000 }, async () => {
  const start = await snapshot();
  await restart('payout_ending:1');
  const consumer = await signIn('consumer');
  const { id } = await withdraw(consumer, 9000);
  asked_in_all++;
  await waitFor('the gateway is gone', () => rig.gone('gateway'), { seconds: 60 });
  const paid = await totalPaid();
  // As after a restore to a moment before it was sent: it is pending, and nothing is known of the transaction.
  await rig.sqlRun(`UPDATE settlement_tx SET state = 'replaced', succeeded = NULL, block_number = NULL, block_hash = NULL WHERE id = (SELECT tx FROM payout WHERE id = '${id}');
    UPDATE payout SET state = 'pending', tx = NULL, contract = NULL WHERE id = '${id}'`);
  await rig.gatewaySpawn('gateway');
  await rig.gatewayReady();
  await allEnded();
  assert.equal(await totalPaid(), paid, 'the contract remembered');
  const [row] = await rig.sql(`SELECT o.state, '0x' || encode(o.tx_hash, 'hex') AS hash, (SELECT '0x' || encode(v.hash, 'hex') FROM settlement_tx_version v WHERE v.tx = o.tx) AS second FROM payout o WHERE o.id = '${id}'`);
  assert.equal(row.state, 'paid');
  assert.notEqual(row.hash, row.second, 'proven by the transaction that paid it');
  await check(start);
});

test('a payout that the books do not know stops everything', { timeout: 180_000 }, async () => {
  const { account } = chainAccount(10);
  const pay = { address: rig.chain.payouts, abi: Payouts.abi, functionName: 'pay', args: [[{ id: `0x${'77'.repeat(32)}`, to: account.address, amount: 1n }]], gas: 500_000n };
  await rig.kill('gateway');
  await chain.write(account, pay);
  await rig.gatewaySpawn('gateway');
  await waitFor('it says so', async () => (await rig.reconciliation().catch(() => ({}))).payouts_ok === false, { seconds: 30 });
  const consumer = await signIn('consumer');
  await assert.rejects(consumer.json('POST', '/v1/withdrawals', { source: 'available', amount: '1000' }), (error) => error.status === 503 && /settlement_stopped/.test(error.message));
});
