// The extensions of x402, with the official packages as clients: what a 402 declares, and what a client may send with a payment.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { HTTPFacilitatorClient } from '@x402/core/server';
import { registerExactEvmScheme } from '@x402/evm/exact/client';
import { UptoEvmScheme } from '@x402/evm/upto/client';
import {
  appendPaymentIdentifierToExtensions, createSIWxClientExtension, createSIWxPayload, encodeSIWxHeader, validateDiscoveryExtension, validateDiscoveryExtensionSpec,
  validatePaymentIdentifier, extractDiscoveryInfo, withBazaar, wrapFetchWithSIWx,
} from '@x402/extensions';
import { wrapFetchWithPayment, x402Client } from '@x402/fetch';
import { UptoEvmScheme as Upto211 } from 'x402-evm-2.11/upto/client';
import { wrapFetchWithPayment as wrapFetch211, x402Client as Client211 } from 'x402-fetch-2.11';
import { checksumAddress, encodeFunctionData, hashMessage, toHex } from 'viem';
import { contractsCompile } from '../../script/contracts.mjs';
import { PERMIT2 } from '../../script/deploy.mjs';
import { api, adderBody, assertBooks, assertError, assertStatus, call, chain, dev, mine, modelOf, OPG, rpc, sql, token, tokenBalance, tokenSend, uuid, waitFor } from './stack.mjs';
import { assertCustody, base64, buyerMake, eip3009, envelope, jobsOf, now, offersOf, pay, paymentEnds, paymentsOf, permit2, receiptOf, termsOf } from './payer.mjs';

const adder = modelOf('tensor').id;
const llama = modelOf('chat').id;
const INFER = `/v2/models/${adder}/infer`;
const CHAT = '/v1/chat/completions';
const body = () => adderBody(Math.floor(Math.random() * 1e6));
const chatBody = () => JSON.stringify({ model: llama, max_tokens: 4, temperature: 0, messages: [{ role: 'user', content: `This program ${uuid()}` }] });
const JSON_HEADERS = { 'Content-Type': 'application/json' };
const request = (text, headers = {}) => ({ method: 'POST', headers: { ...JSON_HEADERS, ...headers }, body: text });

after(async () => {
  await waitFor('nothing is open', () => sql("SELECT 1 FROM payment WHERE state IN ('claimed', 'settling', 'failed')").length === 0, { seconds: 60 });
  await assertCustody();
  await assertBooks();
});

/// The official client. `options` go to the schemes (an RPC endpoint, for what extensions ask of the chain).
function clientMake(wallet, options) {
  const client = new x402Client();
  registerExactEvmScheme(client, { signer: wallet.account, ...(options && { schemeOptions: options }) });
  client.register('eip155:*', new UptoEvmScheme(wallet.account, options));
  client.setSpendControls({ allowedAssets: true });
  return client;
}
/// Names every payment of the client.
function named(client, id) {
  client.registerExtension({
    key: 'payment-identifier',
    enrichPaymentPayload: async (payload) => ({ ...payload, extensions: appendPaymentIdentifierToExtensions(structuredClone(payload.extensions ?? {}), id) }),
  });
  return client;
}
/// A payment by hand that repeats all that was declared, as the official client does.
const echoed = (terms, offer, signed, extensions = {}) => envelope(offer, signed, { resource: terms.resource, extensions: { ...structuredClone(terms.extensions), ...extensions } });
const withId = (terms, offer, signed, id) => echoed(terms, offer, signed, { 'payment-identifier': { ...terms.extensions['payment-identifier'], info: { required: false, id } } });

// ---- bazaar ----

test('every paid route says how it is called, in the form the official packages check', async () => {
  const routes = [
    [CHAT, chatBody(), { model: llama }], ['/v1/completions', JSON.stringify({ model: llama, prompt: 'Once', max_tokens: 2 }), { model: llama }], [INFER, body(), {}],
  ];
  for (const [path, text, expected] of routes) {
    const { terms } = await offersOf(path, text);
    const { bazaar } = terms.extensions;
    assert.deepEqual(validateDiscoveryExtensionSpec(bazaar), { valid: true });
    assert.deepEqual(validateDiscoveryExtension(bazaar), { valid: true });
    assert.deepEqual([bazaar.info.input.type, bazaar.info.input.method, bazaar.info.input.bodyType], ['http', 'POST', 'json']);
    assert.equal(bazaar.info.input.body.model, expected.model);
    const found = extractDiscoveryInfo({ x402Version: 2, resource: terms.resource, extensions: terms.extensions }, terms.accepts[0]);
    assert.deepEqual([found.resourceUrl, found.method], [dev.base_url + path, 'POST']);
    // the example is a request that is served
    const answer = assertStatus(await call('POST', path, { body: JSON.stringify(path === INFER ? JSON.parse(adderBody(1)) : bazaar.info.input.body) }), 402);
    assert.equal(termsOf(answer).error, 'Payment required');
  }
});

