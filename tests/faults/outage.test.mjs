// The database away, frozen, or behind a gateway that sleeps too long; and a gateway that is told to stop under load. Nothing that was
// accepted is lost, nobody pays twice, and what cannot be done now says so at once.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { booksCheck, chargedExactly, jobGet, split } from './books.mjs';
import { answer, EvilNode } from './evil-node.mjs';
import { Rig, waitFor } from './rig.mjs';

const ASK = { input: '2000', output: '3000' };
const TENSOR = '{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}';
const INSTANCE_TIMEOUT_MS = 1500;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let rig, tensor, chat, node;

before(async () => {
  rig = await Rig.start({ job_timeout_ms: 60000, stall_timeout_ms: 10000, instance_timeout_ms: INSTANCE_TIMEOUT_MS });
  tensor = await rig.modelPublish('tensor', 'tensor', { input: '1000', output: '0' });
  chat = await rig.modelPublish('chat', 'chat', { input: '101', output: '203' }, { max_output_tokens: 50 });
  node = await EvilNode.start(rig, { models: [tensor, chat], ask: ASK, mode: slowly(150) });
});
after(() => rig?.stop());

/// A node that thinks for a while.
const slowly = (ms) => async (call) => { await pause(ms); await answer(call); };

async function send({ background = false, base_url = rig.base_url, key } = {}) {
  const began = Date.now();
  const told = { background };
  try {
    const path = background ? `/v1/jobs?model=${encodeURIComponent(tensor.id)}` : `/v2/models/${tensor.id}/infer`;
    const response = await fetch(base_url + path, {
      method: 'POST', body: TENSOR, signal: AbortSignal.timeout(60_000),
      headers: { Authorization: `Bearer ${rig.key}`, 'Content-Type': 'application/json', ...(key && { 'Idempotency-Key': key }) },
    });
    Object.assign(told, { status: response.status, job: response.headers.get('opgate-job'), retry_after: response.headers.get('retry-after'), text: await response.text() });
  } catch (error) {
    told.broken = error.cause?.code ?? error.name;
  }
  return Object.assign(told, { began, ms: Date.now() - began });
}

/// Until the job is ended, or for a while.
const jobWait = (job) => fetch(`${rig.base_url}/v1/jobs/${job}`, { headers: { Authorization: `Bearer ${rig.key}`, Prefer: 'wait=5' }, signal: AbortSignal.timeout(10_000) })
  .then((response) => response.text(), () => pause(50));

/// Clients that ask again and again while `work` goes on; what each of them was told.
async function underLoad(work, { clients = 40 } = {}) {
  const log = [];
  let over = false;
  const client = async (number) => {
    while (!over) {
      const told = await send({ background: number % 2 === 0, key: number % 4 < 2 ? randomUUID() : undefined });
      log.push(told);
      if (told.status === 202) await jobWait(told.job); // no client has two: the load is what it is on any machine
      else if (told.status !== 200) await pause(50);
    }
  };
  const all = Promise.all(Array.from({ length: clients }, (_, number) => client(number)));
  try {
    await waitFor('the load is on', () => log.filter(({ status }) => status === 200).length >= 20, { every: 20 });
    await work(log);
  } finally {
    over = true;
    await all;
  }
  return log;
}

/// A second gateway, for one test.
async function otherStart() {
  await rig.procs.stop('other');
  return rig.gatewayStart('other');
}

const allEnded = (seconds) => waitFor('every job is ended', async () => (await rig.sql('SELECT count(*) AS n FROM job WHERE outcome IS NULL'))[0].n === 0, { seconds, every: 100 });

/// Who was told of a job finds it, ended as he was told, and charged exactly.
async function checkTold(log) {
  const jobs = new Map((await rig.sql(`SELECT id, outcome, state, charged::text FROM job`)).map((job) => [job.id, job]));
  const price = String(split({ price: tensor.price, ask: ASK }, 1, 0).charged);
  for (const told of log.filter(({ job }) => job)) {
    const job = jobs.get(told.job);
    assert.ok(job, `job ${told.job} exists`);
    if (told.status < 300) assert.deepEqual([job.outcome, job.charged], ['delivered', price], `${told.job}: told ${told.status}`);
    else assert.notEqual(job.outcome, 'delivered', `${told.job}: told ${told.status} ${told.text}`);
  }
}

test('PostgreSQL is stopped for five seconds under load', { timeout: 120_000 }, async () => {
  let stopped, back;
  const log = await underLoad(async () => {
    stopped = Date.now();
    await rig.kill('postgres', 'SIGQUIT'); // its immediate shutdown
    await waitFor('PostgreSQL is gone', () => rig.gone('postgres'), { every: 20 });
    await pause(5000);
    await rig.postgresRestart();
    back = Date.now();
    await waitFor('jobs run again', async () => (await send()).status === 200, { seconds: 10 });
  });
  const during = log.filter(({ began }) => began > stopped + 500 && began < back - 500);
  const refused = during.filter(({ status }) => status === 503);
  assert.ok(refused.length > 20, `refused during the outage: ${refused.length} of ${during.length}`);
  for (const { retry_after, text } of refused) assert.ok(Number(retry_after) >= 1, `Retry-After: ${retry_after} ${text}`);
  assert.deepEqual(during.filter(({ status, broken }) => broken || (status >= 400 && status !== 503)), [], 'nothing but 503');
  assert.ok((await fetch(`${rig.base_url}/livez`)).ok);
  await allEnded(30);
  await checkTold(log);
  await booksCheck(rig);
});

