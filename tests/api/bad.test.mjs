// What bad input gets: a clear error in the shape of its surface, with a stable code and a request id; nothing is charged,
// nothing is lost, and a connection whose framing was in doubt is not used again.
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { accountMake, adderBody, assertBooks, assertError, assertStatus, balanceOf, call, dev, host, modelOf, OPG, uuid } from './stack.mjs';

const chat = modelOf('chat').id;
const adder = modelOf('tensor').id;
let payer, start;

before(async () => {
  payer = await accountMake({ opg: OPG });
  start = await balanceOf(payer.key);
});

after(async () => {
  assert.deepEqual(await balanceOf(payer.key), start, 'none of all this cost anything');
  assert.deepEqual((await call('GET', '/v1/transfers', { key: payer.key })).json.data.map(({ kind }) => kind).filter((kind) => kind === 'capture'), []);
  await assertBooks();
});

// ---- bytes on a socket ----

/// Sends these bytes and reads until the gateway closes: everything it said.
function sendRaw(bytes, { seconds = 10 } = {}) {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(dev.base_url);
    const socket = net.connect(Number(port), hostname);
    const parts = [];
    socket.setTimeout(seconds * 1000, () => socket.destroy(new Error(`still open after ${seconds} s; so far: ${Buffer.concat(parts)}`)));
    socket.on('data', (part) => parts.push(part));
    socket.on('error', (error) => (error.code === 'ECONNRESET' || error.code === 'EPIPE' ? resolve(Buffer.concat(parts)) : reject(error)));
    socket.on('close', (failed) => failed || resolve(Buffer.concat(parts)));
    socket.write(bytes);
  });
}

/// The answers to these bytes, each {status, headers, bytes, json}.
async function send(request) {
  let bytes = await sendRaw(request);
  const answers = [];
  while (bytes.length) {
    const end = bytes.indexOf('\r\n\r\n');
    assert.ok(end > 0, `no answer in ${bytes}`);
    const [first, ...lines] = bytes.subarray(0, end).toString('latin1').split('\r\n');
    const headers = new Headers(lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]));
    const status = Number(/^HTTP\/1\.1 ([0-9]{3}) /.exec(first)?.[1]);
    if (status === 100) {
      bytes = bytes.subarray(end + 4);
      continue;
    }
    const size = Number(headers.get('Content-Length') ?? 0);
    const body = bytes.subarray(end + 4, end + 4 + size);
    assert.equal(body.length, size, 'the whole answer came');
    answers.push({ status, headers, bytes: body, get json() { return JSON.parse(body); } });
    bytes = bytes.subarray(end + 4 + size);
  }
  return answers;
}

const head = () => `Host: ${host}\r\nAuthorization: Bearer ${payer.key}\r\n`;
const shapeOf = (path) => (path.startsWith('/v2') ? 'oip' : /^\/v1\/(chat\/)?completions/.test(path) ? 'openai' : 'problem');
const SMUGGLED = 'POST /v2/models/demo/adder/infer HTTP/1.1\r\nHost: x\r\n';

/// The one answer to these bytes, after which the connection is closed: what follows them is not taken for a request.
async function sendOne(bytes) {
  const answers = await send(bytes);
  assert.equal(answers.length, 1, `${answers.length} answers to one request`);
  return answers[0];
}

test('a request that two parsers could read differently is refused, and its connection closed', async () => {
  const inner = () => `${SMUGGLED}Authorization: Bearer ${payer.key}\r\nContent-Length: ${adderBody(1).length}\r\n\r\n${adderBody(1)}`;
  for (const path of ['/v1/quotes', '/v1/chat/completions', `/v2/models/${adder}/infer`]) {
    const framings = [
      `Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, `Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n`,
      `Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}`, `Content-Length: 2\r\nContent-Length: 0\r\n\r\n{}`, `content-length: 2\r\nCONTENT-LENGTH: 7\r\n\r\n{}`,
      `Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`, `Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`, `Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}`,
      `Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, `Content-Length: 2\r\nX-A: b\r\n folded: c\r\n\r\n{}`, `Content-Length: 2\r\nX-A : b\r\n\r\n{}`,
      `Content-Length: 2\r\nX-A: a\0b\r\n\r\n{}`, `Content-Length: 2\nX-A: b\r\n\r\n{}`, `Content-Length: 2\r\nHost: other\r\n\r\n{}`, `Content-Length: 2\r\nAuthorization: Bearer x\r\n\r\n{}`,
      `Content-Length: 2\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\n\r\n{}`, `Content-Length: 2\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n\r\n{}`,
    ];
    for (const framing of framings) {
      const answer = await sendOne(`POST ${path} HTTP/1.1\r\n${head()}${framing}${inner()}`);
      assertError(answer, shapeOf(path), 400, 'bad_request');
      assert.equal(answer.headers.get('Connection')?.toLowerCase(), 'close');
    }
  }
  assertError(await sendOne('GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n'), 'problem', 400, 'bad_request');
});