test('all but the challenge is the same bytes for other requests, too, and what is repeated must be what was declared', async () => {
  const [one, two] = [await offersOf(INFER, adderBody(1)), await offersOf(INFER, adderBody(2))];
  const stable = ({ terms }) => JSON.stringify({ ...terms, extensions: { ...terms.extensions, 'sign-in-with-x': null } });
  assert.equal(stable(one), stable(two));
  const wallet = await buyerMake(OPG);
  const text = body();
  const { terms, eip3009: offer } = await offersOf(INFER, text);
  const signed = await eip3009(wallet, offer);
  const other = structuredClone(terms.extensions.bazaar);
  other.info.input.method = 'GET';
  const refused = assertStatus(await pay(INFER, text, echoed(terms, offer, signed, { bazaar: other })), 402);
  assert.equal(termsOf(refused).error, 'extension_echo_mismatch');
  assert.equal(jobsOf(wallet.address), 0);
  assertStatus(await pay(INFER, text, echoed(terms, offer, signed, { 'something-else': { info: { any: 1 } } })), 200);
});

test('the official bazaar client lists what is served, with the terms its examples are asked for', async () => {
  for (const url of [dev.base_url, `${dev.base_url}/facilitator`]) {
    const { bazaar } = withBazaar(new HTTPFacilitatorClient({ url })).extensions;
    const all = await bazaar.listResources({ type: 'http', limit: 100 });
    assert.deepEqual([all.x402Version, all.pagination], [2, { limit: 100, offset: 0, total: all.items.length }]);
    for (const [model, path] of [[adder, INFER], [llama, CHAT]]) {
      const item = all.items.find((one) => one.description.endsWith(` ${model}`));
      assert.deepEqual([item.resource, item.type, item.x402Version, item.mimeType], [dev.base_url + path, 'http', 2, 'application/json']);
      assert.ok(Date.parse(item.lastUpdated) <= Date.now());
      assert.deepEqual(validateDiscoveryExtension(item.extensions.bazaar), { valid: true });
      const asked = await offersOf(path, JSON.stringify(item.extensions.bazaar.info.input.body));
      const plain = ({ extra: { quote, ...extra }, ...accept }) => ({ ...accept, extra }); // a quote's time may pass in between
      assert.deepEqual(item.accepts.map(plain), asked.terms.accepts.map(plain));
    }
    const [first, second] = [await bazaar.listResources({ limit: 1 }), await bazaar.listResources({ limit: 1, offset: 1 })];
    assert.deepEqual([...first.items, ...second.items].map(({ description }) => description), all.items.slice(0, 2).map(({ description }) => description));
    assert.equal(second.pagination.total, all.items.length);
    assert.equal((await bazaar.listResources({ offset: 1000 })).items.length, 0);
    const upto = await bazaar.listResources({ scheme: 'upto', payTo: all.items[0].accepts[0].payTo, network: 'eip155:84532', extensions: 'sign-in-with-x' });
    assert.ok(upto.items.length > 0 && upto.items.every(({ resource }) => resource === dev.base_url + CHAT));
    for (const nothing of [{ type: 'mcp' }, { scheme: 'other' }, { network: 'eip155:1' }, { payTo: dev.treasury }, { extensions: 'nothing-of-ours' }])
      assert.deepEqual((await bazaar.listResources(nothing)).pagination.total, 0);
  }
  for (const wrong of ['limit=0', 'limit=101', 'limit=x', 'offset=-1']) assertError(await call('GET', `/discovery/resources?${wrong}`), 'problem', 400, 'bad_field');
});

test('what is listed can be bought as it is listed', async () => {
  const { items } = assertStatus(await call('GET', '/discovery/resources'), 200).json;
  const item = items.find(({ resource }) => resource === dev.base_url + CHAT);
  const wallet = await buyerMake(OPG);
  const payment = envelope(item.accepts[0], await eip3009(wallet, item.accepts[0]));
  assertStatus(await pay(CHAT, JSON.stringify(item.extensions.bazaar.info.input.body), payment), 200);
  assert.equal(OPG - (await tokenBalance(wallet.address)), BigInt(item.accepts[0].amount));
});

test('all of it fits into headers as they are usual, there and back', async () => {
  const sent = [];
  const spy = (input, init) => (sent.push((input.headers ?? new Headers(init?.headers)).get('PAYMENT-SIGNATURE')), fetch(input, init));
  const wallet = await buyerMake(OPG);
  const text = chatBody();
  const { answer } = await offersOf(CHAT, text);
  assert.equal((await wrapFetchWithPayment(spy, named(clientMake(wallet), uuid()))(dev.base_url + CHAT, request(text))).status, 200);
  const [there, back] = [answer.headers.get('PAYMENT-REQUIRED').length, sent.at(-1).length];
  assert.ok(there < 8192 && back < 8192, `${there} and ${back} bytes`);
});

