// Each row of the charging table: the job ends in exactly that row, and the ledger shows exactly that charge.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import { inRoot } from '../../script/lib/paths.mjs';
import { booksCheck, chargedExactly, jobGet, jobLast, split } from './books.mjs';
import { answer, CHAT_ANSWER, EvilNode, streamHash, STREAM_EVENTS, TENSOR_ANSWER } from './evil-node.mjs';
import { opgateBinary, Rig, waitFor } from './rig.mjs';

const STALL_MS = 1000;
const DEADLINE_MS = 3000;
const ASK = { input: '2000', output: '3000' };
const TENSOR = '{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}';
const MAX_OUTPUT = 50;

const seen = new Set(); // rows that were met
let rig, tensor, chat;

before(async () => {
  rig = await Rig.start({ job_timeout_ms: DEADLINE_MS, stall_timeout_ms: STALL_MS, instance_timeout_ms: 1500 });
  tensor = await rig.modelPublish('tensor', 'tensor', { input: '1000', output: '0' });
  chat = await rig.modelPublish('chat', 'chat', { input: '101', output: '203' }, { max_output_tokens: MAX_OUTPUT });
});
after(() => rig?.stop());

const chatBody = (more = {}) => JSON.stringify({ model: chat.id, messages: [{ role: 'user', content: 'hello' }], ...more });
const SURFACES = {
  tensor: { path: () => `/v2/models/${tensor.id}/infer`, body: () => TENSOR, model: () => tensor },
  chat: { path: () => '/v1/chat/completions', body: () => chatBody(), model: () => chat },
  stream: { path: () => '/v1/chat/completions', body: () => chatBody({ stream: true }), model: () => chat },
};

/// One request as a client makes it; `policy` in a header. Returns {status, headers, text}; a broken body has broken: true.
async function ask(surface, { policy = 'signed', headers = {} } = {}) {
  const { path, body } = SURFACES[surface];
  const response = await fetch(rig.base_url + path(), {
    method: 'POST', body: body(), headers: { Authorization: `Bearer ${rig.key}`, 'Content-Type': 'application/json', 'Opgate-Policy': policy, ...headers },
  });
  const text = await response.text().catch(() => null);
  return { status: response.status, headers: response.headers, text: text ?? '', broken: text === null };
}

/// A background job: its id.
async function submit(surface, { policy = 'signed' } = {}) {
  const { body, model } = SURFACES[surface];
  const response = await fetch(`${rig.base_url}/v1/jobs?model=${encodeURIComponent(model().id)}&policy=${policy}`, {
    method: 'POST', body: body(), headers: { Authorization: `Bearer ${rig.key}`, 'Content-Type': 'application/json' },
  });
  const job = await response.json();
  assert.equal(response.ok, true, JSON.stringify(job)); // 202, or 200 when it has ended already
  return job.id;
}

/// A client that can leave: {response, events, leave()}.
function open(surface) {
  const { path, body } = SURFACES[surface];
  const request = http.request(rig.base_url + path(), { method: 'POST', agent: false, headers: { Authorization: `Bearer ${rig.key}`, 'Content-Type': 'application/json' } });
  const client = { events: 0, leave: () => request.destroy() };
  request.on('error', () => {});
  request.on('response', (response) => {
    client.response = response;
    response.on('data', (data) => { client.events += String(data).split('data: ').length - 1; }).on('error', () => {});
  });
  request.end(body());
  return client;
}

const ended = (id) => waitFor(`job ${id} ends`, async () => {
  const job = await jobGet(rig, id);
  return job.outcome && job;
}, { seconds: 20, every: 100 });

async function lastEnded() {
  return waitFor('the last job ends', async () => {
    const job = await jobLast(rig);
    return job.outcome && job;
  }, { seconds: 20, every: 100 });
}

/// The node is there for one case only.
async function withNode(options, work) {
  const node = await EvilNode.start(rig, { models: [tensor, chat], ask: ASK, ...options });
  try {
    return await work(node);
  } finally {
    await node.leave();
  }
}

async function ends(job, state, outcome, units, more = {}) {
  seen.add(outcome);
  const cost = units && split({ price: more.model.price, ask: more.ask ?? ASK }, ...units);
  await chargedExactly(rig, job, { state, outcome, cost, operator: more.operator });
}

