// Jobs: accepted in the background or answered at once, replayed by key, cancelled, listed, private to their payer; and
// their receipts, judged by the gateway and by `opgate verify` without one.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { before, test } from 'node:test';
import {
  accountMake, adderBody, assertBooks, assertError, assertStatus, balanceOf, call, dev, folderMake, jobEnded, modelOf, OPG, opgate, splitOf, unbase64url, uuid, waitFor,
} from './stack.mjs';

const adder = modelOf('tensor');
const llama = modelOf('chat');
const chatBody = (max_tokens = 4, stream) =>
  JSON.stringify({ model: llama.id, max_tokens, temperature: 0, ...(stream && { stream }), messages: [{ role: 'user', content: 'This program' }] });
let payer, other;

before(async () => {
  [payer, other] = [await accountMake({ opg: 20n * OPG }), await accountMake({ opg: OPG })];
});

const create = (body, { key = payer.key, model = adder.id, wait, idempotency, query = '' } = {}) =>
  call('POST', `/v1/jobs?model=${encodeURIComponent(model)}${query}`, {
    key, body, headers: { ...(wait && { Prefer: `wait=${wait}` }), ...(idempotency && { 'Idempotency-Key': idempotency }) },
  });
const get = (route, key = payer.key) => call('GET', route, { key });
const jobsCount = async (key = payer.key) => (await get('/v1/jobs?limit=100', key)).json.data.length;

test('a job waits in the background, and its output and receipt are byte for byte the node\'s', async () => {
  const before = await balanceOf(payer.key);
  const answer = await create(adderBody(1, 2, 3));
  assert.ok([200, 202].includes(answer.status), `${answer.status}`);
  const { id } = answer.json;
  assert.equal(answer.headers.get('Location'), `/v1/jobs/${id}`);
  assert.equal(answer.headers.get('Opgate-Job'), id);
  const job = await jobEnded(payer.key, id);
  assert.deepEqual([job.object, job.state, job.outcome, job.verdict, job.error, job.background], ['job', 'settled', 'delivered', 'passed', null, true]);
  assert.deepEqual([job.model, job.digest, job.version, job.policy], [adder.id, adder.digest, adder.version, 'signed']);
  assert.deepEqual(job.usage, { input_units: 1, output_units: 0 });
  assert.ok(job.checks.length > 3 && job.checks.every(({ name, result, detail }) => name && detail && result === 'passed'), JSON.stringify(job.checks));
  assert.ok(splitOf(job).charged > 0n);
  assert.equal(before.available - (await balanceOf(payer.key)).available, splitOf(job).charged);

  const output = assertStatus(await get(`/v1/jobs/${id}/output`), 200);
  assert.deepEqual(output.json.outputs[0].data, [3, 5, 7]);
  assert.equal(output.headers.get('Content-Type'), 'application/json');
  const receipt = assertStatus(await get(`/v1/jobs/${id}/receipt`), 200);
  assert.deepEqual(unbase64url((await get(`/v1/jobs/${id}`)).headers.get('Opgate-Receipt')), receipt.bytes);
  const { message } = receipt.json;
  const sha256 = (...parts) => `0x${parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest('hex')}`;
  assert.equal(message.responseHash, sha256(output.bytes), 'the receipt is about these bytes');
  assert.equal(message.responseHash, job.response.hash);
  const head = `${job.request.method} ${job.request.path}\n${job.request.content_type}\n\n`;
  assert.equal(message.requestHash, sha256(head, createHash('sha256').update(adderBody(1, 2, 3)).digest()), 'and about this request');
  assert.equal(message.requestHash, job.request.hash);
});

test('Prefer: wait answers with the end of the job', async () => {
  const answer = assertStatus(await create(adderBody(4), { wait: 20 }), 200);
  assert.equal(answer.headers.get('Preference-Applied'), 'wait=20');
  assert.deepEqual([answer.json.state, answer.json.outcome], ['settled', 'delivered']);
  assert.deepEqual((await get(`/v1/jobs/${answer.json.id}/output`)).json.outputs[0].data, [9]);
  const chat = assertStatus(await create(chatBody(), { model: llama.id, wait: 20 }), 200);
  assert.equal(chat.json.usage.output_units, 4);
  assert.equal((await get(`/v1/jobs/${chat.json.id}/output`)).json.usage.completion_tokens, 4);
});

