// Jobs in the background that a wallet pays for: settled before they are run, read by a link or after signing in.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { registerExactEvmScheme } from '@x402/evm/exact/client';
import { wrapFetchWithPayment, x402Client } from '@x402/fetch';
import { chainAccount } from '../../script/lib/chain.mjs';
import { stackLocked, stackRestart } from '../../script/lib/stack.mjs';
import { EvilNode } from '../faults/evil-node.mjs';
import { assertCustody, buyerMake, eip3009, envelope, jobsOf, offersOf, pay, paymentEnds, paymentsOf, permit2, termsOf } from './payer.mjs';
import { accountMake, adderBody, api, assertBooks, assertError, assertStatus, call, chain, dev, inVar, mine, modelOf, OPG, rpc, sql, token, tokenBalance, uuid, waitFor } from './stack.mjs';

const jobsFor = (id) => `/v1/jobs?model=${encodeURIComponent(id)}`;
const ADDER = jobsFor(modelOf('tensor').id);
const LLAMA = jobsFor(modelOf('chat').id);
const body = () => adderBody(Math.floor(Math.random() * 1e6));
let evil;

before(async () => {
  const rig = { accounts: { operator: chainAccount(2) }, closers: [], gateway_address: dev.gateway_address, api: () => api };
  const author = await api.signIn(chainAccount(1).account, dev.chain_id);
  const name = `x402-jobs-${uuid().slice(0, 8)}`;
  const model = await author.modelPublish({ name, title: name, description: name, surface: 'tensor', price: { input: '1000', output: '0' }, files: [{ path: 'm.onnx', bytes: Buffer.from(name) }] });
  evil = await EvilNode.start(rig, { models: [model], ask: { input: '2000', output: '3000' } });
});

after(async () => {
  await rpc('evm_setIntervalMining', 1);
  await waitFor('nothing is open', () => sql("SELECT 1 FROM payment WHERE state IN ('claimed', 'settling', 'failed')").length === 0, { seconds: 60 });
  await evil.leave();
  await assertCustody();
  await assertBooks();
});

const linkOf = (answer) => new URL(answer.headers.get('Location'), dev.base_url).pathname;
const idOf = (answer) => answer.headers.get('Opgate-Job');
/// The job by its link, once it has ended.
const ended = (link) => waitFor(`${link} ends`, async () => {
  const answer = await call('GET', link, { headers: { Prefer: 'wait=10' } });
  return answer.status === 200 && answer.json;
}, { seconds: 60 });
async function paidJob(wallet, path, asked, kind = 'eip3009') {
  const offer = (await offersOf(path, asked))[kind];
  const made = envelope(offer, await (kind === 'eip3009' ? eip3009 : permit2)(wallet, offer));
  return { offer, made, answer: assertStatus(await pay(path, asked, made), 202) };
}

test('the official client pays a job: 202 names it and the payment, the link has its output and its receipt', async () => {
  const wallet = await buyerMake(OPG);
  const client = registerExactEvmScheme(new x402Client(), { signer: wallet.account });
  client.setSpendControls({ allowedAssets: true });
  const asked = body();
  const { eip3009: offer } = await offersOf(ADDER, asked);
  const before = await tokenBalance(offer.payTo);
  const answer = await wrapFetchWithPayment(fetch, client)(dev.base_url + ADDER, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: asked });
  assert.equal(answer.status, 202);
  const link = linkOf(answer);
  const job = await ended(link);
  assert.deepEqual([job.id, job.state, job.outcome, job.charged], [idOf(answer), 'settled', 'delivered', job.charged]);
  const output = assertStatus(await call('GET', `${link}/output`), 200);
  assert.ok(output.json.outputs[0].data.length);
  assert.equal(assertStatus(await call('GET', `${link}/receipt`), 200).json.message.jobId, `0x${job.id.replaceAll('-', '')}`);
  const row = await paymentEnds(answer.headers.get('Opgate-Payment'));
  assert.deepEqual([row.state, row.amount], ['settled', offer.amount]);
  const price = BigInt(offer.amount);
  assert.deepEqual([OPG - (await tokenBalance(wallet.address)), (await tokenBalance(offer.payTo)) - before], [price, price]);
  const signed = await api.signIn(wallet.account, dev.chain_id);
  assert.equal(await signed.balance(), price - BigInt(job.charged), 'what was paid and not used');
  const own = assertStatus(await call('GET', `/v1/jobs/${job.id}/output`, { key: signed.bearer }), 200);
  assert.deepEqual(own.bytes, output.bytes);
});

