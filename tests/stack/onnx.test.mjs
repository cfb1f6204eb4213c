// The reference ONNX backend, over HTTP, with our own model and with a real network from elsewhere.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { inRoot } from '../../script/lib/paths.mjs';
import { backendStart, missing, processStart, sharedData } from './helpers.mjs';

/// A folder with exactly one model file, as a node agent prepares it; removed when the test ends.
function modelFolder(t, file) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'opgate-model-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  fs.symlinkSync(file, path.join(folder, path.basename(file)));
  return folder;
}

async function call(url, body) {
  const options = body === undefined ? {} : { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body) };
  const response = await fetch(url, options);
  return { status: response.status, body: await response.json() };
}

test('adder', async (t) => {
  const { url, child } = await backendStart(t, 'onnx.mjs', modelFolder(t, inRoot('examples/models/adder.onnx')));
  const infer = `${url}/v2/models/demo%2Fadder/infer`;
  const x = (more = {}) => ({ inputs: [{ name: 'x', shape: [3], datatype: 'FP32', data: [1, 2, -0.5], ...more }] });

  await t.test('tells what it is', async () => {
    assert.equal((await call(`${url}/v2`)).body.name, 'opgate-onnx');
    for (const route of ['/v2/health/live', '/v2/health/ready', '/v2/models/m/ready', '/v2/models/m/versions/1/ready'])
      assert.equal((await call(url + route)).status, 200, route);
    const { body } = await call(`${url}/v2/models/demo%2Fadder/versions/7`);
    assert.equal(body.name, 'demo/adder');
    assert.deepEqual(body.inputs, [{ name: 'x', datatype: 'FP32', shape: [-1] }]);
    assert.deepEqual(body.outputs, [{ name: 'y', datatype: 'FP32', shape: [-1] }]);
  });
  await t.test('computes y = 2x + 1', async () => {
    const y = [{ name: 'y', datatype: 'FP32', shape: [3], data: [3, 5, 0] }];
    assert.deepEqual(await call(infer, { id: 'a', ...x() }), { status: 200, body: { model_name: 'demo/adder', id: 'a', outputs: y } });
    assert.deepEqual((await call(infer, { ...x({ data: [[1], [2, [-0.5]]] }), outputs: [{ name: 'y' }] })).body.outputs, y);
  });
  for (const [what, body] of [
    ['no JSON', '{'], ['no object', '[]'], ['no inputs', {}], ['an input missing', { inputs: [] }],
    ['a null input', { inputs: [null] }], ['an unknown input', x({ name: 'z' })], ['another datatype', x({ datatype: 'INT64' })],
    ['an unknown datatype', x({ datatype: 'toString' })], ['a wrong shape', x({ shape: [4] })],
    ['a negative shape', x({ shape: [-3] })], ['a rank the model lacks', x({ shape: [3, 1, 1], data: [1, 2, 'x'] })],
    ['an input twice', { inputs: [...x().inputs, ...x().inputs] }], ['an unknown output', { ...x(), outputs: [{ name: 'q' }] }],
    ['a numeric id', { id: 1, ...x() }],
  ])
    await t.test(`refuses ${what}`, async () => {
      const { status, body: answer } = await call(infer, body);
      assert.equal(status, 400);
      assert.equal(typeof answer.error, 'string');
    });
  await t.test('has no other routes', async () => {
    assert.equal((await call(`${url}/v3`)).status, 404);
    assert.equal((await call(infer)).status, 405);
  });
  await t.test('ends when its parent lets go', async () => {
    child.stdin.end();
    assert.deepEqual(await child.exited, { code: 0, signal: null });
  });
});

test('limits, and SIGTERM', async (t) => {
  const folder = modelFolder(t, inRoot('examples/models/adder.onnx'));
  const { url, child } = await backendStart(t, 'onnx.mjs', folder, ['--stay', '--max-body', '100']);
  assert.equal((await call(`${url}/v2/models/m/infer`, ' '.repeat(101))).status, 413);
  child.stdin.end(); // --stay: not the end
  assert.equal((await call(`${url}/v2/health/live`)).status, 200);
  child.kill('SIGTERM');
  assert.deepEqual(await child.exited, { code: 0, signal: null });
});

test('a folder without a model', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'opgate-model-'));
  t.after(() => fs.rmdirSync(folder));
  const child = processStart(t, process.execPath, [inRoot('examples/backends/onnx.mjs'), '--model', folder, '--port', '1']);
  assert.equal((await child.exited).code, 1);
  assert.match(child.errors, /expected one \.onnx file, found 0/);
});

const silero = sharedData('models', 'silero_vad.onnx');
test('a real speech detector', { skip: missing(silero) }, async (t) => {
  const { url } = await backendStart(t, 'onnx.mjs', modelFolder(t, silero));
  const zeros = (count) => Array(count).fill(0);
  const body = (sr) => ({
    inputs: [
      { name: 'input', shape: [1, 512], datatype: 'FP32', data: [zeros(512)] },
      { name: 'state', shape: [2, 1, 128], datatype: 'FP32', data: zeros(256) },
      { name: 'sr', shape: [], datatype: 'INT64', data: sr },
    ],
  });
  for (const sr of [[16000], ['16000']]) {
    const { status, body: answer } = await call(`${url}/v2/models/m/infer`, body(sr));
    assert.equal(status, 200, answer.error);
    const [speech, state] = answer.outputs;
    assert.deepEqual([speech.name, speech.shape, state.name, state.shape], ['output', [1, 1], 'stateN', [2, 1, 128]]);
    assert.ok(speech.data[0] > 0 && speech.data[0] < 0.5, `silence is not speech: ${speech.data[0]}`);
    assert.equal(state.data.length, 256);
  }
  for (const sr of [[1.5], [2 ** 53], ['x'], ['9223372036854775808'], [true], []])
    assert.equal((await call(`${url}/v2/models/m/infer`, body(sr))).status, 400, JSON.stringify(sr));
});
