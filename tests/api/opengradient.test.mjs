// What OpenGradient's TypeScript SDK (2.1) does on the wire, done with the packages it was written for: each call is sent with a
// placeholder for a key and the mode of its data settlement, the client takes the first offer it can pay, and pays anew each time.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { concat, encodeAbiParameters, hexToString, keccak256, pad } from 'viem';
import { x402Client } from 'x402-core-2.11/client';
import { UptoEvmScheme } from 'x402-evm-2.11';
import { registerExactEvmScheme } from 'x402-evm-2.11/exact/client';
import { wrapFetchWithPayment } from 'x402-fetch-2.11';
import { contractsCompile } from '../../script/contracts.mjs';
import { chainAccount } from '../../script/lib/chain.mjs';
import { buyerMake, paymentEnds, paymentsOf, receiptOf, termsOf } from './payer.mjs';
import { accountMake, adderBody, api, assertError, assertStatus, call, chain, dev, inVar, modelOf, OPG, rpc, sql, tokenBalance, uuid, waitFor } from './stack.mjs';

const PLACEHOLDER = 'Bearer 0x1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef';
const CHAT = '/v1/chat/completions';
const COMPLETIONS = '/v1/completions';
const llama = modelOf('chat').id;
const bare = llama.slice(llama.indexOf('/') + 1); // the SDK cuts off what stands before the first slash
let wallet, sdk;

/// The SDK's way to send: its headers, its client, no spend controls (that version has none).
function sdkMake(account) {
  const client = new x402Client();
  registerExactEvmScheme(client, { signer: account });
  client.register('eip155:*', new UptoEvmScheme(account));
  const paid = wrapFetchWithPayment(fetch, client);
  return (path, payload, mode = 'batch') => paid(dev.base_url + path, {
    method: 'POST', body: JSON.stringify(payload),
    headers: { 'Content-Type': 'application/json', Authorization: PLACEHOLDER, 'X-SETTLEMENT-TYPE': mode },
  });
}
const chatOf = (over = {}) => ({ model: bare, messages: [{ role: 'user', content: 'This program' }], max_tokens: 6, temperature: 0, ...over });
const askOnly = (path, payload, headers = {}) => call('POST', path, { body: payload, headers: { Authorization: PLACEHOLDER, ...headers } });
const newestOf = (address) => paymentsOf(address).at(-1);

/// The parser of the SDK: lines that begin with exactly `data: `, up to [DONE].
async function chunksOf(response) {
  const lines = (await response.text()).split('\n').filter((line) => line.startsWith('data: ')).map((line) => line.slice(6));
  assert.equal(lines.at(-1), '[DONE]');
  return lines.slice(0, -1).map((line) => JSON.parse(line));
}

before(async () => {
  wallet = await buyerMake(OPG, { approve: true });
  sdk = sdkMake(wallet.account);
});
after(() => rpc('evm_setIntervalMining', 1));

/// Runs `work` and says what it took from the wallet, once the payment it made has ended.
async function paidBy(work) {
  const before = await tokenBalance(wallet.address);
  const result = await work();
  const row = await paymentEnds(result.headers.get('Opgate-Payment'));
  await waitFor('its job is closed', () => newestOf(wallet.address).charged !== '');
  return { result, row, paid: before - (await tokenBalance(wallet.address)) };
}

test('chat: upto is what the SDK takes, and it pays what was used', async () => {
  const { result, row, paid } = await paidBy(() => sdk(CHAT, chatOf()));
  assert.equal(result.status, 200);
  const body = await result.json();
  assert.equal(typeof body.choices[0].message.content, 'string');
  assert.equal(body.choices[0].finish_reason, 'length');
  assert.equal(body.usage.completion_tokens, 6);
  const receipt = receiptOf(result);
  assert.deepEqual([receipt.success, receipt.payer, receipt.network], [true, wallet.account.address, `eip155:${dev.chain_id}`]);
  assert.equal(result.headers.get('x-processing-hash'), receipt.transaction);
  const { charged } = newestOf(wallet.address);
  assert.deepEqual([row.state, row.amount, row.transaction, paid], ['settled', charged, receipt.transaction, BigInt(charged)]);
  assert.ok(paid > 0n && paid < BigInt(row.amount_max));
});

