// The measurements behind docs/OPERATIONS.md, each part on a stack of its own that is gone afterwards; see tests/bench/run.
//   http: the gateway's whole paid path next to nginx in front of the same node    lane: the ledger next to pgbench
//   x402: wallets that pay for each request, next to the official stack; BENCH_ROUNDS=5 rounds of each case
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Api } from '../../script/lib/api.mjs';
import { inRoot, inVar, varFolder } from '../../script/lib/paths.mjs';
import { Procs } from '../../script/lib/procs.mjs';
import { stackDown, stackUp } from '../../script/lib/stack.mjs';
import { httpOk, portsFree, progress, waitFor } from '../../script/lib/wait.mjs';
import { median, output, row, runs, RUNS, SECONDS, wrk } from './measure.mjs';
import { BenchNode } from './node.mjs';
import { x402, x402Case, x402Cases, x402Verdicts } from './x402.mjs';

const BIN = path.resolve(process.env.BENCH_BIN ?? inRoot('build/bench'));
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5);
const parts = process.argv.length > 2 ? process.argv.slice(2) : ['http', 'lane', 'x402'];
if (parts.some((part) => !['http', 'lane', 'x402'].includes(part))) {
  console.error('usage: tests/bench/run [http] [lane] [x402]');
  process.exit(2);
}

// 300 bytes of tensor.
const data = Array.from({ length: 115 }, () => 1).join();
const BODY = `{"inputs":[{"name":"x","shape":[115],"datatype":"FP32","data":[${data}]}]}`.padEnd(300);

const rates = {};
async function measure(name, once, groups) {
  const all = await runs(once, groups);
  rates[name] = { rate: median(all.map((one) => one.rate)), p50: median(all.map((one) => one.p50)) };
  console.log(row(name, all));
}

function header(title) {
  console.log(`\n${title}\n\n| case | per second | p50 us | p99 us | processor us each |\n|---|---|---|---|---|`);
}