// ---- payment-identifier ----

test('the official client names its payment: the same name and request is one payment, however often it is signed', async () => {
  const wallet = await buyerMake(OPG);
  const text = body();
  const { terms, eip3009: offer } = await offersOf(INFER, text);
  assert.deepEqual(validatePaymentIdentifier(terms.extensions['payment-identifier']), { valid: true });
  assert.equal(terms.extensions['payment-identifier'].info.required, false);
  const id = `pay_${uuid().replaceAll('-', '')}`;
  const fetchPaid = wrapFetchWithPayment(fetch, named(clientMake(wallet), id));
  const [first, again] = [await fetchPaid(dev.base_url + INFER, request(text)), await fetchPaid(dev.base_url + INFER, request(text))];
  assert.deepEqual([first.status, again.status], [200, 200]);
  assert.equal(again.headers.get('Idempotent-Replayed'), 'true');
  assert.deepEqual(receiptOf(again), receiptOf(first));
  assert.equal(await again.text(), await first.text());
  assert.equal(OPG - (await tokenBalance(wallet.address)), BigInt(offer.amount));
  assert.equal(paymentsOf(wallet.address).length, 1);
});

test('an Idempotency-Key names a payment, too', async () => {
  const wallet = await buyerMake(OPG);
  const text = body();
  const { terms, eip3009: offer } = await offersOf(INFER, text);
  const send = async (what, key) => pay(INFER, what, echoed(terms, offer, await eip3009(wallet, offer), {}), { 'Idempotency-Key': key });
  const [first, again] = [assertStatus(await send(text, 'mine: 1'), 200), assertStatus(await send(text, 'mine: 1'), 200)];
  assert.equal(again.headers.get('Idempotent-Replayed'), 'true');
  assert.equal(again.text, first.text);
  assert.ok(first.headers.get('Opgate-Receipt'));
  assert.equal(again.headers.get('Opgate-Receipt'), first.headers.get('Opgate-Receipt'), 'what is answered again can be checked, too');
  assertError(await send(body(), 'mine: 1'), 'oip', 422, 'idempotency_key_reused');
  assert.equal(paymentsOf(wallet.address).length, 1);
  assert.equal(assertStatus(await send(text, 'mine: 2'), 200).headers.get('Idempotent-Replayed'), null);
});

test('a name stands for one request of one payer', async () => {
  const [wallet, other] = [await buyerMake(OPG), await buyerMake(OPG)];
  const [text, another] = [body(), body()];
  const { terms, eip3009: offer } = await offersOf(INFER, text);
  const id = uuid();
  const send = async (who, what, signed) => pay(INFER, what, withId(terms, offer, signed ?? (await eip3009(who, offer)), id));
  const first = assertStatus(await send(wallet, text), 200);
  assertError(await send(wallet, another), 'oip', 409, 'conflict');
  assert.equal(paymentsOf(wallet.address).length, 1);
  // somebody else's name of the same letters is another name: paid for, and run
  const theirs = assertStatus(await send(other, text), 200);
  assert.equal(theirs.headers.get('Idempotent-Replayed'), null);
  assert.notEqual(theirs.headers.get('Opgate-Job'), first.headers.get('Opgate-Job'));
  // the payer must be proven: a signature by somebody else fetches nothing
  const forged = await eip3009(wallet, offer, {}, { signer: other.account });
  const refused = assertStatus(await send(wallet, text, forged), 402);
  assert.equal(termsOf(refused).error, 'invalid_exact_evm_signature');
  assert.equal(refused.headers.get('Opgate-Job'), null);
});

test('racing copies under one name, each signed anew: the model runs once', async () => {
  const wallet = await buyerMake(OPG);
  const text = body();
  const { terms, eip3009: offer } = await offersOf(INFER, text);
  const id = uuid();
  const answers = await Promise.all(Array.from({ length: 6 }, async () => pay(INFER, text, withId(terms, offer, await eip3009(wallet, offer), id))));
  assert.deepEqual([...new Set(answers.map(({ status }) => status))].filter((status) => status !== 200 && status !== 202), []);
  assert.equal(answers.filter((answer) => answer.status === 200 && !answer.headers.get('Idempotent-Replayed')).length, 1);
  assert.equal(jobsOf(wallet.address), 1);
  await waitFor('it is settled', () => paymentsOf(wallet.address)[0].state === 'settled');
  assert.equal(OPG - (await tokenBalance(wallet.address)), BigInt(offer.amount));
});

test('names of the wrong form are refused before anything is taken', async () => {
  const wallet = await buyerMake(OPG);
  const text = body();
  const { terms, eip3009: offer } = await offersOf(INFER, text);
  for (const id of ['short', 'x'.repeat(129), 'sixteen characters!', 'ümlaut-ümlaut-ümlaut', 1234567890123456, null, {}])
    assertError(await pay(INFER, text, withId(terms, offer, await eip3009(wallet, offer), id)), 'oip', 400, 'bad_field');
  assert.equal(jobsOf(wallet.address), 0);
  for (const id of ['x'.repeat(16), `${'x'.repeat(126)}_-`]) assertStatus(await pay(INFER, text, withId(terms, offer, await eip3009(wallet, offer), id)), 200);
});

