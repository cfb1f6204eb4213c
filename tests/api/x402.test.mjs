// Paying for one request with a wallet and no account: the official client as it is published, and by hand everything it would
// never send. Blocks come every second; tests that need a state between two blocks stop them.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { registerExactEvmScheme } from '@x402/evm/exact/client';
import { UptoEvmScheme } from '@x402/evm/upto/client';
import { wrapFetchWithPayment, x402Client } from '@x402/fetch';
import { checksumAddress, encodeFunctionData, parseSignature } from 'viem';
import { contractsCompile } from '../../script/contracts.mjs';
import { chainAccount } from '../../script/lib/chain.mjs';
import { stackLocked, stackRestart } from '../../script/lib/stack.mjs';
import { answer as answered, EvilNode, STREAM_EVENTS } from '../faults/evil-node.mjs';
import {
  adderBody, api, assertBooks, assertError, assertStatus, call, chain, dev, inVar, mine, modelOf, OPG, rpc, sql, token, tokenBalance, tokenSend, uuid, waitFor,
} from './stack.mjs';
import {
  assertCustody, base64, buyerMake, eip3009, envelope, highTwin, jobsOf, nonceUsed, now, offersOf, pay, paymentEnds, paymentsOf, permit2, receiptOf, termsOf,
} from './payer.mjs';

const adder = modelOf('tensor').id;
const llama = modelOf('chat').id;
const INFER = `/v2/models/${adder}/infer`;
const CHAT = '/v1/chat/completions';
const body = () => adderBody(Math.floor(Math.random() * 1e6));
const chatBody = (over = {}) => JSON.stringify({ model: llama, max_tokens: 4, temperature: 0, messages: [{ role: 'user', content: `This program ${uuid()}` }], ...over });
const JSON_HEADERS = { 'Content-Type': 'application/json' };
let pay_to, evil, evil_chat, rig;

/// The official client, with the one line that lets it pay in a token that is not its default.
function clientMake(wallet) {
  const client = new x402Client();
  registerExactEvmScheme(client, { signer: wallet.account });
  client.register('eip155:*', new UptoEvmScheme(wallet.account));
  client.setSpendControls({ allowedAssets: true });
  return client;
}
const clientOnly = (wallet, scheme, method) => {
  const client = clientMake(wallet);
  client.registerPolicy((_, list) => list.filter((one) => one.scheme === scheme && (one.extra.assetTransferMethod === 'permit2') === (method === 'permit2')));
  return wrapFetchWithPayment(fetch, client);
};

before(async () => {
  pay_to = (await offersOf(INFER, body())).eip3009.payTo;
  rig = { accounts: { operator: chainAccount(2) }, closers: [], gateway_address: dev.gateway_address, api: () => api };
  const author = await api.signIn(chainAccount(1).account, dev.chain_id);
  const publish = (name, surface, price, more) => author.modelPublish({ name, title: name, description: name, surface, price, files: [{ path: surface === 'tensor' ? 'm.onnx' : 'm.gguf', bytes: Buffer.from(name + uuid()) }], ...more });
  const tensor = await publish(`x402-${uuid().slice(0, 8)}`, 'tensor', { input: '1000', output: '0' });
  const chat = await publish(`x402-${uuid().slice(0, 8)}`, 'chat', { input: '101', output: '203' }, { max_output_tokens: 50 });
  const ask = { input: '2000', output: '3000' };
  evil = await EvilNode.start(rig, { models: [tensor], ask });
  evil_chat = await EvilNode.start(rig, { models: [chat], ask });
});

after(async () => {
  await rpc('evm_setIntervalMining', 1);
  await waitFor('nothing is open', () => sql("SELECT 1 FROM payment WHERE state IN ('claimed', 'settling', 'failed')").length === 0, { seconds: 60 });
  await evil.leave();
  await evil_chat.leave();
  await assertCustody();
  await assertBooks();
});

const evilInfer = () => `/v2/models/${evil.models[0].id}/infer`;
/// What moves on chain while `work` runs.
async function moved(wallet, work) {
  const before = [await tokenBalance(wallet.address), await tokenBalance(pay_to)];
  const result = await work();
  return { result, paid: before[0] - (await tokenBalance(wallet.address)), received: (await tokenBalance(pay_to)) - before[1] };
}

// ---- the official client ----

