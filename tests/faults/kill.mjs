// The kill campaign: 200 jobs at once, and in the middle of them something is killed with SIGKILL: the gateway at a named point of
// a job's life (server/base/fault.h), PostgreSQL or one of its backends, a node. Then what was killed is started again, and the
// client's own log, the database, the chain and the receipts must agree. Run by kill.test.mjs and `make faults`.
import http from 'node:http';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { inRoot } from '../../script/lib/paths.mjs';
import { booksCheck, split } from './books.mjs';
import { CHAIN_ID, OPG, opgateBinary, Rig, waitFor } from './rig.mjs';
import { portsFree, httpOk } from '../../script/lib/wait.mjs';

const JOBS = { background: 130, stream: 40, buffered: 30 };
export const JOBS_AT_ONCE = JOBS.background + JOBS.stream + JOBS.buffered;
const ASKS = { 'node-a': { input: '2000', output: '3000' }, 'node-b': { input: '2500', output: '3500' } };

/// The names of all points, from the table itself.
export const POINTS = [...fs.readFileSync(inRoot('server/base/fault.h'), 'utf8').matchAll(/^\tX\((\w+)\)/gm)].map(([, name]) => name).filter((name) => !/^(payment|settlement|facilitation|approval|payout|record)_|_rewound$/.test(name)); // those of x402 need payments, and a chain that changes its mind

const RUNNING = `j.state = 'running'`;
/// What must be seen in the database right after a kill at the point: a condition over the round's jobs.
const STANDS = {
  job_opening: 'true', job_opened: `${RUNNING} AND NOT j.background`, job_queued: `j.state = 'queued'`, job_acknowledged: 'j.background', job_claimed: `${RUNNING} AND j.background`,
  attempt_sent: RUNNING, attempt_replaced: `${RUNNING} AND j.attempt > 1`, first_event: `${RUNNING} AND NOT j.background`, answer_received: RUNNING, verdict_made: RUNNING,
  produced: `j.state = 'produced'`, closing: `j.state IN ('running', 'produced')`, closed: 'j.outcome IS NOT NULL', answer_sent: 'j.outcome IS NOT NULL',
  cancel_written: 'j.cancel_requested', partial_waiting: `${RUNNING} AND NOT j.background`, partial_received: `${RUNNING} AND NOT j.background`,
  lane_batch_before: 'true', lane_batch_after: 'true', orphan_taken: `${RUNNING} AND j.lease NOT IN (SELECT id FROM gateway_instance ORDER BY started_at DESC OFFSET 1)`,
  orphan_requeued: `j.state = 'queued'`, orphan_closed: 'j.outcome IS NOT NULL', deposit_seen: 'true', deposit_written: 'true',
};
/// About how often a round passes it before the load thins out; the kill comes in the second half of that.
const PASSES = {
  job_opening: 160, job_queued: 110, job_acknowledged: 110, job_opened: 60, attempt_sent: 80, attempt_replaced: 6, first_event: 25, cancel_written: 2, partial_waiting: 4,
  partial_received: 3, lane_batch_before: 20, lane_batch_after: 20, orphan_taken: 1, orphan_requeued: 6, orphan_closed: 6, deposit_seen: 1, deposit_written: 1,
};
const RECOVERY = ['orphan_taken', 'orphan_requeued', 'orphan_closed'];

/// How long the backends take for a request of such a round, in ms: from, to.
function slowOf(what) {
  if (what.startsWith('deposit')) return [1500, 2500]; // a block takes a second
  if (RECOVERY.includes(what)) return [2000, 3000]; // many of them run at the same time, however slowly a busy machine sends them
  if (/^(cancel|partial)_/.test(what)) return [600, 1200];
  return POINTS.includes(what) ? [20, 400] : [200, 1000];
}

/// A small generator that is the same everywhere (mulberry32).
export function randomFrom(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return { int: (from, to) => from + Math.floor(next() * (to - from + 1)), chance: (p) => next() < p, shuffle: (list) => list.map((one) => [next(), one]).sort(([a], [b]) => a - b).map(([, one]) => one) };
}

/// What is killed in which round: each kind early, then every point, then from the start again.
export function plan(rounds, random) {
  const others = ['postgres', 'backend', 'node'];
  const cycle = () => {
    const points = random.shuffle(POINTS);
    return [points.shift(), others[0], points.shift(), others[1], points.shift(), others[2], ...points];
  };
  const list = [];
  while (list.length < rounds) list.push(...cycle());
  return list.slice(0, rounds);
}