test('streamed: the answer does not wait for the chain, and its last event has the usage', async () => {
  const { result, paid } = await paidBy(async () => {
    await rpc('evm_setIntervalMining', 0); // nothing can be settled meanwhile
    try {
      const response = await sdk(CHAT, chatOf({ stream: true }));
      assert.equal(response.status, 200);
      assert.equal(response.headers.get('PAYMENT-RESPONSE'), null, 'nobody knows yet');
      response.chunks = await chunksOf(response);
      return response;
    } finally {
      await rpc('evm_setIntervalMining', 1);
    }
  });
  const last = result.chunks.at(-1);
  assert.equal(last.choices[0].finish_reason, 'length');
  assert.deepEqual(Object.keys(last.usage).sort(), ['completion_tokens', 'prompt_tokens', 'total_tokens']);
  assert.equal(last.usage.completion_tokens, 6);
  assert.ok(result.chunks.every((chunk) => chunk.choices.length === 1), 'no event without choices: nobody asked for that');
  assert.equal(result.chunks.filter((chunk) => chunk.choices[0].finish_reason).length, 1);
  assert.equal(paid, BigInt(newestOf(wallet.address).charged));
});

test('completion: the text is where the SDK reads it, and where OpenAI has it', async () => {
  const { result, paid } = await paidBy(() => sdk(COMPLETIONS, { model: bare, prompt: 'This program', max_tokens: 6, temperature: 0 }));
  assert.equal(result.status, 200);
  const body = await result.json();
  assert.equal(body.object, 'text_completion');
  assert.ok(body.completion.length > 0);
  assert.equal(body.completion, body.choices[0].text);
  assert.equal(paid, BigInt(newestOf(wallet.address).charged));
});

test('each call is paid anew', async () => {
  const before = paymentsOf(wallet.address).length;
  for (let i = 0; i < 2; i++) assert.equal((await sdk(CHAT, chatOf())).status, 200); // the same request twice
  const made = paymentsOf(wallet.address).slice(before);
  assert.deepEqual(made.map(({ state, attempts }) => [state, attempts]), [['settled', 1], ['settled', 1]]);
  assert.notEqual(made[0].id, made[1].id);
});

test('what the SDK may send besides', async () => {
  const parameters = { type: 'object', properties: { city: { type: 'string' } } };
  for (const over of [
    { messages: [{ role: 'user', content: [{ type: 'text', text: 'This ' }, { type: 'text', text: 'program' }] }] },
    { tools: [{ type: 'function', function: { name: 'weather', description: 'of a city', parameters } }], tool_choice: 'auto' },
    { stop: ['zzz'], response_format: { type: 'text' } },
    { messages: [{ role: 'system', content: 'You are terse.' }, { role: 'user', content: 'This program' }, { role: 'assistant', content: 'is' }, { role: 'user', content: 'free' }] },
  ]) {
    const answer = await sdk(CHAT, chatOf(over));
    assert.equal(answer.status, 200, JSON.stringify(over));
    assert.equal(typeof (await answer.json()).choices[0].message.content, 'string');
  }
});

test('upto stands first for who names a settlement mode, and for nobody else', async () => {
  const schemes = async (headers) => termsOf(assertStatus(await askOnly(CHAT, chatOf(), headers), 402)).accepts.map(({ scheme, extra }) => [scheme, extra.assetTransferMethod]);
  const exact = [['exact', undefined], ['exact', 'permit2']];
  assert.deepEqual(await schemes({ 'X-SETTLEMENT-TYPE': 'batch' }), [['upto', 'permit2'], ...exact]);
  assert.deepEqual(await schemes({ 'X-SETTLE': 'SETTLE_BATCH' }), [['upto', 'permit2'], ...exact]);
  assert.deepEqual(await schemes({}), [...exact, ['upto', 'permit2']]);
});