test('the official client pays exact by EIP-3009: the answer, and exactly the price', async () => {
  const wallet = await buyerMake(OPG);
  const asked = body();
  const { eip3009: offer } = await offersOf(INFER, asked);
  const fetchPaid = wrapFetchWithPayment(fetch, clientMake(wallet));
  const { result, paid, received } = await moved(wallet, () => fetchPaid(dev.base_url + INFER, { method: 'POST', headers: JSON_HEADERS, body: asked }));
  assert.equal(result.status, 200);
  assert.ok((await result.json()).outputs[0].data.length);
  assert.deepEqual([paid, received], [BigInt(offer.amount), BigInt(offer.amount)]);
  const receipt = receiptOf(result);
  assert.deepEqual([receipt.success, receipt.payer, receipt.network], [true, wallet.account.address, 'eip155:84532']);
  assert.match(receipt.transaction, /^0x[0-9a-f]{64}$/);
  assert.match(result.headers.get('Cache-Control'), /private/);
  const row = await paymentEnds(result.headers.get('Opgate-Payment'));
  assert.deepEqual([row.state, row.amount, row.transaction], ['settled', offer.amount, receipt.transaction]);
});

test('the official client pays exact by Permit2; without the approval it is told 412', async () => {
  const [poor, wallet] = [await buyerMake(OPG), await buyerMake(OPG, { approve: true })];
  const request = { method: 'POST', headers: JSON_HEADERS, body: body() };
  const unapproved = await clientOnly(poor, 'exact', 'permit2')(dev.base_url + INFER, request);
  assert.equal(unapproved.status, 412);
  assert.equal(termsOf(unapproved).error, 'permit2_allowance_required');
  assert.equal(jobsOf(poor.address), 0);
  const { permit2: offer } = await offersOf(INFER, request.body);
  const { result, paid, received } = await moved(wallet, () => clientOnly(wallet, 'exact', 'permit2')(dev.base_url + INFER, request));
  assert.equal(result.status, 200);
  assert.deepEqual([paid, received], [BigInt(offer.amount), BigInt(offer.amount)]);
});

test('the official client pays upto: what was used, not what was signed', async () => {
  const wallet = await buyerMake(OPG, { approve: true });
  const asked = chatBody();
  const { upto } = await offersOf(CHAT, asked);
  const { result, paid, received } = await moved(wallet, () => clientOnly(wallet, 'upto', 'permit2')(dev.base_url + CHAT, { method: 'POST', headers: JSON_HEADERS, body: asked }));
  assert.equal(result.status, 200);
  const { usage } = await result.json();
  assert.ok(usage.completion_tokens > 0);
  const [{ charged, state }] = paymentsOf(wallet.address);
  assert.equal(state, 'settled');
  assert.deepEqual([paid, received, receiptOf(result).amount], [BigInt(charged), BigInt(charged), charged]);
  assert.ok(paid > 0n && paid < BigInt(upto.amount), `${paid} of ${upto.amount}`);
});

test('upto streams as it comes, and is settled by the end; the settlement is found at the status link', async () => {
  const wallet = await buyerMake(OPG, { approve: true });
  await rpc('evm_setIntervalMining', 0); // nothing can be settled: the stream must not wait for that
  const request = { method: 'POST', headers: { ...JSON_HEADERS, Authorization: 'Bearer placeholder' }, body: chatBody({ stream: true, max_tokens: 12 }) };
  try {
    const result = await clientOnly(wallet, 'upto', 'permit2')(dev.base_url + CHAT, request);
    assert.equal(result.status, 200);
    assert.equal(result.headers.get('PAYMENT-RESPONSE'), null, 'nobody knows yet');
    const text = await result.text();
    assert.match(text, /data: \[DONE\]\n\n$/);
    const [{ state, amount }] = paymentsOf(wallet.address);
    assert.equal(state, 'settling');
    await rpc('evm_setIntervalMining', 1);
    const row = await paymentEnds(result.headers.get('Opgate-Payment'));
    assert.deepEqual([row.state, row.amount], ['settled', amount]);
    await waitFor('its job is closed', () => paymentsOf(wallet.address)[0].charged === amount);
    assert.equal(OPG - (await tokenBalance(wallet.address)), BigInt(amount));
  } finally {
    await rpc('evm_setIntervalMining', 1);
  }
});

test('upto of a stream its caller left is what had been passed on', async () => {
  const wallet = await buyerMake(OPG, { approve: true });
  const asked = chatBody({ stream: true, model: evil_chat.models[0].id });
  const sent = STREAM_EVENTS.slice(0, 2);
  evil_chat.mode = async (request) => { // two words and no end: no node is faster than this caller leaves
    request.response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    for (const data of sent) request.response.write(`data: ${data}\n\n`);
    await request.closed;
    await request.node.pushPartial(request, sent);
  };
  const { upto } = await offersOf(CHAT, asked);
  const leaving = new AbortController();
  const headers = { ...JSON_HEADERS, 'PAYMENT-SIGNATURE': base64(envelope(upto, await permit2(wallet, upto))) };
  const result = await fetch(dev.base_url + CHAT, { method: 'POST', headers, body: asked, signal: leaving.signal });
  const reader = result.body.getReader();
  for (let text = ''; !text.includes(sent[1]);) text += Buffer.from((await reader.read()).value).toString();
  leaving.abort();
  const row = await paymentEnds(result.headers.get('Opgate-Payment'));
  const [{ outcome, charged }] = await waitFor('its job is closed', () => (paymentsOf(wallet.address)[0].outcome ? paymentsOf(wallet.address) : false));
  assert.equal(outcome, 'partial');
  assert.deepEqual([row.state, row.amount, String(OPG - (await tokenBalance(wallet.address)))], ['settled', charged, charged]);
  assert.ok(BigInt(charged) > 0n && BigInt(charged) < BigInt(upto.amount) / 2n, `${charged} of ${upto.amount}`);
  evil_chat.mode = 'good';
});

