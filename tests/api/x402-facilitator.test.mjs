// The facilitator: the official middleware sells a route through it, and is paid by the official client; then by hand what neither
// would ever send. Blocks come every second; tests that need a state between two blocks stop them.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { HTTPFacilitatorClient } from '@x402/core/server';
import { ExactEvmScheme } from '@x402/evm/exact/server';
import { UptoEvmScheme } from '@x402/evm/upto/server';
import { paymentMiddleware, setSettlementOverrides, x402ResourceServer } from '@x402/express';
import express from 'express';
import { HTTPFacilitatorClient as OldFacilitatorClient } from 'x402-core-2.11/server';
import { documentSign } from '../faults/evil-node.mjs';
import { accountMake, adderBody, assertError, assertStatus, call, chain, dev, mine, modelOf, OPG, rpc, settingsChange, sql, tokenBalance, tokenSend, uuid, waitFor, walletMake } from './stack.mjs';
import { base64, buyerMake, eip3009, envelope, highTwin, nonceUsed, now, offersOf, pay, permit2, receiptOf, shopperOf, termsOf } from './payer.mjs';
import { NETWORK, FACILITATOR, PRICE, seller, supported, bytea, extraOf, requirementsOf, uptoOf, bodyOf, post, verify, settle, settleAsPayee, rowOf, jobOf, jobEnds, sold, quiet, assertAllEnded } from './facilitator.mjs';

let shop, unregistered;
const served = { exact: 0, permit2: 0, upto: 0, other: 0, book: 0, film: 0 };

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
  unregistered = await walletMake();
  shop = await shopOpen();
});

after(async () => {
  await shop?.close();
  await assertAllEnded();
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
