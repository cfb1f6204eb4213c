// The facilitator: the official middleware sells a route through it, and is paid by the official client; then by hand what neither
// would ever send. Blocks come every second; tests that need a state between two blocks stop them.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { HTTPFacilitatorClient } from '@x402/core/server';
import { ExactEvmScheme } from '@x402/evm/exact/server';
import { UptoEvmScheme } from '@x402/evm/upto/server';
import { paymentMiddleware, setSettlementOverrides, x402ResourceServer } from '@x402/express';
import express from 'express';
import { encodeFunctionData, parseAbi, parseSignature } from 'viem';
import { HTTPFacilitatorClient as OldFacilitatorClient } from 'x402-core-2.11/server';
import { contractsCompile } from '../../script/contracts.mjs';
import { PERMIT2 } from '../../script/deploy.mjs';
import { stackLocked, stackRestart } from '../../script/lib/stack.mjs';
import { documentSign } from '../faults/evil-node.mjs';
import { paymentsOpen } from '../stack/payments.mjs';
import {
  accountMake, adderBody, assertBooks, assertError, assertStatus, call, chain, dev, inVar, mine, modelOf, OPG, rpc, settingsChange, sql, tokenBalance, tokenSend, uuid, waitFor, walletMake,
} from './stack.mjs';
import { assertCustody, base64, buyerMake, eip3009, envelope, highTwin, nonceUsed, now, offersOf, pay, permit2, receiptOf, shopperOf, termsOf } from './payer.mjs';

const NETWORK = `eip155:${dev.chain_id}`;
const FACILITATOR = `${dev.base_url}/facilitator`;
const PRICE = 10n ** 15n;
let seller, supported, shop, unregistered;
const served = { exact: 0, permit2: 0, upto: 0, other: 0, book: 0, film: 0 };

const bytea = (address) => `'\\x${address.slice(2).toLowerCase()}'`;
const extraOf = (method) => ({ name: 'OPG', version: '1', ...(method === 'permit2' && { assetTransferMethod: 'permit2' }) });
const requirementsOf = (over = {}, method = 'eip3009') => ({
  scheme: 'exact', network: NETWORK, amount: String(PRICE), asset: dev.opg_token, payTo: seller.account.address, maxTimeoutSeconds: 300, extra: extraOf(method), ...over,
});
const uptoOf = (over = {}) => requirementsOf({ scheme: 'upto', extra: { ...extraOf('permit2'), facilitatorAddress: supported.kinds[1].extra.facilitatorAddress }, ...over });
const bodyOf = (requirements, made) => ({ x402Version: 2, paymentPayload: envelope(requirements, made), paymentRequirements: requirements });
const post = (path, body, headers = {}, key = undefined) => call('POST', `/facilitator/${path}`, { body, headers, key });
const verify = async (body) => assertStatus(await post('verify', body), 200).json;
const settle = async (body, status = 200) => assertStatus(await post('settle', body), status).json;
const settleAsPayee = async (body, { key } = seller) => assertStatus(await post('settle', body, {}, key), 200).json;
const rowOf = (address) => sql(`SELECT id, state, amount, coalesce(reason, ''), reorganised FROM facilitation WHERE payer = ${bytea(address)}`)
  .map(([id, state, amount, reason, reorganised]) => ({ id, state, amount, reason, reorganised: Number(reorganised) }));
const jobOf = async (id) => assertStatus(await call('GET', `/facilitator/settle/${id}`), 200).json;
const jobEnds = (id) => waitFor(`${id} ends`, async () => {
  const job = await jobOf(id);
  return ['succeeded', 'failed'].includes(job.status) && job;
}, { seconds: 60 });
const sold = async (payee, work) => {
  const before = await tokenBalance(payee);
  const result = await work();
  return { result, got: (await tokenBalance(payee)) - before };
};
const quiet = () => waitFor('nothing is under way', () => sql("SELECT 1 FROM settlement_tx WHERE state = 'signed'").length === 0, { seconds: 60 });

/// A shop as its owner would write it: nothing in it knows opgate but the address.
async function shopOpen() {
  const createAuthHeaders = () => ({ verify: {}, settle: { Authorization: `Bearer ${seller.key}` }, supported: {} });
  const resource = new x402ResourceServer(new HTTPFacilitatorClient({ url: FACILITATOR, createAuthHeaders })).register(NETWORK, new ExactEvmScheme()).register(NETWORK, new UptoEvmScheme());
  const price = (method) => ({ amount: String(PRICE), asset: dev.opg_token, extra: extraOf(method) });
  const route = (scheme, method, payTo = seller.account.address) => ({ accepts: { scheme, network: NETWORK, payTo, price: price(method) }, description: 'a thing' });
  const app = express();
  app.use(paymentMiddleware({
    'GET /exact': route('exact'), 'GET /permit2': route('exact', 'permit2'), 'GET /upto': route('upto', 'permit2'), 'GET /other': route('exact', undefined, unregistered.account.address),
    'GET /book': route('exact'), 'GET /film': route('exact'),
  }, resource));
  for (const name of Object.keys(served))
    app.get(`/${name}`, async (_, response) => {
      served[name]++;
      if (name === 'book' || name === 'film') await waitFor('all five were verified', () => served.book + served.film === 5);
      if (name === 'upto') setSettlementOverrides(response, { amount: String(PRICE / 4n) });
      response.json({ thing: name });
    });
  const server = http.createServer(app);
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => new Promise((resolve) => server.close(resolve) && server.closeAllConnections()) };
}

