// The client of x402 version 1, `x402-fetch`, as it was published: it reads the body of the 402 and pays with X-PAYMENT.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createWalletClient, http, publicActions } from 'viem';
import { baseSepolia } from 'viem/chains';
import { wrapFetchWithPayment } from 'x402-fetch';
import { buyerMake, offersOf, paymentEnds, paymentsOf, unbase64 } from './payer.mjs';
import { adderBody, call, dev, modelOf, OPG, tokenBalance, uuid } from './stack.mjs';

const INFER = `/v2/models/${modelOf('tensor').id}/infer`;
const CHAT = '/v1/chat/completions';
const chatBody = (over = {}) => JSON.stringify({ model: modelOf('chat').id, max_tokens: 4, messages: [{ role: 'user', content: uuid() }], ...over });

const clientMake = (wallet, max) => wrapFetchWithPayment(fetch, createWalletClient({ account: wallet.account, chain: baseSepolia, transport: http(dev.rpc_url) }).extend(publicActions), max);
const sent = (body) => ({ method: 'POST', headers: { 'Content-Type': 'application/json' }, body });

for (const [what, path, body] of [['a tensor call', INFER, adderBody(1, 2)], ['a chat', CHAT, chatBody()], ['a stream', CHAT, chatBody({ stream: true })]])
  test(`x402-fetch pays ${what}: the answer, and exactly the price`, async () => {
    const wallet = await buyerMake(OPG);
    const { eip3009: offer, answer: unpaid } = await offersOf(path, body);
    const pay_to = offer.payTo;
    assert.equal(unpaid.json.accepts[0].network, 'base-sepolia');
    const before = await tokenBalance(pay_to);
    const answer = await clientMake(wallet, OPG)(dev.base_url + path, sent(body));
    const text = await answer.text();
    assert.equal(answer.status, 200, text);
    assert.match(text, /outputs|choices/);
    const receipt = unbase64(answer.headers.get('X-PAYMENT-RESPONSE'));
    assert.deepEqual([receipt.success, receipt.network, receipt.payer], [true, 'base-sepolia', wallet.account.address]);
    const price = BigInt(offer.amount);
    assert.deepEqual([OPG - (await tokenBalance(wallet.address)), (await tokenBalance(pay_to)) - before], [price, price]);
    const row = await paymentEnds(answer.headers.get('Opgate-Payment'));
    assert.deepEqual([row.state, row.amount, row.transaction], ['settled', offer.amount, receipt.transaction]);
  });

test('x402-fetch pays no more than it was told: its own limit is a tenth of a dollar in base units of USDC', async () => {
  const wallet = await buyerMake(OPG);
  await assert.rejects(clientMake(wallet)(dev.base_url + INFER, sent(adderBody(3))), /Payment amount exceeds maximum allowed/);
  assert.deepEqual([paymentsOf(wallet.address), await tokenBalance(wallet.address)], [[], OPG]);
  assert.equal((await call('POST', INFER, { body: adderBody(3) })).status, 402);
});