// ---- sign-in-with-x ----

test('a wallet that signs in gets again what it paid for; without a payment it is asked to pay', async () => {
  const wallet = await buyerMake(OPG);
  const text = body();
  const fetchSigned = wrapFetchWithSIWx(fetch, wallet.account);
  assert.equal((await fetchSigned(dev.base_url + INFER, request(text))).status, 402);
  const client = clientMake(wallet).registerExtension(createSIWxClientExtension({ signers: [wallet.account] }));
  const first = await wrapFetchWithPayment(fetch, client)(dev.base_url + INFER, request(text));
  assert.equal(first.status, 200);
  const left = await tokenBalance(wallet.address);
  const challenge = async () => (await offersOf(INFER, text)).terms.extensions['sign-in-with-x'].info.nonce;
  for (const fetchAgain of [fetchSigned, wrapFetchWithPayment(fetch, client)]) {
    const used = await challenge();
    if (fetchAgain !== fetchSigned) await waitFor('the next challenge', async () => (await challenge()) !== used, { seconds: 90 }); // each works once
    const again = await fetchAgain(dev.base_url + INFER, request(text));
    assert.equal(again.status, 200);
    assert.equal(again.headers.get('Idempotent-Replayed'), 'true');
    assert.equal(again.headers.get('Opgate-Job'), first.headers.get('Opgate-Job'));
  }
  assert.equal(await tokenBalance(wallet.address), left);
  assert.equal((await fetchSigned(dev.base_url + INFER, request(body()))).status, 402, 'another request is another matter');
});

/// What the wallet would send for the challenge of a 402; `over` changes members before the signature, `after_` after it.
async function signIn(wallet, { terms }, over = {}, after_ = {}) {
  const { info, supportedChains } = terms.extensions['sign-in-with-x'];
  const complete = { ...info, ...supportedChains[0], ...over };
  const signed = await createSIWxPayload(complete, wallet.account, complete.uri);
  return encodeSIWxHeader({ ...signed, ...after_ });
}

test('a sign-in works once, for its own wallet, here and now', async () => {
  const [wallet, other] = [await buyerMake(OPG), await buyerMake(OPG)];
  const text = body();
  const { terms, eip3009: offer } = await offersOf(INFER, text);
  const paid = assertStatus(await pay(INFER, text, envelope(offer, await eip3009(wallet, offer))), 200);
  const send = (header) => call('POST', INFER, { body: text, headers: { 'SIGN-IN-WITH-X': header } });
  const refused = async (header, why) => {
    const answer = assertStatus(await send(header), 402);
    assert.match(termsOf(answer).error, why);
    assert.equal(answer.headers.get('Opgate-Job'), null);
  };
  const challenge = () => offersOf(INFER, text);
  await refused(await signIn(other, await challenge()), /Payment required/);
  await refused(await signIn(other, await challenge(), {}, { address: wallet.account.address }), /signature/);
  await refused(await signIn(wallet, await challenge(), { domain: 'elsewhere.example', uri: 'http://elsewhere.example/' }), /domain/);
  await refused(await signIn(wallet, await challenge(), {}, { uri: 'http://elsewhere.example/' }), /URI|signature/);
  await refused(await signIn(wallet, await challenge(), { chainId: 'eip155:1' }), /chain/);
  await refused(await signIn(wallet, await challenge(), { nonce: '0'.repeat(32) }), /nonce/);
  await refused(await signIn(wallet, await challenge(), { nonce: terms.extensions['sign-in-with-x'].info.nonce, issuedAt: new Date(Date.now() - 1000).toISOString(), expirationTime: new Date(Date.now() + 60_000).toISOString() }), /nonce/);
  await refused(await signIn(wallet, await challenge(), { issuedAt: new Date(Date.now() - 600_000).toISOString(), expirationTime: new Date(Date.now() - 301_000).toISOString() }), /expired/);
  await refused(await signIn(wallet, await challenge(), { expirationTime: new Date(Date.now() + 86_400_000).toISOString() }), /Expiration/);
  await refused(await signIn(wallet, await challenge(), {}, { statement: 'something else' }), /signature/);
  await refused(base64('not json at all'), /base64/);
  await refused('!!!', /base64/);
  await refused(base64({ address: wallet.account.address }), /missing/);
  const header = await signIn(wallet, await challenge());
  const again = assertStatus(await send(header), 200);
  assert.equal(again.headers.get('Opgate-Job'), paid.headers.get('Opgate-Job'));
  await refused(header, /used before/);
  assert.equal(jobsOf(wallet.address), 1);
});