test('a streamed exact payment is settled first, and its receipt comes in the headers', async () => {
  const wallet = await buyerMake(OPG);
  const asked = chatBody({ stream: true });
  const { eip3009: offer } = await offersOf(CHAT, asked);
  const result = assertStatus(await pay(CHAT, asked, envelope(offer, await eip3009(wallet, offer))), 200);
  assert.match(result.bytes.toString(), /data: \[DONE\]\n\n$/);
  assert.equal(receiptOf(result).success, true);
  const [{ amount, charged }] = paymentsOf(wallet.address);
  assert.equal(amount, offer.amount);
  const signed = await api.signIn(wallet.account, dev.chain_id);
  assert.equal(await signed.balance(), BigInt(amount) - BigInt(charged), 'what was paid and not used is on the wallet\'s account');
});

test('version 1 pays with X-PAYMENT by the body of the same 402', async () => {
  const wallet = await buyerMake(OPG);
  const asked = body();
  const { answer } = await offersOf(INFER, asked);
  const v1 = answer.json;
  assert.deepEqual([v1.x402Version, v1.accepts.length], [1, 1]);
  const [offer] = v1.accepts;
  assert.deepEqual([offer.network, offer.payTo], ['base-sepolia', pay_to]);
  const { payload } = await eip3009(wallet, { ...offer, amount: offer.maxAmountRequired });
  const send = (more = {}) => call('POST', INFER, { body: asked, headers: { 'X-PAYMENT': base64({ x402Version: 1, scheme: 'exact', network: 'base-sepolia', payload, ...more }) } });
  assert.equal(assertStatus(await send({ network: 'base' }), 402).json.error, 'Unable to find matching payment requirements');
  const result = assertStatus(await send(), 200);
  const receipt = JSON.parse(Buffer.from(result.headers.get('X-PAYMENT-RESPONSE'), 'base64'));
  assert.deepEqual([receipt.success, receipt.network], [true, 'base-sepolia']);
  assert.equal(OPG - (await tokenBalance(wallet.address)), BigInt(offer.maxAmountRequired));
});

// ---- terms ----

test('terms are the same bytes for the same route and price, and nothing is unpaid twice', async () => {
  const [other, third] = [await offersOf(CHAT, chatBody()), await offersOf(INFER, adderBody(2))];
  const challenge = ({ terms }) => terms.extensions['sign-in-with-x'].info;
  let one, two;
  do [one, two] = [await offersOf(INFER, adderBody(1)), await offersOf(INFER, adderBody(1))];
  while (challenge(one).issuedAt !== challenge(two).issuedAt); // the next minutes began between them
  assert.equal(one.answer.headers.get('PAYMENT-REQUIRED'), two.answer.headers.get('PAYMENT-REQUIRED'));
  assert.deepEqual(one.answer.bytes, two.answer.bytes);
  assert.notEqual(challenge(one).nonce, challenge(third).nonce, 'a challenge is for one request');
  const stable = ({ terms }) => JSON.stringify({ ...terms, extensions: { ...terms.extensions, 'sign-in-with-x': null } });
  assert.equal(stable(one), stable(third), 'and nothing else of the terms is');
  assert.equal(one.answer.headers.get('Cache-Control'), 'no-store');
  assert.equal(one.terms.error, 'Payment required');
  assert.equal(one.terms.resource.url, dev.base_url + INFER);
  assert.notEqual(one.eip3009.extra.quote, other.eip3009.extra.quote);
  assert.deepEqual(other.terms.accepts.map(({ scheme }) => scheme), ['exact', 'exact', 'upto']);
});

test('what cannot be read is unpaid; what can be read and is no payment is told so', async () => {
  const asked = body();
  const error = async (header) => termsOf(assertStatus(await pay(INFER, asked, header), 402)).error;
  for (const junk of [' ', 'x', '%%%', '{}', JSON.stringify({ x402Version: 2 }), base64('text'), base64('null'), base64('{"a":1}').slice(0, 6), Buffer.from('{"a":"??>>"}').toString('base64url') + '-_'])
    assert.equal(await error(junk), 'Payment required', junk);
  for (const [value, version] of [['[]', 'undefined'], ['{}', 'undefined'], ['{"x402Version":99}', '99']])
    assert.match(await error(base64(value)), new RegExp(`^Unsupported x402 version: ?${version}`), value);
});