before(async () => {
  seller = await accountMake();
  unregistered = await walletMake();
  supported = assertStatus(await call('GET', '/facilitator/supported'), 200).json;
  assertStatus(await call('POST', '/v1/payees', { key: seller.key, body: {} }), 201);
  shop = await shopOpen();
});

after(async () => {
  await rpc('evm_setIntervalMining', 1);
  await shop?.close();
  await waitFor('nothing is open', () => sql("SELECT 1 FROM facilitation WHERE state = 'settling'").length === 0, { seconds: 60 });
  const [[all, subjects, left]] = sql('SELECT (SELECT coalesce(sum(wei), 0) FROM gas_day), (SELECT coalesce(sum(wei), 0) FROM gas_subject_day), (SELECT coalesce(sum(coalesce(used, reserved)), 0) FROM gas_reservation)');
  assert.deepEqual([subjects, left], [all, all], 'the sums of gas agree');
  await assertCustody();
  await assertBooks();
});

// ---- official clients ----

test('the official clients, of today and of before, read what is supported', async () => {
  const signers = supported.signers['eip155:*'];
  assert.equal(signers.length, 1);
  for (const Client of [HTTPFacilitatorClient, OldFacilitatorClient]) {
    const { kinds } = await new Client({ url: FACILITATOR }).getSupported();
    assert.deepEqual(kinds.map(({ x402Version, scheme, network }) => [x402Version, scheme, network]), [[2, 'exact', NETWORK], [2, 'upto', NETWORK], [1, 'exact', 'base-sepolia']]);
    assert.match(kinds[1].extra.facilitatorAddress, /^0x[0-9a-fA-F]{40}$/);
  }
});

for (const [name, approve, share] of [['exact', false, 1n], ['permit2', true, 1n], ['upto', true, 4n]])
  test(`the official middleware sells ${name} through us, and the seller has the money`, async () => {
    const wallet = await buyerMake(OPG, { approve });
    const before = served[name];
    const [[newest]] = sql('SELECT coalesce(max(id), 0) FROM ledger_transfer');
    const { result, got } = await sold(seller.address, () => shopperOf(wallet)(`${shop.url}/${name}`));
    assert.equal(result.status, 200, `${result.headers.get('PAYMENT-REQUIRED')} ${result.headers.get('PAYMENT-RESPONSE')}`);
    assert.deepEqual(await result.json(), { thing: name });
    assert.equal(served[name], before + 1);
    const receipt = receiptOf(result);
    assert.deepEqual([receipt.success, receipt.payer, receipt.network, got], [true, wallet.account.address, NETWORK, PRICE / share]);
    assert.equal((await chain.client.getTransactionReceipt({ hash: receipt.transaction })).status, 'success');
    assert.equal(OPG - (await tokenBalance(wallet.address)), PRICE / share);
    const [{ state, amount }] = rowOf(wallet.address);
    assert.deepEqual([state, amount], ['settled', String(PRICE / share)]);
    assert.equal(sql(`SELECT 1 FROM ledger_transfer WHERE id > ${newest} AND kind LIKE 'x402%'`).length, 0, 'it is not our money');
  });

test('the official facilitator clients verify and settle', async () => {
  for (const Client of [HTTPFacilitatorClient, OldFacilitatorClient]) {
    const wallet = await buyerMake(OPG);
    const client = new Client({ url: `${FACILITATOR}/` });
    const requirements = requirementsOf();
    const payload = envelope(requirements, await eip3009(wallet, requirements));
    const verified = await client.verify(payload, requirements);
    assert.deepEqual([verified.isValid, verified.payer], [true, wallet.account.address]);
    const { result, got } = await sold(seller.address, () => client.settle(payload, requirements));
    assert.deepEqual([result.success, result.payer, result.network, got], [true, wallet.account.address, NETWORK, PRICE]);
    const again = await client.verify(payload, requirements);
    assert.deepEqual([again.isValid, again.invalidReason], [false, 'invalid_exact_evm_nonce_already_used']);
  }
});

test('version 1 is verified and settled by its own words', async () => {
  const wallet = await buyerMake(OPG);
  const v2 = requirementsOf();
  const { payload } = await eip3009(wallet, v2);
  const requirements = { scheme: 'exact', network: 'base-sepolia', maxAmountRequired: v2.amount, resource: 'http://shop/x', description: '', mimeType: '', payTo: v2.payTo, maxTimeoutSeconds: 60, asset: v2.asset, extra: v2.extra };
  const body = { x402Version: 1, paymentPayload: { x402Version: 1, scheme: 'exact', network: 'base-sepolia', payload }, paymentRequirements: requirements };
  assert.equal((await verify(body)).isValid, true);
  const result = await settle(body);
  assert.deepEqual([result.success, result.network], [true, 'base-sepolia']);
  assert.equal((await jobOf(result.paymentJob.jobId)).result.network, 'base-sepolia');
  const poor = await eip3009(await buyerMake(1n), v2);
  assert.equal((await verify({ ...body, paymentPayload: { ...body.paymentPayload, payload: poor.payload } })).invalidReason, 'insufficient_funds');
});