test('a wallet with code signs in by its own word (ERC-1271)', async () => {
  const owner = await buyerMake(0n);
  const { TestWallet } = contractsCompile();
  const address = checksumAddress(await chain.deploy(owner.account, TestWallet));
  await tokenSend(owner, [['mint', address, OPG]]);
  const approve = async (digest) => {
    await chain.wallet(owner.account).sendTransaction({ to: address, data: encodeFunctionData({ abi: TestWallet.abi, functionName: 'approve', args: [digest] }) });
    await mine();
  };
  const text = body();
  const { eip3009: offer } = await offersOf(INFER, text);
  const made = await eip3009(owner, offer, { from: address });
  await approve(made.digest);
  const paid = assertStatus(await pay(INFER, text, envelope(offer, made)), 200);
  let digest;
  const signer = { address, signMessage: async ({ message }) => ((digest = hashMessage(message)), owner.account.signMessage({ message })) };
  const { info, supportedChains } = (await offersOf(INFER, text)).terms.extensions['sign-in-with-x'];
  const header = encodeSIWxHeader(await createSIWxPayload({ ...info, ...supportedChains[0] }, signer, info.uri));
  const send = () => call('POST', INFER, { body: text, headers: { 'SIGN-IN-WITH-X': header } });
  assert.match(termsOf(assertStatus(await send(), 402)).error, /signature/); // the wallet's owner signed; that is not the wallet's word
  await approve(digest);
  assert.equal(assertStatus(await send(), 200).headers.get('Opgate-Job'), paid.headers.get('Opgate-Job'));
  assert.match(termsOf(assertStatus(await send(), 402)).error, /used before/);
  // what its payments leave is on its account, which it reaches the same way
  const account = { address, signMessage: async ({ message }) => ((digest = hashMessage(message)), owner.account.signMessage({ message })) };
  await assert.rejects(api.signIn(account, dev.chain_id), /signature/);
  const willing = { address, signMessage: async ({ message }) => (await approve(hashMessage(message)), owner.account.signMessage({ message })) };
  assert.equal((await (await api.signIn(willing, dev.chain_id)).json('GET', '/v1/me')).address, address.toLowerCase());
});

// ---- eip2612GasSponsoring ----

const clientOnly = (client, scheme) => {
  client.registerPolicy((_, list) => list.filter((one) => one.scheme === scheme && one.extra.assetTransferMethod === 'permit2'));
  return wrapFetchWithPayment(fetch, client);
};
const RPC = { rpcUrl: dev.rpc_url };
const coinOf = (address) => chain.client.getBalance({ address });
const coinSet = (address, wei) => rpc('anvil_setBalance', address, toHex(wei));
const allowanceOf = (address) => chain.read({ ...token, functionName: 'allowance', args: [address, PERMIT2] });
const gasOf = (address) => BigInt(sql(`SELECT coalesce(sum(wei), 0) FROM gas_subject_day WHERE purpose = 'sponsor' AND subject = '\\x${address.slice(2)}'`)[0][0]);

test('the official client without an approval pays by a permit, exact and upto; it needs no coin', async () => {
  for (const [scheme, path, text] of [['exact', INFER, body()], ['upto', CHAT, chatBody()]]) {
    const wallet = await buyerMake(OPG);
    await coinSet(wallet.address, 0n);
    const { terms, permit2: exact, upto } = await offersOf(path, text);
    assert.ok(terms.extensions.eip2612GasSponsoring);
    const result = await clientOnly(clientMake(wallet, RPC), scheme)(dev.base_url + path, request(text));
    assert.equal(result.status, 200, `${scheme}: ${await result.clone().text()}`);
    const [{ amount }] = paymentsOf(wallet.address);
    assert.equal(OPG - (await tokenBalance(wallet.address)), BigInt(amount));
    assert.ok(BigInt(amount) > 0n && BigInt(amount) <= BigInt((upto ?? exact).amount));
    assert.equal(await coinOf(wallet.address), 0n);
    assert.ok(gasOf(wallet.address) > 0n, 'its gas is counted');
  }
});

test('the clients OpenGradient was written for pay by a permit, too', async () => {
  const wallet = await buyerMake(OPG);
  const signer = { ...wallet.account, readContract: (args) => chain.client.readContract(args) };
  const fetchPaid = wrapFetch211(fetch, new Client211().register('eip155:*', new Upto211(signer)));
  const text = chatBody();
  const result = await fetchPaid(dev.base_url + CHAT, request(text));
  assert.equal(result.status, 200, await result.clone().text());
  assert.ok(gasOf(wallet.address) > 0n);
  assert.equal(OPG - (await tokenBalance(wallet.address)), BigInt(paymentsOf(wallet.address)[0].amount));
});