test('altered terms match nothing', async () => {
  const wallet = await buyerMake(OPG);
  const asked = body();
  const { eip3009: offer } = await offersOf(INFER, asked);
  const made = await eip3009(wallet, offer);
  const altered = [
    { amount: String(BigInt(offer.amount) - 1n) }, { amount: Number(offer.amount) }, { network: 'eip155:1' }, { scheme: 'upto' }, { payTo: dev.treasury }, { payTo: offer.payTo.toLowerCase() },
    { asset: offer.asset.toLowerCase() }, { maxTimeoutSeconds: offer.maxTimeoutSeconds + 1 }, { maxTimeoutSeconds: '300' }, { unknown: 1 }, { extra: { ...offer.extra, name: 'USDC' } },
    { extra: { name: offer.extra.name, version: offer.extra.version } }, { extra: { ...offer.extra, quote: `${offer.extra.quote.slice(0, -2)}AA` } }, { extra: null },
  ];
  for (const change of altered) {
    const answer = assertStatus(await pay(INFER, asked, envelope({ ...offer, ...change }, made)), 402);
    assert.equal(termsOf(answer).error, 'No matching payment requirements', JSON.stringify(change));
  }
  assert.equal(termsOf(assertStatus(await pay(INFER, asked, { x402Version: 2, payload: made.payload }), 402)).error, 'No matching payment requirements');
  assert.equal(jobsOf(wallet.address), 0);
  assertStatus(await pay(INFER, asked, envelope({ ...offer, extra: { more: 'is fine', ...offer.extra } }, made)), 200);
});

// ---- reasons ----

test('each thing that can be wrong with an authorization has its reason', async () => {
  const [wallet, poor] = [await buyerMake(OPG), await buyerMake(1n)];
  const asked = body();
  const { eip3009: offer } = await offersOf(INFER, asked);
  const good = await eip3009(wallet, offer);
  const withSignature = (signature) => ({ payload: { ...good.payload, signature } });
  const { signature } = good.payload;
  const amount = BigInt(offer.amount);
  const at = BigInt(now());
  const SIGNATURE = 'invalid_exact_evm_signature';
  const cases = [
    ['invalid_exact_evm_payload_authorization_value_mismatch', eip3009(wallet, offer, { value: amount - 1n })],
    ['invalid_exact_evm_payload_authorization_value_mismatch', eip3009(wallet, offer, { value: amount + 1n })],
    ['invalid_exact_evm_payload_authorization_value_mismatch', eip3009(wallet, offer, { value: amount + (1n << 64n) })],
    ['invalid_exact_evm_payload_authorization_value_mismatch', eip3009(wallet, offer, { value: 0n })],
    ['invalid_exact_evm_payload_authorization_valid_before', eip3009(wallet, offer, { validBefore: at + 3n })],
    ['invalid_exact_evm_payload_authorization_valid_before', eip3009(wallet, offer, { validBefore: 0n })],
    ['invalid_exact_evm_payload_authorization_valid_after', eip3009(wallet, offer, { validAfter: at + 100n })],
    ['invalid_exact_evm_payload_authorization_valid_after', eip3009(wallet, offer, { validAfter: 1n << 64n })],
    ['invalid_exact_evm_recipient_mismatch', eip3009(wallet, offer, { to: dev.treasury })],
    [SIGNATURE, eip3009(wallet, offer, {}, { signer: poor.account })],
    [SIGNATURE, eip3009(wallet, offer, {}, { domain: { chainId: 1 } })],
    [SIGNATURE, eip3009(wallet, offer, {}, { domain: { name: 'USD Coin' } })],
    [SIGNATURE, eip3009(wallet, offer, {}, { domain: { verifyingContract: dev.treasury } })],
    [SIGNATURE, eip3009(wallet, offer, {}, { types: 'receive' })],
    [SIGNATURE, { payload: { ...good.payload, authorization: { ...good.payload.authorization, value: String(amount + (1n << 256n)) } } }],
    [SIGNATURE, withSignature(`${signature.slice(0, 10)}${signature[10] === '0' ? '1' : '0'}${signature.slice(11)}`)],
    [SIGNATURE, withSignature(signature.slice(0, -2))], [SIGNATURE, withSignature(`${signature}00`)], [SIGNATURE, withSignature('0x')], [SIGNATURE, withSignature('zz')],
    [SIGNATURE, withSignature(`0x${'0'.repeat(130)}`)], [SIGNATURE, withSignature(`0x${'ab'.repeat(3000)}`)],
    ['invalid_exact_evm_transaction_simulation_failed', withSignature(highTwin(signature))],
    ['invalid_exact_evm_transaction_simulation_failed', withSignature(signature.slice(0, -2) + (signature.endsWith('1b') ? '00' : '01'))],
    ['invalid_exact_evm_insufficient_balance', eip3009(poor, offer)],
    ['invalid_payload', { payload: {} }], ['invalid_payload', { payload: null }], ['invalid_payload', { payload: { signature, authorization: [] } }],
  ];
  for (const [reason, made] of cases) {
    const answer = assertStatus(await pay(INFER, asked, envelope(offer, await made)), 402);
    assert.equal(termsOf(answer).error, reason, JSON.stringify((await made).payload)?.slice(0, 200));
  }
  assert.equal(jobsOf(wallet.address) + jobsOf(poor.address), 0);
  await tokenSend(wallet, [['cancelAuthorization', wallet.account.address, good.message.nonce, ...vrsOf(await cancelSign(wallet, offer, good.message.nonce))]]);
  assert.equal(termsOf(assertStatus(await pay(INFER, asked, envelope(offer, good)), 402)).error, 'invalid_exact_evm_nonce_already_used');
});

