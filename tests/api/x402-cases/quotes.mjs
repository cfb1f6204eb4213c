// What was promised in extra.quote, and who pays when there is a key as well. Each is [name, work()] and checks for itself.
import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { base64, envelope, now, offersOf } from '../payer.mjs';
import { accountMake, dev, inVar, OPG, tokenBalance, uuid } from '../stack.mjs';
import { buyersMake, CHAT, chatBody, COMPLETIONS, completionBody, INFER, inferBody, KINDS, makerOf, post, postBytes, receiptIn, settledOf, termsIn, workOf } from './kit.mjs';

const NO_MATCH = 'No matching payment requirements';
const pay = (path, body, sent, headers = {}) => post(path, body, { 'PAYMENT-SIGNATURE': base64(sent), ...headers });

// ---- the seal, to make quotes that the gateway would not ----

const LABEL = 'opgate x402 quote\n';
const hmac = (key, ...parts) => parts.reduce((made, part) => made.update(part), createHmac('sha256', key)).digest();
const ours = () => hmac(Buffer.from(fs.readFileSync(inVar('keys/jwt.secret'), 'utf8').trim(), 'hex'), 'x402 quote');
const opened = (quote) => Buffer.from(quote, 'base64url').subarray(0, -16);
const sealed = (fields, key) => Buffer.concat([fields, hmac(key, LABEL, fields).subarray(0, 16)]).toString('base64url');
/// The same quote with another end: the first number, behind the byte for the format.
function ended(quote, at) {
  const fields = opened(quote);
  const number = Buffer.from(at.toString(16).padStart(fields[1] * 2, '0'), 'hex');
  return sealed(Buffer.concat([fields.subarray(0, 2), number, fields.subarray(2 + fields[1])]), ours());
}

async function ready(kind, body = chatBody(), path = CHAT) {
  const [wallet] = await buyersMake(1, { approve: true });
  const { terms, ...offers } = await offersOf(path, body);
  const offer = offers[kind];
  const by = async (terms_of) => envelope(terms_of, await makerOf(kind)(wallet, terms_of));
  return { kind, wallet, path, body, offer, offers, by, quoted: (quote) => by({ ...offer, extra: { ...offer.extra, quote } }) };
}
/// Refused with the terms of today, and nothing done.
async function assertNoMatch(r, answer) {
  assert.deepEqual([answer.status, termsIn(answer)?.error], [402, NO_MATCH], answer.bytes.toString().slice(0, 300));
  assert.equal(termsIn(answer).accepts[0].extra.quote.length > 40, true);
  assert.deepEqual(workOf(r.wallet.address), [0, 0, 0]);
  assert.equal(await tokenBalance(r.wallet.address), OPG);
}
const refused = (kind, name, quote) => [`${kind}: ${name}`, async () => {
  const r = await ready(kind);
  await assertNoMatch(r, await pay(r.path, r.body, await r.quoted(await quote(r.offer.extra.quote, r))));
}];
const flipped = (quote, at) => {
  const bytes = Buffer.from(quote, 'base64url');
  bytes[at < 0 ? bytes.length + at : at] ^= 1;
  return bytes.toString('base64url');
};
const elsewhere = (kind, name, path, bodyMake, from = [CHAT, chatBody]) => [`${kind}: ${name}`, async () => {
  const r = await ready(kind, from[1](), from[0]);
  await assertNoMatch(r, await pay(path, bodyMake(), await r.by(r.offer)));
}];

