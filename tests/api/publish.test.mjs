// Models on their whole way: a new author publishes real files, nodes fetch and offer them, a consumer runs them; what is
// published cannot change, what is not published nobody else can see. The files are those of ../shared/data where that
// exists, otherwise the small ones of examples/models.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { before, test } from 'node:test';
import ort from 'onnxruntime-node';
import { opgateBinary } from '../../script/lib/stack.mjs';
import { accountMake, assertBooks, assertError, assertStatus, balanceOf, call, dev, inRoot, jobEnded, OPG, splitOf, unbase64url, waitFor } from './stack.mjs';

const SHARED = inRoot('../shared/data/models');
const real = fs.existsSync(SHARED);
const folder = real ? SHARED : inRoot('examples/models');
const bytesOf = (name) => fs.readFileSync(`${folder}/${name}`);
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const fresh = randomBytes(6).toString('hex'); // two versions with equal files are refused: a README makes ours new

const ONNX = real ? 'silero_vad.onnx' : 'adder.onnx';
const GGUF = 'tiny-llama-q8_0.gguf';
let author, consumer, id, llama;

before(async () => {
  author = await accountMake();
  consumer = await accountMake({ opg: 20n * OPG });
});

/// The manifest rule, by its words: one line a file, sorted by the bytes of the path.
function digestOf(files) {
  const lines = files.map(({ path, bytes }) => ({ path: Buffer.from(path), line: `${sha256(bytes)} ${bytes.length} ${path}\n` }));
  lines.sort((a, b) => Buffer.compare(a.path, b.path));
  return `sha256:${sha256(lines.map(({ line }) => line).join(''))}`;
}

const put = (version, path, bytes, { key = author.token, headers = {} } = {}) =>
  call('PUT', `${version}/files/${path}`, { key, body: bytes, headers: { 'Content-Type': 'application/octet-stream', ...headers } });
const draftOf = (model, version) => `/v1/models/${model}/versions/${version}`;

const files = [
  { path: ONNX, bytes: bytesOf(ONNX) },
  { path: 'README.md', bytes: Buffer.from(`# ${fresh}\n`) },
  { path: 'docs/a.txt', bytes: randomBytes(5000) },
  { path: 'docs-a.txt', bytes: Buffer.alloc(0) }, // '-' sorts before '/', an empty file is a file
];

test('a new author makes a model and a draft, which nobody else sees', async () => {
  const handle = `author-${fresh}`;
  assert.equal(assertStatus(await call('PATCH', '/v1/me', { key: author.token, body: { handle } }), 200).json.handle, handle);
  assertError(await call('PATCH', '/v1/me', { key: author.token, body: { handle: `${handle}x` } }), 'problem', 409, 'conflict');
  assertError(await call('PATCH', '/v1/me', { key: consumer.token, body: { handle } }), 'problem', 409, 'conflict');
  const model = assertStatus(await call('POST', '/v1/models', { key: author.token, body: { name: 'vad', title: 'Speech', description: fresh } }), 201).json;
  id = `${handle}/vad`;
  assert.equal(model.id, id);
  assertError(await call('POST', '/v1/models', { key: author.token, body: { name: 'vad' } }), 'problem', 409, 'conflict');
  const draft = assertStatus(await call('POST', `/v1/models/${id}/versions`, {
    key: author.token, body: { surface: 'tensor', price: { input: '700000000000001' } } }), 201).json;
  assert.deepEqual([draft.version, draft.state, draft.digest], [1, 'draft', null]);
  for (const { path, bytes } of files) {
    const put_answer = assertStatus(await put(draftOf(id, 1), path, bytes), 201).json;
    assert.deepEqual(put_answer, { path, size: bytes.length, sha256: sha256(bytes) });
  }
  for (const path of [`/v1/models/${id}`, draftOf(id, 1), `/v1/models/${id}/versions`, `/${id}/resolve/1/README.md`, `/${id}/resolve/main/README.md`])
    for (const key of [undefined, consumer.key]) assert.equal((await call('GET', path, { key })).status, 404, path);
  assert.ok(!(await call('GET', '/v1/models')).json.data.some((one) => one.id === id));
  assertError(await call('POST', `/v2/models/${id}/infer`, { key: consumer.key, body: { inputs: [] } }), 'oip', 404, 'model_not_found');
  for (const who of [consumer.token, consumer.key]) assertError(await put(draftOf(id, 1), 'README.md', Buffer.from('mine'), { key: who }), 'problem', 404, 'model_not_found');
  assertError(await put(draftOf(id, 1), 'README.md', Buffer.from('mine'), { key: '' }), 'problem', 401, 'unauthenticated');
  const own = assertStatus(await call('GET', draftOf(id, 1), { key: author.token }), 200).json;
  assert.deepEqual(own.files.map(({ path }) => path), ['README.md', 'docs-a.txt', 'docs/a.txt', ONNX].sort());
});