test('OpenGradient finds its job in the same answer, and at its link', async () => {
  const wallet = await buyerMake(OPG, { approve: true });
  const requirements = uptoOf();
  const made = await permit2(wallet, requirements);
  const result = await settleAsPayee({ ...bodyOf({ ...requirements, amount: '7' }, made), paymentPayload: envelope(requirements, made), usageMetadata: { requestCount: 1, costUsd: 0.1 } });
  assert.deepEqual([result.success, result.amount, result.paymentJob.status], [true, '7', 'succeeded']);
  assert.match(result.paymentJob.jobId, /^payment-[0-9a-f-]{36}$/);
  const job = await jobOf(result.paymentJob.jobId);
  assert.deepEqual(job, result.paymentJob);
  assert.deepEqual([job.queue, job.result.transaction, job.result.success], ['x402-settle-payment-queue', result.transaction, true]);
  assert.equal(OPG - (await tokenBalance(wallet.address)), 7n);
  for (const id of [`payment-${uuid()}`, 'payment-x', 'x', `settlement-batch-${uuid()}`]) {
    const none = assertStatus(await call('GET', `/facilitator/settle/${id}`), 404).json;
    assert.equal(none.error, `Settlement job not found: ${id}`);
  }
});

// ---- refusals ----

test('what is refused has the same reason from verify and settle, and nothing is sent', async () => {
  const [wallet, approved, poor] = [await buyerMake(OPG), await buyerMake(OPG, { approve: true }), await buyerMake(1n, { approve: true })];
  const offer = requirementsOf(), p2 = requirementsOf({}, 'permit2'), upto = uptoOf();
  const good = await eip3009(wallet, offer);
  const stranger = requirementsOf({ payTo: unregistered.account.address });
  const wrongToken = requirementsOf({ asset: unregistered.account.address });
  const body = async (requirements, making, more = {}) => ({ ...bodyOf(requirements, await making), ...more });
  const cases = [
    ['payee_not_registered', body(stranger, eip3009(wallet, stranger))],
    ['unsupported_asset', body(wrongToken, eip3009(wallet, wrongToken))],
    ['upto_facilitator_mismatch', (() => {
      const other = { ...upto, extra: { ...upto.extra, facilitatorAddress: wallet.account.address } };
      return body(other, permit2(approved, other));
    })()],
    ['invalid_network', body({ ...offer, network: 'eip155:1' }, eip3009(wallet, offer))],
    ['invalid_network', body({ ...offer, network: 'base-sepolia' }, eip3009(wallet, offer))],
    ['unsupported_scheme', body({ ...offer, scheme: 'batch-settlement' }, eip3009(wallet, offer))],
    ['invalid_payment_requirements', body({ ...offer, amount: '1.5' }, eip3009(wallet, offer))],
    ['invalid_payment_requirements', body({ ...offer, amount: String(1n << 256n) }, eip3009(wallet, offer))],
    ['invalid_x402_version', body(offer, good, { paymentPayload: { ...envelope(offer, good), x402Version: 3 } })],
    ['invalid_exact_evm_network_mismatch', body(offer, good, { paymentPayload: envelope({ ...offer, network: 'eip155:1' }, good) })],
    ['invalid_exact_evm_scheme', body(offer, good, { paymentPayload: envelope({ ...offer, scheme: 'upto' }, good) })],
    ['invalid_exact_evm_signature', body(offer, eip3009(wallet, offer, {}, { signer: poor.account }))],
    ['invalid_exact_evm_recipient_mismatch', body(offer, eip3009(wallet, offer, { to: wallet.account.address }))],
    ['invalid_exact_evm_payload_authorization_value_mismatch', body(offer, eip3009(wallet, offer, { value: PRICE - 1n }))],
    ['invalid_exact_evm_payload_authorization_valid_before', body(offer, eip3009(wallet, offer, { validBefore: BigInt(now() + 2) }))],
    ['invalid_exact_evm_insufficient_balance', body(offer, eip3009(poor, offer))],
    ['invalid_exact_evm_transaction_simulation_failed', body(offer, { payload: { ...good.payload, signature: highTwin(good.payload.signature) } })],
    ['invalid_exact_evm_token_name_mismatch', (() => {
      const named = { ...offer, extra: { name: 'Other', version: '1' } };
      return body(named, eip3009(wallet, named));
    })()],
    ['permit2_allowance_required', body(p2, permit2(wallet, p2))],
    ['permit2_insufficient_balance', body(p2, permit2(poor, p2))],
    ['permit2_token_mismatch', body(p2, permit2(approved, p2, { permitted: { token: wallet.account.address, amount: PRICE } }))],
    ['invalid_permit2_spender', body(upto, permit2(approved, upto, { spender: wallet.account.address }))],
  ];
  for (const [reason, making] of cases) {
    const asked = await making;
    const verified = await verify(asked), settled = await settle(asked);
    assert.deepEqual([verified.isValid, verified.invalidReason], [false, reason]);
    assert.deepEqual([settled.success, settled.errorReason, settled.transaction], [false, reason, ''], reason);
  }
  const dear = await permit2(approved, upto);
  const over = { ...bodyOf({ ...upto, amount: String(PRICE + 1n) }, dear), paymentPayload: envelope(upto, dear) };
  assert.equal((await settle(over)).errorReason, 'invalid_upto_evm_payload_settlement_exceeds_amount');
  for (const one of [wallet, approved, poor]) assert.equal(rowOf(one.address).length, 0);
});