const vrsOf = (signature) => {
  const { v, r, s } = parseSignature(signature);
  return [Number(v), r, s];
};
const cancelSign = (wallet, offer, nonce) => wallet.account.signTypedData({
  domain: { name: 'OPG', version: '1', chainId: dev.chain_id, verifyingContract: offer.asset }, primaryType: 'CancelAuthorization',
  types: { CancelAuthorization: [{ name: 'authorizer', type: 'address' }, { name: 'nonce', type: 'bytes32' }] }, message: { authorizer: wallet.account.address, nonce },
});

test('each thing that can be wrong with a Permit2 payment has its reason', async () => {
  const [wallet, poor] = [await buyerMake(OPG, { approve: true }), await buyerMake(1n, { approve: true })];
  const asked = chatBody();
  const { permit2: exact, upto } = await offersOf(CHAT, asked);
  for (const offer of [exact, upto]) {
    const amount = BigInt(offer.amount);
    const cases = [
      ['permit2_amount_mismatch', permit2(wallet, offer, { permitted: { token: offer.asset, amount: amount - 1n } })],
      ['permit2_token_mismatch', permit2(wallet, offer, { permitted: { token: dev.treasury, amount } })],
      ['invalid_permit2_spender', permit2(wallet, offer, { spender: dev.treasury })],
      ['invalid_permit2_recipient_mismatch', permit2(wallet, offer, {}, { to: dev.treasury })],
      ['permit2_deadline_expired', permit2(wallet, offer, { deadline: BigInt(now() + 2) })],
      ['permit2_not_yet_valid', permit2(wallet, offer, {}, { validAfter: BigInt(now() + 100) })],
      ['permit2_insufficient_balance', permit2(poor, offer)],
      ...(offer === upto ? [['upto_facilitator_mismatch', permit2(wallet, offer, {}, { facilitator: dev.treasury })]] : []),
    ];
    for (const [reason, made] of cases) assert.equal(termsOf(assertStatus(await pay(CHAT, asked, envelope(offer, await made)), 402)).error, reason);
    const { payload } = await permit2(wallet, offer);
    const signature = payload.signature.replace(/....$/, (end) => (end.startsWith('00') ? `11${end.slice(2)}` : `00${end.slice(2)}`));
    assert.equal(termsOf(assertStatus(await pay(CHAT, asked, envelope(offer, { payload: { ...payload, signature } })), 402)).error, 'invalid_permit2_signature');
  }
  assert.equal(jobsOf(wallet.address) + jobsOf(poor.address), 0);
});

// ---- once ----

test('32 racing copies of one payment run the model once, and all get the one answer', async () => {
  const wallet = await buyerMake(OPG);
  const asked = body();
  const { eip3009: offer } = await offersOf(INFER, asked);
  const made = await eip3009(wallet, offer);
  const twin = { payload: { ...made.payload, signature: highTwin(made.payload.signature) } };
  const copies = Array.from({ length: 32 }, (_, i) => [i % 4 ? asked : body(), envelope(offer, i % 8 === 7 ? twin : made)]);
  const answers = await Promise.all(copies.map(([text, payment]) => pay(INFER, text, payment)));
  const [payment, ...more] = paymentsOf(wallet.address);
  assert.deepEqual([more.length, payment.state, payment.attempts, jobsOf(wallet.address)], [0, 'settled', 1, 1]);
  const taken = answers.findIndex(({ status }) => status === 200);
  assert.ok(taken >= 0);
  const { bytes: answer } = answers[taken];
  for (const { status, bytes } of answers) {
    if (status === 200) assert.deepEqual(bytes, answer, 'one answer');
    else if (status === 503) assert.equal(JSON.parse(bytes).code, 'overloaded'); // the others have every place there is until they know better
    else assert.ok([202, 402].includes(status), `${status} ${bytes}`);
  }
  assert.deepEqual(assertStatus(await pay(INFER, ...copies[taken]), 200).bytes, answer, 'and who comes later gets it too');
  assert.equal(OPG - (await tokenBalance(wallet.address)), BigInt(offer.amount));
});