export class Campaign {
  static async start({ seed, say = console.log }) {
    const campaign = new Campaign();
    Object.assign(campaign, { seed, say, random: randomFrom(seed), deposits: 1 });
    campaign.rig = await Rig.start({ instance_timeout_ms: 1000, job_timeout_ms: 60000, stall_timeout_ms: 10000, poll_ms: 100 });
    try {
      const { rig } = campaign;
      campaign.models = {
        tensor: await rig.modelPublish('tensor', 'tensor', { input: '1000', output: '0' }),
        chat: await rig.modelPublish('chat', 'chat', { input: '101', output: '203' }, { max_output_tokens: 50 }),
      };
      campaign.nodes = {};
      for (const [name, operator] of [['node-a', 'operator'], ['node-b', 'operator_b']]) await campaign.nodeStart(name, operator);
      for (const { id } of Object.values(campaign.models)) await waitFor(`two nodes offer ${id}`, async () => (await rig.api().offerCount(id)) === 2);
      return campaign;
    } catch (error) {
      await campaign.rig.stop();
      throw error;
    }
  }

  stop() {
    return this.rig.stop();
  }

  async nodeStart(name, operator) {
    const { rig } = this;
    const file = (what) => path.join(rig.folder, `${name}.${what}`);
    const address = rig.opgate('keygen', '--out', file('key')).toLowerCase();
    fs.writeFileSync(file('operator'), `${rig.accounts[operator].private_key.slice(2)}\n`, { mode: 0o600 });
    const [port] = await portsFree(1);
    const backend = `${process.execPath} ${inRoot('tests/faults/slow-backend.mjs')} --model {dir} --port {port}`;
    const settings = {
      gateway_url: rig.base_url, gateway_address: rig.gateway_address, chain_id: CHAIN_ID, node_key_file: file('key'), operator_key_file: file('operator'),
      listen_port: port, public_url: `http://127.0.0.1:${port}`, data_dir: file('data'), serve: 'all', ask_input: ASKS[name].input, ask_output: ASKS[name].output,
      tensor_backend_command: backend, chat_backend_command: backend, capacity: 30, poll_ms: 200,
    };
    fs.mkdirSync(file('data'), { recursive: true });
    fs.writeFileSync(file('conf'), Object.entries(settings).map(([key, value]) => `${key} = ${value}\n`).join(''), { mode: 0o600 });
    this.nodes[name] = { address, operator, url: settings.public_url, ask: ASKS[name] };
    await rig.procs.start(name, { file: opgateBinary(), args: ['node', '--config', file('conf')] });
    await waitFor(`${name} answers`, () => httpOk(`${settings.public_url}/livez`), { alive: () => rig.procs.demand(name) });
  }

  // ---- the clients: each writes down what it was told ----

  request(kind, number) {
    const delay_ms = this.random.int(...this.slow);
    const tensor = () => JSON.stringify({ inputs: [{ name: 'x', datatype: 'INT64', shape: [1], data: [number] }], parameters: { delay_ms } });
    const chat = (stream) => JSON.stringify({ model: this.models.chat.id, messages: [{ role: 'user', content: `number ${number}` }], stream, delay_ms });
    const model = this.random.chance(0.7) ? this.models.tensor : this.models.chat;
    if (kind === 'background')
      return { path: `/v1/jobs?model=${encodeURIComponent(model.id)}`, body: model === this.models.tensor ? tensor() : chat(false), key: randomUUID() };
    if (kind === 'stream') return { path: '/v1/chat/completions', body: chat(true), leaves: this.random.chance(this.leaving), key: this.random.chance(0.3) ? randomUUID() : null };
    return { path: `/v2/models/${this.models.tensor.id}/infer`, body: tensor(), key: this.random.chance(0.5) ? randomUUID() : null };
  }