test('a length that is no length, or too long, ends the connection', async () => {
  // libmicrohttpd refuses these before we see them, and writes the head of its answer twice.
  const statusOf = async (request) => {
    const statuses = (await sendRaw(request)).toString('latin1').match(/(?<=^HTTP\/1\.1 )[0-9]{3}/gm);
    assert.equal(new Set(statuses).size, 1, `${statuses}`);
    return Number(statuses[0]);
  };
  for (const length of ['-1', '+2', '0x2', '2, 2', '2 2', '', 'two', '1e1']) {
    const status = await statusOf(`POST /v1/quotes HTTP/1.1\r\n${head()}Content-Length: ${length}\r\n\r\n{}${SMUGGLED}\r\n`);
    assert.equal(status, 400, `Content-Length: ${length}`);
  }
  assert.equal(await statusOf(`POST /v1/quotes HTTP/1.1\r\n${head()}Content-Length: 99999999999999999999999\r\n\r\n{}`), 413);
  for (const [chunk, status] of [['zz\r\n{}\r\n0\r\n\r\n', 400], ['-2\r\n{}\r\n0\r\n\r\n', 400], ['2\r\n{}xx\r\n0\r\n\r\n', 400], ['ffffffffffffffffff\r\n{}', 413]])
    assert.equal(await statusOf(`POST /v1/quotes HTTP/1.1\r\n${head()}Transfer-Encoding: chunked\r\n\r\n${chunk}${SMUGGLED}\r\n`), status, chunk);
});

test('paths with NUL, dot segments or broken encoding are refused as they were sent', async () => {
  const paths = [
    '/v1/models\0', '/v1/models/%00', '/v1/models/a%00b/c', '/v1/../v1/models', '/v1/./models', '/v1/%2e%2e/models', '/v1/models/%2E', '/v1/models/a%2f..%2fb', '/v1/models/a/..', '/..', '//v1/models', '/v1//models',
    '/v1/models/%zz', '/v1/models/%4', '/v1/models/%ff%fe', '/v1/models/%c0%af', '/v1/models/a%0d%0aX-Y:%20z', '/v1/models?limit=%00', '/v1/models?x=%ff', 'http://evil.example/v1/models', '*', 'v1/models', '/v2/models/demo/%2e%2e/infer',
    '/demo/adder/resolve/main/../../etc/passwd', '/demo/adder/resolve/main/%2e%2e%2f%2e%2e%2fetc%2fpasswd', '/assets/..%2f..%2fREADME.md', '/assets/%2e%2e/index.html',
  ];
  for (const path of paths)
    assertError(await sendOne(`GET ${path} HTTP/1.1\r\n${head()}Connection: close\r\n\r\n`), shapeOf(path), 400, 'bad_request');
  for (const path of ['/none', '/v1', '/v1/none', '/v1/models/a/b/c/d', '/v3/models', '/v2/none', '/assets/none.js', '/assets/stack.mjs', '/index.html', '/a/b/c', '/v1/chat', '/v1/chat/completions/x', `/${'a/'.repeat(60)}b`])
    assertError(await call('GET', path), shapeOf(path) === 'oip' ? 'oip' : path.startsWith('/v1/chat') ? 'openai' : 'problem', 404, 'not_found');
});