test('a bad upload leaves the draft as it was', async () => {
  const wrong = { 'X-Content-SHA256': sha256(Buffer.from('other')) };
  assertError(await put(draftOf(id, 1), 'README.md', Buffer.from('changed'), { headers: wrong }), 'problem', 400, 'bad_field');
  for (const path of ['..%2f..%2fetc%2fpasswd', '.hidden', 'a%00b', 'a//b', 'sp%20ace'])
    assert.equal((await put(draftOf(id, 1), path, Buffer.from('x'))).status, 400, path);
  const seen = (await call('GET', draftOf(id, 1), { key: author.token })).json.files;
  assert.equal(seen.length, files.length);
  assert.equal(seen.find(({ path }) => path === 'README.md').sha256, sha256(files[1].bytes));
  // A draft that cannot be run cannot be published.
  assertStatus(await call('POST', `/v1/models/${id}/versions`, { key: author.token, body: { surface: 'tensor', price: { input: '1' } } }), 201);
  assertError(await call('POST', `${draftOf(id, 2)}/publish`, { key: author.token }), 'problem', 422, 'unprocessable');
  assertStatus(await put(draftOf(id, 2), 'a.onnx', Buffer.from('a')), 201);
  assertStatus(await put(draftOf(id, 2), 'b.onnx', Buffer.from('b')), 201);
  assertError(await call('POST', `${draftOf(id, 2)}/publish`, { key: author.token }), 'problem', 422, 'unprocessable');
});

test('a version without a price in base units is refused', async () => {
  for (const price of [undefined, {}, '1', { input: 1 }, { input: '-1' }, { input: '1.5' }, { input: '01' }, { input: '1', outptu: '1' }, { input: '9'.repeat(60) }]) {
    const answer = await call('POST', `/v1/models/${id}/versions`, { key: author.token, body: { surface: 'tensor', price } });
    assertStatus(answer, 400);
    assert.match(answer.json.detail, /price/);
  }
});

test('published: immutable, and named by the digest of its manifest', async () => {
  assertError(await call('POST', `${draftOf(id, 1)}/publish`, { key: consumer.token }), 'problem', 404, 'model_not_found');
  const version = assertStatus(await call('POST', `${draftOf(id, 1)}/publish`, { key: author.token }), 200).json;
  assert.equal(version.state, 'published');
  assert.equal(version.digest, digestOf(files));
  assert.equal(`sha256:${sha256(version.manifest)}`, version.digest);
  assertError(await put(draftOf(id, 1), 'README.md', Buffer.from('changed')), 'problem', 409, 'conflict');
  assertError(await put(draftOf(id, 1), 'more.md', Buffer.from('new')), 'problem', 409, 'conflict');
  assertError(await call('POST', `${draftOf(id, 1)}/publish`, { key: author.token }), 'problem', 409, 'conflict');
  assertError(await put(draftOf(id, 1), 'README.md', Buffer.from('mine'), { key: consumer.token }), 'problem', 403, 'forbidden');
  for (const path of [draftOf(id, 1), draftOf(id, 'main'), draftOf(id, version.digest), `/v1/versions/${version.digest}`]) {
    const seen = assertStatus(await call('GET', path), 200).json;
    assert.deepEqual([seen.digest, seen.manifest, seen.files.length], [version.digest, version.manifest, files.length], path);
  }
  assertStatus(await call('GET', draftOf(id, 2)), 404); // the broken draft is still the author's alone
  assertStatus(await call('PATCH', `/v1/models/${id}`, { key: author.token, body: { title: 'Another title' } }), 200);
  const listed = (await call('GET', '/v1/models')).json.data.find((one) => one.id === id);
  assert.deepEqual([listed.title, listed.digest, listed.version, listed.royalty.input], ['Another title', version.digest, 1, '700000000000001']);
});