test('policy none is served as well, and a price limit is kept', async () => {
  const free = assertStatus(await create(adderBody(1), { wait: 20, query: '&policy=none' }), 200).json;
  assert.deepEqual([free.state, free.policy], ['settled', 'none']);
  const { hold } = (await call('POST', '/v1/quotes', { body: { model: adder.id, input_bytes: adderBody(1).length } })).json;
  assertStatus(await create(adderBody(1), { wait: 20, query: `&max_price=${hold}` }), 200);
  assertError(await create(adderBody(1), { query: `&max_price=${BigInt(hold) - 1n}` }), 'problem', 422, 'unprocessable');
  assertError(await create(adderBody(1), { query: '&max_price=1e3' }), 'problem', 400, 'bad_field');
  assertError(await create(adderBody(1), { query: '&policy=zk' }), 'problem', 422, 'unprocessable');
});

test('a quote is what is held, and what is charged is never more', async () => {
  const body = chatBody(16);
  const quote = assertStatus(await call('POST', '/v1/quotes', { body: { model: llama.id, input_bytes: body.length, max_output_tokens: 16 } }), 200).json;
  assert.deepEqual([quote.model, quote.output_units_max, quote.candidates], [llama.id, 16, 2]);
  assert.deepEqual(quote.asset, { symbol: 'OPG', decimals: 18 });
  const job = assertStatus(await create(body, { model: llama.id, wait: 20 }), 200).json;
  assert.equal(job.hold, quote.hold);
  assert.ok(BigInt(job.charged) < BigInt(quote.hold), 'bytes bound the tokens from above');
  splitOf(job);
  const twice = (await call('POST', '/v1/quotes', { body: { model: llama.id, input_bytes: body.length, max_output_tokens: 32 } })).json;
  assert.ok(BigInt(twice.hold) > BigInt(quote.hold));
  assertError(await call('POST', '/v1/quotes', { body: { model: 'nobody/nothing' } }), 'problem', 404, 'model_not_found');
  assertError(await call('POST', '/v1/quotes', { body: { model: llama.id, max_price: '1' } }), 'problem', 400, 'unknown_field');
  assertError(await call('POST', '/v1/quotes', { body: { model: llama.id, input_bytes: -1 } }), 'problem', 400, 'bad_field');
});

test('the same key and body is one job; another body is refused', async () => {
  const idempotency = uuid();
  const before = await balanceOf(payer.key);
  const first = assertStatus(await create(adderBody(5), { wait: 20, idempotency }), 200);
  assert.equal(first.headers.get('Idempotent-Replayed'), null);
  const again = assertStatus(await create(adderBody(5), { wait: 20, idempotency }), 200);
  assert.equal(again.headers.get('Idempotent-Replayed'), 'true');
  assert.deepEqual(again.json, first.json);
  assertError(await create(adderBody(6), { idempotency }), 'problem', 422, 'idempotency_key_reused');
  assertError(await create(adderBody(5), { idempotency, query: '&policy=none' }), 'problem', 422, 'idempotency_key_reused');
  assert.equal(before.available - (await balanceOf(payer.key)).available, BigInt(first.json.charged), 'charged once');
  // The key is the payer's own: another account's is another job.
  const others = assertStatus(await create(adderBody(5), { wait: 20, idempotency, key: other.key }), 200);
  assert.notEqual(others.json.id, first.json.id);
  for (const bad of ['', 'x'.repeat(256), 'caf\u00e9', 'tab\there'])
    assertError(await call('POST', `/v1/jobs?model=${adder.id}`, { key: payer.key, body: adderBody(5), headers: { 'Idempotency-Key': bad } }), 'problem', 400, 'bad_field');
});

test('64 at once with one key are one job, charged once', async () => {
  const idempotency = uuid();
  const [before, count] = [await balanceOf(payer.key), await jobsCount()];
  const answers = await Promise.all(Array.from({ length: 64 }, () => create(adderBody(64), { wait: 20, idempotency })));
  const ids = new Set(answers.map((answer) => {
    assert.equal(answer.status, 200, answer.bytes.toString());
    assert.equal(answer.json.state, 'settled');
    return answer.json.id;
  }));
  assert.equal(ids.size, 1);
  assert.equal(answers.filter(({ headers }) => headers.get('Idempotent-Replayed') !== 'true').length, 1, 'exactly one was the first');
  assert.equal(await jobsCount(), count + 1);
  assert.equal(before.available - (await balanceOf(payer.key)).available, BigInt(answers[0].json.charged));
});