/// surface, mode, policy → outcome, units charged (null: nothing), status the caller sees.
function row(outcome, state, surface, mode, { policy = 'signed', units = null, status, background = false } = {}) {
  test(`${outcome}: ${surface}${background ? ' in the background' : ''}, ${mode}${policy === 'signed' ? '' : `, policy ${policy}`}`, { timeout: 30_000 }, () =>
    withNode({ mode }, async () => {
      let job;
      if (background) {
        job = await ended(await submit(surface, { policy }));
      } else {
        const answered = await ask(surface, { policy });
        assert.equal(answered.status, status, answered.text);
        job = await jobLast(rig);
        assert.equal(answered.headers.get('opgate-job'), job.id, 'the answer names its job');
        if (status === 200 && surface === 'stream' && state !== 'settled') assert.doesNotMatch(answered.text, /\[DONE\]/, 'what failed must not look complete');
        if (status >= 400) assert.match(answered.text, new RegExp(`"code":\\s*"${job.error}"`.replace('"unprocessable"', '"[a-z_]+"')), 'the stable code is told');
      }
      const units_ = typeof units === 'function' ? units(SURFACES[surface].body().length) : units;
      await ends(job, state, outcome, units_, { model: SURFACES[surface].model() });
    }));
}

const SETTLED = 'settled';
const FAILED = 'failed';

describe('delivered', () => {
  row('delivered', SETTLED, 'tensor', 'good', { units: [1, 0], status: 200 });
  row('delivered', SETTLED, 'chat', 'good', { units: [3, 5], status: 200 });
  row('delivered', SETTLED, 'stream', 'good', { units: [3, 5], status: 200 });
  row('delivered', SETTLED, 'tensor', 'good', { units: [1, 0], background: true });
  row('delivered', SETTLED, 'chat', 'good', { units: [3, 5], background: true });
  row('delivered', SETTLED, 'stream', 'good', { units: [3, 5], background: true });
  row('delivered', SETTLED, 'tensor', 'good', { units: [1, 0], status: 200, policy: 'none' });
  // Units are the node's word; only the plausible part of it is charged: the body's bytes, the version's maximum.
  row('delivered', SETTLED, 'chat', 'inflated', { units: (bytes) => [bytes, MAX_OUTPUT], status: 200 });
  row('delivered', SETTLED, 'stream', 'inflated', { units: (bytes) => [bytes, MAX_OUTPUT], status: 200 });
  row('delivered', SETTLED, 'tensor', 'inflated', { units: [1, 0], status: 200 });
  test('the bytes are the node\'s', () => withNode({}, async () => {
    assert.equal((await ask('tensor')).text, TENSOR_ANSWER);
    assert.equal((await ask('chat')).text, CHAT_ANSWER);
    const { text } = await ask('stream');
    assert.deepEqual(text.split('\n').filter((line) => line.startsWith('data: ')).map((line) => line.slice(6)), [...STREAM_EVENTS, '[DONE]']);
    assert.match(text, /\n: opgate-receipt [\w-]+\n\ndata: \[DONE\]\n\n$/);
  }));
  test('a content type that is no text harms nobody', { timeout: 30_000 }, () => withNode({ mode: 'type_not_text' }, async () => {
    for (const background of [false, true]) {
      if (background) await ended(await submit('tensor'));
      else await ask('tensor');
      assert.ok((await fetch(`${rig.base_url}/livez`)).ok, rig.logTail('gateway', 5));
    }
    assert.ok((await lastEnded()).outcome);
    const words = { Authorization: `Bearer ${rig.key}`, 'Content-Type': 'text/\xff\xfe' };
    const status = await new Promise((resolve, reject) => {
      http.request(rig.base_url + SURFACES.tensor.path(), { method: 'POST', headers: words }, (response) => resolve(response.resume().statusCode)).on('error', reject).end(TENSOR);
    });
    assert.equal(status, 400, 'and a caller is told');
  }));
});

describe('unproven', () => {
  row('unproven', SETTLED, 'tensor', 'no_receipt', { policy: 'none', units: [1, 0], status: 200 });
  row('unproven', SETTLED, 'tensor', 'receipt_wrong_response', { policy: 'none', units: [1, 0], status: 200 });
  row('unproven', SETTLED, 'stream', 'no_receipt', { policy: 'none', units: [0, 5], status: 200 });
  row('unproven', SETTLED, 'stream', 'receipt_other_signer', { policy: 'none', units: [0, 5], status: 200 });
  row('unproven', SETTLED, 'chat', 'no_receipt', { policy: 'none', units: [0, 0], status: 200, background: true });
});

