// The page's own cryptography and verdict against viem: what is signed by viem passes here, what is altered does not.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import test from 'node:test';
import { hashTypedData, keccak256 as viemKeccak, recoverAddress as viemRecover } from 'viem';
import { generatePrivateKey, privateKeyToAccount, sign } from 'viem/accounts';
import { hex, unbase64url, unhex, utf8 } from '../../public/assets/bytes.js';
import { keccak256 } from '../../public/assets/keccak.js';
import { recoverAddress } from '../../public/assets/secp256k1.js';
import { RECEIPT, requestHash, statementDigest, statementRead } from '../../public/assets/statements.js';
import { streamMatch } from '../../public/assets/stream.js';
import { verdictCheck } from '../../public/assets/verdict.js';
import { GATEWAY, MODEL, NODE, OTHER, receiptMake, REQUEST, sha, statementMake, STREAM, streamHash, typedReceipt } from './fixtures.mjs';

const checkOf = (report, name) => report.checks.find((check) => check.name === name);
const N = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

test('keccak-256 agrees with viem at every length around a block', () => {
  assert.equal(hex(keccak256(new Uint8Array())), '0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470');
  for (const n of [1, 31, 32, 33, 134, 135, 136, 137, 271, 272, 273, 1000]) {
    const bytes = new Uint8Array(randomBytes(n));
    assert.equal(hex(keccak256(bytes)), viemKeccak(bytes), `${n} bytes`);
  }
});

test('recovery agrees with viem', async () => {
  for (let i = 0; i < 12; i++) {
    const key = generatePrivateKey();
    const hash = hex(randomBytes(32));
    const signature = await sign({ hash, privateKey: key, to: 'hex' });
    assert.equal(recoverAddress(unhex(hash), unhex(signature)), privateKeyToAccount(key).address.toLowerCase());
    const other = hex(randomBytes(32));
    assert.equal(recoverAddress(unhex(other), unhex(signature)), (await viemRecover({ hash: other, signature })).toLowerCase());
  }
});

test('recovery refuses what is no signature', async () => {
  const hash = unhex(sha('x'));
  const good = unhex(await sign({ hash: sha('x'), privateKey: generatePrivateKey(), to: 'hex' }));
  const word = (n) => unhex('0x' + n.toString(16).padStart(64, '0'));
  const altered = (at, bytes) => {
    const copy = good.slice();
    copy.set(bytes, at);
    return copy;
  };
  const s = BigInt(hex(good.subarray(32, 64)));
  const highS = altered(32, word(N - s));
  highS[64] = 55 - highS[64];
  assert.ok(recoverAddress(hash, good));
  for (const [what, signature] of Object.entries({
    'high s': highS, 'r = 0': altered(0, word(0n)), 's = 0': altered(32, word(0n)), 'r = n': altered(0, word(N)),
    'v = 0': altered(64, [0]), 'v = 29': altered(64, [29]), 'x off the curve': altered(0, word(5n)), 'too short': good.subarray(0, 64),
  })) assert.equal(recoverAddress(hash, signature), null, what);
  for (let k = 1n; k < 12n; k++) assert.equal(recoverAddress(hash, altered(0, word(N + k))), null, 'r above n'); // half of them are on the curve
});

test('the EIP-712 digest is viem’s', async () => {
  const bytes = utf8(await receiptMake());
  const read = statementRead(RECEIPT, bytes);
  assert.equal(hex(statementDigest(RECEIPT, read)), hashTypedData(typedReceipt(read.message)));
});

test('a receipt, its request, response, model and chain pass with a pinned node', async () => {
  const report = await verdictCheck({
    receipt: utf8(await receiptMake()), node: NODE.address, gateway: GATEWAY.address, chainId: 84532n, model: MODEL, now: Date.now(),
    request: { body: utf8(REQUEST.body), path: REQUEST.path, contentType: REQUEST.type }, response: utf8('{"answer":42}'),
  });
  assert.equal(report.verdict, 'passed', JSON.stringify(report.checks));
  assert.deepEqual(report.checks.map((check) => check.name),
    ['form', 'signature', 'signer', 'registration', 'chain', 'gateway', 'model', 'request', 'response', 'times', 'policy', 'status']);
});

test('who vouches for the node decides between passed, failed and unverifiable', async () => {
  const receipt = utf8(await receiptMake());
  const statement = (more, signer) => statementMake(more, signer).then(utf8);
  const cases = [
    [{}, 'unverifiable'], [{ node: NODE.address }, 'passed'], [{ node: OTHER.address }, 'failed'],
    [{ gateway: GATEWAY.address }, 'unverifiable'], [{ gateway: OTHER.address }, 'failed'],
    [{ statement: await statement() }, 'unverifiable'], [{ statement: await statement(), gateway: GATEWAY.address }, 'passed'],
    [{ statement: await statement(), gateway: OTHER.address }, 'failed'],
    [{ statement: await statement({}, OTHER), gateway: GATEWAY.address }, 'failed'],
    [{ statement: await statement({ node: OTHER.address }), gateway: GATEWAY.address }, 'failed'],
    [{ statement: await statement({ modelDigest: sha('another') }), gateway: GATEWAY.address }, 'failed'],
    [{ statement: await statement({ registeredAt: 1900000000000n }), gateway: GATEWAY.address }, 'unverifiable'],
    [{ statement: await statement({ profileHash: sha('another') }), gateway: GATEWAY.address }, 'unverifiable'],
    [{ statement: utf8('{}'), node: NODE.address }, 'failed'], [{ statement: await statement(), node: NODE.address }, 'passed'],
    [{ statement: await statement(), node: OTHER.address, gateway: GATEWAY.address }, 'failed'],
  ];
  for (const [more, verdict] of cases) {
    const report = await verdictCheck({ receipt, ...more });
    assert.equal(report.verdict, verdict, JSON.stringify([Object.keys(more), report.checks]));
  }
});