test('jobs are offered exact only, by EIP-3009 and by Permit2, chats too', async () => {
  const wallet = await buyerMake(OPG, { approve: true });
  const chat = JSON.stringify({ messages: [{ role: 'user', content: uuid() }], max_tokens: 4, temperature: 0 });
  for (const [path, asked] of [[ADDER, body()], [LLAMA, JSON.stringify({ model: 'x', ...JSON.parse(chat) })]]) {
    const { terms } = await offersOf(path, asked);
    assert.deepEqual(terms.accepts.map(({ scheme }) => scheme), ['exact', 'exact']);
    const { answer, offer } = await paidJob(wallet, path, asked, 'permit2');
    const job = await ended(linkOf(answer));
    assert.deepEqual([job.outcome, paymentsOf(wallet.address).at(-1).amount], ['delivered', offer.amount]);
  }
});

test('nobody works before the money is there', async () => {
  const wallet = await buyerMake(OPG);
  await rpc('evm_setIntervalMining', 0);
  let answer;
  try {
    ({ answer } = await paidJob(wallet, ADDER, body()));
    await waitFor('it is sent', () => paymentsOf(wallet.address)[0].state === 'settling' && sql(`SELECT 1 FROM payment WHERE state = 'settling' AND tx IS NOT NULL AND payer = '\\x${wallet.address.slice(2)}'`).length === 1);
    const waiting = assertStatus(await call('GET', linkOf(answer), { headers: { Prefer: 'wait=2' } }), 202).json;
    assert.deepEqual([waiting.state, waiting.attempt], ['queued', 0]);
  } finally {
    await rpc('evm_setIntervalMining', 1);
  }
  assert.equal((await ended(linkOf(answer))).outcome, 'delivered');
});

test('the same payment with the same request names the same job; with another it gets nothing', async () => {
  const wallet = await buyerMake(OPG);
  const asked = body();
  const { made, answer } = await paidJob(wallet, ADDER, asked);
  const again = await pay(ADDER, asked, made);
  assert.ok([200, 202].includes(again.status));
  assert.deepEqual([idOf(again), linkOf(again), again.headers.get('Idempotent-Replayed')], [idOf(answer), linkOf(answer), 'true']);
  assert.equal(termsOf(assertStatus(await pay(ADDER, body(), made), 402)).error, 'invalid_exact_evm_nonce_already_used');
  await ended(linkOf(answer));
  assertStatus(await pay(ADDER, asked, made), 200);
  assert.deepEqual(paymentsOf(wallet.address).map(({ state, attempts }) => [state, attempts]), [['settled', 1]]);
});

test('copies of one payment sent at once make one job', async () => {
  const wallet = await buyerMake(OPG);
  const asked = body();
  const { eip3009: offer } = await offersOf(ADDER, asked);
  const made = envelope(offer, await eip3009(wallet, offer));
  const answers = await Promise.all(Array.from({ length: 8 }, () => pay(ADDER, asked, made)));
  assert.equal(new Set(answers.map((answer) => { assert.ok(answer.status < 300, `${answer.status}`); return idOf(answer); })).size, 1);
  await ended(linkOf(answers[0]));
  assert.deepEqual([jobsOf(wallet.address), OPG - (await tokenBalance(wallet.address))], [1, BigInt(offer.amount)]);
});

test('a payer who empties the balance before the settlement gets nothing and pays nothing', async () => {
  const wallet = await buyerMake(OPG);
  await waitFor('nothing is under way', () => sql("SELECT 1 FROM settlement_tx WHERE state = 'signed'").length === 0);
  await rpc('evm_setIntervalMining', 0);
  let answer;
  try {
    await chain.wallet(wallet.account).writeContract({ ...token, functionName: 'transfer', args: [chainAccount(9).address, OPG], gas: 200_000n, maxFeePerGas: 300_000_000_000n, maxPriorityFeePerGas: 200_000_000_000n });
    ({ answer } = await paidJob(wallet, ADDER, body()));
    await waitFor('the settlement is in the pool', async () => Number((await rpc('txpool_status')).pending) >= 2);
    await mine();
  } finally {
    await rpc('evm_setIntervalMining', 1);
  }
  const job = await ended(linkOf(answer));
  assert.deepEqual([job.state, job.outcome, job.charged, job.attempt > 1], ['failed', 'settlement_failed', '0', false]);
  assertStatus(await call('GET', `${linkOf(answer)}/output`), 404);
  assert.equal(paymentsOf(wallet.address)[0].state, 'dropped');
  assert.equal((await api.signIn(wallet.account, dev.chain_id).then((signed) => signed.balance())), 0n);
});