test('the same payment with the same request gets its answer again; with another it gets nothing', async () => {
  const wallet = await buyerMake(OPG, { approve: true });
  const asked = chatBody();
  const offers = await offersOf(CHAT, asked);
  for (const [kind, make, reason] of [['eip3009', eip3009, 'invalid_exact_evm_nonce_already_used'], ['permit2', permit2, 'permit2_simulation_failed'], ['upto', permit2, 'permit2_simulation_failed']]) {
    const offer = offers[kind];
    const made = await make(wallet, offer);
    const first = assertStatus(await pay(CHAT, asked, envelope(offer, made)), 200);
    const second = assertStatus(await pay(CHAT, asked, envelope(offer, made)), 200);
    assert.deepEqual(second.bytes, first.bytes);
    assert.equal(second.headers.get('Idempotent-Replayed'), 'true');
    assert.deepEqual(receiptOf(second), receiptOf(first));
    const other = assertStatus(await pay(CHAT, chatBody(), envelope(offer, made)), 402);
    assert.equal(termsOf(other).error, reason);
    const twin = assertStatus(await pay(CHAT, chatBody(), envelope(offer, { payload: { ...made.payload, signature: highTwin(made.payload.signature) } })), 402);
    assert.ok(termsOf(twin).error);
  }
  assert.deepEqual(paymentsOf(wallet.address).map(({ state, attempts }) => [state, attempts]), Array(3).fill(['settled', 1]));
});

test('a payment that asks for nothing settles nothing, and is used all the same', async () => {
  const wallet = await buyerMake(OPG, { approve: true });
  evil_chat.mode = (request) => answered(request, { more: { inputUnits: 0, outputUnits: 0 } });
  const asked = chatBody({ model: evil_chat.models[0].id });
  const { upto } = await offersOf(CHAT, asked);
  const made = envelope(upto, await permit2(wallet, upto));
  const first = assertStatus(await pay(CHAT, asked, made), 200);
  assert.deepEqual([receiptOf(first).amount, receiptOf(first).transaction], ['0', '']);
  assert.equal(assertStatus(await pay(CHAT, asked, made), 200).headers.get('Idempotent-Replayed'), 'true');
  assertStatus(await pay(CHAT, chatBody({ model: evil_chat.models[0].id }), made), 402);
  assert.deepEqual([paymentsOf(wallet.address).length, await tokenBalance(wallet.address)], [1, OPG]);
  evil_chat.mode = 'good';
});

// ---- quotes ----

test('a cheap quote cannot buy a dear job', async () => {
  const wallet = await buyerMake(OPG);
  const asked = chatBody();
  const [{ eip3009: cheap }, { eip3009: tensor }] = [await offersOf(CHAT, asked), await offersOf(INFER, body())];
  const refused = async (path, request, offer) =>
    assert.equal(termsOf(assertStatus(await pay(path, request, envelope(offer, await eip3009(wallet, offer))), 402)).error, 'No matching payment requirements');
  await refused(CHAT, chatBody({ max_tokens: 5 }), cheap);
  await refused(CHAT, chatBody({ messages: [{ role: 'user', content: 'long '.repeat(400) }] }), cheap);
  await refused('/v1/completions', JSON.stringify({ model: llama, prompt: 'x', max_tokens: 4 }), cheap);
  await refused(CHAT, chatBody({ model: evil_chat.models[0].id }), cheap);
  await refused(CHAT, asked, tensor);
  assert.equal(jobsOf(wallet.address), 0);
});

test('a price that changes between the 402 and the payment is the price that was offered', async () => {
  const wallet = await buyerMake(OPG);
  const asked = body();
  const { eip3009: old } = await offersOf(evilInfer(), asked);
  evil.ask = { input: '9000000', output: '3000' };
  await evil.offer(1000);
  const { eip3009: dearer } = await offersOf(evilInfer(), asked);
  assert.ok(BigInt(dearer.amount) > BigInt(old.amount));
  const { result, paid } = await moved(wallet, async () => pay(evilInfer(), asked, envelope(old, await eip3009(wallet, old))));
  assertStatus(result, 200);
  const [{ state, amount, charged }] = paymentsOf(wallet.address);
  assert.deepEqual([paid, state, amount, charged], [BigInt(old.amount), 'settled', old.amount, old.amount]);
  evil.ask = { input: '2000', output: '3000' };
  await evil.offer(1000);
});

// ---- what goes wrong ----

test('when no node delivers nothing is settled, and the authorization stays unused', async () => {
  const wallet = await buyerMake(OPG);
  const asked = body();
  const { eip3009: offer } = await offersOf(evilInfer(), asked);
  for (const mode of ['error_500', 'receipt_other_signer']) {
    evil.mode = mode;
    const made = await eip3009(wallet, offer);
    const answer = await pay(evilInfer(), asked, envelope(offer, made));
    assert.equal(answer.status, 502);
    assert.equal(answer.headers.get('PAYMENT-RESPONSE'), null);
    assert.equal(await nonceUsed(wallet.account.address, made.message.nonce), false);
    assert.equal((await paymentEnds(answer.headers.get('Opgate-Payment'))).state, 'dropped');
    assert.equal(termsOf(assertStatus(await pay(evilInfer(), asked, envelope(offer, made)), 402)).error, 'invalid_exact_evm_nonce_already_used', 'a new payment is asked for');
  }
  evil.mode = 'good';
  assert.equal(await tokenBalance(wallet.address), OPG);
});

