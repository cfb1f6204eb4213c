// What operators and tools ask: health, metrics, the OpenAPI document (and whether the answers are what it says), the web
// page, and the command line.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { before, test } from 'node:test';
import {
  accountMake, adderBody, assertBooks, assertError, assertStatus, call, depositSend, dev, folderMake, inVar, jobEnded, mine, modelOf, OPG, opgate, sql, uuid, waitFor,
} from './stack.mjs';

const adder = modelOf('tensor');
const known_profile = sql('SELECT \'0x\' || encode(profile_hash, \'hex\') FROM offer LIMIT 1')[0][0];
let payer, author, job, made_key, openapi;

before(async () => {
  [payer, author] = [await accountMake({ opg: OPG }), await accountMake()];
  const answer = assertStatus(await call('POST', `/v2/models/${adder.id}/infer`, { key: payer.key, body: adderBody(1), headers: { 'Idempotency-Key': uuid() } }), 200); // with a key its answer is kept
  job = await jobEnded(payer.key, answer.headers.get('Opgate-Job'));
  openapi = (await call('GET', '/openapi.json')).json;
});

test('it lives, it is ready, and says so', async () => {
  assert.deepEqual(assertStatus(await call('GET', '/livez'), 200).json, { status: 'ok' });
  assert.deepEqual(assertStatus(await call('GET', '/readyz'), 200).json, { status: 'ok', checks: { database: true, reconciliation: true, x402: true } });
  assert.deepEqual(assertStatus(await call('GET', '/v2/health/live'), 200).json, { live: true });
  assert.deepEqual(assertStatus(await call('GET', '/v2/health/ready'), 200).json, { ready: true });
  assert.equal(assertStatus(await call('GET', '/v2'), 200).json.name, 'opgate');
  assert.equal(assertStatus(await call('HEAD', '/livez'), 200).bytes.length, 0);
  const about = assertStatus(await call('GET', '/v1/gateway'), 200).json;
  assert.deepEqual([about.address, about.chain_id, about.opg_token, about.treasury, about.base_url], [dev.gateway_address, dev.chain_id, dev.opg_token, dev.treasury, dev.base_url]);
});

/// Prometheus' text format, strictly: {name: value}, and every sample described before it comes.
async function metricsRead() {
  const answer = assertStatus(await call('GET', '/metrics'), 200);
  assert.match(answer.headers.get('Content-Type'), /^text\/plain; version=0\.0\.4/);
  const text = answer.bytes.toString();
  assert.ok(text.endsWith('\n'));
  const [samples, types, helps] = [{}, {}, {}];
  for (const line of text.trimEnd().split('\n')) {
    const about = /^# (HELP|TYPE) ([a-z_][a-z0-9_]*) (.+)$/.exec(line);
    if (about) {
      const into = about[1] === 'TYPE' ? types : helps;
      assert.ok(!(about[2] in into), `${line}: twice`);
      into[about[2]] = about[3];
      continue;
    }
    const sample = /^([a-z_][a-z0-9_]*)(\{[^}]*\})? (-?[0-9.]+(?:e[+-]?[0-9]+)?)$/.exec(line);
    assert.ok(sample, `no sample: ${line}`);
    const family = sample[1].replace(/_(bucket|sum|count)$/, '');
    assert.ok(['counter', 'gauge', 'histogram'].includes(types[sample[1]] ?? types[family]), `${line}: no type`);
    assert.ok(helps[sample[1]] ?? helps[family], `${line}: no help`);
    samples[sample[1] + (sample[2] ?? '')] = Number(sample[3]);
  }
  return samples;
}

test('metrics count what happens', async () => {
  const before = await metricsRead();
  assertStatus(await call('POST', `/v2/models/${adder.id}/infer`, { key: payer.key, body: adderBody(1) }), 200);
  assertStatus(await call('POST', `/v2/models/${adder.id}/infer`, { key: payer.key, body: { inputs: [{ name: 'z' }] } }), 400);
  await depositSend(payer, 5n);
  await mine(2);
  await waitFor('the deposit is counted', async () => (await metricsRead()).opgate_deposits_credited_total === before.opgate_deposits_credited_total + 1);
  const after = await metricsRead();
  const moved = (name) => after[`opgate_${name}`] - before[`opgate_${name}`];
  assert.deepEqual([moved('jobs_started_total'), moved('jobs_settled_total'), moved('jobs_voided_total')], [2, 1, 1]);
  assert.ok(moved('http_requests_total') >= 3);
  assert.deepEqual([moved('http_5xx_total'), moved('verdict_failed_total'), after.opgate_reconciliation_ok, after.opgate_jobs_running], [0, 0, 1, 0]);
});