test('too much is 413, 414 or 431', async () => {
  const big = (path, size) => call('POST', path, { key: payer.key, body: Buffer.alloc(size, 0x20), headers: { 'Content-Type': 'application/json' } });
  for (const [path, limit] of [['/v1/quotes', 16 << 10], ['/v1/keys', 4 << 10], ['/v1/auth/siwe', 8 << 10], ['/v1/chat/completions', 16 << 20], [`/v2/models/${adder}/infer`, 16 << 20], [`/v1/jobs?model=${adder}`, 16 << 20]]) {
    // Said beforehand, so that no byte of it is sent; and not said at all.
    const key = path === '/v1/keys' ? payer.token : payer.key;
    const auth = `Host: ${host}\r\nAuthorization: Bearer ${key}\r\n`;
    assertError(await sendOne(`POST ${path} HTTP/1.1\r\n${auth}Content-Length: ${limit + 1}\r\n\r\n`), shapeOf(path), 413, 'too_large');
    const piece = Buffer.alloc(64 << 10, 0x20);
    const chunks = Buffer.concat(Array.from({ length: Math.ceil((limit + 1) / piece.length) }, () => [Buffer.from('10000\r\n'), piece, Buffer.from('\r\n')]).flat());
    assertError(await sendOne(Buffer.concat([Buffer.from(`POST ${path} HTTP/1.1\r\n${auth}Transfer-Encoding: chunked\r\n\r\n`), chunks, Buffer.from('0\r\n\r\n')])), shapeOf(path), 413, 'too_large');
    if (limit < 1 << 20) assert.notEqual((await big(path, limit)).status, 413, `${limit} bytes are not too many for ${path}`);
  }
  assert.equal((await sendOne(`GET /v1/models HTTP/1.1\r\n${head()}X-A: ${'a'.repeat(70_000)}\r\n\r\n`)).status, 431);
  assert.equal((await sendOne(`GET /v1/models HTTP/1.1\r\n${head()}${'X-A: a\r\n'.repeat(9000)}\r\n`)).status, 431);
  assert.equal((await sendOne(`GET /v1/models?x=${'a'.repeat(70_000)} HTTP/1.1\r\n${head()}\r\n`)).status, 414);
});

test('too much of a head has our shape as well', async () => {
  assertError(await sendOne(`GET /v1/models HTTP/1.1\r\n${head()}X-A: ${'a'.repeat(70_000)}\r\n\r\n`), 'problem', 431, 'headers_too_large');
  assertError(await sendOne(`GET /v1/models HTTP/1.1\r\n${head()}${`X-A: ${'a'.repeat(33)}\r\n`.repeat(1500)}\r\n`), 'problem', 431, 'headers_too_large');
  assertError(await sendOne(`GET /v1/models?x=${'a'.repeat(70_000)} HTTP/1.1\r\n${head()}\r\n`), 'problem', 414, 'uri_too_long');
});

test('a paid request says nothing in its URL that is not understood', async () => {
  for (const query of ['maxprice=1', 'max_price=1&max_price=2', 'policy=signed&policy=none', 'seed=1'])
    assertStatus(await call('POST', `/v1/jobs?model=demo/adder&${query}`, { key: payer.key, body: { inputs: [] } }), 400);
});

test('a wrong method is 405 and says which are right', async () => {
  const { paths } = (await call('GET', '/openapi.json')).json;
  for (const [pattern, operations] of Object.entries(paths)) {
    const path = pattern.replace('{model}', 'a%2Fb').replace('{author}/{name}', 'a/b').replace(/\{\w+\}/g, '1');
    const have = Object.keys(operations).map((method) => method.toUpperCase());
    const allowed = new Set([...have, 'OPTIONS', ...(have.includes('GET') ? ['HEAD'] : [])]);
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'BREW']) {
      if (allowed.has(method)) continue;
      const answer = await call(method, path, { key: payer.key });
      if (answer.status !== 405 && pattern.includes('/models/{')) continue; // another pattern takes the same path
      assertError(answer, shapeOf(path), 405, 'method_not_allowed');
      const said = answer.headers.get('Allow').split(', ');
      for (const one of allowed) assert.ok(said.includes(one), `${path}: Allow: ${said} lacks ${one}`);
      assert.ok(!said.includes(method));
    }
  }
});