test('no byte of a receipt can change', async () => {
  const receipt = utf8(await receiptMake());
  for (let i = 0; i < receipt.length; i++) {
    const copy = receipt.slice();
    copy[i] ^= 1 << (i % 8);
    const { verdict } = await verdictCheck({ receipt: copy, node: NODE.address });
    assert.equal(verdict, 'failed', `byte ${i}`);
  }
  for (const copy of [receipt.subarray(1), receipt.subarray(0, -1), utf8(await receiptMake() + '\n'), new Uint8Array(), new Uint8Array(5000)])
    assert.equal((await verdictCheck({ receipt: copy, node: NODE.address })).verdict, 'failed');
});

test('no byte of request or response can change', async () => {
  const receipt = utf8(await receiptMake());
  const response = utf8('{"answer":42}');
  const body = utf8(REQUEST.body);
  const flip = (bytes, i) => bytes.map((byte, at) => (at === i ? byte ^ 1 : byte));
  for (let i = 0; i < response.length; i++)
    assert.equal(checkOf(await verdictCheck({ receipt, response: flip(response, i) }), 'response').result, 'failed', `byte ${i}`);
  for (let i = 0; i < body.length; i += 7)
    assert.equal(checkOf(await verdictCheck({ receipt, request: { body: flip(body, i) } }), 'request').result, 'failed', `byte ${i}`);
  assert.equal(checkOf(await verdictCheck({ receipt, request: { body } }), 'request').result, 'passed', 'any of our routes');
  assert.equal(checkOf(await verdictCheck({ receipt, request: { body, path: '/v1/jobs' } }), 'request').result, 'failed', 'another path');
});

test('what a receipt says by itself', async () => {
  const cases = [
    [{ startedAt: 1767225600200n }, 'times', 'failed'], [{ finishedAt: 99999999999999n }, 'times', 'failed'],
    [{ policy: 'attested' }, 'policy', 'unverifiable'], [{ policy: 'none' }, 'policy', 'passed'],
    [{ status: 99 }, 'status', 'failed'], [{ status: 600 }, 'status', 'failed'], [{ status: 499 }, 'status', 'passed'],
    [{ node: OTHER.address }, 'signer', 'failed'],
  ];
  for (const [more, name, result] of cases) {
    const report = await verdictCheck({ receipt: utf8(await receiptMake(more)), node: NODE.address, now: Date.now() });
    assert.equal(checkOf(report, name).result, result, JSON.stringify(Object.keys(more)));
    assert.equal(report.verdict, result);
  }
});

test('the request hash is that of server/proof', async () => {
  const body = utf8('{"model":"tiny","messages":[{"role":"user","content":"h\u00e9"}]}');
  const of = (method, path, contentType, headerLength) => requestHash({ method, path, contentType, headerLength, body });
  // The same constants are in tests/unit/proof/vectors.h.
  assert.equal(await of('POST', '/v1/chat/completions', 'application/json'), '0x2049bae099b611f1b9552e03b0147fb43dfc5e56ee0e32ab199d66c0e855f4e2');
  assert.equal(await of('POST', '/v2/models/a%2Fb/infer', 'application/octet-stream', '137'), '0x2cafb65b0edaa9155b62c1cd7bc64220a0242ac0665f752f5f43a3b33542c10d');
  assert.equal(await of('GET', '/', '', ''), '0xd74201f1b0512847e0c4e52f3b4459365da2755e8df94973ff70e68ab85ce168');
});

test('streams: the events count, comments do not, strays and other receipts do', async () => {
  const receipt = utf8(await receiptMake({ responseHash: streamHash() }));
  const carried = Buffer.from(receipt).toString('base64url');
  const cases = [
    [STREAM, 'same'], [STREAM.replaceAll('\n', '\r\n'), 'same'], [`: hello\n\n${STREAM}`, 'same'],
    [STREAM.replace('data: [DONE]\n\n', ''), 'same'], [STREAM.replace('data: [DONE]', `: opgate-receipt ${carried}\n\ndata: [DONE]`), 'same'],
    [STREAM.replace('data: [DONE]', ': opgate-receipt e30\n\ndata: [DONE]'), 'other receipt'],
    [STREAM.replace('"a"', '"b"'), 'other'], [STREAM + 'data: more\n\n', 'stray'], ['id: 1\n' + STREAM, 'stray'],
    [STREAM.replace('\n', '\r\n'), 'stray'], ['\ufeff' + STREAM, 'stray'], [STREAM.slice(0, -1), 'stray'], ['', 'other'],
    [STREAM.replaceAll('data: {', 'data:{'), 'stray'],
  ];
  for (const [text, match] of cases) assert.equal(await streamMatch(utf8(text), streamHash(), receipt), match, JSON.stringify(text));
  const report = await verdictCheck({ receipt, node: NODE.address, response: utf8(STREAM) });
  assert.equal(report.verdict, 'passed');
});

test('base64url is strict', () => {
  for (const text of ['e30=', 'e3', 'e31', 'e30 ', 'a', 'e+0']) assert.equal(unbase64url(text), null, text);
  assert.equal(hex(unbase64url('e30')), '0x7b7d');
  assert.equal(createHash('sha256').update(unbase64url('')).digest('hex'), createHash('sha256').digest('hex'));
});