test('a payer who empties the balance before the settlement gets no answer and pays nothing', async () => {
  const wallet = await buyerMake(OPG);
  const asked = body();
  const { eip3009: offer } = await offersOf(evilInfer(), asked);
  evil.mode = async (request) => {
    await tokenSend(wallet, [['transfer', dev.treasury, OPG]]);
    await answered(request);
  };
  const answer = assertStatus(await pay(evilInfer(), asked, envelope(offer, await eip3009(wallet, offer))), 402);
  evil.mode = 'good';
  assert.equal(answer.headers.get('PAYMENT-REQUIRED'), null);
  assert.equal(answer.headers.get('Cache-Control'), 'no-store');
  const receipt = receiptOf(answer);
  assert.deepEqual([receipt.success, receipt.transaction, receipt.payer], [false, '', wallet.account.address]);
  assert.ok(receipt.errorReason);
  assert.ok(answer.json.error.includes(`(${receipt.errorReason})`), 'in words, too');
  assert.ok(!answer.bytes.toString().includes('outputs'));
  const [{ state, outcome, charged }] = paymentsOf(wallet.address);
  assert.deepEqual([state, outcome, charged], ['dropped', 'settlement_failed', '0']);
  await assertCustody();
});

test('an authorization somebody else sends first counts as paid, by EIP-3009 and by Permit2', async () => {
  const stranger = await buyerMake(0n);
  for (const kind of ['eip3009', 'permit2']) {
    const wallet = await buyerMake(OPG, { approve: true });
    const asked = body();
    const offer = (await offersOf(evilInfer(), asked))[kind];
    const made = await (kind === 'eip3009' ? eip3009 : permit2)(wallet, offer);
    const { message, payload } = made;
    evil.mode = async (request) => {
      if (kind === 'eip3009') {
        const { from, to, value, validAfter, validBefore, nonce } = message;
        await tokenSend(stranger, [['transferWithAuthorization', from, to, value, validAfter, validBefore, nonce, ...vrsOf(payload.signature)]]);
      } else {
        const { abi } = contractsCompile().X402ExactPermit2Proxy;
        const { permitted, nonce, deadline, witness, spender } = message;
        await tokenSend(stranger, [['settle', { permitted, nonce, deadline }, wallet.account.address, witness, payload.signature]], { address: spender, abi });
      }
      await answered(request);
    };
    const { result, paid, received } = await moved(wallet, () => pay(evilInfer(), asked, envelope(offer, made)));
    evil.mode = 'good';
    assertStatus(result, 200);
    assert.deepEqual([paid, received, receiptOf(result).success], [BigInt(offer.amount), BigInt(offer.amount), true], kind);
    const sent = await chain.client.getTransaction({ hash: receiptOf(result).transaction });
    assert.equal(sent.from.toLowerCase(), stranger.address, 'their transaction is named');
  }
});

test('paid first and not delivered: the money is on the wallet\'s account', async () => {
  const wallet = await buyerMake(OPG);
  const asked = chatBody({ stream: true, model: evil_chat.models[0].id });
  const { eip3009: offer } = await offersOf(CHAT, asked);
  evil_chat.mode = 'error_500';
  const made = envelope(offer, await eip3009(wallet, offer));
  const answer = await pay(CHAT, asked, made);
  evil_chat.mode = 'good';
  assert.equal(answer.status, 502);
  assert.equal(receiptOf(answer).success, true);
  assert.equal(answer.headers.get('Opgate-Credited'), `${offer.amount} ${wallet.account.address}`);
  assert.ok(answer.json.error.message.includes(wallet.account.address), answer.json.error.message);
  const signed = await api.signIn(wallet.account, dev.chain_id);
  assert.equal(await signed.balance(), BigInt(offer.amount));
  assert.equal((await pay(CHAT, asked, made)).status, 409);
});

test('a wallet with code pays by its own word, and is settled first', async () => {
  const owner = await buyerMake(0n);
  const { TestWallet } = contractsCompile();
  const address = await chain.deploy(owner.account, TestWallet);
  await tokenSend(owner, [['mint', address, OPG]]);
  const asked = body();
  const { eip3009: offer } = await offersOf(INFER, asked);
  const made = await eip3009(owner, offer, { from: checksumAddress(address) });
  assert.equal(termsOf(assertStatus(await pay(INFER, asked, envelope(offer, made)), 402)).error, 'invalid_exact_evm_signature');
  await chain.wallet(owner.account).sendTransaction({ to: address, data: encodeFunctionData({ abi: TestWallet.abi, functionName: 'approve', args: [made.digest] }) });
  await mine();
  const answer = assertStatus(await pay(INFER, asked, envelope(offer, made)), 200);
  assert.equal(receiptOf(answer).success, true);
  assert.equal(OPG - (await tokenBalance(address)), BigInt(offer.amount));
});