test('files come back byte for byte, whole or in part', async () => {
  const { digest } = (await call('GET', draftOf(id, 1))).json;
  for (const { path, bytes } of files)
    for (const revision of ['main', '1', digest]) {
      const answer = assertStatus(await call('GET', `/${id}/resolve/${revision}/${path}`), 200);
      assert.deepEqual(answer.bytes, bytes, path);
      assert.equal(answer.headers.get('ETag'), `"${sha256(bytes)}"`);
    }
  const [{ path, bytes }] = files;
  const url = `/${id}/resolve/1/${path}`;
  const head = assertStatus(await call('HEAD', url), 200);
  assert.equal(head.bytes.length, 0);
  assert.equal(head.headers.get('Content-Length'), String(bytes.length));
  assert.equal(head.headers.get('ETag'), `"${sha256(bytes)}"`);
  const size = bytes.length;
  for (const [range, first, last] of [['bytes=0-0', 0, 0], ['bytes=10-19', 10, 19], ['bytes=-7', size - 7, size - 1], [`bytes=${size - 1}-`, size - 1, size - 1], ['bytes=5-99999999', 5, size - 1]]) {
    const part = assertStatus(await call('GET', url, { headers: { Range: range } }), 206);
    assert.equal(part.headers.get('Content-Range'), `bytes ${first}-${last}/${size}`);
    assert.deepEqual(part.bytes, bytes.subarray(first, last + 1), range);
  }
  const beyond = assertStatus(await call('GET', url, { headers: { Range: `bytes=${size}-` } }), 416);
  assert.equal(beyond.headers.get('Content-Range'), `bytes */${size}`);
  assert.equal(assertStatus(await call('GET', url, { headers: { 'If-None-Match': `"${sha256(bytes)}"` } }), 304).bytes.length, 0);
  for (const path of [`/${id}/resolve/1/none.txt`, `/${id}/resolve/3/${files[0].path}`, `/${id}/resolve/sha256:${'0'.repeat(64)}/${files[0].path}`])
    assert.equal((await call('GET', path)).status, 404, path);
});

/// What the engine itself says about these inputs, without a gateway.
async function engineRun(inputs) {
  const session = await ort.InferenceSession.create(`${folder}/${ONNX}`);
  const types = { FP32: ['float32', Float32Array.from], INT64: ['int64', (data) => BigInt64Array.from(data, BigInt)] };
  const feeds = Object.fromEntries(inputs.map(({ name, shape, datatype, data }) =>
    [name, new ort.Tensor(types[datatype][0], datatype === 'FP32' ? Float32Array.from(data) : types[datatype][1](data), shape)]));
  return session.run(feeds);
}

/// One window of a tone, as the network hears it; for the small model three numbers.
const inputs = real ? [
  { name: 'input', shape: [1, 512], datatype: 'FP32', data: Array.from({ length: 512 }, (_, i) => Math.fround(0.02 * Math.sin(i / 7) * Math.sin(i / 90))) },
  { name: 'state', shape: [2, 1, 128], datatype: 'FP32', data: Array.from({ length: 256 }, (_, i) => Math.fround(0.3 * Math.sin(i))) },
  { name: 'sr', shape: [], datatype: 'INT64', data: [16000] },
] : [{ name: 'x', shape: [3], datatype: 'FP32', data: [1, 2, 3] }];