test('every spelling of a settlement mode is understood; anything else is refused before money is spoken of', async () => {
  for (const mode of ['private', 'pivate', 'settle', 'SETTLE', 'SETTLE_INDIVIDUAL', 'batch', 'Batch', 'settle-batch', 'SETTLE_BATCH', 'individual', 'inidvidual',
    'settle-metadata', 'SETTLE_METADATA', 'SETTLE_INDIVIDUAL_WITH_METADATA'])
    for (const name of ['X-SETTLEMENT-TYPE', 'X-SETTLE']) assertStatus(await askOnly(CHAT, chatOf(), { [name]: mode }), 402);
  const before = paymentsOf(wallet.address).length;
  for (const mode of ['nonsense', 'batches', 'bat', 'private,batch', '1']) {
    const refused = await sdk(CHAT, chatOf(), mode);
    assert.equal(refused.status, 400, mode);
    assert.match((await refused.json()).error.message, /private, batch and individual are known/);
    assert.equal(refused.headers.get('PAYMENT-REQUIRED'), null);
    assertError(await call('POST', CHAT, { key: dev.api_keys.consumer, body: chatOf(), headers: { 'X-SETTLEMENT-TYPE': mode } }), 'openai', 400, 'bad_request');
  }
  assertError(await askOnly(CHAT, chatOf(), { 'X-SETTLEMENT-TYPE': 'batch', 'X-SETTLE': 'private' }), 'openai', 400, 'bad_request');
  assert.equal(paymentsOf(wallet.address).length, before);
});

test('a name without an author: an alias of the operator, or the only model that is called so', async () => {
  const author = await api.signIn(chainAccount(1).account, dev.chain_id);
  const other = (await accountMake()).api;
  const name = `only-${uuid().slice(0, 8)}`;
  const publish = (who, owner) => who.modelPublish({ name, title: name, description: name, surface: 'chat', price: { input: '1', output: '1' }, files: [{ path: 'm.gguf', bytes: Buffer.from(owner + name) }] });
  const asked = async (model) => askOnly(CHAT, chatOf({ model }), { 'X-SETTLEMENT-TYPE': 'batch' });
  assertError(await asked(name), 'openai', 404, 'model_not_found');
  await publish(author, 'one');
  assertError(await asked(name), 'openai', 503, 'no_node'); // it is found: nobody serves it
  await other.handleSet(`other-${uuid().slice(0, 8)}`);
  await publish(other, 'two');
  assert.match(assertError(await asked(name), 'openai', 404, 'model_not_found').message, /several authors/);
  for (const model of ['llama-of-the-house', bare, llama]) {
    const terms = termsOf(assertStatus(await asked(model), 402));
    assert.equal(terms.resource.description, `inference by ${llama}`);
  }
});

// ---- data settlement ----

const contract = () => ({ address: settlements, abi: contractsCompile().DataSettlement.abi });
let settlements;
const eventsOf = async (eventName, args) => chain.client.getContractEvents({ ...contract(), eventName, args, fromBlock: 0n, toBlock: 'latest' });
const settlementOf = async (id, status = 'succeeded') => waitFor(`${id} is ${status}`, async () => {
  const row = assertStatus(await call('GET', `/v1/settlements/${id}`), 200).json;
  return row.status === status && row;
}, { seconds: 60 });
const receiptIn = (answer) => JSON.parse(Buffer.from(answer.headers.get('Opgate-Receipt'), 'base64url'));
/// The five words of a leaf, from a receipt alone.
const statementOf = ({ message, signature }) => [pad(message.node), message.requestHash, message.responseHash, signature, String(BigInt(message.finishedAt) / 1000n)];
const LEAF = [{ type: 'bytes32' }, { type: 'bytes32' }, { type: 'bytes32' }, { type: 'bytes' }, { type: 'uint256' }];
const leafOf = ([signer, input, output, signature, at]) => keccak256(keccak256(encodeAbiParameters(LEAF, [signer, input, output, signature, BigInt(at)])));
const parentOf = (a, b) => keccak256(concat(BigInt(a) < BigInt(b) ? [a, b] : [b, a]));
const blobOf = async (name) => {
  const answer = assertStatus(await call('GET', `/v1/blobs/${name}`), 200);
  assert.equal(createHash('sha256').update(answer.bytes).digest('base64url'), name, 'a document is named by its digest');
  return answer.json;
};