test('above what one payer may owe, payments are settled first', async () => {
  const wallet = await buyerMake(100n * OPG);
  evil.ask = { input: String(6n * OPG), output: '0' };
  await evil.offer(1000);
  let release;
  const held = new Promise((go) => { release = go; });
  evil.mode = async (request) => {
    await held;
    await answered(request);
  };
  const { eip3009: offer } = await offersOf(evilInfer(), body());
  const one = pay(evilInfer(), body(), envelope(offer, await eip3009(wallet, offer)));
  await waitFor('the first runs', () => paymentsOf(wallet.address)[0]?.state === 'claimed' && evil.calls.length);
  const two = pay(evilInfer(), body(), envelope(offer, await eip3009(wallet, offer)));
  await waitFor('the second is settled before its work is done', () => paymentsOf(wallet.address)[1]?.state === 'settled');
  assert.equal(paymentsOf(wallet.address)[0].state, 'claimed');
  release();
  for (const answer of await Promise.all([one, two])) assertStatus(answer, 200);
  evil.mode = 'good';
  evil.ask = { input: '2000', output: '3000' };
  await evil.offer(1000);
});

test('a reorganisation takes a settlement back: it is sent again, and the books follow', async () => {
  const wallet = await buyerMake(OPG);
  const asked = body();
  const { eip3009: offer } = await offersOf(INFER, asked);
  await waitFor('nothing is under way', () => sql("SELECT 1 FROM settlement_tx WHERE state IN ('signed', 'mined')").length === 0);
  await rpc('evm_setIntervalMining', 0);
  try {
    const snapshot = await rpc('evm_snapshot');
    const answering = pay(INFER, asked, envelope(offer, await eip3009(wallet, offer)));
    await waitFor('it is sent', async () => sql("SELECT 1 FROM settlement_tx WHERE state = 'signed'").length === 1);
    await waitFor('the chain has it', async () => (await rpc('txpool_status')).pending !== '0x0');
    await mine();
    assertStatus(await answering, 200);
    await rpc('evm_revert', snapshot);
    await mine(3);
    await waitFor('it is owed again', () => paymentsOf(wallet.address)[0].state === 'settling');
    await assertCustody();
    await waitFor('the chain has it again', async () => (await rpc('txpool_status')).pending !== '0x0', { seconds: 30 });
    await mine();
    await waitFor('it is settled again', () => paymentsOf(wallet.address)[0].state === 'settled');
    assert.equal(OPG - (await tokenBalance(wallet.address)), BigInt(offer.amount));
    await assertCustody();
  } finally {
    await rpc('evm_setIntervalMining', 1);
  }
});

test('killed while settling: after the restart the payment ends, and the same payment gets its answer', async () => {
  const wallet = await buyerMake(OPG);
  const asked = body();
  const { eip3009: offer } = await offersOf(INFER, asked);
  const made = envelope(offer, await eip3009(wallet, offer));
  await rpc('evm_setIntervalMining', 0);
  try {
    const lost = pay(INFER, asked, made).catch((error) => error);
    await waitFor('it is sent', () => sql(`SELECT 1 FROM payment WHERE state = 'settling' AND tx IS NOT NULL AND payer = '\\x${wallet.address.slice(2)}'`).length === 1);
    const again = pay(INFER, asked, made); // a second caller with the same payment is told where to ask
    assertStatus(await again, 202);
    process.kill(JSON.parse(fs.readFileSync(inVar('dev.json'))).pids.gateway, 'SIGKILL');
    assert.ok((await lost) instanceof Error);
  } finally {
    await stackLocked(() => stackRestart('gateway'));
    await rpc('evm_setIntervalMining', 1);
  }
  await waitFor('the payment ends', () => paymentsOf(wallet.address)[0].charged === offer.amount, { seconds: 60 });
  const answer = assertStatus(await pay(INFER, asked, made), 200);
  assert.ok(answer.json.outputs);
  assert.equal(receiptOf(answer).success, true);
  assert.equal(OPG - (await tokenBalance(wallet.address)), BigInt(offer.amount));
  assert.deepEqual(paymentsOf(wallet.address).map(({ state, attempts }) => [state, attempts]), [['settled', 1]]);
});

test('a status link says what became of a payment, and no other id does', async () => {
  assertError(await call('GET', `/v1/payments/${uuid()}`), 'problem', 404, 'not_found');
  assertError(await call('GET', '/v1/payments/x'), 'problem', 404, 'not_found');
});