test('an answer given at once is replayed too, byte for byte', async () => {
  const idempotency = uuid();
  const infer = (body, key = idempotency) =>
    call('POST', `/v2/models/${adder.id}/infer`, { key: payer.key, body, headers: { 'Idempotency-Key': key } });
  const before = await balanceOf(payer.key);
  const first = assertStatus(await infer(adderBody(7, 8)), 200);
  assert.deepEqual(first.json.outputs[0].data, [15, 17]);
  const again = assertStatus(await infer(adderBody(7, 8)), 200);
  assert.deepEqual(again.bytes, first.bytes);
  assert.equal(again.headers.get('Idempotent-Replayed'), 'true');
  for (const name of ['Opgate-Job', 'Opgate-Receipt', 'Content-Type']) assert.equal(again.headers.get(name), first.headers.get(name), name);
  assertError(await infer(adderBody(7, 9)), 'oip', 422, 'idempotency_key_reused');
  const job = await jobEnded(payer.key, first.headers.get('Opgate-Job'));
  assert.equal(before.available - (await balanceOf(payer.key)).available, BigInt(job.charged));

  const racing = await Promise.all(Array.from({ length: 16 }, () => infer(adderBody(1), 'race')));
  const done = racing.filter(({ status }) => status === 200);
  for (const answer of racing.filter(({ status }) => status !== 200)) {
    assertError(answer, 'oip', 409, 'in_progress');
    assert.ok(Number(answer.headers.get('Retry-After')) > 0);
  }
  assert.equal(new Set(done.map(({ headers }) => headers.get('Opgate-Job'))).size, 1);
  assert.equal(done.filter(({ headers }) => headers.get('Idempotent-Replayed') !== 'true').length, 1);

  const chat = () => call('POST', '/v1/chat/completions', { key: payer.key, body: chatBody(), headers: { 'Idempotency-Key': 'chat' } });
  assert.deepEqual((await chat()).bytes, (await chat()).bytes, 'a second generation would have another id');
});

/// Jobs started, settled and voided, as the gateway counts them.
async function jobsCounted() {
  const text = (await call('GET', '/metrics')).bytes.toString();
  return ['started', 'settled', 'voided'].map((what) => Number(new RegExp(`^opgate_jobs_${what}_total ([0-9]+)$`, 'm').exec(text)[1]));
}

test('cancelled: nothing is charged, and the hold is gone', async () => {
  const [before, counted] = [await balanceOf(payer.key), await jobsCounted()];
  // More than the nodes can start at once, so that some still wait or run when the word comes.
  const jobs = await Promise.all(Array.from({ length: 24 }, () => create(chatBody(200), { model: llama.id })));
  const ids = jobs.map((answer) => answer.json.id);
  assert.equal(new Set(ids).size, 24);
  const cancels = await Promise.all(ids.reverse().map((id) => call('POST', `/v1/jobs/${id}/cancel`, { key: payer.key })));
  for (const answer of cancels)
    if (answer.status === 409) assertError(answer, 'problem', 409, 'conflict');
    else assert.ok([200, 202].includes(answer.status), `${answer.status} ${answer.bytes}`);
  const ended = await Promise.all(ids.map((id) => jobEnded(payer.key, id)));
  const cancelled = ended.filter(({ state }) => state === 'cancelled');
  assert.ok(cancelled.length > 0, ended.map(({ outcome }) => outcome).join());
  for (const job of cancelled) {
    assert.match(job.outcome, /^cancelled_(queued|running)$/);
    assert.equal(job.charged, '0');
    assertStatus(await get(`/v1/jobs/${job.id}/output`), 404);
  }
  assertError(await call('POST', `/v1/jobs/${cancelled[0].id}/cancel`, { key: payer.key }), 'problem', 409, 'conflict');
  const moved = (await jobsCounted()).map((value, i) => value - counted[i]);
  assert.deepEqual([moved[0], moved[1] + moved[2]], [24, 24], 'each job began once and ended once');
  const charged = ended.reduce((sum, job) => sum + BigInt(job.charged), 0n);
  const after = await balanceOf(payer.key);
  assert.equal(before.available - after.available, charged);
  assert.equal(after.held, 0n);
});

test('jobs are listed newest first, page by page', async () => {
  const all = (await get('/v1/jobs?limit=100')).json;
  assert.equal(all.object, 'list');
  assert.ok(all.data.length > 30 && all.has_more === false);
  const paged = [];
  for (let after = ''; ;) {
    const page = assertStatus(await get(`/v1/jobs?limit=7${after}`), 200).json;
    paged.push(...page.data);
    if (!page.has_more) break;
    assert.equal(page.data.length, 7);
    after = `&after=${page.data.at(-1).id}`;
  }
  assert.deepEqual(paged.map(({ id }) => id), all.data.map(({ id }) => id));
  // Ids begin with the time; created_at is a moment later, when the hold is placed, and may swap jobs of the same moment.
  assert.deepEqual(paged.map(({ id }) => id), paged.map(({ id }) => id).toSorted().reverse());
  const { id } = (await create(adderBody(1), { wait: 20 })).json;
  assert.equal((await get('/v1/jobs?limit=1')).json.data[0].id, id);
  assert.equal((await get('/v1/jobs')).json.data.length, 20);
  for (const query of ['limit=0', 'limit=101', 'limit=x', 'limit=-1', 'after=x', 'after=1']) assertError(await get(`/v1/jobs?${query}`), 'problem', 400, 'bad_field');
});