test('settled and not delivered, or cancelled: the money is on the wallet\'s account', async () => {
  const wallet = await buyerMake(OPG);
  const path = jobsFor(evil.models[0].id);
  const signed = await api.signIn(wallet.account, dev.chain_id);
  evil.mode = 'error_500';
  const failing = await paidJob(wallet, path, body());
  assert.equal((await ended(linkOf(failing.answer))).outcome, 'node_failed');
  assert.equal(await signed.balance(), BigInt(failing.offer.amount));
  evil.mode = 'good';
  await rpc('evm_setIntervalMining', 0);
  let cancelled;
  try {
    cancelled = await paidJob(wallet, path, body());
    assertStatus(await call('POST', `/v1/jobs/${idOf(cancelled.answer)}/cancel`, { key: signed.bearer }), 202);
  } finally {
    await rpc('evm_setIntervalMining', 1);
  }
  const job = await ended(linkOf(cancelled.answer));
  assert.deepEqual([job.state, job.outcome], ['cancelled', 'cancelled_queued']);
  assert.equal(await signed.balance(), BigInt(failing.offer.amount) + BigInt(cancelled.offer.amount));
  assert.deepEqual(paymentsOf(wallet.address).map(({ state }) => state), ['settled', 'settled']);
});

test('killed while the payment settles: the job runs once, and is paid once', async () => {
  const wallet = await buyerMake(OPG);
  await rpc('evm_setIntervalMining', 0);
  let made;
  try {
    made = await paidJob(wallet, ADDER, body());
    await waitFor('it is sent', () => sql(`SELECT 1 FROM payment WHERE state = 'settling' AND tx IS NOT NULL AND payer = '\\x${wallet.address.slice(2)}'`).length === 1);
    process.kill(JSON.parse(fs.readFileSync(inVar('dev.json'))).pids.gateway, 'SIGKILL');
  } finally {
    await stackLocked(() => stackRestart('gateway'));
    await rpc('evm_setIntervalMining', 1);
  }
  const job = await ended(linkOf(made.answer));
  assert.deepEqual([job.outcome, job.attempt], ['delivered', 1]);
  assert.equal(OPG - (await tokenBalance(wallet.address)), BigInt(made.offer.amount));
});

test('killed while it runs: it is run again, and paid once', async () => {
  const wallet = await buyerMake(OPG);
  const before = evil.calls.length;
  evil.mode = () => new Promise(() => {}); // the first attempt never ends
  const made = await paidJob(wallet, jobsFor(evil.models[0].id), body());
  await waitFor('it runs', () => evil.calls.length > before, { seconds: 30 });
  process.kill(JSON.parse(fs.readFileSync(inVar('dev.json'))).pids.gateway, 'SIGKILL');
  evil.mode = 'good';
  await stackLocked(() => stackRestart('gateway'));
  const job = await ended(linkOf(made.answer));
  assert.deepEqual([job.outcome, job.attempt > 1, paymentsOf(wallet.address)[0].state], ['delivered', true, 'settled']);
  assert.equal(OPG - (await tokenBalance(wallet.address)), BigInt(made.offer.amount));
});

// ---- nobody is told to begin again whose money is taken ----

const HELD = 4711;
/// A client of the database that has this lock until its input ends.
async function lockHold(id) {
  const holder = spawn('psql', ['-X', '-A', '-t', '-q', dev.database_url], { stdio: ['pipe', 'pipe', 'inherit'] });
  holder.stdin.write(`SELECT 'held' FROM pg_advisory_lock(${id});\n`);
  await once(holder.stdout, 'data');
  return holder;
}