// ---- the document ----

const resolve = (node) => (node.$ref ? node.$ref.slice(2).split('/').reduce((at, name) => at[name], openapi) : node);
const typeOf = (value) => (value === null ? 'null' : Array.isArray(value) ? 'array' : Number.isInteger(value) ? 'integer' : typeof value);

/// What is wrong with the value under the schema: a list of places; the part of JSON Schema that the document uses.
function wrongs(value, given, at = '') {
  const schema = resolve(given);
  if (schema.anyOf) return schema.anyOf.some((one) => wrongs(value, one, at).length === 0) ? [] : [`${at}: none of the alternatives`];
  const found = (schema.allOf ?? []).flatMap((one) => wrongs(value, one, at));
  const type = typeOf(value);
  const types = [schema.type ?? []].flat();
  if (types.length && !types.includes(type) && !(type === 'integer' && types.includes('number'))) return [...found, `${at}: ${type} is not ${types}`];
  if (schema.enum && !schema.enum.includes(value)) found.push(`${at}: ${value} is not one of ${schema.enum}`);
  if ('const' in schema && schema.const !== value) found.push(`${at}: ${value} is not ${schema.const}`);
  if (type === 'string' && schema.pattern && !new RegExp(schema.pattern, 'u').test(value)) found.push(`${at}: ${value} does not match ${schema.pattern}`);
  if (type === 'string' && schema.format === 'date-time' && !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(value)) found.push(`${at}: ${value} is no time`);
  if (type === 'integer' && (value < schema.minimum || value > schema.maximum)) found.push(`${at}: ${value} is out of range`);
  if (type === 'array' && schema.items) value.forEach((one, i) => found.push(...wrongs(one, schema.items, `${at}[${i}]`)));
  if (type === 'object') {
    for (const name of schema.required ?? []) if (!(name in value)) found.push(`${at}.${name}: missing`);
    for (const [name, one] of Object.entries(value))
      if (schema.properties?.[name]) found.push(...wrongs(one, schema.properties[name], `${at}.${name}`));
      else if (schema.additionalProperties === false) found.push(`${at}.${name}: not described`);
  }
  return found;
}

/// The answer is one that the document describes for this operation.
function assertDescribed(pattern, method, answer) {
  const { responses } = openapi.paths[pattern][method.toLowerCase()];
  const response = resolve(responses[answer.status] ?? assert.fail(`${method} ${pattern}: ${answer.status} is not described: ${answer.bytes}`));
  if (!response.content) return assert.equal(answer.bytes.length, 0, `${method} ${pattern}: a body is not described`);
  const type = answer.headers.get('Content-Type').split(';')[0];
  const content = response.content[type] ?? response.content['*/*'];
  assert.ok(content, `${method} ${pattern}: ${answer.status} as ${type} is not described`);
  if (content.schema && /json$/.test(type)) assert.deepEqual(wrongs(answer.json, content.schema), [], `${method} ${pattern}: ${answer.bytes.toString().slice(0, 600)}`);
}