  /// By node's own client, whose end is always told: fetch may never settle when its server is killed in the middle of an answer.
  send(entry) {
    const { path: where, body, key, leaves } = entry;
    const headers = { Authorization: `Bearer ${this.rig.key}`, 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body), ...(key && { 'Idempotency-Key': key }) };
    return new Promise((resolve) => {
      const request = http.request(this.rig.base_url + where, { method: 'POST', headers, agent: false }, (response) => {
        entry.status = response.statusCode;
        entry.job = response.headers['opgate-job'];
        entry.text = '';
        response.setEncoding('utf8').on('data', (piece) => {
          entry.text += piece;
          if (leaves && entry.text.includes('word1')) request.destroy();
        }).on('end', () => { entry.whole = response.complete; }).on('error', () => {});
      });
      const timer = setTimeout(() => request.destroy(new Error('no answer in time')), 30_000);
      request.on('error', (error) => { entry.broken = error.code ?? error.message; });
      request.on('close', () => {
        clearTimeout(timer);
        if (!entry.whole) entry.broken ??= 'cut';
        resolve();
      });
      request.end(body);
    });
  }

  async cancelSome(log) {
    const accepted = log.filter(({ kind, job }) => kind === 'background' && job);
    const some = [...accepted.slice(0, 3), ...accepted.slice(-3)]; // the first may have ended on a busy machine, the last wait in the queue
    await Promise.all(some.map(async (entry) => {
      entry.cancelled = true; // asked for: told or not, both ends are right
      await this.rig.caller.post(`/v1/jobs/${entry.job}/cancel`).catch(() => {});
    }));
  }

  async depositSome() {
    const count = this.random.int(1, 3);
    for (let i = 0; i < count; i++) {
      await this.rig.deposit('consumer', OPG / 1000n, { wait: false });
      this.deposits++;
    }
  }

  // ---- one round ----

  async round(number, what) {
    const { rig, random } = this;
    const begun = Date.now();
    const isPoint = POINTS.includes(what);
    const at = isPoint ? random.int(Math.ceil((PASSES[what] ?? 60) / 2), PASSES[what] ?? 60) : random.int(1, JOBS.stream + JOBS.buffered - 10);
    await rig.procs.stop('gateway');
    await rig.gatewaySpawn('gateway', isPoint && !RECOVERY.includes(what) ? `${what}:${at}` : undefined);
    await rig.gatewayReady();
    this.leaving = what.startsWith('partial') ? 0.7 : 0.25; // of the streams, how many are left by their caller
    this.slow = slowOf(what);
    const [{ now }] = await rig.sql('SELECT clock_timestamp()::text AS now');
    this.mine = `j.created_at >= '${now}'`;
    const log = random.shuffle(Object.entries(JOBS).flatMap(([kind, n]) => Array(n).fill(kind))).map((kind, i) => ({ kind, ...this.request(kind, i) }));
    const deposited = what.startsWith('deposit') || random.chance(0.3) ? this.depositSome() : null;
    if (what === 'attempt_replaced') await rig.kill('node-a'); // its jobs go to the other one
    const kill = isPoint ? null : await this.killer(what);
    const callers = log.map((entry) => this.send(entry));
    const others = Promise.all([...callers, this.cancelSoon(log), deposited]);
    others.catch(() => {}); // it is awaited below
    let seen, struck;
    try {
      seen = isPoint ? await this.strikePoint(what, at) : await this.strike(what, at, log, callers, kill);
    } finally { // also of a round that failed: nothing of it meets the next one
      struck = Date.now();
      await others;
    }
    const told = Date.now();
    await this.again();
    await this.settled();
    const over = Date.now();
    const result = await this.check(log, what);
    this.say(`round ${number}: ${what}${isPoint ? ` at pass ${at}` : ` after ${at} answers`}; stood: ${seen}; ended: ${result}; ms: ${struck - begun} to the kill, ${told - struck} until the last client was told, ${over - told} until all jobs had ended, ${Date.now() - over} to check`);
  }

  async cancelSoon(log) {
    await waitFor('some jobs are accepted', () => log.filter(({ job }) => job).length >= 20 || this.rig.gone('gateway'), { every: 10, seconds: 30 }).catch(() => {});
    await this.cancelSome(log);
  }

  /// The gateway dies at the point; returns how many of the round's jobs stood in which state then. Throws when nobody stood where the point says.
  async strikePoint(what, at) {
    const { rig } = this;
    if (RECOVERY.includes(what)) {
      const running = `SELECT count(*) FILTER (WHERE background) AS b, count(*) FILTER (WHERE NOT background) AS f FROM job j WHERE ${this.mine} AND state = 'running'`;
      // So many of the kind that it is about that the point is passed often enough, even if some end before the gateway is dead.
      await waitFor('jobs run', async () => {
        const [{ b, f }] = await rig.sql(running);
        return ({ orphan_requeued: b, orphan_closed: f }[what] ?? b + f) >= at + 8;
      }, { every: 5 });
      await rig.kill('gateway');
      await rig.gatewaySpawn('gateway', `${what}:${at}`);
    }
    await waitFor(`the gateway dies at ${what}`, () => rig.gone('gateway'), { every: 5, seconds: 30 });
    assert.match(rig.logTail('gateway', 40), new RegExp(`"event":"fault","point":"${what}"`), 'it died of the fault point');
    return this.states(what);
  }

  /// How to kill it, found out before anything begins.
  async killer(what) {
    if (what !== 'backend') return () => this.rig.kill(what === 'postgres' ? what : 'node-a');
    const [{ pid }] = await this.rig.sql(`SELECT pid FROM pg_stat_activity WHERE usename = 'opgate' AND pid <> pg_backend_pid() ORDER BY backend_start LIMIT 1`);
    return () => process.kill(pid, 'SIGKILL'); // the postmaster then ends all sessions and starts anew
  }

  /// Kills something else at the very moment so many foreground callers are answered, when the rest of them wait; returns how many do.
  async strike(what, at, log, callers, kill) {
    const { rig } = this;
    let left = at;
    await new Promise((resolve) => log.forEach(({ kind }, i) => kind !== 'background' && callers[i].then(() => --left || resolve())));
    const killed = kill();
    const waiting = log.filter(({ whole, broken }) => !whole && !broken).length;
    assert.ok(waiting > 0, 'callers waited when it happened');
    await killed;
    if (what === 'postgres') await rig.postgresRestart();
    if (what === 'backend') await waitFor('PostgreSQL is back', () => rig.sql('SELECT 1 AS one'), { every: 20 });
    return `${waiting} callers waited`;
  }

  async states(what) {
    const rows = await this.rig.sql(`SELECT coalesce(j.outcome, j.state) AS state, j.background, count(*) AS n FROM job j WHERE ${this.mine} GROUP BY 1, 2 ORDER BY 1, 2`);
    const open = rows.filter(({ state }) => ['queued', 'running', 'produced'].includes(state)).reduce((sum, { n }) => sum + n, 0);
    assert.ok(open > 0, 'jobs were open when it happened');
    if (STANDS[what]) {
      const [{ n }] = await this.rig.sql(`SELECT count(*) AS n FROM job j WHERE ${this.mine} AND ${STANDS[what]}`);
      assert.ok(n > 0, `jobs stood at ${what}: ${JSON.stringify(rows)}`);
    }
    return rows.map(({ state, background, n }) => `${n} ${state}${background ? '' : ' (foreground)'}`).join(', ');
  }

  /// Starts what does not run.
  async again() {
    const { rig } = this;
    if (rig.gone('gateway')) await rig.gatewaySpawn('gateway');
    await rig.gatewayReady();
    for (const name of Object.keys(this.nodes)) {
      if (!rig.gone(name)) continue;
      await rig.procs.start(name, rig.procs.list[name].spec);
      await waitFor(`${name} answers`, () => httpOk(`${this.nodes[name].url}/livez`), { alive: () => rig.procs.demand(name) });
    }
  }

  settled() {
    return waitFor('every job is ended', async () => (await this.rig.sql('SELECT count(*) AS n FROM job WHERE outcome IS NULL'))[0].n === 0, { seconds: 30, every: 100 });
  }

  // ---- what must be so ----

  async check(log, what) {
    const { rig } = this;
    const jobs = await rig.sql(`SELECT j.id, j.state, j.outcome, j.background, j.charged::text, j.ask::text, j.royalty::text, j.fee::text, j.input_units, j.output_units, j.cancel_requested,
      '0x' || encode(j.node, 'hex') AS node, m.name AS model, j.receipt, '0x' || encode(j.response_hash, 'hex') AS response_hash, i.key
      FROM job j JOIN model_version v ON v.id = j.version JOIN model m ON m.id = v.model LEFT JOIN idempotency i ON i.job = j.id WHERE ${this.mine}`);
    const byId = new Map(jobs.map((job) => [job.id, job]));
    assert.equal(byId.size, jobs.length, 'one key for a job at most');
    for (const job of jobs) this.checkCharge(job);
    for (const entry of log) this.checkTold(entry, byId, what);
    await this.checkReplay(log, jobs);
    await this.settled();
    await this.checkDeposits();
    const books = await booksCheck(rig);
    assert.equal(books.treasury, -BigInt(books.custody), 'the books hold exactly what the chain does');
    await this.checkReceipts(jobs.filter(({ state, background }) => state === 'settled' && background));
    const reconciled = await rig.reconciliation();
    assert.ok(reconciled.ledger_sum === '0' && (reconciled.ok ?? true), JSON.stringify(reconciled));
    const ends = {};
    for (const { outcome } of jobs) ends[outcome] = (ends[outcome] ?? 0) + 1;
    return Object.entries(ends).map(([outcome, n]) => `${n} ${outcome}`).join(', ');
  }

  checkCharge(job) {
    const zero = { charged: 0n, ask: 0n, royalty: 0n, fee: 0n };
    const { ask } = Object.values(this.nodes).find(({ address }) => address === job.node) ?? {};
    const want = job.state === 'settled' ? split({ price: this.models[job.model].price, ask }, job.input_units, job.output_units) : zero;
    for (const [part, amount] of Object.entries(want)) assert.equal(job[part], String(amount), `${part} of ${job.id} (${job.outcome})`);
    if (job.outcome === 'delivered') assert.deepEqual([job.input_units, job.output_units], job.model === 'tensor' ? [1, 0] : [3, 5]);
  }

  /// What a client was told, against what is.
  checkTold(entry, byId, what) {
    const { kind, job: id, status, whole, text, cancelled } = entry;
    const job = id && byId.get(id);
    if (id) assert.ok(job, `job ${id}, which a client was told about, exists`);
    if (kind === 'background' && (status === 200 || status === 202)) {
      const fair = ['delivered', ...(cancelled ? ['cancelled_queued', 'cancelled_running'] : []), ...(what === 'node' || what === 'attempt_replaced' ? ['node_failed'] : [])];
      assert.ok(fair.includes(job.outcome), `accepted in the background: ${id} ended as ${job.outcome}`);
    }
    if (kind === 'buffered' && status === 200 && whole) assert.equal(job.outcome, 'delivered', `answered: ${id}`);
    if (kind === 'stream' && whole && text?.includes('data: [DONE]')) assert.equal(job.outcome, 'delivered', `streamed to its end: ${id}`);
    if (kind !== 'background' && whole && status >= 400 && job) assert.equal(job.state === 'settled', false, `refused with ${status}: ${id} is ${job.outcome}`);
  }

  /// The same keys again: who was accepted gets the same job; who was not is accepted now; nobody runs twice.
  async checkReplay(log, before) {
    const had = new Map(before.filter(({ key }) => key).map(({ key, id }) => [key, id]));
    const some = log.filter(({ kind, key, job }) => key && kind === 'background' && (!job || had.size < 10)).concat(log.filter(({ kind }) => kind === 'background').slice(0, 10));
    const again = some.map(({ path: where, body, key }) => ({ kind: 'background', path: where, body, key }));
    await Promise.all(again.map((entry) => this.send(entry)));
    for (const entry of again) {
      assert.ok(entry.status === 200 || entry.status === 202, `again: ${entry.status} ${entry.text ?? entry.broken}`);
      if (had.has(entry.key)) assert.equal(entry.job, had.get(entry.key), 'one key, one job');
    }
    for (const entry of log.filter(({ kind, key, text, whole, status }) => kind === 'buffered' && key && whole && status === 200 && text).slice(0, 5)) {
      const repeated = { ...entry, text: '' };
      await this.send(repeated);
      assert.deepEqual([repeated.status, repeated.job, repeated.text], [200, entry.job, entry.text], 'the same answer, byte for byte');
    }
  }

  async checkDeposits() {
    await waitFor('every deposit is credited', async () => (await this.rig.sql(`SELECT count(*) AS n FROM ledger_transfer WHERE kind = 'deposit'`))[0].n >= this.deposits);
    const [{ n }] = await this.rig.sql(`SELECT count(*) AS n FROM ledger_transfer WHERE kind = 'deposit'`);
    assert.equal(n, this.deposits, 'each deposit is credited once');
  }

  /// With the tool that needs no gateway.
  async checkReceipts(jobs) {
    assert.ok(jobs.length > 0, 'there are settled jobs in the background');
    const { rig } = this;
    const verify = promisify(execFile);
    const queue = [...jobs];
    const worker = async (number) => {
      for (let job = queue.pop(); job; job = queue.pop()) {
        const bytes = await rig.caller.jobOutput(job.id);
        assert.equal(`0x${createHash('sha256').update(bytes).digest('hex')}`, job.response_hash);
        const [receipt, response] = ['receipt', 'response'].map((name) => path.join(rig.folder, `${number}.${name}`));
        fs.writeFileSync(receipt, await rig.caller.jobReceipt(job.id));
        fs.writeFileSync(response, bytes);
        await verify(opgateBinary(), ['verify', receipt, '--node', job.node, '--response', response]); // 0: passed
      }
    };
    await Promise.all([0, 1, 2, 3].map(worker));
  }
}