test('what is no request is an error, in the words of other facilitators', async () => {
  for (const body of [{}, { paymentPayload: {} }, { paymentRequirements: {} }, { paymentPayload: [], paymentRequirements: 'x' }])
    for (const path of ['verify', 'settle'])
      assert.equal(assertStatus(await post(path, body), 400).json.error, 'Missing paymentPayload or paymentRequirements');
  for (const body of ['', '{', '[1', '{"paymentPayload":{},"paymentPayload":{}}', `${'['.repeat(64)}`]) assertError(await post('settle', body), 'oip', 400, 'bad_json');
  assertError(await post('settle', { paymentPayload: { padding: 'x'.repeat(70_000) } }), 'oip', 413, 'too_large');
});

test('the middleware serves nothing for a payee we do not know', async () => {
  const wallet = await buyerMake(OPG);
  const result = await shopperOf(wallet)(`${shop.url}/other`);
  assert.equal(result.status, 402);
  assert.equal(termsOf(result).error, 'payee_not_registered');
  assert.deepEqual([served.other, await tokenBalance(wallet.address)], [0, OPG]);
});

test('a settlement that would revert is not sent', async () => {
  const wallet = await buyerMake(OPG);
  const offer = requirementsOf();
  const made = bodyOf(offer, await eip3009(wallet, offer));
  assert.equal((await verify(made)).isValid, true);
  await tokenSend(wallet, [['transfer', dev.treasury, OPG]]);
  const [[sent]] = sql('SELECT count(*) FROM settlement_tx');
  assert.equal((await settle(made)).errorReason, 'invalid_exact_evm_insufficient_balance');
  assert.deepEqual([sql('SELECT count(*) FROM settlement_tx')[0][0], rowOf(wallet.address)], [sent, []]);
});

// ---- once ----

test('racing settles of one authorization move the money once, and one of them is told so', async () => {
  const wallet = await buyerMake(OPG, { approve: true });
  for (const [requirements, make, used] of [[requirementsOf(), eip3009, 'invalid_exact_evm_nonce_already_used'], [requirementsOf({}, 'permit2'), permit2, 'permit2_simulation_failed']]) {
    const made = bodyOf(requirements, await make(wallet, requirements));
    const { result: answers, got } = await sold(seller.address, () => Promise.all(Array.from({ length: 16 }, () => settle(made))));
    assert.equal(got, PRICE);
    const [first, ...more] = answers.filter(({ success }) => success);
    assert.deepEqual(more, []);
    for (const answer of [...answers.filter(({ success }) => !success), await settle(made), assertStatus(await post('settle', made, { 'Idempotency-Key': uuid() }), 200).json]) {
      assert.deepEqual([answer.success, answer.errorReason, answer.paymentJob], [false, used, undefined]);
      if (answer.transaction) assert.deepEqual([answer.transaction, answer.errorMessage.startsWith('settled by this transaction')], [first.transaction, true]);
    }
    assert.equal((await settle(made)).transaction, first.transaction, 'what became of the money is not kept from anybody');
    assert.equal((await jobOf(first.paymentJob.jobId)).status, 'succeeded');
    assert.equal((await verify(made)).isValid, false, 'and it is no good for another sale');
  }
  assert.equal(rowOf(wallet.address).length, 2);
});

test('a call with a key of its own has the same result for ever, and no other call has any', async () => {
  const wallet = await buyerMake(OPG);
  const offer = requirementsOf();
  const made = bodyOf(offer, await eip3009(wallet, offer));
  const named = { 'Idempotency-Key': uuid() };
  const call_ = async (headers) => assertStatus(await post('settle', made, headers), 200).json;
  const { result: answers, got } = await sold(seller.address, () => Promise.all(Array.from({ length: 8 }, () => call_(named))));
  assert.deepEqual([got, answers[0].success], [PRICE, true]);
  for (const answer of [...answers, await call_(named)]) assert.deepEqual(answer, answers[0]);
  for (const headers of [{}, { 'Idempotency-Key': uuid() }]) assert.equal((await call_(headers)).errorReason, 'invalid_exact_evm_nonce_already_used');
  assertStatus(await post('settle', made, { 'Idempotency-Key': 'x'.repeat(256) }), 400);
});

test('one authorization buys one thing through the official middleware, in its default order', async () => {
  const wallet = await buyerMake(OPG);
  const { accepts: [offer] } = termsOf(await fetch(`${shop.url}/book`));
  const headers = { 'PAYMENT-SIGNATURE': base64(envelope(offer, await eip3009(wallet, offer))) };
  const { result: answers, got } = await sold(seller.address, () => Promise.all(['book', 'film', 'book', 'film', 'book'].map((name) => fetch(`${shop.url}/${name}`, { headers }))));
  assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 402, 402, 402, 402]);
  assert.equal(served.book + served.film, 5, 'all of them had been verified');
  assert.equal(got, PRICE);
});