test('a browser may ask first', async () => {
  const headers = { Origin: 'https://shop.example', 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': 'authorization, content-type, idempotency-key, x-stainless-os, opgate-policy, x-evil' };
  const answer = assertStatus(await call('OPTIONS', '/v1/chat/completions', { headers }), 204);
  assert.equal(answer.headers.get('Access-Control-Allow-Origin'), '*');
  assert.equal(answer.headers.get('Access-Control-Allow-Credentials'), null, 'no cookies, no credentials');
  assert.ok(answer.headers.get('Access-Control-Allow-Methods').split(', ').includes('POST'));
  const allowed = answer.headers.get('Access-Control-Allow-Headers').toLowerCase().split(', ');
  for (const name of ['authorization', 'content-type', 'idempotency-key', 'prefer', 'x-stainless-os', 'opgate-policy']) assert.ok(allowed.includes(name), name);
  assert.ok(!allowed.includes('x-evil'));
  const real = await call('GET', '/v1/models', { headers: { Origin: 'https://shop.example' } });
  assert.equal(real.headers.get('Access-Control-Allow-Origin'), '*');
  const exposed = real.headers.get('Access-Control-Expose-Headers').split(', ');
  for (const name of ['Opgate-Job', 'Opgate-Receipt', 'X-Request-Id', 'Retry-After', 'Idempotent-Replayed']) assert.ok(exposed.includes(name), name);
  assert.equal((await call('POST', '/v1/chat/completions', { headers: { Origin: 'https://shop.example' } })).headers.get('Access-Control-Allow-Origin'), '*', 'an error can be read, too');
  assertError(await call('OPTIONS', '/none', { headers }), 'problem', 404, 'not_found');
});

test('a request id of the caller is kept when it is sane', async () => {
  const own = `test-${uuid()}`;
  assert.equal((await call('GET', '/livez', { headers: { 'X-Request-Id': own } })).headers.get('X-Request-Id'), own);
  for (const bad of ['a b', 'x'.repeat(65), '<script>', 'a"b']) {
    const given = (await call('GET', '/livez', { headers: { 'X-Request-Id': bad } })).headers.get('X-Request-Id');
    assert.match(given, /^[0-9a-f-]{36}$/, bad);
  }
});

// ---- bodies ----

const DEEP = `${'['.repeat(40)}${']'.repeat(40)}`;
/// Texts that are no acceptable JSON object, whatever their members.
const notJson = ['{', '}', '{"a":1,}', '{"a":1}x', '{"a":1}{"a":1}', '{\'a\':1}', '{a:1}', '{"a":01}', '{"a":+1}', '{"a":NaN}', '{"a":Infinity}', '{"a":"\t"}', '{"a":"\\x"}', '{"a":"\\ud800"}',
  '{"a":1,"a":2}', '{"a":{"b":1,"b":1}}', '{"a":1,"\\u0061":2}', `{"a":${DEEP}}`, '\ufeff{}', '{"a":"\\u0000"}', 'nul', ' ', '/* c */ {}', '{"a":1e999}'];
const bytesNotUtf8 = [Buffer.from([0x7b, 0x22, 0x61, 0x22, 0x3a, 0x22, 0xff, 0x22, 0x7d]), Buffer.from('{"a":1}\0'), Buffer.from([0x7b, 0x22, 0xc0, 0xaf, 0x22, 0x3a, 0x31, 0x7d]), Buffer.from('{"a":1}', 'utf16le')];
const notObject = ['[]', '5', '"x"', 'null', 'true', '[{}]'];

test('what is not one JSON object is refused everywhere', async () => {
  const routes = [
    ['POST', '/v1/quotes'], ['POST', '/v1/chat/completions'], ['POST', '/v1/completions'], ['POST', `/v2/models/${adder}/infer`], ['POST', `/v1/jobs?model=${adder}`], ['POST', `/v1/jobs?model=${chat}`],
    ['POST', '/v1/models'], ['POST', '/v1/verify'], ['POST', '/v1/auth/siwe'], ['POST', '/v1/nodes'], ['PATCH', '/v1/me'], ['POST', '/v1/keys', 'token'],
  ];
  for (const [method, path, how = 'key'] of routes) {
    for (const body of [...notJson, ...bytesNotUtf8]) {
      const answer = await call(method, path, { key: payer[how], body, headers: { 'Content-Type': 'application/json' } });
      const { code } = shapeOf(path) === 'openai' ? answer.json.error : answer.json;
      assertError(answer, shapeOf(path), 400, code);
      assert.equal(code, 'bad_json', `${path} with ${body}: ${answer.bytes}`);
    }
    for (const body of notObject) assert.equal((await call(method, path, { key: payer[how], body })).status, 400, `${path} with ${body}`);
  }
});

test('chat: wrong types and unknown money fields are refused, by name', async () => {
  const messages = [{ role: 'user', content: 'hi' }];
  const cases = [
    [{ model: 5 }, 'model'], [{ model: null }, 'model'], [{ model: undefined }, 'model'], [{ stream: 1 }, 'stream'], [{ stream: 'true' }, 'stream'], [{ max_tokens: 0 }, 'max_tokens'], [{ max_tokens: -1 }, 'max_tokens'],
    [{ max_tokens: 1.5 }, 'max_tokens'], [{ max_tokens: '9' }, 'max_tokens'], [{ max_tokens: 2 ** 40 }, 'max_tokens'], [{ max_completion_tokens: [] }, 'max_completion_tokens'], [{ n: 0 }, 'n'], [{ n: 99 }, 'n'],
    [{ opgate: 5 }, 'opgate'], [{ opgate: { max_price: 1 } }, 'max_price'], [{ opgate: { max_price: '-1' } }, 'max_price'], [{ opgate: { max_price: '1.0' } }, 'max_price'], [{ opgate: { max_price: '9'.repeat(40) } }, 'max_price'], [{ opgate: { policy: 1 } }, 'policy'],
  ];
  for (const path of ['/v1/chat/completions', `/v1/jobs?model=${chat}`])
    for (const [over, name] of cases) {
      if (name === 'model' && path.startsWith('/v1/jobs')) continue; // the query names it there
      const answer = await call('POST', path, { key: payer.key, body: { model: chat, messages, max_tokens: 1, ...over } });
      const { message, detail } = assertError(answer, shapeOf(path), 400, 'bad_field');
      assert.ok((message ?? detail).includes(name), `${JSON.stringify(over)}: ${message ?? detail}`);
    }
  assert.equal((await call('POST', '/v1/chat/completions', { key: payer.key, body: { model: chat, messages, n: 0 } })).json.error.param, 'n');
});

test('money fields count on every surface, in the body too; unknown ones are never ignored', async () => {
  const bodies = { '/v1/chat/completions': { model: chat, messages: [{ role: 'user', content: 'hi' }], max_tokens: 1 }, [`/v2/models/${adder}/infer`]: JSON.parse(adderBody(1)) };
  bodies[`/v1/jobs?model=${chat}`] = bodies['/v1/chat/completions'];
  bodies[`/v1/jobs?model=${adder}`] = bodies[`/v2/models/${adder}/infer`];
  bodies['/v1/completions'] = { model: chat, prompt: 'hi', max_tokens: 1 };
  for (const [path, body] of Object.entries(bodies)) {
    const ask = (opgate, headers) => call('POST', path, { key: payer.key, body: { ...body, opgate }, headers });
    for (const field of ['foo', 'max_cost', 'maxPrice', 'Max_Price', 'budget']) {
      const { message, detail, error } = assertError(await ask({ [field]: '1' }), shapeOf(path), 400, 'unknown_field');
      assert.ok((message ?? detail ?? error).includes(`opgate.${field}`), path);
    }
    assertError(await ask({ max_price: '1' }), shapeOf(path), 422, 'unprocessable');
    assertError(await ask(undefined, { 'Opgate-Max-Price': '1' }), shapeOf(path), 422, 'unprocessable');
    assertError(await ask(undefined, { 'Opgate-Max-Price': 'one' }), shapeOf(path), 400, 'bad_field');
    assertError(await ask({ policy: 'attested' }), shapeOf(path), 422, 'unprocessable');
    assertError(await ask(undefined, { 'Opgate-Policy': 'zk' }), shapeOf(path), 422, 'unprocessable');
  }
});

test('registry and accounts: wrong types, unknown members and impossible values are refused', async () => {
  const cases = [
    ['POST', '/v1/models', {}, 'bad_field'], ['POST', '/v1/models', { name: 5 }, 'bad_field'], ['POST', '/v1/models', { name: 'a/b' }, 'bad_field'], ['POST', '/v1/models', { name: '..' }, 'bad_field'], ['POST', '/v1/models', { name: '' }, 'bad_field'],
    ['POST', '/v1/models', { name: 'a'.repeat(300) }, 'bad_field'], ['POST', '/v1/models', { name: 'ok', title: 5 }, 'bad_field'], ['POST', '/v1/models', { name: 'ok', royalty: '1' }, 'unknown_field'], ['POST', '/v1/models', { name: 'ok', title: 'x'.repeat(201) }, 'bad_field'],
    ['PATCH', '/v1/me', { handle: 'Upper' }, 'bad_field'], ['PATCH', '/v1/me', { handle: 'v1' }, 'bad_field'], ['PATCH', '/v1/me', { handle: '0xabc' }, 'bad_field'], ['PATCH', '/v1/me', { handle: '-a' }, 'bad_field'], ['PATCH', '/v1/me', { address: dev.treasury, handle: 'x' }, 'unknown_field'],
    ['POST', '/v1/quotes', { model: adder, price: '1' }, 'unknown_field'], ['POST', '/v1/quotes', { model: [adder] }, 'bad_field'], ['POST', '/v1/quotes', { model: adder, input_bytes: 1e9 }, 'bad_field'], ['POST', '/v1/quotes', { model: adder, input_bytes: '5' }, 'bad_field'],
  ];
  for (const [method, path, body, code] of cases) assertError(await call(method, path, { key: payer.key, body }), 'problem', 400, code);
  for (const query of ['limit=0', 'limit=1.5', 'limit=9999', 'limit=-1', 'limit=', 'surface=both', 'after=%20']) {
    const { status } = await call('GET', `/v1/models?${query}`);
    assert.ok([400, 404].includes(status), `${query}: ${status}`);
  }
  for (const path of ['/v1/transfers', '/v1/deposits']) for (const query of ['limit=0', 'limit=201', 'after=x', 'after=-1']) assertError(await call('GET', `${path}?${query}`, { key: payer.key }), 'problem', 400, 'bad_field');
});

test('a node is not registered by anybody, and its URL is checked', async () => {
  for (const body of [{}, { registration: 'x', operator_signature: '0x' }, { registration: {}, operator_signature: `0x${'0'.repeat(130)}` }, { registration: '{}', operator_signature: `0x${'0'.repeat(130)}` }])
    assert.ok([400, 401].includes((await call('POST', '/v1/nodes', { body })).status), JSON.stringify(body));
  const [{ address }] = dev.nodes;
  for (const [method, route] of [['POST', 'heartbeat'], ['PUT', 'offers'], ['POST', 'drain'], ['POST', 'receipts']]) {
    const path = `/v1/nodes/${address}/${route}`;
    assertError(await call(method, path, { body: {} }), 'problem', 401, 'unauthenticated');
    assertError(await call(method, path, { key: dev.api_keys.admin, body: {} }), 'problem', 401, 'unauthenticated');
    for (const header of ['x', 'eyJ9', '====', Buffer.from('{}').toString('base64url')]) assertError(await call(method, path, { body: {}, headers: { 'Opgate-Node': header } }), 'problem', 401, 'bad_signature');
  }
  assert.equal((await call('GET', `/v1/nodes/${address}`)).json.state, 'active');
});

test('garbage of many kinds never gets a 5xx, and the gateway lives', async () => {
  let seed = 20_251;
  const random = (n) => (seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648) % n;
  const words = ['GET', 'POST', ' ', '/v1/models', '/v2/models/demo/adder/infer', ' HTTP/1.1', ' HTTP/9.9', '\r\n', '\n', '\r', '\0', 'Host: x', 'Content-Length: 5', 'Transfer-Encoding: chunked', ': ', '%', '{}', '\u00ff', '0\r\n\r\n', 'Authorization: Bearer ogk_'];
  const statuses = new Set();
  for (let i = 0; i < 300; i++) {
    const text = Array.from({ length: 1 + random(14) }, () => words[random(words.length)]).join('');
    const said = await sendRaw(Buffer.from(`${text}\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`, 'latin1'));
    for (const status of said.toString('latin1').match(/(?<=HTTP\/1\.1 )[0-9]{3}/g) ?? []) statuses.add(Number(status));
  }
  assert.ok(statuses.has(400) && [...statuses].every((status) => status < 500 || status === 505), [...statuses].join());
  assert.equal((await call('GET', '/readyz')).json.status, 'ok');
});