export const QUOTES = KINDS.flatMap((kind) => [
  refused(kind, 'no quote', () => undefined), refused(kind, 'an empty quote', () => ''), refused(kind, 'a number for a quote', () => 1), refused(kind, 'a quote of words', () => 'cheap-please'),
  refused(kind, 'a quote cut short', (q) => q.slice(0, -4)), refused(kind, 'a quote with more behind it', (q) => `${q}AAAA`), refused(kind, 'a quote of 4 KB', () => 'A'.repeat(4096)),
  refused(kind, 'a flipped bit in the format', (q) => flipped(q, 0)), refused(kind, 'a flipped bit in the end', (q) => flipped(q, 4)), refused(kind, 'a flipped bit in the middle', (q) => flipped(q, 30)),
  refused(kind, 'a flipped bit in the seal', (q) => flipped(q, -1)), refused(kind, 'no seal', (q) => opened(q).toString('base64url')), refused(kind, 'another gateway\'s seal', (q) => sealed(opened(q), randomBytes(32))),
  refused(kind, 'an expired quote', (q) => ended(q, now() - 1)), refused(kind, 'a quote that expires now', (q) => ended(q, now())), refused(kind, 'a quote for another model', async () => (await offersOf(INFER, inferBody())).eip3009.extra.quote),
  [`${kind}: a quote about to expire, under our seal`, async () => {
    const r = await ready(kind);
    const quote = ended(r.offer.extra.quote, now() + 100);
    assert.notEqual(quote, r.offer.extra.quote);
    const answer = await pay(r.path, r.body, await r.quoted(quote));
    assert.equal(answer.status, 200, termsIn(answer)?.error);
    await settledOf(answer.headers.get('Opgate-Payment'));
  }],
  [`${kind}: for another body of the same size`, async () => {
    const r = await ready(kind);
    const answer = await pay(r.path, chatBody(), await r.by(r.offer));
    assert.equal(answer.status, 200, termsIn(answer)?.error);
    await settledOf(answer.headers.get('Opgate-Payment'));
  }],
  elsewhere(kind, 'for a larger body', CHAT, () => chatBody({ messages: [{ role: 'user', content: 'long '.repeat(400) }] })), elsewhere(kind, 'for a longer answer', CHAT, () => chatBody({ max_tokens: 3 })),
  elsewhere(kind, 'for any length of answer', CHAT, () => chatBody({ max_tokens: undefined })), elsewhere(kind, 'for two answers', CHAT, () => chatBody({ n: 2 })), elsewhere(kind, 'for another route', COMPLETIONS, completionBody),
  ...(kind === 'upto' ? [] : [elsewhere(kind, 'for another model', CHAT, chatBody, [INFER, inferBody]), elsewhere(kind, 'the other way round', INFER, inferBody)]),
]);

// ---- a key and a payment ----

const bearer = (key) => ({ Authorization: `Bearer ${key}` });
/// Paid by the wallet although there is this header.
const byWallet = (name, headers) => [`${name}: the wallet pays`, async () => {
  const r = await ready('eip3009', inferBody(), INFER);
  const answer = await pay(r.path, r.body, await r.by(r.offer), headers());
  assert.equal(answer.status, 200, answer.bytes.toString().slice(0, 200));
  assert.equal(receiptIn(answer).success, true);
  assert.equal(OPG - (await tokenBalance(r.wallet.address)), BigInt(r.offer.amount));
}];

let account;
export const KEYS = [
  ...['', 'placeholder', 'sk-0123456789abcdef', 'null', 'undefined', '0x1234'].map((text) => byWallet(`a bearer "${text}" that is nobody's`, () => bearer(text))),
  byWallet('Basic authorization', () => ({ Authorization: 'Basic dXNlcjpwYXNz' })),
  byWallet('an empty Authorization', () => ({ Authorization: '' })),
  ...[['a placeholder', 'placeholder']].map(([name, text]) => [`${name} and no payment: asked to pay`, async () => assert.equal((await post(INFER, inferBody(), bearer(text))).status, 402)]),
  ['a good key and a good payment: the account pays, the authorization stays unused', async () => {
    account ??= accountMake({ opg: OPG });
    const { key, api: signed } = await account;
    const r = await ready('eip3009', inferBody(), INFER);
    const before = await signed.balance();
    const answer = await pay(r.path, r.body, await r.by(r.offer), bearer(key));
    assert.deepEqual([answer.status, answer.headers.get('PAYMENT-RESPONSE'), answer.headers.get('Opgate-Payment')], [200, null, null]);
    assert.ok((await signed.balance()) < before);
    assert.deepEqual([workOf(r.wallet.address), await tokenBalance(r.wallet.address)], [[0, 0, 0], OPG]);
  }],
  ['a good key and an unreadable payment: the account pays', async () => {
    account ??= accountMake({ opg: OPG });
    const { key } = await account;
    assert.equal((await post(INFER, inferBody(), { ...bearer(key), 'PAYMENT-SIGNATURE': '%%%' })).status, 200);
  }],
  ['a key without money and a good payment: the account is told so, the authorization stays unused', async () => {
    const { key } = await accountMake();
    const r = await ready('eip3009', inferBody(), INFER);
    const answer = await pay(r.path, r.body, await r.by(r.offer), bearer(key));
    assert.deepEqual([answer.status, answer.headers.get('PAYMENT-REQUIRED')], [402, null]);
    assert.deepEqual([workOf(r.wallet.address), await tokenBalance(r.wallet.address)], [[0, 0, 0], OPG]);
  }],
  ['a revoked key and a good payment: refused, the authorization stays unused', async () => {
    const { api: signed } = await accountMake();
    const key = await signed.keyCreate('gone', ['inference']);
    const { data } = await signed.json('GET', '/v1/keys');
    await signed.raw('DELETE', `/v1/keys/${data.find(({ name }) => name === 'gone').id}`);
    const r = await ready('eip3009', inferBody(), INFER);
    const answer = await pay(r.path, r.body, await r.by(r.offer), bearer(key));
    assert.equal(answer.status, 401, answer.bytes.toString().slice(0, 200));
    assert.deepEqual([workOf(r.wallet.address), await tokenBalance(r.wallet.address)], [[0, 0, 0], OPG]);
  }],
  ['a key nobody has and a good payment: refused, the authorization stays unused', async () => {
    const r = await ready('eip3009', inferBody(), INFER);
    assert.equal((await pay(r.path, r.body, await r.by(r.offer), bearer(`ogk_${'x'.repeat(43)}`))).status, 401);
    assert.deepEqual(workOf(r.wallet.address), [0, 0, 0]);
  }],
];