test('who reads at the job that it is settled was told so', async () => {
  const wallet = await buyerMake(OPG);
  const offer = requirementsOf();
  const made = bodyOf(offer, await eip3009(wallet, offer));
  const undo = await settingsChange({ payment_wait_ms: 1500 });
  await quiet();
  await rpc('evm_setIntervalMining', 0);
  try {
    const { paymentJob } = await settle(made, 202);
    await rpc('evm_setIntervalMining', 1);
    const job = await jobEnds(paymentJob.jobId);
    assert.deepEqual([job.status, await jobOf(paymentJob.jobId)], ['succeeded', job]);
    const refused = await settle(made);
    assert.deepEqual([refused.success, refused.errorReason, refused.transaction], [false, 'invalid_exact_evm_nonce_already_used', job.result.transaction]);
  } finally {
    await rpc('evm_setIntervalMining', 1);
    await undo();
  }
});

test('who hung up was told nothing: the next call is', async () => {
  const wallet = await buyerMake(OPG);
  const offer = requirementsOf();
  const made = bodyOf(offer, await eip3009(wallet, offer));
  await quiet();
  await rpc('evm_setIntervalMining', 0);
  try {
    const cut = new AbortController();
    const lost = fetch(`${FACILITATOR}/settle`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(made), signal: cut.signal }).catch((error) => error);
    await waitFor('it is sent', () => sql(`SELECT 1 FROM facilitation WHERE tx IS NOT NULL AND payer = ${bytea(wallet.address)}`).length === 1);
    cut.abort();
    assert.ok((await lost) instanceof Error);
    await mine(); // at once: the answer is made before anybody has noticed
  } finally {
    await rpc('evm_setIntervalMining', 1);
  }
  await waitFor('it is settled', () => rowOf(wallet.address)[0].state === 'settled', { seconds: 30 });
  assert.deepEqual([(await settle(made)).success, (await settle(made)).success], [true, false]);
});

test('another call with a settled authorization gets nothing', async () => {
  const wallet = await buyerMake(OPG, { approve: true });
  const upto = uptoOf();
  const made = await permit2(wallet, upto);
  const asking = (amount, over = made) => ({ ...bodyOf({ ...upto, amount }, over), paymentPayload: envelope(upto, over) });
  assert.equal((await settleAsPayee(asking('5'))).success, true);
  for (const other of [asking('6'), asking(String(PRICE)), asking('5', { payload: { ...made.payload, signature: highTwin(made.payload.signature) } })])
    assert.deepEqual([(await settleAsPayee(other)).success, (await settleAsPayee(other)).errorReason], [false, 'permit2_simulation_failed']);
  assert.equal(OPG - (await tokenBalance(wallet.address)), 5n);
});

test('upto of nothing is a success that takes nothing, and is used all the same', async () => {
  const wallet = await buyerMake(OPG, { approve: true });
  const upto = uptoOf();
  const made = await permit2(wallet, upto);
  const asking = (amount) => ({ ...bodyOf({ ...upto, amount }, made), paymentPayload: envelope(upto, made) });
  const [[sent]] = sql('SELECT count(*) FROM settlement_tx');
  const result = await settleAsPayee(asking('0'));
  assert.deepEqual([result.success, result.transaction, result.amount], [true, '', '0']);
  assert.equal((await settleAsPayee(asking('9'))).success, false);
  assert.equal((await verify(bodyOf(upto, made))).isValid, false);
  assert.deepEqual([await tokenBalance(wallet.address), sql('SELECT count(*) FROM settlement_tx')[0][0]], [OPG, sent]);
});

test('what upto takes is the seller\'s word: once he sent his key, nobody else has it settled for less than the maximum', async () => {
  const wallet = await buyerMake(OPG, { approve: true });
  const [own, stranger] = [await accountMake(), await accountMake()];
  const reader = await own.api.keyCreate('reads', ['read']);
  for (const { key } of [own, stranger]) assertStatus(await call('POST', '/v1/payees', { key, body: {} }), 201); // a payee, too, but of another address
  const upto = uptoOf({ payTo: own.account.address });
  const asking = (made, amount) => ({ ...bodyOf({ ...upto, amount: String(amount) }, made), paymentPayload: envelope(upto, made) });
  assert.equal((await settle(asking(await permit2(wallet, upto), 5n))).success, true, 'as the official client asks by itself');
  assert.equal((await settleAsPayee(asking(await permit2(wallet, upto), 6n), own)).success, true);
  const made = await permit2(wallet, upto), before = rowOf(wallet.address).length;
  for (const amount of [0n, 1n, PRICE - 1n])
    for (const key of [undefined, stranger.key]) {
      const refused = assertStatus(await post('settle', asking(made, amount), {}, key), 200).json;
      assert.deepEqual([refused.success, refused.errorReason, refused.transaction], [false, 'payee_not_authenticated', ''], `${amount}`);
      assert.ok(refused.errorMessage);
    }
  assertStatus(await post('settle', asking(made, 1n), {}, reader), 403);
  assert.equal(rowOf(wallet.address).length, before, 'nothing is used');
  const { result, got } = await sold(own.address, () => settleAsPayee(asking(made, PRICE / 2n), own)); // and the seller has it all the same
  assert.deepEqual([result.success, got], [true, PRICE / 2n]);
  assert.equal((await settle(bodyOf(upto, await permit2(wallet, upto)))).success, true, 'the maximum was signed for: anybody may');
});