before(() => {
  settlements = /^record_contract = (0x[0-9a-f]{40})$/im.exec(fs.readFileSync(inVar('config/gateway.conf'), 'utf8'))[1];
});

test('batch: the hashes of many calls are leaves of one tree, and its root is on chain', async () => {
  const answers = await Promise.all([1, 2, 3].map((i) => sdk(CHAT, chatOf({ messages: [{ role: 'user', content: `This program ${i}` }] }))));
  for (const answer of answers) {
    assert.equal(answer.status, 200);
    const [type, status, id] = ['Type', 'Status', 'Job-ID'].map((name) => answer.headers.get(`X-Settlement-${name}`));
    assert.deepEqual([type, status, id], ['batch', 'queued', `settlement-batch-${answer.headers.get('Opgate-Job')}`]);
    assert.equal(answer.headers.get('x-settlement-tx-hash'), null, 'nobody knows yet');
    const row = await settlementOf(id);
    const tree = await blobOf(row.blob);
    assert.deepEqual([tree.format, tree.leafEncoding], ['standard-v1', LEAF.map(({ type: word }) => word)]);
    assert.deepEqual([tree.values.length, tree.tree.length, tree.tree[0]], [row.size, 2 * row.size - 1, row.root]);
    const wanted = JSON.stringify(statementOf(receiptIn(answer)));
    assert.equal(tree.values.filter(({ value }) => JSON.stringify(value) === wanted).length, 1, 'the receipt says the leaf');
    for (const { value, treeIndex } of tree.values) assert.equal(tree.tree[treeIndex], leafOf(value));
    for (let i = 0; i < row.size - 1; i++) assert.equal(tree.tree[i], parentOf(tree.tree[2 * i + 1], tree.tree[2 * i + 2]));
    const leaves = tree.tree.slice(row.size - 1);
    assert.deepEqual(leaves, [...leaves].sort().reverse());
    const [event, ...more] = await eventsOf('BatchSettlement', { merkleRoot: row.root });
    assert.deepEqual([more.length, event.transactionHash, event.args.batchSize, hexToString(event.args.blobId)], [0, row.transaction, BigInt(row.size), row.blob]);
    let index = tree.values.find(({ value }) => JSON.stringify(value) === wanted).treeIndex;
    const leaf = tree.tree[index], proof = [];
    for (; index > 0; index = (index - 1) >> 1) proof.push(tree.tree[index % 2 ? index + 1 : index - 1]);
    assert.equal(await chain.read({ ...contract(), functionName: 'verifyProof', args: [proof, row.root, leaf] }), true);
  }
});

test('individual: an event of its own, and a document with input and output; the answer says where', async () => {
  const payload = chatOf({ messages: [{ role: 'user', content: `In public ${uuid()}` }] });
  const answer = await sdk(CHAT, payload, 'individual');
  assert.equal(answer.status, 200);
  const output = await answer.text();
  const [hash, blob, status] = ['x-settlement-tx-hash', 'x-settlement-walrus-blob-id', 'X-Settlement-Status'].map((name) => answer.headers.get(name));
  assert.equal(status, 'succeeded');
  const [signer, input_hash, output_hash, signature, at] = statementOf(receiptIn(answer));
  const events = (await eventsOf('IndividualSettlement', { payer: wallet.account.address })).filter(({ transactionHash }) => transactionHash === hash);
  assert.equal(events.length, 1);
  const { args } = events[0];
  assert.deepEqual([args.signer, args.inputHash, args.outputHash, args.signature, args.timestamp, hexToString(args.blobId)], [signer, input_hash, output_hash, signature, BigInt(at), blob]);
  const document = await blobOf(blob);
  assert.deepEqual([document.input, document.output, document.teeId, document.timestamp, document.ethAddress], [JSON.stringify(payload), output, signer, at, wallet.address]);
  assert.equal(Buffer.from(document.teeSignature, 'base64').toString('hex'), signature.slice(2));
  assert.deepEqual(JSON.parse(document.receipt), receiptIn(answer));
  const row = await settlementOf(answer.headers.get('X-Settlement-Job-ID'));
  assert.deepEqual([row.type, row.transaction, row.blob, row.root, row.size], ['individual', hash, blob, null, 1]);
});

