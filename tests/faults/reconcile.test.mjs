// The books against the chain's own logs: what `opgate reconcile --from-chain` finds in a database somebody has changed, what the
// gateway itself notices while it runs, and that it settles nothing until that is gone or resolved. On a real chain and database.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { contractsCompile } from '../../script/contracts.mjs';
import { chainAccount, chainOpen } from '../../script/lib/chain.mjs';
import { environmentClean } from '../../script/lib/procs.mjs';
import { paymentsOpen } from '../stack/payments.mjs';
import { EvilNode } from './evil-node.mjs';
import { opgateBinary, OPG, PAY_TO, Rig, waitFor } from './rig.mjs';
import { RpcProxy } from './rpc-proxy.mjs';

const PAYER = chainAccount(5).account;
const base64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64');
let rig, proxy, model, payments, chain, token, number = 0;

before(async () => {
  rig = await Rig.start({ instance_timeout_ms: 1000, job_timeout_ms: 60000, deposit_confirmations: 2, admin_addresses: chainAccount(0).address });
  proxy = await RpcProxy.start(rig.rpc_url);
  rig.closers.push(() => proxy.stop());
  await rig.gatewayAgain({ ...rig.walletSettings(), rpc_url: proxy.url });
  chain = chainOpen(rig.rpc_url);
  token = { address: rig.chain.opg_token, abi: contractsCompile().OPG.abi };
  payments = paymentsOpen(chain, { ...rig.chain, chain_id: 84532 });
  await chain.write(PAYER, { ...token, functionName: 'mint', args: [PAYER.address, 1000n * OPG] });
  model = await rig.modelPublish('paid', 'tensor', { input: '1000', output: '0' });
  await EvilNode.start(rig, { models: [model] });
});
after(() => rig?.stop());

const bodyOf = (n) => JSON.stringify({ inputs: [{ name: 'x', shape: [1], datatype: 'FP32', data: [n] }] });
const ask = (body, headers = {}) => fetch(`${rig.base_url}/v2/models/${model.id}/infer`, {
  method: 'POST', body, headers: { 'Content-Type': 'application/json', ...headers }, signal: AbortSignal.timeout(60_000),
});

/// One paid inference; what it was answered.
async function pay() {
  const body = bodyOf(++number);
  const [offer] = JSON.parse(Buffer.from((await ask(body)).headers.get('PAYMENT-REQUIRED') ?? base64({ accepts: [] }), 'base64')).accepts;
  if (!offer) return ask(body);
  const { message, args } = await payments.eip3009(PAYER, { form: 'bytes', to: offer.payTo, value: BigInt(offer.amount), validBefore: BigInt(Math.floor(Date.now() / 1000) + 600),
    nonce: `0x${number.toString(16).padStart(64, '0')}` });
  const authorization = { ...message, value: String(message.value), validAfter: '0', validBefore: String(message.validBefore) };
  return ask(body, { 'PAYMENT-SIGNATURE': base64({ x402Version: 2, accepted: offer, payload: { signature: args.at(-1), authorization } }) });
}

/// By another process, while this one serves its endpoint.
async function reconcile(...more) {
  const child = spawn(opgateBinary(), ['reconcile', '--from-chain', ...(more.includes('--config') ? [] : ['--config', rig.gateways.gateway.config]), ...more], { env: environmentClean(), timeout: 60_000 });
  const ended = new Promise((resolve) => child.on('close', resolve));
  const [stdout, stderr] = (await Promise.all([child.stdout, child.stderr].map((stream) => Array.fromAsync(stream)))).map((parts) => parts.join(''));
  const lines = stdout.split('\n').filter(Boolean);
  const end = lines.length ? JSON.parse(lines.pop()) : null;
  return { status: await ended, lines, end, stderr };
}
const kinds = ({ lines }) => lines.map((line) => /^difference kind=(\w+) subject=\S+ (block=\d+ )?(tx=0x[0-9a-f]{64} log=\d+ )?detail="[^"\n]*"$/.exec(line)?.[1] ?? line).toSorted();

/// Waits until everything that has happened is final and compared.
async function compared() {
  const head = Number(await chain.client.getBlockNumber());
  await waitFor('the logs are compared', async () => (await rig.reconciliation()).compared_block >= head, { seconds: 60 });
}