test('one authorization is a payment to us or a settlement for others, never both', async () => {
  const wallet = await buyerMake(OPG);
  const INFER = `/v2/models/${modelOf('tensor').id}/infer`;
  const asked = adderBody(Math.floor(Math.random() * 1e6));
  const { eip3009: ours } = await offersOf(INFER, asked);
  const nonce = `0x${'77'.repeat(31)}${Math.floor(Math.random() * 256).toString(16).padStart(2, '0')}`;
  const toUs = await eip3009(wallet, ours, { nonce });
  assertStatus(await pay(INFER, asked, envelope(ours, toUs)), 200);
  const theirs = requirementsOf();
  const { errorReason } = await settle(bodyOf(theirs, await eip3009(wallet, theirs, { nonce })));
  assert.equal(errorReason, 'invalid_exact_evm_nonce_already_used');
  await rpc('evm_setIntervalMining', 0); // the other way round, before the chain knows
  try {
    const other = await eip3009(wallet, theirs);
    const settling = post('settle', bodyOf(theirs, other));
    await waitFor('it is claimed', () => rowOf(wallet.address).length === 1);
    const again = await eip3009(wallet, ours, { nonce: other.message.nonce });
    assert.equal(termsOf(assertStatus(await pay(INFER, asked, envelope(ours, again)), 402)).error, 'invalid_exact_evm_nonce_already_used');
    await rpc('evm_setIntervalMining', 1);
    assert.equal(assertStatus(await settling, 200).json.success, true);
  } finally {
    await rpc('evm_setIntervalMining', 1);
  }
});

test('our own receiver is no payee, so nobody has a payment to us settled for himself', async () => {
  const { eip3009: offer } = await offersOf(`/v2/models/${modelOf('tensor').id}/infer`, adderBody(1));
  const wallet = await buyerMake(OPG);
  assert.equal((await settle(bodyOf(offer, await eip3009(wallet, offer)))).errorReason, 'payee_not_registered');
});

// ---- what the chain does ----

test('a settlement the chain has not seen is pending, not failed; the same call again has the result', async () => {
  const wallet = await buyerMake(OPG);
  const offer = requirementsOf();
  const made = bodyOf(offer, await eip3009(wallet, offer));
  const undo = await settingsChange({ payment_wait_ms: 1500 });
  await quiet();
  await rpc('evm_setIntervalMining', 0);
  try {
    const pending = await settle(made, 202);
    assert.deepEqual([pending.success, pending.errorReason], [false, 'settlement_pending']);
    assert.match(pending.transaction, /^0x[0-9a-f]{64}$/, 'official clients ask once more when there is one');
    assert.equal((await jobOf(pending.paymentJob.jobId)).status, 'processing');
    assert.equal((await verify(made)).isValid, false);
    await rpc('evm_setIntervalMining', 1);
    const final = await settle(made);
    const job = await jobEnds(pending.paymentJob.jobId);
    assert.deepEqual([job.status, final.success, final.transaction, OPG - (await tokenBalance(wallet.address))], ['succeeded', true, job.result.transaction, PRICE]);
  } finally {
    await rpc('evm_setIntervalMining', 1);
    await undo();
  }
});

const vrsOf = (signature) => {
  const { v, r, s } = parseSignature(signature);
  return [Number(v), r, s];
};

test('money that somebody else\'s transaction brought to the payee is a success; an authorization used for nothing is not', async () => {
  const stranger = await buyerMake(0n);
  const offer = requirementsOf();
  const wallet = await buyerMake(OPG);
  const [used, cancelled] = [await eip3009(wallet, offer), await eip3009(wallet, offer)];
  await quiet();
  await rpc('evm_setIntervalMining', 0);
  try {
    const first = await chain.client.getTransactionCount({ address: stranger.address });
    const settling = [used, cancelled].map((made) => post('settle', bodyOf(offer, made)));
    await waitFor('both are sent', () => sql(`SELECT 1 FROM facilitation WHERE tx IS NOT NULL AND payer = ${bytea(wallet.address)}`).length === 2);
    const { from, to, value, validAfter, validBefore, nonce } = used.message;
    const cancel = await wallet.account.signTypedData({
      domain: { name: 'OPG', version: '1', chainId: dev.chain_id, verifyingContract: offer.asset }, primaryType: 'CancelAuthorization',
      types: { CancelAuthorization: [{ name: 'authorizer', type: 'address' }, { name: 'nonce', type: 'bytes32' }] }, message: { authorizer: from, nonce: cancelled.message.nonce },
    });
    const { abi } = contractsCompile().OPG;
    for (const [i, [functionName, ...args]] of [
      ['transferWithAuthorization', from, to, value, validAfter, validBefore, nonce, ...vrsOf(used.payload.signature)],
      ['cancelAuthorization', from, cancelled.message.nonce, ...vrsOf(cancel)],
    ].entries())
      await chain.wallet(stranger.account).sendTransaction({ to: dev.opg_token, data: encodeFunctionData({ abi, functionName, args }), nonce: first + i, gas: 200_000n, maxFeePerGas: 90_000_000_000n, maxPriorityFeePerGas: 80_000_000_000n });
    const { result, got } = await sold(seller.address, async () => {
      await rpc('evm_setIntervalMining', 1);
      return Promise.all(settling);
    });
    const [good, bad] = result.map((answer) => assertStatus(answer, 200).json);
    assert.deepEqual([good.success, got], [true, PRICE]);
    assert.equal((await chain.client.getTransaction({ hash: good.transaction })).from.toLowerCase(), stranger.address);
    assert.deepEqual([bad.success, bad.errorReason, bad.transaction], [false, 'invalid_exact_evm_nonce_already_used', '']);
    assert.equal((await jobOf(bad.paymentJob.jobId)).status, 'failed');
    assert.deepEqual((await settle(bodyOf(offer, cancelled))), bad);
  } finally {
    await rpc('evm_setIntervalMining', 1);
  }
});