test('a node fetches it, and a consumer runs it on real inputs under every spelling of its name', async () => {
  const { digest } = (await call('GET', draftOf(id, 1))).json;
  await waitFor('a node offers the version', async () => (await call('GET', '/v1/nodes')).json.data.some(({ offers }) => offers.some((offer) => offer.digest === digest && offer.state === 'ready')));
  const expected = await engineRun(inputs);
  const byAddress = `${author.address}/vad`;
  const spellings = [
    id, id.replace('/', '%2F'), byAddress, `${id}@1`, `${id}@${digest}`, `${id.replace('/', '%2F')}@${digest}`, `${id}/versions/1`, `${id.replace('/', '%2F')}/versions/${digest}`,
  ];
  const before = await balanceOf(consumer.key);
  let charged = 0n, royalties = 0n;
  for (const spelling of spellings) {
    const answer = assertStatus(await call('POST', `/v2/models/${spelling}/infer`, { key: consumer.key, body: { id: fresh, inputs } }), 200);
    assert.equal(answer.json.id, fresh);
    for (const { name, shape, data } of answer.json.outputs) {
      assert.deepEqual(shape, [...expected[name].dims], name);
      assert.deepEqual(Float32Array.from(data), expected[name].data.map((value) => value + 0), `${spelling}: ${name}`); // JSON.stringify writes -0 as 0
    }
    assert.equal(answer.json.outputs.length, Object.keys(expected).length);
    const { message } = JSON.parse(unbase64url(answer.headers.get('Opgate-Receipt')));
    assert.equal(message.modelDigest, `0x${digest.slice(7)}`);
    const job = await jobEnded(consumer.key, answer.headers.get('Opgate-Job'));
    assert.deepEqual([job.model, job.version, job.digest, job.verdict], [id, 1, digest, 'passed'], spelling);
    charged += splitOf(job).charged;
    assert.equal(splitOf(job).author, 700000000000001n, 'the royalty is the author\'s price');
    royalties += splitOf(job).author;
  }
  assert.equal(before.available - (await balanceOf(consumer.key)).available, charged);
  assert.equal((await balanceOf(author.token)).author, royalties, 'the author earned the royalties');
});

test('a name that pins nothing we have is 404', async () => {
  for (const spelling of [`${id}@2`, `${id}@7`, `${id}@sha256:${'0'.repeat(64)}`, `${id}@sha256:12`, `${id}@main2`, `${id}x`, `${id}/versions/9`, 'x%2Fy'])
    assertError(await call('POST', `/v2/models/${spelling}/infer`, { key: consumer.key, body: { inputs } }), 'oip', 404, 'model_not_found');
});

test('Open Inference Protocol: what there is, and what is wrong with these inputs', async () => {
  const meta = assertStatus(await call('GET', `/v2/models/${id}`), 200).json;
  assert.deepEqual([meta.name, meta.versions], [id, ['1']]);
  assert.deepEqual(assertStatus(await call('GET', `/v2/models/${id.replace('/', '%2F')}/ready`), 200).json, { name: id, ready: true });
  const before = await balanceOf(consumer.key);
  const infer = (body) => call('POST', `/v2/models/${id}/infer`, { key: consumer.key, body });
  assertError(await infer({}), 'oip', 400, 'bad_field');
  assertError(await infer({ inputs: {} }), 'oip', 400, 'bad_field');
  assertError(await infer({ inputs: [{ name: 'nothing', shape: [1], datatype: 'FP32', data: [1] }] }), 'oip', 400, 'bad_request');
  assertError(await infer({ inputs: inputs.map((one) => ({ ...one, data: one.data.slice(1) })) }), 'oip', 400, 'bad_request');
  assert.deepEqual(await balanceOf(consumer.key), before, 'nothing was charged');
});