test('individual and streamed: nothing is held back, and the status tells later', async () => {
  const answer = await sdk(CHAT, chatOf({ stream: true }), 'settle-metadata');
  assert.deepEqual(['x-settlement-tx-hash', 'X-Settlement-Status'].map((name) => answer.headers.get(name)), [null, 'queued']);
  await chunksOf(answer);
  const row = await settlementOf(answer.headers.get('X-Settlement-Job-ID'));
  assert.match((await blobOf(row.blob)).output, /data: .*"finish_reason":"length"/);
});

test('private: nothing of the call is anywhere but in its own answer', async () => {
  const [trees, singles] = [await eventsOf('BatchSettlement'), await eventsOf('IndividualSettlement')].map(({ length }) => length);
  const ids = [];
  for (const mode of ['private', 'pivate', 'settle', undefined]) {
    const answer = mode ? await sdk(CHAT, chatOf(), mode) : await call('POST', CHAT, { key: dev.api_keys.consumer, body: chatOf() });
    assert.equal(answer.status, 200);
    assert.ok([...answer.headers.keys()].every((name) => !/^x-settlement/i.test(name)), mode);
    ids.push(answer.headers.get('Opgate-Job'));
  }
  for (const id of ids) assertError(await call('GET', `/v1/settlements/${id}`), 'problem', 404, 'not_found');
  await sdk(CHAT, chatOf()).then((answer) => settlementOf(answer.headers.get('X-Settlement-Job-ID'))); // whatever was before it is on chain now
  assert.deepEqual([(await eventsOf('BatchSettlement')).length > trees, (await eventsOf('IndividualSettlement')).length], [true, singles]);
  assert.deepEqual(sql(`SELECT job FROM record WHERE job IN (${ids.map((id) => `'${id}'`)})`), []);
});

test('with a key it is the same, and for jobs in the background', async () => {
  const key = dev.api_keys.consumer;
  const answer = assertStatus(await call('POST', CHAT, { key, body: chatOf(), headers: { 'X-SETTLEMENT-TYPE': 'individual' } }), 200);
  assert.match(answer.headers.get('x-settlement-tx-hash'), /^0x[0-9a-f]{64}$/);
  assert.equal((await blobOf(answer.headers.get('x-settlement-walrus-blob-id'))).output, answer.bytes.toString());
  const job = await call('POST', `/v1/jobs?model=${encodeURIComponent(modelOf('tensor').id)}`, { key, body: adderBody(1), headers: { 'X-SETTLEMENT-TYPE': 'batch' } });
  assert.equal(job.headers.get('X-Settlement-Status'), 'queued');
  await settlementOf(job.headers.get('Opgate-Job'));
});

test('nothing delivered: nothing on chain', async () => {
  const key = dev.api_keys.consumer;
  const answer = await call('POST', CHAT, { key, body: chatOf({ messages: [{ role: 'user', content: 'x '.repeat(20000) }] }), headers: { 'X-SETTLEMENT-TYPE': 'batch' } });
  assert.ok(answer.status >= 400, `${answer.status}`); // longer than the model's context
  assert.equal(answer.headers.get('X-Settlement-Job-ID'), null);
  assert.equal((await settlementOf(answer.headers.get('Opgate-Job'), 'failed')).transaction, null);
});

test('what would be too large to be kept in public is refused before money is spoken of', async () => {
  const large = chatOf({ messages: [{ role: 'user', content: 'x'.repeat(300 << 10) }] });
  assertError(await askOnly(CHAT, large, { 'X-SETTLEMENT-TYPE': 'individual' }), 'openai', 413, 'too_large');
  assertStatus(await askOnly(CHAT, large, { 'X-SETTLEMENT-TYPE': 'batch' }), 402);
  for (const junk of ['x', 'A'.repeat(42), 'A'.repeat(43), 'A'.repeat(44)]) assertError(await call('GET', `/v1/blobs/${junk}`), 'problem', 404, 'not_found');
  assertError(await call('GET', '/v1/settlements/settlement-batch-x'), 'problem', 404, 'not_found');
});