test('a backend of PostgreSQL freezes: requests fail in time, and the gateway recovers', { timeout: 120_000 }, async () => {
  let frozen = [];
  const log = await underLoad(async () => {
    const rows = await rig.sql(`SELECT pid FROM pg_stat_activity WHERE usename = 'opgate' AND pid <> pg_backend_pid() AND query ~ 'job_(open|close)\\('`);
    frozen = rows.map(({ pid }) => pid);
    assert.ok(frozen.length >= 1, 'the lane has a connection');
    for (const pid of frozen) process.kill(pid, 'SIGSTOP');
    await pause(12_000); // the statement's deadline is 10 s
    const live = await fetch(`${rig.base_url}/livez`, { signal: AbortSignal.timeout(5000) }); // who waits for the database gets nothing within its 10 s
    assert.ok(live.ok, 'what needs no database is answered all the while');
    for (const pid of frozen) process.kill(pid, 'SIGCONT');
    await waitFor('jobs run again', async () => (await send()).status === 200, { seconds: 20 });
  }).finally(() => frozen.forEach((pid) => { try { process.kill(pid, 'SIGCONT'); } catch { /* it has ended */ } }));
  for (const { ms, status, broken } of log) assert.ok(ms < 30_000, `${status ?? broken} after ${ms} ms`);
  await allEnded(60);
  await checkTold(log);
  await booksCheck(rig);
});

test('SIGTERM under load drains: whoever was accepted is answered', { timeout: 120_000 }, async () => {
  node.mode = slowly(1500);
  const accepted = `SELECT count(*) AS n, count(*) FILTER (WHERE state = 'running') AS running FROM job WHERE NOT background`;
  const [{ n: before }] = await rig.sql(accepted);
  const foreground = Array.from({ length: 60 }, () => send());
  const background = Array.from({ length: 60 }, () => send({ background: true }));
  await waitFor('all are accepted, and some still run', async () => { // a slow machine may have ended the first
    const [{ n, running }] = await rig.sql(accepted);
    return n === before + 60 && running > 0;
  }, { every: 20 });
  await rig.kill('gateway', 'SIGTERM');
  const log = await Promise.all([...foreground, ...background]);
  await waitFor('it stops', () => rig.gone('gateway'), { seconds: 30 });
  for (const told of log.slice(0, 60)) assert.equal(told.status, 200, `accepted, and told ${told.status ?? told.broken} ${told.text ?? ''}`);
  for (const told of log.slice(60)) assert.ok(told.broken || told.status === 200 || told.status === 202 || (told.status === 503 && !told.job), `${told.status} ${told.text}`);
  assert.match((await send()).broken, /ECONNREFUSED|UND_ERR_SOCKET/); // the latter on a connection whose end was not seen yet
  node.mode = slowly(150);
  await rig.gatewaySpawn('gateway');
  await rig.gatewayReady();
  await allEnded(30);
  await checkTold(log);
  await booksCheck(rig);
});

test('a gateway that slept past its time is fenced: another took its jobs, and nobody pays twice', { timeout: 120_000 }, async () => {
  const other = await otherStart();
  let release, ids;
  const held = new Promise((resolve) => { release = resolve; });
  node.mode = async (call) => { await held; await answer(call); };
  const foreground = Array.from({ length: 20 }, () => send());
  const background = Array.from({ length: 20 }, () => send({ background: true }));
  try {
    await waitFor('they run', async () => (await rig.sql(`SELECT count(*) AS n FROM job WHERE state = 'running'`))[0].n === 40, { every: 20 });
    ids = await rig.sql(`SELECT id, background FROM job WHERE state = 'running'`);
    await rig.kill('gateway', 'SIGSTOP');
    node.mode = 'good';
    release(); // it finds these answers when it wakes
    await allEnded(20); // by the other one
  } finally {
    release();
    await rig.kill('gateway', 'SIGCONT');
  }
  const log = await Promise.all([...foreground, ...background]);
  for (const told of log.filter(({ background: is }) => !is)) assert.ok(told.status >= 500, `fenced, and told ${told.status}`);
  await waitFor('the first one works again', async () => (await send()).status === 200);
  for (const { id, background: is } of ids) {
    const job = await jobGet(rig, id);
    if (is) await chargedExactly(rig, job, { state: 'settled', outcome: 'delivered', cost: split({ price: tensor.price, ask: ASK }, 1, 0) });
    else await chargedExactly(rig, job, { state: 'failed', outcome: 'gateway_lost', cost: null });
  }
  await checkTold(log);
  await booksCheck(rig);
  assert.equal((await send({ base_url: other })).status, 200);
});

test('a caller who waits for a job is answered by whichever gateway ends it', { timeout: 60_000 }, async () => {
  const other = await otherStart();
  node.mode = slowly(1000);
  const { job } = await send({ background: true });
  const waited = await fetch(`${other}/v1/jobs/${job}`, { headers: { Authorization: `Bearer ${rig.key}`, Prefer: 'wait=20' } });
  assert.deepEqual([waited.status, (await waited.json()).outcome], [200, 'delivered']);
});