/// Changes rows past the triggers, runs `work`, and puts the rows back.
async function doctored(table, statement, work) {
  await rig.sqlRun(`CREATE TABLE doctored AS SELECT * FROM ${table}; ALTER TABLE ${table} DISABLE TRIGGER USER; ${statement}; ALTER TABLE ${table} ENABLE TRIGGER USER`);
  try {
    await work();
  } finally {
    await rig.sqlRun(`ALTER TABLE ${table} DISABLE TRIGGER USER; DELETE FROM ${table}; INSERT INTO ${table} OVERRIDING SYSTEM VALUE SELECT * FROM doctored;
      ALTER TABLE ${table} ENABLE TRIGGER USER; DROP TABLE doctored`);
  }
}

test('the books equal the chain: deposits, settlements, our own transfers, and what strangers sent', { timeout: 120_000 }, async () => {
  assert.equal((await pay()).status, 200);
  assert.equal((await pay()).status, 200);
  await rig.deposit('consumer', 5n * OPG);
  await chain.write(PAYER, { ...token, functionName: 'transfer', args: [PAY_TO, 77n] }); // nobody asked for it
  await chain.write(chainAccount(8).account, { ...token, functionName: 'transfer', args: [rig.accounts.treasury.address, 33n] }); // pay_to is swept
  await compared();
  const found = await reconcile();
  assert.deepEqual([found.status, found.lines], [0, []], found.stderr);
  assert.equal(found.end.exact, true);
  assert.deepEqual(found.end.counts, { deposit: 2, payment: 2, stray: 1, internal: 1 });
  assert.equal(found.end.sums.stray, '77');
  assert.match(found.stderr, /blocks 0 to \d+ of \d+ compared, 0 differences/);
  const rows = await rig.sql("SELECT state, account FROM deposit WHERE state NOT IN ('credited')");
  assert.deepEqual(rows, [{ state: 'internal', account: null }], 'what we send ourselves is no deposit');
  const [{ left }] = await rig.sql("SELECT (SELECT count(*) FROM deposit WHERE state = 'credited' AND audited_block IS NULL) + (SELECT count(*) FROM payment WHERE audited_block IS NULL) AS left");
  assert.equal(left, 0, 'each row has met its log');
  const books = await rig.reconciliation();
  assert.deepEqual([books.ok, books.settlements_stopped, books.mismatches, books.custody.difference], [true, false, [], '77']);
});

test('a changed database is found out, line by line', { timeout: 120_000 }, async () => {
  await rig.kill('gateway'); // it would notice, too
  const row = "(SELECT min(id) FROM deposit WHERE state = 'credited')";
  await doctored('deposit', `DELETE FROM deposit WHERE id = ${row}`, async () => {
    const found = await reconcile();
    assert.deepEqual([found.status, kinds(found)], [1, ['custody', 'deposit_missing']]);
    assert.equal(found.end.differences, 2);
  });
  await doctored('deposit', `INSERT INTO deposit (chain_id, token, treasury, tx, ordinal, account, sender, amount, block_number, block_hash, state)
    SELECT chain_id, token, treasury, block_hash, 9, account, sender, 5, block_number, block_hash, 'credited' FROM deposit WHERE id = ${row}`, async () => {
    const found = await reconcile();
    assert.deepEqual([found.status, kinds(found)], [1, ['custody', 'deposit_without_log']]);
  });
  await doctored('deposit', `UPDATE deposit SET amount = amount + 1 WHERE id = ${row}`, async () => {
    const found = await reconcile();
    assert.deepEqual([found.status, kinds(found)], [1, ['custody', 'deposit_differs']]);
  });
  await doctored('deposit', `UPDATE deposit SET block_number = 2147483648 WHERE id = ${row}`, async () => {
    assert.deepEqual(kinds(await reconcile()), ['deposit_differs']);
  });
  await doctored('payment', "UPDATE payment SET tx_hash = decode(repeat('ab', 32), 'hex') WHERE id = (SELECT id FROM payment ORDER BY id LIMIT 1)", async () => {
    const found = await reconcile();
    assert.deepEqual([found.status, kinds(found)], [1, ['payment_missing', 'payment_without_log']]);
  });
  await doctored('payment', 'UPDATE payment SET amount = amount - 1 WHERE id = (SELECT id FROM payment ORDER BY id LIMIT 1)', async () => {
    assert.deepEqual(kinds(await reconcile()), ['custody', 'payment_differs']);
  });
  await doctored('payment', "UPDATE payment SET state = 'dropped' WHERE id = (SELECT id FROM payment ORDER BY id LIMIT 1)", async () => {
    assert.deepEqual(kinds(await reconcile()), ['custody', 'payment_differs']);
  });
  assert.equal((await reconcile()).status, 0, 'and as it was, all is well');
  const late = await reconcile('--from', String(await chain.client.getBlockNumber()));
  assert.deepEqual([late.status, late.end], [2, null], 'nothing is confirmed from there on');
  assert.match(late.stderr, /could not check: not_found: no gateway has confirmed block/);
  assert.equal((await reconcile('--from', 'x')).status, 2);
  await rig.gatewaySpawn('gateway');
  await rig.gatewayReady();
});