test('nobody else sees a job', async () => {
  const { id } = assertStatus(await create(adderBody(1), { wait: 20 }), 200).json;
  for (const suffix of ['', '/output', '/receipt']) {
    assertStatus(await get(`/v1/jobs/${id}${suffix}`), 200);
    assertError(await get(`/v1/jobs/${id}${suffix}`, other.key), 'problem', 404, 'not_found');
    assertError(await get(`/v1/jobs/${id}${suffix}`, dev.api_keys.admin), 'problem', 404, 'not_found');
    assertError(await get(`/v1/jobs/${id}${suffix}`, ''), 'problem', 401, 'unauthenticated');
  }
  assertError(await call('POST', `/v1/jobs/${id}/cancel`, { key: other.key }), 'problem', 404, 'not_found');
  assert.ok(!(await get('/v1/jobs?limit=100', other.key)).json.data.some((job) => job.id === id));
  for (const nothing of [uuid(), 'x', '0'.repeat(36)]) assertError(await get(`/v1/jobs/${nothing}`), 'problem', 404, 'not_found');
});

test('a node\'s refusal fails the job and charges nothing', async () => {
  const before = await balanceOf(payer.key);
  const job = assertStatus(await create(JSON.stringify({ inputs: [{ name: 'z', shape: [1], datatype: 'FP32', data: [1] }] }), { wait: 20 }), 200).json;
  assert.deepEqual([job.state, job.outcome, job.error, job.charged], ['failed', 'rejected', 'unprocessable', '0']);
  assertStatus(await get(`/v1/jobs/${job.id}/output`), 404);
  assert.deepEqual(await balanceOf(payer.key), before);
});

// ---- receipts ----

/// A settled job with the files that `opgate verify` reads.
async function evidence(answer, request) {
  const folder = folderMake();
  const job = await jobEnded(payer.key, answer.headers.get('Opgate-Job'));
  const receipt = (await get(`/v1/jobs/${job.id}/receipt`)).bytes;
  const files = { receipt, request: Buffer.from(request), response: answer.bytes };
  const names = Object.fromEntries(Object.keys(files).map((name) => [name, path.join(folder, name)]));
  for (const [name, bytes] of Object.entries(files)) fs.writeFileSync(names[name], bytes);
  return { job, files, names, folder };
}

/// Runs `opgate verify` and checks that the words agree with the exit status; returns the status.
function verify(names, ...more) {
  const { status, stdout, stderr } = opgate('verify', names.receipt, '--request', names.request, '--response', names.response, ...more);
  const verdict = { 0: 'passed', 1: 'failed', 2: 'unverifiable' }[status];
  assert.ok(verdict && stdout.trimEnd().endsWith(`verdict: ${verdict}`), `${status}\n${stdout}${stderr}`);
  return status;
}

const forms = {
  'an answer of tensors': async () => evidence(await call('POST', `/v2/models/${adder.id}/infer`, { key: payer.key, body: adderBody(1, 2, 3) }), adderBody(1, 2, 3)),
  'an answer of words': async () => evidence(await call('POST', '/v1/chat/completions', { key: payer.key, body: chatBody(8) }), chatBody(8)),
  'a stream': async () => evidence(await call('POST', '/v1/chat/completions', { key: payer.key, body: chatBody(8, true) }), chatBody(8, true)),
};