describe('no proof, no pay', () => {
  row('no_receipt', FAILED, 'tensor', 'no_receipt', { status: 502 });
  row('no_receipt', FAILED, 'stream', 'no_receipt', { status: 200 });
  row('no_receipt', FAILED, 'tensor', 'garbage', { status: 502, background: true });
  for (const what of ['garbage', 'wrong_response', 'wrong_request', 'other_attempt', 'other_job', 'other_node', 'other_signer', 'other_model', 'other_gateway',
    'other_policy', 'other_profile', 'future', 'other_status'])
    row('bad_receipt', FAILED, 'tensor', `receipt_${what}`, { status: 502 });
  row('bad_receipt', FAILED, 'chat', 'receipt_wrong_response', { status: 502 });
  row('bad_receipt', FAILED, 'stream', 'receipt_wrong_response', { status: 200 });
  row('bad_receipt', FAILED, 'tensor', 'receipt_other_model', { background: true });
  test('a verdict on a receipt that lies about its status is not passed', () => withNode({ mode: 'receipt_other_status' }, async () => {
    await ask('tensor');
    assert.equal((await jobLast(rig)).verdict, 'failed');
  }));
});

describe('nothing usable', () => {
  for (const mode of ['reset', 'hang_up', 'not_http', 'headers_bomb', 'too_much', 'too_much_promised', 'truncated', 'truncated_reset', 'chunk_cut', 'chunk_bad', 'redirect', 'closed_by_end', 'compressed',
    'error_500', 'error_503'])
    row('node_failed', FAILED, 'tensor', mode, { status: 502 });
  row('node_failed', FAILED, 'tensor', 'hang', { status: 502 });
  row('node_failed', FAILED, 'chat', 'error_500', { status: 502 });
  row('node_failed', FAILED, 'stream', 'reset', { status: 502 });
  row('node_failed', FAILED, 'tensor', 'error_500', { background: true });
  row('node_failed', FAILED, 'tensor', 'truncated', { background: true });
  test('node_failed: nobody listens', () => withNode({}, async (node) => {
    await new Promise((resolve) => { node.server.close(resolve); node.server.closeAllConnections(); });
    node.server.close = (done) => done(); // leave() must find nothing left to do
    assert.equal((await ask('tensor')).status, 502);
    await ends(await jobLast(rig), FAILED, 'node_failed', null);
  }));
  row('empty_output', FAILED, 'tensor', 'empty', { status: 502 });
  row('empty_output', FAILED, 'chat', 'empty', { status: 502 });
  row('empty_output', FAILED, 'stream', 'empty', { status: 502 });
  row('empty_output', FAILED, 'tensor', 'empty', { background: true });
  row('node_broke', FAILED, 'stream', 'stream_no_done', { status: 200 });
  row('node_broke', FAILED, 'stream', 'stream_broken', { status: 200 });
  row('node_broke', FAILED, 'stream', 'stream_stalls', { status: 200 });
  for (const [mode, status] of [['rejects_400', 400], ['rejects_402', 422], ['rejects_413', 413], ['rejects_415', 415], ['rejects_422', 422]])
    row('rejected', FAILED, 'tensor', mode, { status });
  row('rejected', FAILED, 'chat', 'rejects_400', { status: 400 });
  row('rejected', FAILED, 'stream', 'rejects_422', { status: 422 });
  row('rejected', FAILED, 'tensor', 'rejects_400', { background: true });
});

describe('the deadline', () => {
  row('deadline_running', 'expired', 'tensor', 'drip', { status: 504 });
  row('deadline_running', 'expired', 'tensor', 'drip', { background: true });
  row('deadline_running', 'expired', 'stream', 'stream_endless', { status: 200 });
  test('deadline_queued: no room until it was too late', { timeout: 30_000 }, () => withNode({ mode: 'drip', capacity: 1 }, async (node) => {
    await submit('tensor');
    await waitFor('the node is full', () => node.calls.length === 1);
    node.mode = 'hang';
    const queued = await submit('tensor');
    await rig.sqlRun(`UPDATE job SET deadline_at = clock_timestamp() WHERE id = '${queued}'`); // as if it had waited
    const job = await ended(queued);
    await ends(job, 'expired', 'deadline_queued', null);
    await waitFor('the first one ends too', async () => (await rig.sql('SELECT id FROM job WHERE outcome IS NULL')).length === 0);
  }));
});