test('a payment of as much for something else is not the settlement of a permit that was made void', async () => {
  const offer = requirementsOf({}, 'permit2');
  const wallet = await buyerMake(OPG, { approve: true });
  const ours = await permit2(wallet, offer);
  const elsewhere = await paymentsOpen(chain, dev).exact(wallet.account, { max: PRICE, to: seller.account.address, deadline: BigInt(now() + 300) });
  await quiet();
  await rpc('evm_setIntervalMining', 0);
  try {
    const settling = post('settle', bodyOf(offer, ours));
    await waitFor('it is sent', () => sql(`SELECT 1 FROM facilitation WHERE tx IS NOT NULL AND payer = ${bytea(wallet.address)}`).length === 1);
    const first = await chain.client.getTransactionCount({ address: wallet.address }), fees = { gas: 300_000n, maxFeePerGas: 90_000_000_000n, maxPriorityFeePerGas: 80_000_000_000n };
    const { nonce } = ours.message;
    for (const [i, call] of [
      { to: elsewhere.to, data: elsewhere.data }, // as another facilitator would have settled it
      { to: PERMIT2, data: encodeFunctionData({ abi: parseAbi(['function invalidateUnorderedNonces(uint256, uint256)']), functionName: 'invalidateUnorderedNonces', args: [nonce >> 8n, 1n << (nonce & 255n)] }) },
    ].entries())
      await chain.wallet(wallet.account).sendTransaction({ ...call, ...fees, nonce: first + i });
    const { result, got } = await sold(seller.address, async () => {
      await rpc('evm_setIntervalMining', 1);
      return settling;
    });
    const { success, transaction } = assertStatus(result, 200).json;
    assert.deepEqual([success, transaction, got], [false, '', PRICE]);
    assert.deepEqual(rowOf(wallet.address).map(({ state }) => state), ['failed']);
  } finally {
    await rpc('evm_setIntervalMining', 1);
  }
});

test('a reorganisation takes a settlement back, and it comes again', async () => {
  const wallet = await buyerMake(OPG);
  const offer = requirementsOf();
  await waitFor('nothing is under way', () => sql("SELECT 1 FROM settlement_tx WHERE state IN ('signed', 'mined')").length === 0, { seconds: 60 });
  await rpc('evm_setIntervalMining', 0);
  try {
    const snapshot = await rpc('evm_snapshot');
    const settling = settle(bodyOf(offer, await eip3009(wallet, offer)));
    await waitFor('the chain has it', async () => (await rpc('txpool_status')).pending !== '0x0');
    await mine();
    const { paymentJob } = await settling;
    await rpc('evm_revert', snapshot);
    await mine(3);
    await waitFor('it is open again', () => rowOf(wallet.address)[0].state === 'settling');
    assert.notEqual((await jobOf(paymentJob.jobId)).status, 'succeeded');
    await waitFor('the chain has it again', async () => (await rpc('txpool_status')).pending !== '0x0', { seconds: 30 });
    await mine();
    assert.equal((await jobEnds(paymentJob.jobId)).status, 'succeeded');
    assert.deepEqual([rowOf(wallet.address)[0].reorganised, OPG - (await tokenBalance(wallet.address))], [1, PRICE]);
  } finally {
    await rpc('evm_setIntervalMining', 1);
  }
});

test('killed while settling: it is settled after the restart, and the same call finds out', async () => {
  const wallet = await buyerMake(OPG);
  const offer = requirementsOf();
  const made = bodyOf(offer, await eip3009(wallet, offer));
  await rpc('evm_setIntervalMining', 0);
  try {
    const lost = post('settle', made).catch((error) => error);
    await waitFor('it is sent', () => sql(`SELECT 1 FROM facilitation WHERE tx IS NOT NULL AND payer = ${bytea(wallet.address)}`).length === 1);
    process.kill(JSON.parse(fs.readFileSync(inVar('dev.json'))).pids.gateway, 'SIGKILL');
    assert.ok((await lost) instanceof Error);
  } finally {
    await stackLocked(() => stackRestart('gateway'));
    await rpc('evm_setIntervalMining', 1);
  }
  assert.equal((await settle(made)).success, true);
  assert.deepEqual([rowOf(wallet.address).length, OPG - (await tokenBalance(wallet.address))], [1, PRICE]);
});

// ---- gas ----

