// Who is calling: sign-in with Ethereum, the token it gives, and API keys; what forges, repeats or outlives them is refused.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import fs from 'node:fs';
import { before, test } from 'node:test';
import { createSiweMessage } from 'viem/siwe';
import { privateKeyToAccount, generatePrivateKey } from 'viem/accounts';
import { accountMake, adderBody, assertBooks, assertError, assertStatus, call, dev, host, inVar, modelOf, OPG, sql, uuid, waitFor } from './stack.mjs';

const MINUTE = 60_000;
const wallet = () => privateKeyToAccount(generatePrivateKey());
const nonceGet = async () => assertStatus(await call('GET', '/v1/auth/nonce'), 200).json.nonce;
const shapeOf = (path) => (/^\/(v2|facilitator)\//.test(path) ? 'oip' : /^\/v1\/(chat\/)?completions/.test(path) ? 'openai' : 'problem');

/// A message as a wallet would sign it, with what the test wants otherwise.
async function messageMake(account, over = {}) {
  return createSiweMessage({
    address: account.address, chainId: dev.chain_id, domain: host, uri: dev.base_url, version: '1', nonce: over.nonce ?? await nonceGet(),
    issuedAt: new Date(), expirationTime: new Date(Date.now() + 4 * MINUTE), ...over,
  });
}

const siwe = (message, signature) => call('POST', '/v1/auth/siwe', { body: { message, signature } });
async function signIn(account, over) {
  const message = await messageMake(account, over);
  return siwe(message, await account.signMessage({ message }));
}

let owner;
before(async () => {
  owner = await accountMake({ opg: OPG });
});

// ---- sign-in ----

test('signing in gives a token of that address', async () => {
  const account = wallet();
  const answer = assertStatus(await signIn(account), 200);
  const { token, token_type, expires_at, account: who } = answer.json;
  assert.deepEqual([token_type, who.address, who.handle], ['Bearer', account.address.toLowerCase(), null]);
  assert.equal(answer.headers.get('Cache-Control'), 'no-store');
  const left = new Date(expires_at) - Date.now();
  assert.ok(left > 5 * MINUTE && left <= 15 * MINUTE + 1000, `${left} ms`);
  const me = assertStatus(await call('GET', '/v1/me', { key: token }), 200).json;
  assert.deepEqual([me.address, me.admin], [account.address.toLowerCase(), false]);
  // The optional lines of EIP-4361, and a statement.
  assertStatus(await signIn(account, { statement: 'I accept the terms.', scheme: 'http', requestId: 'r-1', notBefore: new Date(Date.now() - 1000), resources: ['https://example.org/a'] }), 200);
  const again = assertStatus(await call('POST', '/v1/auth/refresh', { key: token }), 200).json;
  assert.equal(assertStatus(await call('GET', '/v1/me', { key: again.token }), 200).json.address, me.address);
});

test('a nonce works once, whatever the attempt was', async () => {
  const account = wallet();
  const message = await messageMake(account);
  const signature = await account.signMessage({ message });
  assertStatus(await siwe(message, signature), 200);
  assertError(await siwe(message, signature), 'problem', 401, 'invalid_token');
  // Used up by a failed attempt as well.
  const nonce = await nonceGet();
  const wrong = await messageMake(account, { nonce, chainId: 1 });
  assertError(await siwe(wrong, await account.signMessage({ message: wrong })), 'problem', 401, 'bad_signature');
  assertError(await signIn(account, { nonce }), 'problem', 401, 'invalid_token');
  assertError(await signIn(account, { nonce: 'neverGivenToAnybody1' }), 'problem', 401, 'invalid_token');
  // Sixteen at once with one message: one gets in.
  const raced = await messageMake(account);
  const raced_signature = await account.signMessage({ message: raced });
  const statuses = (await Promise.all(Array.from({ length: 16 }, () => siwe(raced, raced_signature)))).map(({ status }) => status);
  assert.deepEqual(statuses.toSorted(), [200, ...Array(15).fill(401)]);
});

test('a message for another site, chain or time is refused', async () => {
  const account = wallet();
  const cases = [
    [{ domain: 'evil.example' }, 'bad_signature'], [{ domain: `localhost:${host.split(':')[1]}` }, 'bad_signature'], [{ domain: host.split(':')[0] }, 'bad_signature'],
    [{ uri: 'http://evil.example/' }, 'bad_signature'], [{ uri: `${dev.base_url}9` }, 'bad_signature'], [{ uri: `${dev.base_url}@evil.example` }, 'bad_signature'],
    [{ chainId: 1 }, 'bad_signature'], [{ scheme: 'https' }, 'bad_signature'],
    [{ issuedAt: new Date(Date.now() - 10 * MINUTE), expirationTime: new Date(Date.now() - 6 * MINUTE) }, 'invalid_token'],
    [{ issuedAt: new Date(Date.now() - 4 * MINUTE), expirationTime: new Date(Date.now() - 100) }, 'invalid_token'],
    [{ issuedAt: new Date(Date.now() - 6 * MINUTE), expirationTime: undefined }, 'invalid_token'],
    [{ expirationTime: new Date(Date.now() + 60 * MINUTE) }, 'invalid_token'],
    [{ issuedAt: new Date(Date.now() + 10 * MINUTE), expirationTime: new Date(Date.now() + 14 * MINUTE) }, 'invalid_token'],
    [{ notBefore: new Date(Date.now() + 2 * MINUTE) }, 'invalid_token'],
  ];
  for (const [over, code] of cases) {
    const answer = await signIn(account, over);
    assertError(answer, 'problem', 401, code);
    assert.match(answer.json.detail, /message:/, JSON.stringify(over));
  }
});

test('a signature of somebody else, or of other words, is refused', async () => {
  const [account, thief] = [wallet(), wallet()];
  let message = await messageMake(account);
  assertError(await siwe(message, await thief.signMessage({ message })), 'problem', 401, 'bad_signature');
  message = await messageMake(account);
  assertError(await siwe(message, await account.signMessage({ message: `${message} ` })), 'problem', 401, 'bad_signature');
  message = await messageMake(account);
  const signature = await account.signMessage({ message });
  // The same curve point mirrored: s' = n - s, the other v. Malleable signatures are refused.
  const n = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
  const s = (n - BigInt(`0x${signature.slice(66, 130)}`)).toString(16).padStart(64, '0');
  assertError(await siwe(message, `${signature.slice(0, 66)}${s}${signature.endsWith('1b') ? '1c' : '1b'}`), 'problem', 401, 'bad_signature');
  for (const junk of ['0x', '0x00', `0x${'00'.repeat(65)}`, `0x${'ff'.repeat(65)}`, 'hello', `${signature}00`]) {
    message = await messageMake(account);
    assertError(await siwe(message, junk), 'problem', 401, 'bad_signature');
  }
});

test('a message that is not EIP-4361 is refused', async () => {
  const account = wallet();
  const good = await messageMake(account);
  const flipped = account.address.replace(/[a-f]/i, (letter) => (letter < 'a' ? letter.toLowerCase() : letter.toUpperCase())); // EIP-55 sees it
  const lines = [
    'hello', good.replace(account.address, flipped), good.replace('Version: 1', 'Version: 2'), `${good}\nNonce: abcdefgh`,
    good.replace('\nURI: ', '\nURL: '), good.replaceAll('\n', '\r\n'), good.replace(/\nIssued At: .*/, ''), good.replace(/Issued At: .*/, 'Issued At: today'), `${good}\n`,
  ];
  for (const message of lines)
    assertError(await siwe(message, await account.signMessage({ message })), 'problem', 400, 'bad_field');
  for (const body of [{}, { message: good }, { message: good, signature: 5 }, { message: good, signature: '0x', more: 1 }, [], 'x'])
    assertStatus(await call('POST', '/v1/auth/siwe', { body: JSON.stringify(body) }), 400);
});

// ---- the token ----

const part = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
const HEAD = { alg: 'HS256', typ: 'JWT' };
function tokenMake(claims, { head = HEAD, secret, digest = 'sha256' }) {
  const signed = `${part(head)}.${part(claims)}`;
  return `${signed}.${createHmac(digest, secret).update(signed).digest('base64url')}`;
}
const claimsOf = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
const refused = async (token, code = 'invalid_token') => assertError(await call('GET', '/v1/me', { key: token }), 'problem', 401, code);

test('a forged token is refused', async () => {
  const [head, claims, signature] = owner.token.split('.');
  const admin = dev.accounts.find(({ role }) => role === 'admin').address;
  const stolen = { ...claimsOf(owner.token), sub: admin };
  assert.equal(JSON.parse(Buffer.from(head, 'base64url')).alg, 'HS256');
  await refused(`${head}.${part(stolen)}.${signature}`);
  for (const alg of ['none', 'None', 'NONE', 'nOnE', '']) {
    await refused(`${part({ alg, typ: 'JWT' })}.${claims}.`);
    await refused(`${part({ alg, typ: 'JWT' })}.${claims}.${signature}`);
  }
  for (const [alg, digest] of [['HS384', 'sha384'], ['HS512', 'sha512'], ['RS256', 'sha256'], ['ES256', 'sha256'], ['ES256K', 'sha256']])
    await refused(tokenMake(stolen, { head: { alg, typ: 'JWT' }, secret: 'x', digest }));
  // HS256 with what an attacker knows for a secret: nothing, the gateway's public address, its issuer.
  for (const secret of ['', dev.gateway_address, dev.gateway_address.slice(2), Buffer.from(dev.gateway_address.slice(2), 'hex'), dev.base_url, 'opgate', 'secret'])
    await refused(tokenMake(stolen, { secret }));
  const pem = '-----BEGIN PUBLIC KEY-----\nMFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAE\n-----END PUBLIC KEY-----\n';
  await refused(tokenMake(stolen, { secret: pem }));
  for (const extra of [{ kid: '../../dev/null' }, { jku: 'http://127.0.0.1/keys' }, { crit: ['exp'] }, { jwk: { kty: 'oct', k: '' } }])
    await refused(tokenMake(stolen, { head: { ...HEAD, ...extra }, secret: '' }));
  for (const junk of [`${head}.${claims}`, `${head}.${claims}.${signature}.`, `${owner.token}=`]) // not even shaped like one
    await refused(junk, 'unauthenticated');
  for (const junk of [`${head}.${claims}.`, `${head}..${signature}`, `${head}.${claims}.${signature.slice(1)}`, `eyJ.${claims}.${signature}`, `eyJ${'A'.repeat(2000)}.x.y`])
    assert.ok([401].includes((await call('GET', '/v1/me', { key: junk })).status), junk);
  assertStatus(await call('GET', '/v1/me', { key: owner.token }), 200);
});

test('a token of ours outside its time, or of another gateway, is refused', async () => {
  const secret = Buffer.from(fs.readFileSync(inVar('keys/jwt.secret'), 'latin1').trim(), 'hex');
  const claims = claimsOf(owner.token);
  const now = Math.floor(Date.now() / 1000);
  assertStatus(await call('GET', '/v1/me', { key: tokenMake(claims, { secret }) }), 200); // or what follows proves nothing
  const wrong = [
    { iat: now - 1000, nbf: now - 1000, exp: now - 101, auth_time: now - 1000 }, { exp: now }, { exp: now + 1e6 }, { iat: now + 600, nbf: now + 600, exp: now + 900 }, { nbf: now + 600 },
    { iss: 'http://other.example' }, { aud: 'other' }, { exp: undefined }, { exp: String(claims.exp) }, { exp: claims.exp + 0.5 }, { sub: 'me' }, { account: '1' }, { extra: 1 },
  ];
  for (const over of wrong) await refused(tokenMake({ ...claims, ...over }, { secret }));
  const text = JSON.stringify(claims);
  await refused(tokenMake(`${text.slice(0, -1)},"sub":"${dev.gateway_address}"}`, { secret })); // a duplicate key
  await refused(tokenMake(claims, { secret, head: { ...HEAD, kid: '1' } }));
  await refused(tokenMake(claims, { secret, head: { alg: 'HS512', typ: 'JWT' }, digest: 'sha512' }));
  // Refreshing never makes an old sign-in new.
  const old = tokenMake({ ...claims, auth_time: now - 13 * 3600 }, { secret });
  assertStatus(await call('GET', '/v1/me', { key: old }), 200);
  assertError(await call('POST', '/v1/auth/refresh', { key: old }), 'problem', 401, 'invalid_token');
});

// ---- keys ----

const keyMake = async (body) => assertStatus(await call('POST', '/v1/keys', { key: owner.token, body: { name: 'k', ...body } }), 201).json;

test('a key is shown once, and kept only as a hash', async () => {
  const made = await keyMake({ name: 'shown once' });
  assert.match(made.key, /^ogk_[0-9A-Za-z]{40,}$/);
  assert.deepEqual(made.scopes, ['inference', 'read']);
  assert.ok(made.key.startsWith(made.prefix) && made.prefix.length <= 12);
  const list = assertStatus(await call('GET', '/v1/keys', { key: owner.token }), 200).json;
  const seen = list.data.find(({ id }) => id === made.id);
  assert.equal(seen.name, 'shown once');
  assert.equal('key' in seen, false);
  assert.ok(!JSON.stringify(list).includes(made.key.slice(made.prefix.length)));
  const rows = sql('SELECT row_to_json(k)::text FROM api_key k').flat().join('\n');
  assert.ok(rows.includes(made.prefix), 'the row is there');
  assert.ok(!rows.includes(made.key.slice(made.prefix.length)), 'the secret is not in the database');
});

test('a key does what its scopes say, and never makes keys', async () => {
  const keys = Object.fromEntries(await Promise.all(['inference', 'read', 'registry'].map(async (scope) => [scope, (await keyMake({ scopes: [scope] })).key])));
  const uses = {
    inference: () => ['POST', `/v2/models/${modelOf('tensor').id}/infer`, { body: adderBody(1) }],
    read: () => ['GET', '/v1/balance'],
    registry: () => ['POST', '/v1/models', { body: { name: `m-${uuid().slice(0, 8)}` } }],
  };
  for (const [scope, key] of Object.entries(keys))
    for (const [use, request] of Object.entries(uses)) {
      const [method, path, options] = request();
      const answer = await call(method, path, { ...options, key });
      if (use === scope) assert.ok(answer.status < 300, `${scope} may ${path}: ${answer.status} ${answer.bytes}`);
      else assertError(answer, shapeOf(path), 403, 'forbidden');
    }
  const all = (await keyMake({ scopes: ['inference', 'read', 'registry'] }));
  for (const [method, path, body] of [['POST', '/v1/keys', { name: 'x' }], ['DELETE', `/v1/keys/${all.id}`], ['POST', '/v1/auth/refresh']])
    assertError(await call(method, path, { key: all.key, body }), 'problem', 403, 'forbidden');
  for (const scopes of [[], ['keys'], ['admin'], ['read', 5], 'read', [['read']]])
    assertError(await call('POST', '/v1/keys', { key: owner.token, body: { name: 'x', scopes } }), 'problem', 400, 'bad_field');
});

test('a revoked key is dead at once on every route, and only its owner can revoke it', async () => {
  const { paths } = (await call('GET', '/openapi.json')).json;
  const { id, key } = await keyMake({ scopes: ['inference', 'read', 'registry'] });
  const stranger = await accountMake();
  assertError(await call('DELETE', `/v1/keys/${id}`, { key: stranger.token }), 'problem', 404, 'not_found');
  assertStatus(await call('GET', '/v1/me', { key }), 200);
  assertStatus(await call('DELETE', `/v1/keys/${id}`, { key: owner.token }), 204);
  let routes = 0;
  for (const [pattern, methods] of Object.entries(paths))
    for (const [method, { security }] of Object.entries(methods)) {
      if (!security.some((one) => 'bearerAuth' in one)) continue;
      const path = pattern.replace('{model}', modelOf('tensor').id.replace('/', '%2F')).replace('{author}/{name}', modelOf('tensor').id).replace(/\{(version|revision|id)\}/, '1').replace(/\{\w+\}/, 'x');
      const body = ['post', 'put', 'patch'].includes(method) ? '{}' : undefined;
      assertError(await call(method.toUpperCase(), path, { key, body }), shapeOf(path), 401, 'invalid_api_key');
      if (!security.some((one) => Object.keys(one).length === 0)) assertError(await call(method.toUpperCase(), path, { body }), shapeOf(path), 401, 'unauthenticated');
      routes++;
    }
  assert.ok(routes > 25, `${routes} routes`);
  const { revoked_at } = (await call('GET', '/v1/keys', { key: owner.token })).json.data.find((one) => one.id === id);
  assert.ok(new Date(revoked_at) <= Date.now() + 1000);
});

test('a key revoked while it is used stops being charged', async () => {
  const { id, key } = await keyMake({});
  let stop = false, served = 0;
  const users = Array.from({ length: 8 }, async () => {
    while (!stop) {
      const answer = await call('POST', `/v2/models/${modelOf('tensor').id}/infer`, { key, body: adderBody(1) });
      if (answer.status === 401) return assertError(answer, 'oip', 401, 'invalid_api_key');
      assertStatus(answer, 200);
      served++;
    }
    throw new Error('the revoked key still works');
  });
  await waitFor('some jobs were served', () => served > 8);
  assertStatus(await call('DELETE', `/v1/keys/${id}`, { key: owner.token }), 204);
  const [count] = sql('SELECT count(*) FROM job').flat();
  const timer = setTimeout(() => { stop = true; }, 5000);
  await Promise.all(users);
  clearTimeout(timer);
  const [after] = sql('SELECT count(*) FROM job').flat();
  assert.equal(after, count, 'no job was opened after the revocation');
});

test('a key ends when it said it would', async () => {
  const { key, expires_at } = await keyMake({ expires_in: 1 });
  assert.ok(Math.abs(new Date(expires_at) - Date.now() - 1000) < 5000);
  await waitFor('the key has expired', async () => (await call('GET', '/v1/me', { key })).status === 401, { seconds: 5 });
  assertError(await call('GET', '/v1/me', { key }), 'problem', 401, 'invalid_api_key');
  const at = new Date(Date.now() + MINUTE).toISOString();
  assert.equal((await keyMake({ expires_at: at })).expires_at, at);
  for (const over of [{ expires_in: 0 }, { expires_in: '60' }, { expires_at: new Date(Date.now() - 1).toISOString() }, { expires_at: 'tomorrow' }, { expires_in: 5, expires_at: at }, { name: '' }, { name: 'x'.repeat(101) }])
    assertError(await call('POST', '/v1/keys', { key: owner.token, body: { name: 'x', ...over } }), 'problem', 400, 'bad_field');
});

test('what is no key of ours is no key', async () => {
  const { key } = owner;
  const flipped = key.slice(0, 10) + (key[10] === 'a' ? 'b' : 'a') + key.slice(11);
  for (const bad of [flipped, `${key}x`, key.slice(0, -1), 'ogk_', `ogk_${'0'.repeat(46)}`])
    assertError(await call('GET', '/v1/me', { key: bad }), 'problem', 401, 'invalid_api_key');
  for (const [name, value] of [['Authorization', key], ['Authorization', `Basic ${Buffer.from(`${key}:`).toString('base64')}`], ['x-api-key', 'x']])
    assertError(await call('GET', '/v1/me', { headers: { [name]: value } }), 'problem', 401, 'unauthenticated');
  assertStatus(await call('GET', '/v1/me', { headers: { 'x-api-key': key } }), 200);
  assertStatus(await call('GET', '/v1/me', { headers: { Authorization: `bearer ${key}` } }), 200);
  assertStatus(await call('GET', '/v1/models', { key: 'placeholder' }), 200);
  assertError(await call('GET', `/v1/me?api_key=${key}`), 'problem', 401, 'unauthenticated');
});

test('the books hold', assertBooks);