test('a language model of the author streams token by token for the consumer', async () => {
  llama = await author.api.modelPublish({
    name: 'llama', title: 'Llama', description: '', surface: 'chat', price: { input: '3', output: '5' }, max_output_tokens: 1000,
    files: [{ path: GGUF, bytes: bytesOf(GGUF) }, files[1]],
  });
  assert.equal(llama.digest, digestOf([{ path: GGUF, bytes: bytesOf(GGUF) }, files[1]]));
  await waitFor('a node offers it', async () => (await author.api.offerCount(llama.id)) > 0);
  const response = await fetch(`${dev.base_url}/v1/chat/completions`, {
    method: 'POST', headers: { Authorization: `Bearer ${consumer.key}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({ model: llama.id, max_tokens: 1000, temperature: 1, stream: true, messages: [{ role: 'user', content: 'This program is free software' }] }),
  });
  assert.equal(response.status, 200);
  const text = await response.text();
  const events = text.split('\n\n').filter((event) => event.startsWith('data: {')).map((event) => JSON.parse(event.slice(6)));
  const words = events.map(({ choices }) => choices[0]?.delta.content ?? '').filter(Boolean);
  const job = await jobEnded(consumer.key, response.headers.get('Opgate-Job'));
  assert.ok(words.length > 3 && words.length >= job.usage.output_units / 2, `${words.length} pieces of ${job.usage.output_units} tokens`);
  const receipt = (await call('GET', `/v1/jobs/${job.id}/receipt`, { key: consumer.key })).json;
  assert.equal(receipt.message.modelDigest, `0x${llama.digest.slice(7)}`);
  const { author: royalty } = splitOf(job);
  assert.equal(royalty, 3n * BigInt(job.usage.input_units) + 5n * BigInt(job.usage.output_units));
});

test('what no engine can read is never offered, and everything else goes on', async () => {
  const tensor = { title: '', description: '', surface: 'tensor', price: { input: '1' } };
  const broken = await author.api.modelPublish({ ...tensor, name: 'broken', files: [{ path: 'model.onnx', bytes: randomBytes(4000) }] });
  const sound = await author.api.modelPublish({ ...tensor, name: 'sound', files: [{ path: 'model.onnx', bytes: fs.readFileSync(inRoot('examples/models/adder.onnx')) }, files[1]] });
  await waitFor('both nodes offer what came after it', async () => (await author.api.offerCount(sound.id)) === dev.nodes.length);
  assert.equal(await author.api.offerCount(broken.id), 0);
  assertError(await call('POST', `/v2/models/${broken.id}/infer`, { key: consumer.key, body: { inputs: [] } }), 'oip', 503, 'no_node');
  const good = await call('POST', `/v2/models/${sound.id}/infer`, { key: consumer.key, body: { inputs: [{ name: 'x', shape: [1], datatype: 'FP32', data: [3] }] } });
  assert.deepEqual(assertStatus(good, 200).json.outputs[0].data, [7]);
});

const sanitized = fs.readFileSync(opgateBinary()).includes('__asan_init');

test('a large file is hashed while it comes, and never whole in memory', { skip: sanitized && 'freed memory stays in quarantine under ASan' }, async () => {
  const peak = () => Number(/VmHWM:\s+([0-9]+)/.exec(fs.readFileSync(`/proc/${dev.pids.gateway}/status`, 'latin1'))[1]) * 1024;
  const size = 64 << 20;
  const block = randomBytes(1 << 20);
  const hash = createHash('sha256');
  const source = (async function* () {
    for (let i = 0; i < size >> 20; i++) {
      hash.update(block);
      yield block;
    }
  })();
  const before = peak();
  const response = await fetch(`${dev.base_url}${draftOf(id, 2)}/files/large.bin`, {
    method: 'PUT', body: source, duplex: 'half', headers: { Authorization: `Bearer ${author.token}`, 'Content-Type': 'application/octet-stream' },
  });
  assert.equal(response.status, 201);
  assert.deepEqual(await response.json(), { path: 'large.bin', size, sha256: hash.digest('hex') });
  assert.ok(peak() - before < 16 << 20, `the gateway grew by ${(peak() - before) >> 20} MiB`);
});

test('the books hold', assertBooks);

test('another price is another version, with a file changed; the same files are refused by the name of what has them', async () => {
  const numberOf = async (price) => assertStatus(await call('POST', `/v1/models/${id}/versions`, { key: author.token, body: { surface: 'tensor', price } }), 201).json.version;
  assertError(await call('PATCH', `/v1/models/${id}`, { key: author.token, body: { price: { input: '5' } } }), 'problem', 400, 'unknown_field');
  const dearer = draftOf(id, await numberOf({ input: '700000000000002' }));
  for (const { path, bytes } of files) assertStatus(await put(dearer, path, bytes), 201);
  const refused = assertError(await call('POST', `${dearer}/publish`, { key: author.token }), 'problem', 409, 'conflict');
  assert.ok(refused.detail.startsWith(`${id}@1 has exactly these files; change or add one`), refused.detail);
  assertStatus(await put(dearer, 'README.md', Buffer.from(`# ${fresh}, dearer\n`)), 201);
  assertStatus(await call('POST', `${dearer}/publish`, { key: author.token }), 200);
  const royaltyOf = async (ref) => assertStatus(await call('GET', ref), 200).json.price.input;
  assert.deepEqual([await royaltyOf(draftOf(id, 1)), await royaltyOf(dearer)], ['700000000000001', '700000000000002']);
});