test('the document is whole: every reference leads somewhere', () => {
  assert.match(openapi.openapi, /^3\.1\./);
  assert.ok(openapi.info.title && openapi.info.version);
  const ids = new Set();
  const walk = (node, at) => {
    if (node === null || typeof node !== 'object') return;
    if (typeof node.$ref === 'string') assert.ok(resolve(node), `${at}: ${node.$ref} leads nowhere`);
    for (const [name, one] of Object.entries(node)) walk(one, `${at}/${name}`);
  };
  walk(openapi, '#');
  for (const [pattern, operations] of Object.entries(openapi.paths))
    for (const [method, { operationId, summary, parameters = [], security, responses }] of Object.entries(operations)) {
      const what = `${method} ${pattern}`;
      assert.ok(operationId && !ids.has(operationId), `${what}: operationId`);
      ids.add(operationId);
      assert.ok(summary && Array.isArray(security) && responses.default, what);
      const named = [...pattern.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      assert.deepEqual(parameters.filter((one) => one.in === 'path').map(({ name }) => name).toSorted(), named.toSorted(), `${what}: path parameters`);
    }
  assert.ok(ids.size >= 45, `${ids.size} operations`);
  assert.deepEqual(new Set(openapi.components.schemas.ErrorCode.enum).has('insufficient_funds'), true);
});

/// Values that make a route answer with something real.
async function pathOf(pattern) {
  const values = {
    '/v1/models/{model}': { model: adder.id.replace('/', '%2F') }, '/v1/keys/{id}': { id: made_key }, '/assets/{file}': { file: 'style.css' }, '/v1/profiles/{hash}': { hash: known_profile },
  };
  const [owner, name] = pattern.startsWith('/v1/models/{author}') && author.model ? author.model.split('/') : adder.id.split('/');
  const usual = {
    author: owner, name, model: adder.id, version: '1', revision: 'main', path: pattern.includes('/resolve/') ? 'adder.onnx' : 'notes.txt', address: job.node, digest: adder.digest, id: job.id, ...values[pattern],
  };
  return pattern.replaceAll(/\{(\w+)\}/g, (_, name) => usual[name]);
}

test('every route of the document answers, and as the document says', async () => {
  made_key = (await author.api.post('/v1/keys', { name: 'to be revoked' })).id;
  const chat = { model: modelOf('chat').id, max_tokens: 2 };
  const receipt = (await call('GET', `/v1/jobs/${job.id}/receipt`, { key: payer.key })).bytes.toString();
  const bodies = {
    'POST /v1/keys': { name: 'another' }, 'PATCH /v1/me': { handle: `h-${uuid().slice(0, 8)}` }, 'POST /v1/models': { name: 'described' }, 'POST /v1/models/{author}/{name}/versions': { surface: 'tensor', price: { input: '1' } },
    'POST /v1/quotes': { model: adder.id, input_bytes: 10 }, 'POST /v1/jobs': adderBody(1), 'POST /v1/chat/completions': { ...chat, messages: [{ role: 'user', content: 'hi' }] }, 'POST /v1/completions': { ...chat, prompt: 'hi' },
    'POST /v2/models/{model}/infer': adderBody(1), 'POST /v2/models/{model}/versions/{version}/infer': adderBody(1), 'POST /v1/verify': { receipt }, 'PATCH /v1/models/{author}/{name}': { title: 'x' },
    'PUT /v1/payouts/settings': { schedule: 'manual' }, 'POST /v1/withdrawals': { source: 'available', amount: '1000' }, 'PUT /v1/models/{author}/{name}/authors': { authors: [{ address: author.address, bps: 10000 }] },
  };
  const as_author = /^(GET \/v1\/models\/\{author\}|(POST|PATCH|PUT|DELETE) \/v1\/(auth|me|keys|models))/;
  const as_signed_in = /^(POST|PUT|DELETE) \/v1\/(payouts|withdrawals)/;
  const refused = [];
  for (const [pattern, operations] of Object.entries(openapi.paths))
    for (const method of Object.keys(operations).map((name) => name.toUpperCase())) {
      const what = `${method} ${pattern}`;
      const writes = method !== 'GET';
      const takes_body = writes && method !== 'DELETE';
      const key = as_author.test(what) ? author.token : as_signed_in.test(what) ? payer.token : payer.key;
      const upload = pattern.includes('/files/');
      const body = upload ? Buffer.from('x') : bodies[what] ?? (takes_body ? '{}' : undefined);
      const query = what === 'POST /v1/jobs' ? `?model=${adder.id}` : '';
      const answer = await call(method, (await pathOf(pattern)) + query, { key, body, headers: upload ? { 'Content-Type': 'application/octet-stream' } : {} });
      if (what === 'POST /v1/models') author.model = answer.json.id;
      if (answer.status >= 400) refused.push(`${what} ${answer.status}`);
      assertDescribed(pattern, method, answer);
    }
  // What takes more than this test has: signatures of a wallet or a node, a whole model, a job that still runs, one that a wallet
  // paid for or that is on chain.
  assert.deepEqual(refused.toSorted(), [
    'DELETE /v1/payees/{address} 404', 'DELETE /v1/payouts/addresses/{address} 404', 'GET /facilitator/settle/{job} 404', 'GET /v1/blobs/{blob} 404',
    'GET /v1/deposits/sponsored/{id} 404', 'GET /v1/links/{link} 404', 'GET /v1/links/{link}/output 404', 'GET /v1/links/{link}/receipt 404',
    'GET /v1/payments/{id} 404', 'GET /v1/settlements/{id} 404', 'GET /v1/withdrawals/{id} 404', 'POST /facilitator/settle 400', 'POST /facilitator/settle_data 400',
    'POST /facilitator/verify 400', 'POST /v1/auth/siwe 400', 'POST /v1/deposits 400', 'POST /v1/deposits/{id}/claim 400', 'POST /v1/jobs/{id}/cancel 409',
    'POST /v1/models/{author}/{name}/versions/{version}/publish 422', 'POST /v1/nodes 400', 'POST /v1/nodes/{address}/drain 401',
    'POST /v1/nodes/{address}/heartbeat 401', 'POST /v1/nodes/{address}/receipts 401', 'POST /v1/reconciliation/mismatches/{id}/resolve 403',
    'PUT /v1/nodes/{address}/offers 401',
  ]);
});

test('a body that the document does not require can be left out', async () => {
  const optional = Object.entries(openapi.paths).flatMap(([pattern, operations]) => Object.entries(operations).map(([method, { requestBody }]) => [method.toUpperCase(), pattern, requestBody]))
    .filter(([, , body]) => body?.required === false);
  assert.deepEqual(optional.map(([method, pattern]) => `${method} ${pattern}`).toSorted(), ['PATCH /v1/models/{author}/{name}', 'POST /v1/payees']);
  for (const [method, pattern] of optional) assert.ok((await call(method, await pathOf(pattern), { key: author.token })).status < 300, pattern);
});

test('errors are as the document says, on every surface', async () => {
  for (const [pattern, operations] of Object.entries(openapi.paths))
    for (const method of Object.keys(operations).map((name) => name.toUpperCase())) {
      const url = pattern.replaceAll(/\{(\w+)\}/g, 'nothing-of-this-name');
      const { responses } = operations[method.toLowerCase()];
      for (const key of [undefined, payer.key]) {
        const answer = await call(method, url, { key, body: method === 'GET' || method === 'DELETE' ? undefined : '{"nothing":1}' });
        if (answer.status < 400) continue;
        assert.ok(answer.status < 500, `${method} ${url}: ${answer.status} ${answer.bytes}`);
        assert.ok(responses[answer.status], `${method} ${pattern}: ${answer.status} is not described`);
        assertDescribed(pattern, method, answer);
      }
    }
});

test('an execution profile is the document its hash names', async () => {
  const hash = known_profile;
  const { bytes } = assertStatus(await call('GET', `/v1/profiles/${hash}`), 200);
  assert.equal(`0x${createHash('sha256').update(bytes).digest('hex')}`, hash);
  assert.ok(!bytes.toString().includes('/'), 'it names no folder of the node');
  assert.equal(typeof JSON.parse(bytes), 'object');
  assertError(await call('GET', `/v1/profiles/0x${'0'.repeat(64)}`), 'problem', 404, 'not_found');
});

test('the page is there, with all it refers to', async () => {
  const page = assertStatus(await call('GET', '/'), 200);
  assert.match(page.headers.get('Content-Type'), /^text\/html/);
  const html = page.bytes.toString();
  const assets = [...html.matchAll(/(?:src|href)="(\/?assets\/[^"]+)"/g)].map(([, url]) => url.replace(/^\/?/, '/'));
  assert.ok(assets.length >= 2, html);
  for (const url of assets) {
    const answer = assertStatus(await call('GET', url), 200);
    const type = { '.js': /^(text|application)\/javascript/, '.css': /^text\/css/, '.svg': /^image\/svg\+xml/ }[path.extname(url)];
    assert.match(answer.headers.get('Content-Type'), type, url);
  }
  assert.ok(!/(?:src|href)="https?:/.test(html), 'nothing is loaded from elsewhere');
});

// ---- the command line ----

/// The gateway's settings with some of them otherwise, as a file of this test.
function configMake(over) {
  const file = path.join(folderMake(), 'gateway.conf');
  const settings = Object.fromEntries(fs.readFileSync(inVar('config/gateway.conf'), 'utf8').split('\n').filter((line) => line.includes(' = ')).map((line) => line.split(/ = (.*)/, 2)));
  fs.writeFileSync(file, Object.entries({ ...settings, ...over }).map(([name, value]) => `${name} = ${value}\n`).join(''));
  return file;
}

test('opgate migrate: from nothing, twice harmless, and refused when a migration was edited', () => {
  const name = `scratch_${uuid().replaceAll('-', '')}`;
  const database_url = dev.database_url.replace(/\/opgate$/, `/${name}`);
  sql(`CREATE DATABASE ${name}`);
  try {
    const config = configMake({ database_url });
    const first = opgate('migrate', '--config', config);
    assert.equal(first.status, 0, first.stderr);
    const applied = (url) => sql('SELECT name, sha256, applied_at FROM migration ORDER BY name', url);
    const rows = applied(database_url);
    assert.deepEqual(rows.map(([migration]) => migration), fs.readdirSync(new URL('../../migrations/', import.meta.url)).filter((file) => /^[0-9].*\.sql$/.test(file)).map((file) => file.replace('.sql', '')).toSorted());
    const again = opgate('migrate', '--config', config);
    assert.equal(again.status, 0, again.stderr);
    assert.deepEqual(applied(database_url), rows);
    sql("UPDATE migration SET sha256 = repeat('0', 66) WHERE name LIKE '0002%'", database_url);
    const refused = opgate('migrate', '--config', config);
    assert.notEqual(refused.status, 0);
    assert.match(refused.stderr, /0002.*edited/);
    sql("INSERT INTO migration (name, sha256) VALUES ('9999_future', 'x')", database_url);
    assert.notEqual(opgate('migrate', '--config', config).status, 0);
  } finally {
    sql(`DROP DATABASE ${name} WITH (FORCE)`);
  }
  const live = opgate('migrate', '--config', inVar('config/gateway.conf'));
  assert.equal(live.status, 0, `the running gateway's database: ${live.stderr}`);
});

test('every table and column has a comment', () => {
  const bare = sql(`SELECT c.relname, a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public' JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind = 'r' AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid) IS NULL)`);
  assert.deepEqual(bare, []);
});

test('a wrong setting stops the start, and says where and why', () => {
  const wrong = [
    [{ wokers: 5 }, /wokers/], [{ workers: 'many' }, /workers/], [{ workers: 0 }, /workers/], [{ chain_id: 1 }, /chain/], [{ genesis_hash: `0x${'1'.repeat(64)}` }, /genesis/], [{ treasury: 'me' }, /treasury/], [{ allow_private_nodes: 'maybe' }, /allow_private_nodes/],
    [{ database_url: 'postgresql://nobody:x@127.0.0.1:1/x' }, /database|connect/], [{ gateway_key_file: '/nonexistent' }, /key/],
  ];
  for (const [over, what] of wrong) {
    const { status, stdout, stderr } = opgate('serve', '--config', configMake({ listen_port: 0, ...over }));
    assert.ok(status > 0, `${JSON.stringify(over)}: ${status}`);
    assert.match(stdout + stderr, what, JSON.stringify(over));
  }
  const shown = opgate('config', '--config', inVar('config/gateway.conf'));
  assert.equal(shown.status, 0);
  assert.match(shown.stdout, /^database_url = \*\*\*$/m, 'a secret is not shown');
  assert.match(shown.stdout, /^workers = [0-9]+$/m);
});

test('keygen makes a key that is its owner\'s alone, and never writes over one', () => {
  const file = path.join(folderMake(), 'new.key');
  const made = opgate('keygen', '--out', file);
  assert.equal(made.status, 0, made.stderr);
  assert.match(made.stdout, /^0x[0-9a-fA-F]{40}$/m);
  assert.equal(fs.statSync(file).mode & 0o777, 0o600);
  const content = fs.readFileSync(file, 'utf8');
  assert.match(content, /^[0-9a-f]{64}\n$/);
  assert.notEqual(opgate('keygen', '--out', file).status, 0);
  assert.equal(fs.readFileSync(file, 'utf8'), content);
});

test('what opgate does not know is wrong usage', () => {
  for (const args of [[], ['frobnicate'], ['serve'], ['verify'], ['verify', 'a', 'b'], ['verify', '/nonexistent'], ['config', '--config', '/nonexistent']])
    assert.ok(opgate(...args).status > 0, args.join(' '));
  assert.equal(opgate('verify', '--help-me').status, 64);
});

test('the books hold', assertBooks);