describe('cancelled by its owner', () => {
  test('cancelled_queued, cancelled_running', { timeout: 30_000 }, () => withNode({ mode: 'drip', capacity: 1 }, async (node) => {
    const running = await submit('tensor');
    await waitFor('the node works', () => node.calls.length === 1);
    const queued = await submit('tensor');
    await rig.caller.post(`/v1/jobs/${queued}/cancel`);
    await ends(await ended(queued), 'cancelled', 'cancelled_queued', null);
    assert.equal(node.calls.length, 1, 'a cancelled job never reaches a node');
    const asked = Date.now();
    await rig.caller.post(`/v1/jobs/${running}/cancel`);
    await ends(await ended(running), 'cancelled', 'cancelled_running', null);
    assert.ok((await node.last.closed) - asked < 1000, 'the node is hung up on');
  }));
  test('a stream whose events came is paid for like one that was left', { timeout: 30_000 }, () => withNode({ mode: 'stream_endless' }, async (node) => {
    node.left = (call) => node.pushPartial(call, call.sent);
    const client = open('stream');
    await waitFor('some events came', () => client.events >= 4, { every: 5 });
    await rig.caller.post(`/v1/jobs/${client.response.headers['opgate-job']}/cancel`);
    const job = await lastEnded();
    assert.ok(job.output_units >= 4 && job.output_units <= node.last.sent.length, String(job.output_units));
    await ends(job, SETTLED, 'partial', [3, job.output_units], { model: chat });
    client.leave();
  }));
});

describe('the caller leaves', () => {
  for (const surface of ['tensor', 'chat', 'stream'])
    test(`client_left: ${surface}, before the first byte`, { timeout: 30_000 }, () => withNode({ mode: 'hang' }, async (node) => {
      const client = open(surface);
      await waitFor('the node works', () => node.calls.length === 1, { every: 5 });
      const left = Date.now();
      client.leave();
      const closed = await node.last.closed;
      assert.ok(closed - left < 1000, `cancelled upstream after ${closed - left} ms`);
      await ends(await lastEnded(), 'cancelled', 'client_left', null);
    }));

  async function leaveStream(node) {
    const client = open('stream');
    await waitFor('some events came', () => client.events >= 4, { every: 5 });
    assert.ok(client.response.headers['opgate-job'], 'a stream names its job');
    const left = Date.now();
    client.leave();
    const closed = await node.last.closed;
    assert.ok(closed - left < 1000, `cancelled upstream after ${closed - left} ms`);
    return client;
  }

  test('partial: a stream after some events, and the node says what it sent', { timeout: 30_000 }, () => withNode({ mode: 'stream_endless' }, async (node) => {
    let pushed;
    node.left = async (call) => { pushed = (await node.pushPartial(call, call.sent)).status; };
    const client = await leaveStream(node);
    const job = await lastEnded();
    assert.equal(pushed, 204);
    assert.ok(job.output_units >= client.events && job.output_units <= node.last.sent.length, `${client.events} ≤ ${job.output_units} ≤ ${node.last.sent.length}`);
    await ends(job, SETTLED, 'partial', [3, job.output_units], { model: chat });
  }));
  test('partial: inflated units are cut to what was passed on', { timeout: 30_000 }, () => withNode({ mode: 'stream_endless' }, async (node) => {
    node.left = (call) => node.pushPartial(call, call.sent, { outputUnits: 40 });
    await leaveStream(node);
    const job = await lastEnded();
    assert.ok(job.output_units <= node.last.sent.length && job.output_units < 40, String(job.output_units));
    await ends(job, SETTLED, 'partial', [3, job.output_units], { model: chat });
  }));
  test('partial: another node\'s receipt for this job changes nothing', { timeout: 30_000 }, () => withNode({ mode: 'stream_endless' }, (node) =>
    withNode({ ask: { input: '9000', output: '9000' } }, async (stranger) => {
      const pushed = [];
      node.left = async (call) => {
        for (const more of [{}, { node: node.key.address }]) {
          const forged = await stranger.receipt(call, streamHash(call.sent), { status: 499, ...more });
          const put = () => stranger.call('POST', '/receipts', forged);
          const { status } = await waitFor('an answer', async () => { const answered = await put().catch((error) => error); return answered.status !== 503 && answered; });
          pushed.push(status);
        }
        await node.pushPartial(call, call.sent);
      };
      await leaveStream(node);
      const job = await lastEnded();
      assert.deepEqual(pushed.filter((status) => status === 204), []);
      await ends(job, SETTLED, 'partial', [3, job.output_units], { model: chat });
    })));
  for (const [what, more] of [['is another job\'s', { jobId: `0x${'11'.repeat(16)}` }], ['is for another model', { modelDigest: `0x${'22'.repeat(32)}` }], ['never comes', null]])
    test(`client_left: a stream after some events, and the partial receipt ${what}`, { timeout: 30_000 }, () => withNode({ mode: 'stream_endless' }, async (node) => {
      node.left = (call) => more && node.pushPartial(call, call.sent, more).catch(() => {});
      await leaveStream(node);
      await ends(await lastEnded(), 'cancelled', 'client_left', null);
    }));
});