async function nginxStart(procs, [port, node_port]) {
  const folder = inVar('nginx');
  fs.mkdirSync(folder, { recursive: true });
  fs.chmodSync(varFolder(), 0o755);
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${folder}/${kind};`).join('\n  ');
  fs.writeFileSync(path.join(folder, 'nginx.conf'), `
daemon off; worker_processes 2; pid ${folder}/pid; error_log ${folder}/error.log; events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 100000000; client_body_buffer_size 16k; ${temp}
  upstream node { server 127.0.0.1:${node_port}; keepalive 128; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:${port} reuseport;
    location = /ok { return 200 "ok"; }
    location / { proxy_pass http://node; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}`);
  const nginx = ['/usr/sbin/nginx', '/usr/bin/nginx'].find((file) => fs.existsSync(file));
  await procs.start('nginx', { file: nginx, args: ['-e', `${folder}/error.log`, '-c', `${folder}/nginx.conf`], stop_signal: 'SIGTERM' });
  await waitFor('nginx answers', () => httpOk(`http://127.0.0.1:${port}/ok`), { alive: () => procs.demand('nginx') });
}

/// A tensor and a chat model, served by bench_node alone: the stack's nodes are stopped. Its answers are tensors for both.
async function modelsPublish(author) {
  const file = (name) => ({ path: name, bytes: fs.readFileSync(inRoot('examples/models', name)) });
  const readme = { path: 'README.md', bytes: Buffer.from('For the bench.\n') };
  const about = { title: 'Bench', description: 'For measuring.', price: { input: '500', output: '0' } };
  return {
    tensor: await author.modelPublish({ ...about, name: 'bench', surface: 'tensor', price: { input: '500' }, files: [file('adder.onnx'), readme] }),
    chat: await author.modelPublish({ ...about, name: 'bench-chat', surface: 'chat', max_output_tokens: 10, files: [file('tiny-llama-q8_0.gguf'), readme] }),
  };
}

/// A node that answers at once, and what it serves: {node, models, pid}.
async function nodeStart(dev, procs) {
  const [port] = await portsFree(1);
  const api = new Api(dev.base_url);
  const node = new BenchNode(api, { ...dev, operator_key: dev.accounts.find(({ role }) => role === 'operator').private_key, url: `http://127.0.0.1:${port}` });
  fs.writeFileSync(inVar('keys/bench.key'), node.private_key.slice(2), { mode: 0o600 });
  await procs.start('bench-node', { file: path.join(BIN, 'bench_node'), args: [String(port), inVar('keys/bench.key'), String(dev.chain_id), node.profile_hash] });
  await waitFor('bench_node answers', () => httpOk(node.url), { alive: () => procs.demand('bench-node') });
  const models = await modelsPublish(api.as(dev.api_keys.author));
  await node.register();
  await node.offer(Object.values(models).map(({ digest }) => digest));
  return { node, models };
}

async function http(dev, procs, serving) {
  const [nginx_port] = await portsFree(1);
  const { node, models: { tensor: model } } = serving;
  const api = new Api(dev.base_url);
  await nginxStart(procs, [nginx_port, new URL(node.url).port]);

  const nginx_url = `http://127.0.0.1:${nginx_port}`;
  const json = { 'Content-Type': 'application/json' };
  const post = { method: 'POST', body: BODY, headers: json };
  const signed = { ...post, headers: { ...json, 'Opgate-Ticket': await node.ticket(model.digest) } };
  const paid = { ...post, url: `${dev.base_url}/v2/models/${model.id}/infer`, headers: { ...json, Authorization: `Bearer ${dev.api_keys.consumer}` } };
  const pid = (name) => procs.list[name].pid;
  const [nginx, upstream, gateway, postgres] = ['nginx', 'bench-node', 'gateway', 'postgres'].map(pid);
  for (const c of [64, 1]) {
    header(`${c} connection${c > 1 ? 's' : ''}, ${RUNS} runs of ${SECONDS} s (min/median/max)`);
    const at = (request) => (seconds) => wrk(c, seconds, request);
    await measure(`nginx return 200, c=${c}`, at({ url: `${nginx_url}/ok` }), { nginx });
    await measure(`opgate GET /livez, c=${c}`, at({ url: `${dev.base_url}/livez` }), { opgate: gateway });
    await measure(`nginx proxy, c=${c}`, at({ ...post, url: `${nginx_url}/infer` }), { nginx, node: upstream });
    await measure(`nginx proxy, node signs, c=${c}`, at({ ...signed, url: `${nginx_url}/infer` }), { nginx, node: upstream });
    await measure(`opgate paid inference, c=${c}`, at(paid), { opgate: gateway, postgres, node: upstream });
    const [ours, theirs] = [rates[`opgate paid inference, c=${c}`], rates[`nginx proxy, node signs, c=${c}`]];
    console.log(`\nopgate / nginx proxy, both with a node that signs: rate ${(ours.rate / theirs.rate).toFixed(3)}, p50 +${ours.p50 - theirs.p50} us`);
    console.log(`opgate /livez / nginx return 200: rate ${(rates[`opgate GET /livez, c=${c}`].rate / rates[`nginx return 200, c=${c}`].rate).toFixed(2)}`);
  }
  const books = await api.reconciliation();
  if (!books.ok) throw new Error(`the books do not hold: ${JSON.stringify(books)}`);
}

async function lane(dev, procs) {
  const bench_lane = path.join(BIN, 'bench_lane');
  const url = dev.database_url.replace(/[^/]*$/, 'bench');
  const postgres = procs.list.postgres.pid;
  await output(bench_lane, ['setup', dev.database_url, 'bench', url]);
  header(`Hold and capture, 10 000 payers, ${RUNS} runs of ${SECONDS} s (min/median/max)`);
  const pgbench = (clients) => async (seconds) => {
    const text = await output('pgbench', ['-n', '-M', 'prepared', '-j', '2', '-c', String(clients), '-T', String(seconds), '-l', '--log-prefix', inVar(`pgbench-${clients}`),
      '-f', inRoot('tests/bench/pair.sql'), url],
    { env: { ...process.env, PGOPTIONS: '-c plan_cache_mode=force_generic_plan' } }); // or a short run is mostly planning
    const files = fs.readdirSync(varFolder()).filter((name) => name.startsWith(`pgbench-${clients}.`)).map((name) => inVar(name));
    const times = files.flatMap((file) => fs.readFileSync(file, 'utf8').trim().split('\n')).map((line) => Number(line.split(' ')[2])).sort((a, b) => a - b);
    for (const file of files) fs.rmSync(file);
    const requests = Number(/actually processed: (\d+)/.exec(text)[1]);
    const tps = Number(/tps = ([\d.]+)/.exec(text)[1]);
    const bad = Number(/failed transactions: (\d+)/.exec(text)[1]);
    return { requests, us: (requests / tps) * 1e6, bad, p50: times[Math.floor(times.length / 2)], p99: times[Math.floor(times.length * 0.99)] };
  };
  for (const clients of [1, 8, 64]) {
    await measure(`pgbench, ${clients} clients`, pgbench(clients), { postgres });
    await measure(`opgate lane, ${clients} threads`, async (seconds) => JSON.parse(await output(bench_lane, ['run', url, String(seconds), String(clients)])), { postgres });
  }
  await output(bench_lane, ['check', url]);
  console.log('');
  for (const clients of [1, 8, 64])
    console.log(`lane / pgbench, ${clients} at once: rate ${(rates[`opgate lane, ${clients} threads`].rate / rates[`pgbench, ${clients} clients`].rate).toFixed(2)}`);
}

/// Wallets and no account. The same bytes are asked for on every route; a chat model is asked only because `upto` is for those.
async function wallets(dev, procs, { models }, which_case) {
  const chat = JSON.stringify({ model: models.chat.id, max_tokens: 1, messages: [{ role: 'user', content: 'x'.repeat(200) }] });
  const pid = (name) => procs.list[name].pid;
  const its_runs = await x402(dev, {
    gateway: pid('gateway'), postgres: pid('postgres'), anvil: pid('anvil'),
    urlOf: (which) => `${dev.base_url}${which === 'upto' ? '/v1/chat/completions' : `/v2/models/${models.tensor.id}/infer`}`,
    bodyOf: (which) => (which === 'upto' ? chat : BODY),
  }, which_case);
  await waitFor('every payment is booked', async () => (await new Api(dev.base_url).reconciliation()).ok);
  return its_runs;
}

let interrupted = false;
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => { interrupted = true; });

/// Works on a stack that is gone afterwards.
async function onStack(serves, work) {
  if (interrupted) return null;
  process.env.OPGATE_VAR = fs.mkdtempSync(path.join(os.tmpdir(), 'opgate-bench-'));
  let serving;
  try {
    const { dev } = await stackUp();
    const procs = new Procs(varFolder());
    for (const name of ['node-a', 'node-b']) await procs.stop(name);
    if (serves) serving = await nodeStart(dev, procs);
    return await work(dev, procs, serving);
  } finally {
    progress('stopping');
    serving?.node.stop();
    const procs = new Procs(varFolder());
    for (const name of ['nginx', 'bench-node']) await procs.stop(name);
    await stackDown();
    fs.rmSync(varFolder(), { recursive: true, force: true });
  }
}

const STOLEN_MAX = 0.1;

/// A round during which others took much of the machine says nothing of the two that are compared: it is made again, for a while.
async function roundsOf(once) {
  const rounds = [];
  for (let tries = 0; rounds.length < ROUNDS && !interrupted; tries++) {
    const round = await once();
    if (!round) break;
    const again = round.stolen > STOLEN_MAX && tries < 3 * ROUNDS;
    if (round.stolen > STOLEN_MAX) progress(`${again ? 'once more' : 'counted all the same'}: others took ${(round.stolen * 100).toFixed(0)}% of the processors`);
    if (!again) rounds.push(round);
  }
  return rounds;
}

try {
  console.log(`${os.cpus().length} processors (${os.cpus()[0].model.trim()}), load ${os.loadavg()[0].toFixed(1)} before`);
  for (const part of parts.filter((name) => name !== 'x402')) await onStack(part === 'http', { http, lane }[part]);
  if (parts.includes('x402')) {
    const all = [];
    for (const one of x402Cases) {
      const rounds = await roundsOf(() => onStack(true, (dev, procs, serving) => wallets(dev, procs, serving, one)));
      if (!interrupted) all.push(x402Case(one, rounds));
    }
    if (!interrupted) x402Verdicts(all);
  }
  console.log(`\nload ${os.loadavg()[0].toFixed(1)} after`);
} catch (error) {
  console.error(`bench: ${error.message}`);
  process.exitCode = 1;
}