// ---- what the HTTP server says before anybody reads a payment ----

export const FRAMING = [
  ['a header larger than the limit: 431', async () => assert.equal((await post(INFER, inferBody(), { 'PAYMENT-SIGNATURE': 'A'.repeat(50_000) })).status, 431)],
  ['a payment of 30 KB is read', async () => {
    const r = await ready('eip3009', inferBody(), INFER);
    assert.equal((await pay(r.path, r.body, { ...(await r.by(r.offer)), note: 'n'.repeat(22_000) })).status, 200);
  }],
  ['a NUL in the header: 400', async () => assert.equal((await postBytes(INFER, inferBody(), Buffer.from('PAYMENT-SIGNATURE: e30\0A'))).status, 400)],
  ['a control character in the header: 400', async () => assert.equal((await postBytes(INFER, inferBody(), Buffer.from('PAYMENT-SIGNATURE: e30\x01A'))).status, 400)],
  ['bytes above 127 in the header: unpaid', async () => assert.equal((await postBytes(INFER, inferBody(), Buffer.from('PAYMENT-SIGNATURE: \xe4\xf6', 'latin1'))).status, 402)],
  ['a folded header: 400', async () => assert.equal((await postBytes(INFER, inferBody(), Buffer.from('PAYMENT-SIGNATURE: e30\r\n e30'))).status, 400)],
  ['a good payment for a model that is not there: 404, and the authorization stays unused', async () => {
    const r = await ready('eip3009');
    assert.equal((await pay(CHAT, chatBody({ model: `nobody/${uuid()}` }), await r.by(r.offer))).status, 404);
    assert.deepEqual(workOf(r.wallet.address), [0, 0, 0]);
  }],
  ['a good payment with a body that is not JSON: 400, and the authorization stays unused', async () => {
    const r = await ready('eip3009', inferBody(), INFER);
    assert.equal((await pay(INFER, '{', await r.by(r.offer))).status, 400);
    assert.deepEqual(workOf(r.wallet.address), [0, 0, 0]);
  }],
  ['a good payment above max_price: refused, and the authorization stays unused', async () => {
    const r = await ready('eip3009', inferBody(), INFER);
    assert.equal((await pay(`${INFER}?max_price=1`, r.body, await r.by(r.offer))).status, 422);
    assert.deepEqual(workOf(r.wallet.address), [0, 0, 0]);
  }],
  ['a browser may read what x402 says', async () => {
    const answer = await post(INFER, inferBody(), { Origin: 'https://example.com' });
    for (const name of ['PAYMENT-REQUIRED', 'PAYMENT-RESPONSE', 'OPGATE-PAYMENT', 'OPGATE-CREDITED']) assert.ok(answer.headers.get('Access-Control-Expose-Headers').toUpperCase().includes(name), name);
    const preflight = await fetch(dev.base_url + INFER, { method: 'OPTIONS', headers: { Origin: 'https://example.com', 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': 'payment-signature' } });
    const allowed = preflight.headers.get('Access-Control-Allow-Headers').toLowerCase();
    for (const name of ['payment-signature', 'x-payment', 'access-control-expose-headers']) assert.ok(allowed.includes(name), `${name} in ${allowed}`);
  }],
];