describe('the gateway itself', () => {
  test('gateway_lost: it died with the connection; what was accepted in the background runs again', { timeout: 60_000 }, () => withNode({ mode: 'hang' }, async (node) => {
    await rig.gatewayAgain({ job_timeout_ms: 30_000, stall_timeout_ms: 30_000 }); // neither ends while the gateway is killed
    const client = open('tensor');
    await waitFor('the node works', () => node.calls.length === 1);
    const foreground = await jobLast(rig);
    const background = await submit('tensor');
    await waitFor('the node works on both', () => node.calls.length === 2);
    node.mode = 'good';
    await rig.gatewayAgain({ job_timeout_ms: DEADLINE_MS, stall_timeout_ms: STALL_MS }); // killed, and started again
    client.leave();
    await ends(await ended(foreground.id), FAILED, 'gateway_lost', null);
    const job = await ended(background);
    await ends(job, SETTLED, 'delivered', [1, 0], { model: tensor });
    assert.ok(job.attempt >= 2, 'under a new fencing token');
  }));
  test('internal_error: the database will not take the end as it is', { timeout: 30_000 }, () => withNode({ mode: 'good' }, async () => {
    await rig.sqlRun(`CREATE FUNCTION refuse_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
      CREATE TRIGGER refuse_end BEFORE UPDATE ON job FOR EACH ROW WHEN (NEW.outcome = 'delivered') EXECUTE FUNCTION refuse_end()`);
    try {
      assert.equal((await ask('tensor')).status, 500);
      await ends(await jobLast(rig), FAILED, 'internal_error', null);
      await ends(await ended(await submit('tensor')), FAILED, 'internal_error', null);
    } finally {
      await rig.sqlRun('DROP TRIGGER refuse_end ON job; DROP FUNCTION refuse_end');
    }
  }));
});