test('a claim whose answer is lost is pending, with its payment named; the same payment again gets its job', async () => {
  const wallet = await buyerMake(OPG);
  const asked = body();
  const { eip3009: offer } = await offersOf(ADDER, asked);
  const made = envelope(offer, await eip3009(wallet, offer));
  sql(`CREATE FUNCTION slow_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(${HELD}); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON payment DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
      WHEN (NEW.payer = '\\x${wallet.address.slice(2).toLowerCase()}') EXECUTE FUNCTION slow_commit()`);
  const holder = await lockHold(HELD);
  try {
    const answer = assertStatus(await pay(ADDER, asked, made), 202);
    const payment = answer.headers.get('Opgate-Payment');
    assert.deepEqual([answer.json.state, answer.json.payment, answer.headers.get('Location'), answer.headers.get('Retry-After')], ['pending', payment, `/v1/payments/${payment}`, '2']);
    holder.stdin.end();
    await waitFor('it was claimed after all', async () => (await call('GET', `/v1/payments/${payment}`)).status === 200);
  } finally {
    holder.stdin.end();
    sql('DROP TRIGGER slow_commit ON payment; DROP FUNCTION slow_commit()');
  }
  const again = await pay(ADDER, asked, made);
  assert.equal(again.headers.get('Idempotent-Replayed'), 'true');
  const job = await ended(linkOf(again));
  assert.deepEqual([job.outcome, jobsOf(wallet.address), OPG - (await tokenBalance(wallet.address))], ['delivered', 1, BigInt(offer.amount)]);
});

test('a job that is accepted and cannot be shown is accepted all the same', async () => {
  const wallet = await buyerMake(OPG), account = await accountMake({ opg: OPG });
  const path = jobsFor(evil.models[0].id);
  const payment = async (asked) => { const { eip3009: offer } = await offersOf(path, asked); return [asked, envelope(offer, await eip3009(wallet, offer))]; };
  const at_once = await payment(body()), waited = await payment(body());
  let free;
  const held = new Promise((resolve) => { free = resolve; }), calls = evil.calls.length;
  evil.mode = async (...args) => { await held; return (await import('../faults/evil-node.mjs')).answer(...args); };
  const wait = { Prefer: 'wait=3' };
  const sent = [pay(path, ...waited, wait), call('POST', path, { key: account.key, body: body(), headers: wait })];
  try {
    await waitFor('both run', () => evil.calls.length === calls + 2);
    // what jobs are read with is away from the moment that one is claimed
    sql(`CREATE FUNCTION away() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ALTER TABLE model RENAME TO model_away; RETURN NULL; END $$;
      CREATE CONSTRAINT TRIGGER away AFTER INSERT ON payment DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION away()`);
    sent.push(pay(path, ...at_once));
    for (const answer of await Promise.all(sent)) {
      assertStatus(answer, 202);
      assert.deepEqual([answer.json.state, answer.json.id], ['pending', idOf(answer)]);
      assert.match(answer.headers.get('Location'), answer === (await sent[1]) ? /^\/v1\/jobs\// : /^\/v1\/links\//);
      assert.equal(Boolean(answer.headers.get('Opgate-Payment')), answer !== (await sent[1]));
    }
  } finally {
    sql('DROP TRIGGER away ON payment; DROP FUNCTION away(); ALTER TABLE model_away RENAME TO model');
    free();
    evil.mode = 'good';
  }
  for (const i of [0, 2]) assert.equal((await ended(linkOf(await sent[i]))).outcome, 'delivered');
});

test('links are not to be guessed, and the payment\'s id is none', async () => {
  const wallet = await buyerMake(OPG);
  const { answer } = await paidJob(wallet, ADDER, body());
  const link = linkOf(answer);
  await ended(link);
  const bytes = Buffer.from(link.split('/').at(-1), 'base64url');
  assert.equal(bytes.length, 32);
  for (const at of [0, 15, 16, 31]) {
    const other = Buffer.from(bytes);
    other[at] ^= 1;
    for (const what of ['', '/output', '/receipt']) assertError(await call('GET', `/v1/links/${other.toString('base64url')}${what}`), 'problem', 404, 'not_found');
  }
  for (const junk of ['x', answer.headers.get('Opgate-Payment'), idOf(answer), bytes.subarray(0, 16).toString('base64url')])
    assertError(await call('GET', `/v1/links/${junk}/output`), 'problem', 404, 'not_found');
  assertError(await call('GET', `/v1/jobs/${idOf(answer)}/output`), 'problem', 401, 'unauthenticated');
  assert.match((await call('GET', `${link}/output`)).headers.get('Cache-Control'), /private, no-store/);
});
