// Another facilitator settles what is paid to us: the official one, and ones that lie. Whatever they say, a payment is settled when the
// chain shows its money, and nobody gets anything for less.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { x402Facilitator } from '@x402/core/facilitator';
import { toFacilitatorEvmSigner } from '@x402/evm';
import { registerExactEvmScheme } from '@x402/evm/exact/facilitator';
import { UptoEvmScheme } from '@x402/evm/upto/facilitator';
import express from 'express';
import { createWalletClient, http as rpcHttp, keccak256, nonceManager, publicActions, toHex } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { stackLocked, stackRestart } from '../../script/lib/stack.mjs';
import {
  accountMake, adderBody, assertBooks, assertError, assertStatus, call, chain, dev, inVar, modelOf, OPG, settingsChange, sql, tokenBalance, tokenSend, uuid, waitFor, walletMake,
} from './stack.mjs';
import { assertCustody, buyerMake, eip3009, envelope, jobsOf, now, offersOf, pay, paymentEnds, paymentsOf, permit2, receiptOf, shopperOf, termsOf } from './payer.mjs';

const NETWORK = `eip155:${dev.chain_id}`;
const INFER = `/v2/models/${modelOf('tensor').id}/infer`;
const CHAT = '/v1/chat/completions';
const body = () => adderBody(Math.floor(Math.random() * 1e6));
const chatBody = () => JSON.stringify({ model: modelOf('chat').id, max_tokens: 4, temperature: 0, messages: [{ role: 'user', content: `This ${uuid()}` }] });
const JSON_HEADERS = { 'Content-Type': 'application/json' };
const asked = { verify: 0, settle: 0 };
let facilitator, honest, server, started, undo, doomed, settle, verify;