for (const [what, make] of Object.entries(forms))
  test(`opgate verify judges ${what}: passed, unverifiable, and failed after any change`, async () => {
    const { job, files, names, folder } = await make();
    const sent = ['--method', job.request.method, '--path', job.request.path, '--content-type', job.request.content_type];
    const node = ['--node', job.node];
    assert.equal(verify(names, ...sent, ...node), 0);
    assert.equal(verify(names, ...sent, ...node, '--model', job.digest, '--chain-id', String(dev.chain_id)), 0);
    assert.equal(verify(names, ...sent), 2, 'without a pin nobody knows whose key it is');
    const statement = path.join(folder, 'statement');
    fs.writeFileSync(statement, assertStatus(await call('GET', `/v1/nodes/${job.node}/statements/${job.digest}`), 200).bytes);
    assert.equal(verify(names, ...sent, '--statement', statement, '--gateway', dev.gateway_address), 0, 'by the gateway\'s word');
    const stranger = dev.nodes.find(({ address }) => address !== job.node).address;
    assert.equal(verify(names, ...sent, '--statement', statement, '--gateway', stranger), 1, 'another gateway did not say so');
    assert.equal(verify(names, ...sent, '--node', stranger), 1);
    assert.equal(verify(names, ...sent, ...node, '--model', `sha256:${'1'.repeat(64)}`), 1);
    assert.equal(verify(names, ...sent, ...node, '--chain-id', '1'), 1);
    for (const [name, bytes] of Object.entries(files)) {
      // One byte of the request, of the receipt, of an event or the answer. The end of a stream is not the node's word.
      for (const at of [Math.floor(bytes.length / 3), 12, name === 'response' ? 40 : bytes.length - 1]) {
        const changed = Buffer.from(bytes);
        changed[at] ^= 1;
        fs.writeFileSync(names[name], changed);
        assert.equal(verify(names, ...sent, ...node), 1, `byte ${at} of the ${name}`);
      }
      fs.writeFileSync(names[name], bytes);
    }
    fs.writeFileSync(names.response, files.response.subarray(0, files.response.length / 2));
    assert.equal(verify(names, ...sent, ...node), 1, 'half of the answer');
  });

test('POST /v1/verify judges for anybody', async () => {
  const { job, files } = await forms['an answer of tensors']();
  const given = { receipt: files.receipt.toString(), request: files.request.toString(), response: files.response.toString(), path: job.request.path };
  const judged = async (over = {}) => assertStatus(await call('POST', '/v1/verify', { body: { ...given, ...over } }), 200).json;
  const passed = await judged();
  assert.equal(passed.verdict, 'passed', JSON.stringify(passed.checks));
  assert.equal(passed.signer, job.node);
  assert.deepEqual(passed.receipt, JSON.parse(given.receipt));
  assert.ok(passed.checks.every(({ result }) => result === 'passed'));
  const base64url = { receipt: files.receipt.toString('base64url'), request: undefined, request_base64: files.request.toString('base64url'), response: undefined, response_base64: files.response.toString('base64url') };
  assert.equal((await judged(base64url)).verdict, 'passed');
  const stranger = dev.nodes.find(({ address }) => address !== job.node).address;
  for (const lie of [{ response: `${given.response} ` }, { request: '{}' }, { node: stranger }, { model: llama.digest }, { receipt: given.receipt.replace('"200"', '"201"') }, { receipt: `${given.receipt} ` }, { path: '/v1/chat/completions' }, { method: 'PUT' }]) {
    const { verdict, checks } = await judged(lie);
    assert.equal(verdict, 'failed', JSON.stringify(lie));
    assert.ok(checks.some(({ result, detail }) => result === 'failed' && detail), JSON.stringify(checks));
  }
  for (const wrong of [{ receipt: 5 }, { receipt: '' }, { node: '0x12' }, { unknown: 1 }, { response: 'a', response_base64: 'a' }])
    assertStatus(await call('POST', '/v1/verify', { body: { ...given, ...wrong } }), 400);
});

test('a receipt of another attempt, node or job does not pass for this one', async () => {
  const one = await forms['an answer of tensors']();
  const another = await evidence(await call('POST', `/v2/models/${adder.id}/infer`, { key: payer.key, body: adderBody(9) }), adderBody(9));
  const sent = ['--path', one.job.request.path];
  fs.writeFileSync(one.names.receipt, another.files.receipt);
  assert.equal(verify(one.names, ...sent, '--node', another.job.node), 1, 'it is about other bytes');
  const message = JSON.parse(one.files.receipt);
  for (const [field, value] of [['attempt', '2'], ['node', another.job.node === one.job.node ? dev.gateway_address : another.job.node], ['jobId', JSON.parse(another.files.receipt).message.jobId], ['policy', 'none'], ['outputUnits', '5']]) {
    fs.writeFileSync(one.names.receipt, JSON.stringify({ ...message, message: { ...message.message, [field]: value } }));
    assert.equal(verify(one.names, ...sent, '--node', one.job.node), 1, field);
  }
});

test('the books hold', async () => {
  await waitFor('no hold is open', async () => (await balanceOf(payer.key)).held === 0n);
  await assertBooks();
});