test('what cannot be checked is neither right nor wrong', () => {
  const config = path.join(rig.folder, 'elsewhere.conf');
  fs.writeFileSync(config, fs.readFileSync(rig.gateways.gateway.config, 'utf8').replace(/rpc_url = .*/, 'rpc_url = http://127.0.0.1:1'));
  const run = spawnSync(opgateBinary(), ['reconcile', '--from-chain', '--config', config], { encoding: 'utf8', env: environmentClean() });
  assert.deepEqual([run.status, run.stdout], [2, '']);
  assert.match(run.stderr, /could not check/);
});

test('an endpoint that lags, or a database in which nothing was watched, cannot be checked', { timeout: 120_000 }, async () => {
  await compared();
  const lag = Number((await rig.sql("SELECT max(block_number) AS newest FROM deposit WHERE state = 'credited'"))[0].newest) - 1;
  const beyond = (block) => /^0x/.test(block) && Number(block) > lag;
  const lies = {
    'its head': ({ method }) => (method === 'eth_blockNumber' ? { result: `0x${lag.toString(16)}` } : undefined),
    'its logs': ({ method, params: [what] }) => (method === 'eth_getLogs' && beyond(what.toBlock) ? { result: [] } : method === 'eth_getBlockByNumber' && beyond(what) ? { result: null } : undefined),
  };
  for (const [what, lie] of Object.entries(lies)) {
    const found = await proxy.during(lie, () => reconcile());
    assert.deepEqual([found.status, found.lines, found.end], [2, [], null], `${what}: ${found.stderr}`);
    assert.match(found.stderr, /could not check: (chain_unavailable: rpc_url is at block \d+, the books are at \d+|not_found: an endpoint has no block \d+ yet)/);
  }
  const config = path.join(rig.folder, 'fresh.conf');
  await rig.sqlRun('CREATE DATABASE fresh');
  fs.writeFileSync(config, fs.readFileSync(rig.gateways.gateway.config, 'utf8').replace(/database_url = .*/, (line) => line.replace(/\/[^/?]*(?=$|\?)/, '/fresh')));
  rig.opgate('migrate', '--config', config);
  const fresh = await reconcile('--config', config);
  assert.deepEqual([fresh.status, fresh.end], [2, null], fresh.stderr);
});

test('nothing that a stranger moves out of the treasury stops nothing', { timeout: 120_000 }, async () => {
  const stranger = chainAccount(9).account;
  for (const from of [rig.accounts.treasury.address, PAY_TO]) await chain.write(stranger, { ...token, functionName: 'transferFrom', args: [from, stranger.address, 0n] });
  await chain.write(stranger, { ...token, functionName: 'transfer', args: [rig.accounts.treasury.address, 0n] });
  await compared();
  const { ok, settlements_stopped, mismatches } = await rig.reconciliation();
  assert.deepEqual([ok, settlements_stopped, mismatches], [true, false, []]);
  const found = await reconcile();
  assert.deepEqual([found.status, found.lines, found.end.counts.nothing], [0, [], 3], found.stderr);
});

const rpc = (method, ...params) => chain.client.request({ method, params });

test('a head from before the newest payment says nothing about custody', { timeout: 120_000 }, async () => {
  await rpc('evm_setIntervalMining', 3600);
  await rpc('evm_setAutomine', true); // blocks come with transactions only
  try {
    assert.equal((await pay()).status, 200);
    const [{ mined }] = await rig.sql('SELECT max(block_number) AS mined FROM settlement_tx');
    await waitFor('custody is known', async () => (await rig.reconciliation()).custody.ok === true);
    const behind = ({ method }) => (method === 'eth_blockNumber' ? { result: `0x${(mined - 1).toString(16)}` } : undefined);
    await proxy.during(behind, async () => {
      const { ok, settlements_stopped, payouts_ok, custody, mismatches } = await rig.reconciliation();
      assert.deepEqual([ok, settlements_stopped, payouts_ok, custody.ok, custody.on_chain, mismatches], [true, false, null, null, null, []]);
      assert.equal((await fetch(`${rig.base_url}/readyz`)).status, 200);
      assert.equal((await pay()).status, 200);
    });
  } finally {
    await rpc('evm_setIntervalMining', 1);
  }
  await waitFor('custody is known again', async () => (await rig.reconciliation()).custody.ok === true);
});