/// The official facilitator behind HTTP, and in front of it whatever `verify` and `settle` are.
async function facilitatorOpen(wallet) {
  const account = privateKeyToAccount(wallet.private_key, { nonceManager });
  const client = createWalletClient({ account, chain: chain.client.chain, transport: rpcHttp(dev.rpc_url), pollingInterval: 50 }).extend(publicActions);
  const signer = toFacilitatorEvmSigner({ ...client, address: account.address });
  honest = registerExactEvmScheme(new x402Facilitator(), { signer, networks: NETWORK });
  honest.register(NETWORK, new UptoEvmScheme(signer));
  const app = express().use(express.json());
  app.get('/supported', (_, response) => response.json(honest.getSupported()));
  for (const [name, handler] of [['verify', () => verify], ['settle', () => settle]])
    app.post(`/${name}`, async ({ body: { paymentPayload, paymentRequirements } }, response) => {
      asked[name]++;
      const answer = await handler()(paymentPayload, paymentRequirements).catch((error) => ({ error: String(error) }));
      if (answer) response.status(answer.error ? 500 : 200).json(answer);
      else response.socket.destroy();
    });
  server = http.createServer(app);
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${server.address().port}/`;
}
function behaveWell() {
  verify = (...args) => honest.verify(...args);
  settle = (...args) => honest.settle(...args);
}

before(async () => {
  facilitator = await walletMake();
  const facilitator_url = await facilitatorOpen(facilitator);
  behaveWell();
  undo = await settingsChange({ facilitator_url, payment_wait_ms: 4000 });
  [[started]] = sql('SELECT now()');
});
after(async () => {
  await undo?.();
  server?.close();
  server?.closeAllConnections();
  await assertCustody();
  await assertBooks();
});

const byFacilitator = async (hash) => (await chain.client.getTransaction({ hash })).from.toLowerCase() === facilitator.address;
const lie = (transaction) => async ({ payload }) => ({ success: true, transaction, network: NETWORK, payer: (payload.authorization ?? payload.permit2Authorization).from });

for (const [scheme, method, path] of [['exact', undefined, INFER], ['exact', 'permit2', INFER], ['upto', 'permit2', CHAT]])
  test(`it settles ${scheme} ${method ?? 'eip3009'}, and we see that it did`, async () => {
    const wallet = await buyerMake(OPG, { approve: true });
    const request = { method: 'POST', headers: JSON_HEADERS, body: path === CHAT ? chatBody() : body() };
    const result = await shopperOf(wallet, (one) => one.scheme === scheme && one.extra.assetTransferMethod === method)(dev.base_url + path, request);
    const id = result.headers.get('Opgate-Payment');
    const row = await paymentEnds(id);
    assert.equal(row.state, 'settled');
    assert.ok(await byFacilitator(row.transaction), 'by its transaction, not by ours');
    assert.equal(OPG - (await tokenBalance(wallet.address)), BigInt(row.amount));
    if (result.status === 200) assert.equal(receiptOf(result).transaction, row.transaction);
    else assert.equal(result.status, 202, 'a slow chain');
  });

test('approvals whose gas we would pay are not offered', async () => {
  const { extensions } = termsOf(assertStatus(await call('POST', INFER, { headers: JSON_HEADERS, body: body() }), 402));
  assert.ok(extensions.bazaar);
  for (const key of ['eip2612GasSponsoring', 'erc20ApprovalGasSponsoring']) assert.equal(extensions[key], undefined);
});

test('what it refuses is refused in its words; what we refuse it is not asked about', async () => {
  const wallet = await buyerMake(OPG);
  const request = body();
  const { eip3009: offer } = await offersOf(INFER, request);
  const made = envelope(offer, await eip3009(wallet, offer));
  verify = async () => ({ isValid: false, invalidReason: 'because_of_it' });
  assert.equal(termsOf(assertStatus(await pay(INFER, request, made), 402)).error, 'because_of_it');
  const before = asked.verify;
  verify = async () => ({ isValid: true });
  const poor = await buyerMake(1n);
  assert.equal(termsOf(assertStatus(await pay(INFER, request, envelope(offer, await eip3009(poor, offer))), 402)).error, 'invalid_exact_evm_insufficient_balance');
  assert.equal(asked.verify, before);
  const long = await eip3009(wallet, offer, { validBefore: BigInt(now() + 100_000) });
  assert.equal(termsOf(assertStatus(await pay(INFER, request, envelope(offer, long)), 402)).error, 'invalid_exact_evm_payload_authorization_valid_before');
  verify = async () => null;
  assertError(await pay(INFER, request, made), 'oip', 503, 'chain_unavailable');
  assert.equal(jobsOf(wallet.address) + jobsOf(poor.address), 0);
  behaveWell();
});

test('a facilitator that says it settled and did not gets nobody anything; when it does settle, the payer has the answer', async () => {
  const wallet = await buyerMake(OPG, { approve: true });
  const paying = [];
  for (const [path, kind, make] of [[INFER, 'eip3009', eip3009], [CHAT, 'permit2', permit2], [CHAT, 'upto', permit2]]) {
    const request = path === CHAT ? chatBody() : body();
    const offer = (await offersOf(path, request))[kind];
    paying.push({ path, request, made: envelope(offer, await make(wallet, offer)) });
  }
  const unfortunate = await buyerMake(OPG);
  const hopeless = body();
  const { eip3009: offer } = await offersOf(INFER, hopeless);
  settle = lie(keccak256(toHex(uuid()))); // a transaction that is none
  const told = async ({ path = INFER, request, made }) => {
    const before = asked.settle;
    const answer = assertStatus(await pay(path, request, made), 202);
    assert.ok(!answer.bytes.toString().includes('outputs') && !answer.bytes.toString().includes('choices'));
    assert.ok(asked.settle > before);
  };
  for (const one of paying) await told(one);
  doomed = { wallet: unfortunate, request: hopeless, made: envelope(offer, await eip3009(unfortunate, offer, { validBefore: BigInt(now() + 20) })) };
  await told(doomed);
  assert.deepEqual([await tokenBalance(wallet.address), ...new Set(paymentsOf(wallet.address).map(({ state }) => state))], [OPG, 'settling']);
  // Somebody else's transaction of just that amount, to us, and the payer's own of another payment.
  const stranger = await buyerMake(OPG);
  const [{ amount }] = paymentsOf(wallet.address);
  const [theirs] = await tokenSend(stranger, [['transfer', (await offersOf(INFER, body())).eip3009.payTo, BigInt(amount)]]);
  settle = lie(theirs.transactionHash);
  const before = asked.settle;
  await waitFor('it was asked about each of them', () => asked.settle > before + 5, { seconds: 40 });
  assert.deepEqual(new Set(paymentsOf(wallet.address).map(({ state }) => state)), new Set(['settling']));
  await assertCustody();
  const given_up = doomed.made.payload.authorization.nonce;
  settle = (payload, requirements) => (payload.payload.authorization?.nonce === given_up ? lie(theirs.transactionHash)(payload) : honest.settle(payload, requirements));
  await waitFor('all are settled', () => paymentsOf(wallet.address).every(({ state, outcome }) => state === 'settled' && outcome === 'delivered'), { seconds: 60 });
  for (const { path, request, made } of paying) assert.equal(assertStatus(await pay(path, request, made), 200).headers.get('Idempotent-Replayed'), 'true');
  assert.equal(OPG - (await tokenBalance(wallet.address)), paymentsOf(wallet.address).reduce((sum, { amount: paid }) => sum + BigInt(paid), 0n));
});

test('a facilitator that says no, or nothing, though it settled: the money is seen all the same', async () => {
  const given_up = doomed.made.payload.authorization.nonce;
  for (const answer of [{ success: false, errorReason: 'no', transaction: '', network: NETWORK }, null]) {
    const wallet = await buyerMake(OPG);
    settle = async (payload, requirements) => {
      if (payload.payload.authorization.nonce !== given_up) await honest.settle(payload, requirements);
      return answer;
    };
    const request = body();
    const { eip3009: offer } = await offersOf(INFER, request);
    const first = await pay(INFER, request, envelope(offer, await eip3009(wallet, offer)));
    const row = await paymentEnds(first.headers.get('Opgate-Payment'));
    assert.deepEqual([row.state, OPG - (await tokenBalance(wallet.address))], ['settled', BigInt(offer.amount)]);
    assert.ok([200, 202].includes(first.status));
  }
});

test('when the time of an authorization is over and nothing came, its payment is dropped, and nothing was given', async () => {
  const [row] = await waitFor('it is dropped', () => {
    const rows = paymentsOf(doomed.wallet.address);
    return rows[0].state === 'dropped' && rows;
  }, { seconds: 150 });
  assert.deepEqual([row.outcome, row.charged, await tokenBalance(doomed.wallet.address)], ['settlement_failed', '0', OPG]);
  assertStatus(await pay(INFER, doomed.request, doomed.made), 402);
  behaveWell();
});

test('killed while it was asked: it is asked again after the restart, and the same payment gets its answer', async () => {
  const wallet = await buyerMake(OPG);
  const request = body();
  const { eip3009: offer } = await offersOf(INFER, request);
  const made = envelope(offer, await eip3009(wallet, offer));
  const reached = new Promise((resolve) => {
    settle = () => { // it was asked, and says and does nothing until the gateway is gone
      resolve();
      return new Promise(() => {});
    };
  });
  const lost = pay(INFER, request, made).catch((error) => error);
  await reached;
  process.kill(JSON.parse(fs.readFileSync(inVar('dev.json'))).pids.gateway, 'SIGKILL');
  await lost;
  behaveWell();
  await stackLocked(() => stackRestart('gateway'));
  await waitFor('the payment ends', () => paymentsOf(wallet.address)[0].charged === offer.amount, { seconds: 60 });
  assert.equal(receiptOf(assertStatus(await pay(INFER, request, made), 200)).success, true);
  assert.deepEqual([OPG - (await tokenBalance(wallet.address)), paymentsOf(wallet.address).length], [BigInt(offer.amount), 1]);
});

test('our own facilitator still settles for others meanwhile, and only for them', async () => {
  const [seller, wallet] = [await accountMake(), await buyerMake(OPG)];
  const { kinds } = assertStatus(await call('GET', '/facilitator/supported'), 200).json;
  assert.notEqual(kinds[1].extra.facilitatorAddress.toLowerCase(), facilitator.address);
  assertStatus(await call('POST', '/v1/payees', { key: seller.key, body: {} }), 201);
  const requirements = { scheme: 'exact', network: NETWORK, amount: '12345', asset: dev.opg_token, payTo: seller.account.address, maxTimeoutSeconds: 300, extra: { name: 'OPG', version: '1' } };
  const made = { x402Version: 2, paymentPayload: envelope(requirements, await eip3009(wallet, requirements)), paymentRequirements: requirements };
  const { paymentJob } = (await call('POST', '/facilitator/settle', { body: made })).json;
  const job = await waitFor('it is settled', async () => {
    const one = (await call('GET', `/facilitator/settle/${paymentJob.jobId}`)).json;
    return one.status === 'succeeded' && one;
  }, { seconds: 60 });
  assert.equal(await byFacilitator(job.result.transaction), false);
  assert.equal(await tokenBalance(seller.address), 12345n);
  assert.equal(sql(`SELECT 1 FROM payment p JOIN settlement_tx t ON t.id = p.tx WHERE t.created_at > '${started}'`).length, 0, 'our settler sent nothing of ours');
});