/// The extension's info for this offer; `over` changes what is signed, `after_` what is sent.
async function permitFor(wallet, offer, over = {}, after_ = {}, { signer = wallet.account, domain = {} } = {}) {
  const nonce = await chain.read({ ...token, functionName: 'nonces', args: [wallet.address] });
  const message = { owner: wallet.account.address, spender: PERMIT2, value: BigInt(offer.amount), nonce, deadline: BigInt(now() + 300), ...over };
  const signature = await signer.signTypedData({
    domain: { name: 'OPG', version: '1', chainId: dev.chain_id, verifyingContract: offer.asset, ...domain }, primaryType: 'Permit', message,
    types: { Permit: [['owner', 'address'], ['spender', 'address'], ['value', 'uint256'], ['nonce', 'uint256'], ['deadline', 'uint256']].map(([name, type]) => ({ name, type })) },
  });
  return {
    from: wallet.account.address, asset: offer.asset, spender: message.spender, amount: String(message.value), nonce: String(message.nonce), deadline: String(message.deadline),
    signature, version: '1', ...after_,
  };
}

test('a permit is believed only as a whole: every member, the signature, the nonce, the budget', async () => {
  const [wallet, other] = [await buyerMake(OPG), await buyerMake(OPG)];
  const text = body();
  const { terms, permit2: offer } = await offersOf(INFER, text);
  const send = async (info) => pay(INFER, text, echoed(terms, offer, await permit2(wallet, offer), { eip2612GasSponsoring: { info: { ...terms.extensions.eip2612GasSponsoring.info, ...info } } }));
  const refused = async (status, why, ...permit) => {
    const answer = assertStatus(await send(await permitFor(wallet, offer, ...permit)), status);
    assert.equal(termsOf(answer).error, why);
  };
  await refused(402, 'eip2612_from_mismatch', {}, { from: other.account.address });
  await refused(402, 'eip2612_asset_mismatch', {}, { asset: other.account.address });
  await refused(402, 'eip2612_spender_not_permit2', { spender: other.account.address });
  await refused(402, 'eip2612_deadline_expired', { deadline: BigInt(now() + 3) });
  await refused(402, 'invalid_eip2612_extension_format', {}, { amount: '-1' });
  await refused(402, 'invalid_eip2612_extension_format', {}, { signature: '0x12' });
  await refused(412, 'permit2_allowance_required', { value: BigInt(offer.amount) - 1n });
  await refused(412, 'permit2_allowance_required', { value: BigInt(offer.amount) + 1n });
  await refused(412, 'permit2_allowance_required', { nonce: 1n });
  await refused(412, 'permit2_allowance_required', {}, { nonce: '1' });
  await refused(412, 'permit2_allowance_required', {}, { amount: String(BigInt(offer.amount) * 2n) });
  await refused(412, 'permit2_allowance_required', {}, {}, { signer: other.account });
  await refused(412, 'permit2_allowance_required', {}, {}, { domain: { chainId: 1 } });
  await refused(412, 'permit2_allowance_required', {}, {}, { domain: { name: 'OPF' } });
  assert.equal(jobsOf(wallet.address), 0);
  assert.equal(gasOf(wallet.address), 0n);
  // an echo without a permit is none
  assert.equal(termsOf(assertStatus(await send({}), 412)).error, 'permit2_allowance_required');
  sql(`INSERT INTO gas_subject_day VALUES ((clock_timestamp() AT TIME ZONE 'UTC')::date, 'sponsor', '\\x${wallet.address.slice(2)}', 1000000000000000)`);
  await refused(412, 'permit2_allowance_required');
  assert.equal(jobsOf(wallet.address), 0, 'neither the payment nor its job is there');
  sql(`DELETE FROM gas_subject_day WHERE subject = '\\x${wallet.address.slice(2)}'`);
  const payment = echoed(terms, offer, await permit2(wallet, offer), { eip2612GasSponsoring: { info: { ...terms.extensions.eip2612GasSponsoring.info, ...(await permitFor(wallet, offer)) } } });
  const first = assertStatus(await pay(INFER, text, payment), 200);
  const again = assertStatus(await pay(INFER, text, payment), 200); // now it is approved, and the permit of no use
  assert.deepEqual([again.headers.get('Idempotent-Replayed'), again.headers.get('Opgate-Job')], ['true', first.headers.get('Opgate-Job')]);
  assert.equal(OPG - (await tokenBalance(wallet.address)), BigInt(offer.amount));
});

// ---- erc20ApprovalGasSponsoring ----

/// A server whose token knows no permits: the official client prefers those.
async function fetchWithoutPermits(...args) {
  const answer = await fetch(...args);
  if (!answer.headers.get('PAYMENT-REQUIRED')) return answer;
  const terms = termsOf(answer);
  delete terms.extensions.eip2612GasSponsoring;
  const headers = new Headers(answer.headers);
  headers.set('PAYMENT-REQUIRED', base64(terms));
  return new Response(await answer.arrayBuffer(), { status: answer.status, headers });
}
const approvalsOf = (address) =>
  sql(`SELECT a.state, a.top_up::text, coalesce(a.reason, ''), coalesce(t.state, '') FROM sponsored_approval a LEFT JOIN settlement_tx t ON t.id = a.tx
    WHERE a.payer = '\\x${address.slice(2)}' ORDER BY a.created_at`).map(([state, top_up, reason, tx]) => ({ state, top_up: BigInt(top_up), reason, tx }));