test('gas is bounded for a payee and for all of them, and what was used replaces what was set aside', async () => {
  const [wallet, other] = [await buyerMake(OPG), await accountMake()];
  assertStatus(await call('POST', '/v1/payees', { key: other.key, body: {} }), 201);
  const offer = requirementsOf({ payTo: other.account.address });
  const paying = async (requirements = offer) => bodyOf(requirements, await eip3009(wallet, requirements));
  const spent = () => sql(`SELECT coalesce(sum(wei), 0) FROM gas_subject_day WHERE subject = ${bytea(other.address)}`)[0][0];
  const done = await settle(await paying());
  const receipt = await chain.client.getTransactionReceipt({ hash: done.transaction });
  assert.equal(spent(), String(receipt.gasUsed * receipt.effectiveGasPrice), 'alone in its transaction it is charged all of it');
  const listed = assertStatus(await call('GET', '/v1/payees', { key: other.key }), 200).json;
  assert.deepEqual(listed.data.map(({ address, gas_today }) => [address, gas_today]), [[other.address, spent()]]);
  const refuses = async (requirements = offer) => {
    const [[sent]] = sql('SELECT count(*) FROM settlement_tx');
    const asked = await paying(requirements);
    assert.equal((await verify(asked)).invalidReason, 'gas_budget_exhausted');
    const refused = await settle(asked);
    assert.deepEqual([refused.success, refused.errorReason, refused.transaction], [false, 'gas_budget_exhausted', '']);
    assert.ok(refused.errorMessage);
    assert.equal(sql('SELECT count(*) FROM settlement_tx')[0][0], sent);
  };
  const one = 60_000_000_000_000_000n; // room for one settlement at the fee cap, not for two
  let undo = await settingsChange({ facilitator_gas_payee: spent() });
  await refuses();
  await undo();
  undo = await settingsChange({ facilitator_gas_all: sql('SELECT wei FROM gas_day')[0][0] });
  await refuses();
  await refuses(requirementsOf());
  await undo();
  undo = await settingsChange({ facilitator_gas_payee: String(one) });
  await quiet();
  await rpc('evm_setIntervalMining', 0);
  try { // what is under way counts at the cap
    const settling = post('settle', await paying());
    await waitFor('it is claimed', () => rowOf(wallet.address).length === 2);
    await refuses();
    await rpc('evm_setIntervalMining', 1);
    assert.equal(assertStatus(await settling, 200).json.success, true);
  } finally {
    await rpc('evm_setIntervalMining', 1);
    await undo();
  }
});

// ---- payees ----

test('payees: the own address by being signed in, another one by its signature, and no longer when deleted', async () => {
  const [account, thief, shopkeeper] = [await accountMake(), await accountMake(), await walletMake()];
  const register = (who, body) => call('POST', '/v1/payees', { key: who.key, body });
  const consent = (over = {}, signer = shopkeeper.account) =>
    documentSign('PayeeConsent', { gateway: dev.gateway_address, account: account.address, payee: shopkeeper.address, issuedAt: Date.now(), ...over }, signer).then(({ text }) => text);
  assertError(await call('POST', '/v1/payees', { body: {} }), 'problem', 401, 'unauthenticated');
  assertError(await register(account, { address: shopkeeper.address }), 'problem', 400, 'bad_field');
  for (const [bad, status, code] of [
    [await consent({}, account.account), 401, 'bad_signature'], [await consent({ issuedAt: Date.now() - 3_600_000 }), 400, 'bad_field'],
    [await consent({ gateway: shopkeeper.address }), 400, 'bad_field'], [await consent({ account: thief.address }), 400, 'bad_field'],
    [await consent({ payee: thief.address }, thief.account), 400, 'bad_field'], ['{}', 400, 'bad_field'],
  ]) assertError(await register(account, { address: shopkeeper.address, consent: bad }), 'problem', status, code);
  assertError(await register(thief, { address: shopkeeper.address, consent: await consent() }), 'problem', 400, 'bad_field');
  assertError(await register(account, { address: dev.treasury, consent: await consent() }), 'problem', 400, 'bad_field');
  const old = await consent({ issuedAt: Date.now() - 1000 });
  assertStatus(await register(account, { address: shopkeeper.address, consent: await consent() }), 201);
  assertStatus(await register(account, {}), 201);
  assert.equal(assertStatus(await call('GET', '/v1/payees', { key: account.key }), 200).json.data.length, 2);
  const moved = await consent({ account: thief.address }); // its owner changed his mind: the newest word counts, an older one does not
  assertStatus(await register(thief, { address: shopkeeper.address, consent: moved }), 201);
  assertError(await register(account, { address: shopkeeper.address, consent: old }), 'problem', 409, 'conflict');
  assertError(await call('DELETE', `/v1/payees/${shopkeeper.address}`, { key: account.key }), 'problem', 404, 'not_found');
  const wallet = await buyerMake(OPG);
  const offer = requirementsOf({ payTo: shopkeeper.account.address });
  const made = bodyOf(offer, await eip3009(wallet, offer));
  assert.equal((await verify(made)).isValid, true);
  assertStatus(await call('DELETE', `/v1/payees/${shopkeeper.address}`, { key: thief.key }), 204);
  assert.equal((await settle(made)).errorReason, 'payee_not_registered');
  assert.equal(await nonceUsed(wallet.account.address, made.paymentPayload.payload.authorization.nonce), false);
});