describe('another node does better', () => {
  const DEAR = { input: '5000', output: '7000' };
  for (const mode of ['error_500', 'reset', 'truncated', 'hang', 'empty', 'no_receipt', 'receipt_wrong_response'])
    for (const background of [false, true])
      test(`${mode}${background ? ' in the background' : ''}: the dearer node answers as attempt 2, at its own ask`, { timeout: 30_000 }, () => withNode({ mode }, (evil) =>
        withNode({ mode: 'good', ask: DEAR, operator: 'operator_b' }, async (good) => {
          let job;
          if (background) {
            job = await ended(await submit('tensor'));
          } else {
            const answered = await ask('tensor');
            assert.equal(answered.status, 200, answered.text);
            assert.equal(answered.text, TENSOR_ANSWER);
            job = await jobLast(rig);
          }
          assert.deepEqual([evil.calls.length, good.calls.length], [1, 1]);
          assert.deepEqual([job.attempt, job.node], [2, good.key.address]);
          assert.equal(good.last.ticket.attempt, '2');
          await ends(job, SETTLED, 'delivered', [1, 0], { model: tensor, ask: DEAR, operator: 'operator_b' });
          const attempts = await rig.sql(`SELECT attempt, failure FROM job_attempt WHERE job = '${job.id}' ORDER BY attempt`);
          assert.deepEqual(attempts.map(({ attempt }) => attempt), [1, 2]);
          assert.ok(attempts[0].failure && attempts[1].failure === null);
        })));
  for (const mode of ['empty', 'stream_head_only', 'error_500'])
    test(`${mode}: a stream that has not begun goes to the other node, too`, { timeout: 30_000 }, () => withNode({ mode }, (evil) =>
      withNode({ mode: 'good', ask: DEAR, operator: 'operator_b' }, async (good) => {
        const { status, text } = await ask('stream');
        assert.equal(status, 200);
        assert.match(text, /\[DONE\]/);
        assert.deepEqual([evil.calls.length, good.calls.length], [1, 1]);
        await ends(await jobLast(rig), SETTLED, 'delivered', [3, 5], { model: chat, ask: DEAR, operator: 'operator_b' });
      })));
  test('a stream that has begun stays with its node, even when its first event could not be passed on', { timeout: 30_000 }, () =>
    withNode({ mode: 'stream_huge_event' }, () => withNode({ mode: 'good', ask: DEAR, operator: 'operator_b' }, async (good) => {
      const { text } = await ask('stream');
      assert.doesNotMatch(text, /\[DONE\]/);
      assert.equal(good.calls.length, 0);
      await ends(await jobLast(rig), FAILED, 'node_failed', null);
      assert.ok((await fetch(`${rig.base_url}/livez`)).ok, rig.logTail('gateway', 5));
    })));
  test('a late receipt of the first attempt does not count for the second', { timeout: 30_000 }, () => {
    let stolen;
    const keep = async (call) => { stolen = call; call.request.socket.resetAndDestroy(); };
    return withNode({ mode: keep }, (evil) => withNode({ mode: 'good', ask: DEAR, operator: 'operator_b' }, async (good) => {
      good.mode = (call) => answer(call, { more: { attempt: Number(stolen.ticket.attempt) } });
      assert.equal((await ask('tensor')).status, 502);
      assert.equal(evil.calls.length, 1);
      await ends(await jobLast(rig), FAILED, 'bad_receipt', null);
    }));
  });
  test('after the first byte of a stream there is no second node', { timeout: 30_000 }, () => withNode({ mode: 'stream_broken' }, () =>
    withNode({ mode: 'good', ask: DEAR }, async (good) => {
      await ask('stream');
      assert.equal(good.calls.length, 0);
      await ends(await jobLast(rig), FAILED, 'node_broke', null);
    })));
  test('a rejection is the caller\'s to mend: nobody else is asked', () => withNode({ mode: 'rejects_400' }, () => withNode({ mode: 'good', ask: DEAR }, async (good) => {
    assert.equal((await ask('tensor')).status, 400);
    assert.equal(good.calls.length, 0);
  })));
});

test('a node in a private range is refused where the setting does not allow it', { timeout: 30_000 }, async () => {
  await rig.gatewayStart('strict', { settings: { allow_private_nodes: 'false' } });
  const loose = rig.base_url;
  try {
    rig.base_url = rig.gateways.strict.base_url;
    await assert.rejects(EvilNode.start(rig, { models: [tensor] }), /422|400/);
    rig.base_url = loose; // registered where it may be, and still not called by the strict one
    await withNode({}, async (node) => {
      rig.base_url = rig.gateways.strict.base_url;
      try {
        assert.equal((await ask('tensor')).status, 502);
        assert.equal(node.calls.length, 0);
        await ends(await jobLast(rig), FAILED, 'node_failed', null);
      } finally {
        rig.base_url = loose;
      }
    });
  } finally {
    rig.base_url = loose;
    await rig.procs.stop('strict');
  }
});

test('docs/CHARGING.md is the table that drives the code', () => {
  const doc = fs.readFileSync(inRoot('docs/CHARGING.md'), 'utf8');
  const table = /<!-- table: opgate charging -->\n([^]*?)<!-- end -->/.exec(doc)?.[1];
  assert.equal(table, execFileSync(opgateBinary(), ['charging'], { encoding: 'utf8' }));
});

test('every row of the table was met, and the books are right', async () => {
  const rows = execFileSync(opgateBinary(), ['charging'], { encoding: 'utf8' }).split('\n').map((line) => /^\| `(\w+)`/.exec(line)?.[1]).filter(Boolean);
  assert.ok(rows.length >= 16);
  assert.deepEqual(rows.filter((name) => !seen.has(name)), ['settlement_failed'], 'that one is met in tests/api/x402.test.mjs');
  const { jobs, custody, treasury } = await booksCheck(rig);
  assert.ok(jobs > 100);
  assert.equal(treasury, -BigInt(custody), 'custody is exactly what the chain holds');
  const books = await rig.reconciliation();
  assert.equal(books.ok ?? true, true, JSON.stringify(books));
});