/// A wallet with OPG and no coin.
async function pennilessMake(coin = 0n) {
  const wallet = await buyerMake(OPG);
  await coinSet(wallet.address, coin);
  return { ...wallet, nonce: await chain.client.getTransactionCount({ address: wallet.address }) };
}

test('the official client without coin pays by a signed approval: it is given what is missing, and no more', async () => {
  for (const [scheme, path, text, coin] of [['exact', INFER, body(), 0n], ['upto', CHAT, chatBody(), 10n ** 12n]]) {
    const wallet = await pennilessMake(coin);
    const client = clientMake(wallet, RPC);
    client.registerPolicy((_, list) => list.filter((one) => one.scheme === scheme && one.extra.assetTransferMethod === 'permit2'));
    const result = await wrapFetchWithPayment(fetchWithoutPermits, client)(dev.base_url + path, request(text));
    assert.equal(result.status, 200, `${scheme}: ${await result.clone().text()}`);
    const [{ state, top_up, tx }] = approvalsOf(wallet.address);
    assert.deepEqual([state, /mined|final/.test(tx)], ['done', true]);
    assert.ok(top_up > 0n && (await coinOf(wallet.address)) < top_up + coin, 'what it was given went into gas, or is left of its own limit');
    assert.ok(gasOf(wallet.address) > top_up, 'the coin and its sending are counted');
    assert.equal(await allowanceOf(wallet.address), 2n ** 256n - 1n);
    const [{ amount }] = paymentsOf(wallet.address);
    assert.equal(OPG - (await tokenBalance(wallet.address)), BigInt(amount));
    // now it is approved: nothing of the kind is needed again
    const spent = gasOf(wallet.address);
    assert.equal((await wrapFetchWithPayment(fetchWithoutPermits, client)(dev.base_url + path, request(path === CHAT ? chatBody() : body()))).status, 200);
    assert.deepEqual([gasOf(wallet.address), approvalsOf(wallet.address).length], [spent, 1]);
  }
});

const GWEI = 10n ** 9n;
/// The extension's info; `over` changes the transaction, `after_` what is sent beside it.
async function approvalFor(wallet, offer, over = {}, after_ = {}, { signer = wallet.account, spender = PERMIT2, amount = 2n ** 256n - 1n, functionName = 'approve', args } = {}) {
  const signedTransaction = await signer.signTransaction({
    to: offer.asset, data: encodeFunctionData({ abi: token.abi, functionName, args: args ?? [spender, amount] }), nonce: wallet.nonce, gas: 70_000n,
    maxFeePerGas: 3n * GWEI, maxPriorityFeePerGas: GWEI, chainId: dev.chain_id, type: 'eip1559', ...over,
  });
  return { from: wallet.account.address, asset: offer.asset, spender: PERMIT2, amount: String(amount), signedTransaction, version: '1', ...after_ };
}
const approving = async (wallet, text, terms, offer, info) =>
  pay(INFER, text, echoed(terms, offer, await permit2(wallet, offer), { erc20ApprovalGasSponsoring: { info: { ...terms.extensions.erc20ApprovalGasSponsoring.info, ...info } } }));