const stopped = async () => (await rig.reconciliation()).settlements_stopped;

test('an endpoint that mixes two blocks once stops nothing', { timeout: 60_000 }, async () => {
  const before = (await rig.reconciliation()).mismatches.length;
  const treasury = rig.accounts.treasury.address.slice(2).toLowerCase();
  let lies = 0; // the first answer is one, the others are only counted
  await proxy.during((call) => (call.method === 'eth_call' && call.params[0].data?.startsWith(`0x70a08231${treasury.padStart(64, '0')}`) && !lies++ ? { result: `0x${'0'.repeat(64)}` } : undefined), async () => {
    const { ok, custody, mismatches } = await rig.reconciliation();
    assert.deepEqual([ok, custody.ok, mismatches.length], [true, true, before]);
    assert.ok(lies >= 2, 'asked again, and then it was there'); // another look may come after this one
  });
});

test('money that leaves unasked stops settlements and says where it first appeared, until an operator resolves it', { timeout: 120_000 }, async () => {
  const receipt = await chain.write(rig.accounts.treasury.account, { ...token, functionName: 'transfer', args: [PAYER.address, 3n] });
  const first = await waitFor('it is noticed', async () => (await rig.reconciliation()).mismatches.find(({ check }) => check === 'outflow_unknown'), { seconds: 60 });
  const { ok, settlements_stopped } = await rig.reconciliation();
  assert.deepEqual([ok, settlements_stopped], [false, true]);
  assert.deepEqual([first.subject, first.block, first.state], [`${receipt.transactionHash}:0`, Number(receipt.blockNumber), 'open']);
  assert.match(first.detail, /^3 left 0x[0-9a-f]{40} for 0x[0-9a-f]{40} and is no payout$/);
  await waitFor('the cursor is past it', async () => (await rig.reconciliation()).compared_block > receipt.blockNumber, { seconds: 60 });
  // Nodes that have no receipt, or not even the block, heal nothing: the log was there.
  let asked = 0;
  const forgets = (...methods) => ({ method, params }) => {
    if (method === 'eth_getTransactionReceipt' && params[0] === receipt.transactionHash) asked++;
    return methods.includes(method) && [receipt.transactionHash, `0x${receipt.blockNumber.toString(16)}`].includes(params[0]) ? { result: null } : undefined;
  };
  for (const methods of [['eth_getTransactionReceipt'], ['eth_getTransactionReceipt', 'eth_getBlockByNumber']]) {
    const before = asked;
    await proxy.during(forgets(...methods), () => waitFor('it was looked at again, and again', () => asked > before + 2, { seconds: 60 }));
    assert.deepEqual(await rig.sql('SELECT kind FROM mismatch WHERE healed_at IS NULL AND tx IS NOT NULL'), [{ kind: 'outflow_unknown' }]);
  }
  assert.equal((await pay()).status, 503, 'no new paid work');
  // The settler begins nothing, whatever waits: a payment that is put there does not move.
  await chain.write(PAYER, { ...token, functionName: 'transfer', args: [rig.accounts.treasury.address, 3n] }); // somebody gives it back
  const admin = await rig.api().signIn(chainAccount(0).account, 84532);
  const post = (id, token, note = 'taken by mistake, given back') => fetch(`${rig.base_url}/v1/reconciliation/mismatches/${id}/resolve`, {
    method: 'POST', headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' }, body: JSON.stringify({ note }) }).then(({ status }) => status);
  assert.equal(await post(first.id, rig.consumer.bearer), 403);
  assert.equal(await post(999999, admin.bearer), 404);
  assert.equal(await post(first.id, admin.bearer, ''), 400);
  assert.equal(await post(first.id, admin.bearer), 200);
  await waitFor('settlements go on', async () => !(await stopped()), { seconds: 60 });
  assert.equal((await pay()).status, 200);
  assert.equal((await rig.reconciliation()).mismatches.find(({ id }) => id === first.id).note, 'taken by mistake, given back');
});

test('what the chain gives up did not leave', { timeout: 120_000 }, async () => {
  const snapshot = await rpc('evm_snapshot');
  await chain.write(rig.accounts.treasury.account, { ...token, functionName: 'transfer', args: [PAYER.address, 3n] });
  const newest = async () => (await rig.sql("SELECT healed_at IS NOT NULL AS healed FROM mismatch WHERE kind = 'outflow_unknown' AND resolved_at IS NULL ORDER BY id DESC LIMIT 1"))[0];
  await waitFor('it is noticed', newest, { seconds: 60 });
  await rpc('evm_revert', snapshot);
  await rpc('anvil_mine', '0x10');
  await waitFor('it is gone', async () => (await newest()).healed, { seconds: 60 });
});

test('a mismatch that is gone is history', { timeout: 120_000 }, async () => {
  await rig.deposit('consumer', 2n * OPG);
  await compared();
  const newest = "(SELECT max(id) FROM deposit WHERE state = 'credited')";
  await rig.sqlRun(`ALTER TABLE deposit DISABLE TRIGGER USER; UPDATE deposit SET ordinal = ordinal + 100, audited_block = NULL WHERE id = ${newest}; ALTER TABLE deposit ENABLE TRIGGER USER`);
  await waitFor('it is noticed', stopped, { seconds: 60 });
  const [open] = (await rig.reconciliation()).mismatches.filter(({ state }) => state === 'open');
  assert.equal(open.check, 'deposit_without_log');
  await waitFor('the log says so', () => /"reconciliation_failed"[^\n]*has no log/.test(rig.logTail('gateway', 400)));
  await rig.sqlRun(`UPDATE deposit SET ordinal = ordinal - 100 WHERE id = ${newest}`);
  await waitFor('it is gone', async () => !(await stopped()), { seconds: 60 });
  assert.equal((await rig.reconciliation()).mismatches.find(({ id }) => id === open.id).state, 'healed');
  assert.match(rig.logTail('gateway', 400), /"mismatch_healed"/);
});

test('a payment that somebody else settled is missed when all of today is final, and not before', { timeout: 120_000 }, async () => {
  assert.equal((await pay()).status, 200);
  await compared();
  const missed = async () => (await rig.sql("SELECT healed_at IS NOT NULL AS healed FROM mismatch WHERE kind = 'payment_without_log' ORDER BY id DESC LIMIT 1"))[0];
  const [{ id, hash }] = await rig.sql("SELECT id, encode(tx_hash, 'hex') AS hash FROM payment WHERE state = 'settled' ORDER BY ended_at DESC LIMIT 1");
  const settledBy = (tx) => rig.sqlRun(`UPDATE payment SET tx_hash = '\\x${tx}', audited_block = NULL WHERE id = '${id}'`);
  await rpc('evm_setIntervalMining', 3600);
  try {
    await settledBy('ab'.repeat(32)); // no node has a receipt of it
    const noted = await waitFor('it is looked for', async () => (await rig.sql(`SELECT missed_block FROM payment WHERE id = '${id}'`))[0].missed_block, { seconds: 60 });
    assert.equal(noted, Number(await chain.client.getBlockNumber()));
    const before = proxy.asked.eth_blockNumber;
    await waitFor('it looked again, and again', () => proxy.asked.eth_blockNumber > before + 12, { seconds: 60 });
    assert.equal(await missed(), undefined, 'its block may only be unknown yet');
    await rpc('anvil_mine', '0x4');
    await waitFor('it is missed', missed, { seconds: 60 });
  } finally {
    await rpc('evm_setIntervalMining', 1);
  }
  await settledBy(hash);
  await waitFor('it is gone', async () => (await missed()).healed, { seconds: 60 });
});

test('an operator answers for what was missing then, not for more', { timeout: 120_000 }, async () => {
  const open = async () => Object.fromEntries((await rig.sql('SELECT kind, missing::text FROM mismatch WHERE healed_at IS NULL AND resolved_at IS NULL AND tx IS NULL')).map(({ kind, missing }) => [kind, missing && BigInt(missing)]));
  const take = (amount) => chain.write(rig.accounts.treasury.account, { ...token, functionName: 'transfer', args: [PAYER.address, amount] });
  const resolve = () => rig.sqlRun("SELECT mismatch_resolve(id, (SELECT min(id) FROM account), 'it is in the cold wallet') FROM mismatch WHERE healed_at IS NULL");
  await take(OPG);
  const first = await waitFor('custody is short', async () => (await rig.reconciliation()) && (await open()).custody_below_ledger && open(), { seconds: 60 });
  assert.ok(first.custody_short > 0n && first.custody_below_ledger > 0n, 'by how much is written down');
  await compared();
  await resolve();
  await waitFor('settlements go on', async () => !(await stopped()), { seconds: 60 });
  await take(1n);
  const more = await waitFor('more is missing', async () => (await rig.reconciliation()) && (await open()).custody_below_ledger && open(), { seconds: 60 });
  assert.deepEqual(more, { custody_short: first.custody_short + 1n, custody_below_ledger: first.custody_below_ledger + 1n });
});
