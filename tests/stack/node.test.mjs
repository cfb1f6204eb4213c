// What a node says about itself to an operator who made a mistake: the agent against a gateway that is three lines long.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { environmentClean } from '../../script/lib/procs.mjs';
import { opgateBinary, opgateRun } from '../../script/lib/stack.mjs';
import { portsFree, waitFor } from '../../script/lib/wait.mjs';

const LISTED = { id: 'ada/tiny', version: 1, surface: 'chat', digest: `sha256:${'1'.repeat(64)}` };

/// Takes registrations, offers and heartbeats from anybody; its list is what `models` says, or an error.
async function gatewayStart(t, state) {
  const server = http.createServer((request, answer) => {
    request.resume();
    const list = request.url.startsWith('/v1/models');
    const failing = list && !state.models;
    answer.writeHead(failing ? 503 : 200, { 'Content-Type': 'application/json' });
    answer.end(JSON.stringify(failing ? {} : list ? { object: 'list', data: state.models, has_more: false } : {}));
    if (list) state.asked = (state.asked ?? 0) + 1;
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => { server.closeAllConnections(); server.close(); });
  return `http://127.0.0.1:${server.address().port}`;
}

/// The agent with these settings; `events(name)` are its log lines of that name.
async function nodeStart(t, gateway_url, settings) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'opgate-node-'));
  for (const name of ['node', 'operator']) opgateRun('keygen', '--out', path.join(folder, `${name}.key`));
  const all = {
    gateway_url, gateway_address: `0x${'2'.repeat(40)}`, chain_id: 84532, node_key_file: path.join(folder, 'node.key'),
    operator_key_file: path.join(folder, 'operator.key'), data_dir: path.join(folder, 'data'), poll_ms: 50, ...settings,
  };
  fs.mkdirSync(all.data_dir);
  fs.writeFileSync(path.join(folder, 'node.conf'), Object.entries(all).map(([name, value]) => `${name} = ${value}\n`).join(''));
  const child = spawn(opgateBinary(), ['node', '--config', path.join(folder, 'node.conf')], { stdio: ['ignore', 'ignore', 'pipe'], env: environmentClean() });
  let log = '';
  child.stderr.on('data', (data) => { log += data; });
  t.after(async () => {
    const gone = new Promise((resolve) => child.once('exit', resolve));
    if (child.exitCode === null && child.kill('SIGKILL')) await gone;
    fs.rmSync(folder, { recursive: true, force: true });
  });
  const alive = () => assert.equal(child.exitCode, null, log);
  const events = (name) => log.split('\n').slice(0, -1).map((line) => JSON.parse(line)).filter(({ event }) => event === name);
  await waitFor('the node is registered', () => events('node.registered').length === 1, { alive });
  return { events, alive, log: () => log };
}

test('a model in `serve` that the gateway does not have is named, once', async (t) => {
  const [nowhere] = await portsFree(1);
  const state = { models: null };
  const gateway = await gatewayStart(t, state);
  const pinned = `ada/tiny@sha256:${'1'.repeat(64)}`;
  const node = await nodeStart(t, gateway, { serve: `ada/tiny, ada/typo, ${pinned}, ada/tiny@2`, chat_backend_url: `http://127.0.0.1:${nowhere}` });
  const asked = (more) => {
    const from = state.asked ?? 0;
    return waitFor('the list is asked for', () => state.asked >= from + more, { alive: node.alive });
  };
  await asked(3);
  assert.deepEqual(node.events('version.unknown'), [], 'a list that cannot be read says nothing');
  state.models = [LISTED];
  await waitFor('the typo is said', () => node.events('version.unknown').length > 0, { alive: node.alive });
  await asked(3);
  assert.deepEqual(node.events('version.unknown').map(({ model }) => model), ['ada/typo', 'ada/tiny@2'], node.log());
  state.models = [LISTED, { ...LISTED, id: 'ada/typo', digest: `sha256:${'3'.repeat(64)}` }];
  await waitFor('it is served once it is published', () => node.events('backend.awaited').some(({ model }) => model === 'ada/typo'), { alive: node.alive });
});

test('a backend that runs already is awaited, not started, and missed where it does not answer', async (t) => {
  const [nowhere] = await portsFree(1);
  const node = await nodeStart(t, await gatewayStart(t, { models: [LISTED] }), {
    serve: 'ada/tiny', chat_backend_url: `http://127.0.0.1:${nowhere}`, backend_start_timeout_ms: 200,
  });
  await waitFor('it is missed', () => node.events('backend.not_ready').length > 0, { alive: node.alive });
  const [awaited] = node.events('backend.awaited');
  assert.deepEqual([awaited.model, awaited.url, 'pid' in awaited], ['ada/tiny', `http://127.0.0.1:${nowhere}`, false]);
  assert.equal(node.events('backend.not_ready')[0].url, awaited.url);
  assert.deepEqual(node.events('backend.started'), []);
  assert.deepEqual(node.events('version.unknown'), []);
});