test('an approval is read to its last byte before anything is given for it', async () => {
  const [wallet, other] = [await pennilessMake(), await pennilessMake()];
  const text = body();
  const { terms, permit2: offer } = await offersOf(INFER, text);
  const refused = async (why, ...approval) => {
    const answer = assertStatus(await approving(wallet, text, terms, offer, await approvalFor(wallet, offer, ...approval)), 402);
    assert.equal(termsOf(answer).error, `erc20_approval_${why}`);
  };
  const good = await approvalFor(wallet, offer);
  await refused('from_mismatch', {}, { from: other.account.address });
  await refused('asset_mismatch', {}, { asset: other.account.address });
  await refused('spender_not_permit2', {}, { spender: other.account.address });
  await refused('tx_wrong_target', { to: other.account.address });
  await refused('tx_wrong_selector', {}, {}, { functionName: 'transfer' });
  await refused('tx_wrong_spender', {}, {}, { spender: other.account.address });
  await refused('tx_invalid_calldata', {}, {}, { amount: BigInt(offer.amount) - 1n });
  await refused('tx_invalid_calldata', {}, { amount: '5' });
  await refused('tx_invalid_calldata', { data: `${encodeFunctionData({ abi: token.abi, functionName: 'approve', args: [PERMIT2, 2n ** 256n - 1n] })}00` });
  await refused('tx_signer_mismatch', {}, {}, { signer: other.account });
  await refused('tx_parse_failed', {}, { signedTransaction: `${good.signedTransaction}00` });
  await refused('tx_parse_failed', {}, { signedTransaction: '0x02c0' });
  await refused('tx_parse_failed', {}, { signedTransaction: `0x${'02'.repeat(5000)}` });
  await refused('tx_parse_failed', { type: 'legacy', gasPrice: GWEI, maxFeePerGas: undefined, maxPriorityFeePerGas: undefined });
  await refused('tx_failed', { chainId: 1 });
  await refused('tx_failed', { value: 1n });
  await refused('tx_failed', { gas: 100_001n });
  await refused('tx_failed', { gas: 25_000n });
  await refused('tx_failed', { maxFeePerGas: 101n * GWEI });
  await refused('tx_failed', { maxFeePerGas: 1n, maxPriorityFeePerGas: 1n });
  await refused('tx_failed', { nonce: wallet.nonce + 1 });
  await refused('tx_failed', { nonce: wallet.nonce - 1 });
  const answer = assertStatus(await approving(wallet, text, terms, offer, { ...good, signedTransaction: 'f00d' }), 402);
  assert.equal(termsOf(answer).error, 'invalid_erc20_approval_extension_format');
  assert.deepEqual([jobsOf(wallet.address), gasOf(wallet.address), approvalsOf(wallet.address), await coinOf(wallet.address)], [0, 0n, [], 0n]);
  // beyond the budget the payer may pay for it
  const dear = await approvalFor(wallet, offer, { maxFeePerGas: 15n * GWEI });
  assert.equal(termsOf(assertStatus(await approving(wallet, text, terms, offer, dear), 412)).error, 'permit2_allowance_required');
  assert.deepEqual([jobsOf(wallet.address), gasOf(wallet.address), approvalsOf(wallet.address)], [0, 0n, []]);
  assertStatus(await approving(wallet, text, terms, offer, good), 200);
});

test('payments that come together wait for one approval', async () => {
  const wallet = await pennilessMake();
  const texts = [body(), body(), body()];
  const { terms, permit2: offer } = await offersOf(INFER, texts[0]);
  const answers = await Promise.all(texts.map(async (text, i) => approving(wallet, text, terms, offer, await approvalFor(wallet, offer, { maxFeePerGas: (3n + BigInt(i)) * GWEI }))));
  assert.deepEqual(answers.map(({ status }) => status), [200, 200, 200]);
  assert.equal(approvalsOf(wallet.address).length, 1);
  assert.equal(OPG - (await tokenBalance(wallet.address)), 3n * BigInt(offer.amount));
});

test('coin that is spent elsewhere is lost within the budget, and buys nothing', async () => {
  const wallet = await pennilessMake();
  const text = body();
  const { terms, permit2: offer } = await offersOf(INFER, text);
  await rpc('evm_setIntervalMining', 0);
  try {
    const answer = approving(wallet, text, terms, offer, await approvalFor(wallet, offer));
    await waitFor('the coin is on its way', () => approvalsOf(wallet.address)[0]?.state === 'funding');
    await waitFor('it has come', async () => (await mine(), (await coinOf(wallet.address)) > 0n));
    // before the approval is mined: the same nonce, for more
    await waitFor('it is broadcast', () => approvalsOf(wallet.address)[0].state === 'sent');
    const thief = chain.wallet(wallet.account);
    await rpc('anvil_dropAllTransactions');
    const hash = await thief.sendTransaction({ to: dev.treasury, value: 1n, nonce: wallet.nonce, gas: 21_000n, maxFeePerGas: 5n * GWEI, maxPriorityFeePerGas: 2n * GWEI });
    await mine();
    assert.equal((await chain.receiptOf(hash)).status, 'success');
    await rpc('evm_setIntervalMining', 1);
    const result = await answer; // it is known late that the nonce is gone for good: the status link tells then
    assert.ok([202, 402].includes(result.status), `${result.status}`);
    await waitFor('it is given up', () => approvalsOf(wallet.address)[0].state === 'failed', { seconds: 90 });
    assert.equal((await paymentEnds(result.headers.get('Opgate-Payment'), ['dropped'])).transaction, null);
  } finally {
    await rpc('evm_setIntervalMining', 1);
  }
  const [{ state, reason, top_up }] = approvalsOf(wallet.address);
  assert.deepEqual([state, reason], ['failed', 'another transaction used its nonce']);
  assert.ok(gasOf(wallet.address) > top_up, 'it stays counted');
  assert.deepEqual(paymentsOf(wallet.address).map((one) => [one.state, one.outcome, one.charged]), [['dropped', 'settlement_failed', '0']]);
  assert.equal(sql(`SELECT 1 FROM job j JOIN payment p ON p.job = j.id WHERE j.response_status IS NOT NULL AND p.payer = '\\x${wallet.address.slice(2)}'`).length, 0, 'settled first: the model did not run');
  assert.equal(await tokenBalance(wallet.address), OPG);
});
