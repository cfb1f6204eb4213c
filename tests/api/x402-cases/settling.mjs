// The chain changes its mind while the model runs: the answer is made and not given, nothing is paid, and the payer is told in the
// header of a settlement. The node is a fake, because only a fake can wait for the chain. Each is [name, work()].
import assert from 'node:assert/strict';
import { parseAbi } from 'viem';
import { chainAccount } from '../../../script/lib/chain.mjs';
import { PERMIT2 } from '../../../script/deploy.mjs';
import { answer as answered, EvilNode } from '../../faults/evil-node.mjs';
import { base64, envelope, offersOf, paymentsOf } from '../payer.mjs';
import { adderBody, api, dev, OPG, token, tokenBalance, uuid, waitFor } from '../stack.mjs';
import { buyersMake, cancelled, makerOf, post, receiptIn, send, termsIn } from './kit.mjs';

let nodes;
const surfaceOf = (kind) => (kind === 'upto' ? 'chat' : 'tensor');
/// Fake nodes of their own models, which do what the body's number says before they answer.
const acts = new Map();
async function nodesStart() {
  const rig = { accounts: { operator: chainAccount(2) }, closers: [], gateway_address: dev.gateway_address, api: () => api };
  const author = await api.signIn(chainAccount(1).account, dev.chain_id);
  const name = `settling-${uuid().slice(0, 8)}`;
  const publish = (surface, price, more) => author.modelPublish({ name: `${name}-${surface}`, title: name, description: name, surface, price, files: [{ path: surface === 'tensor' ? 'm.onnx' : 'm.gguf', bytes: Buffer.from(name + surface) }], ...more });
  const models = [await publish('tensor', { input: '1000', output: '0' }), await publish('chat', { input: '100', output: '200' }, { max_output_tokens: 50 })];
  const mode = async (call) => {
    await acts.get(/"act-([^"]*)"/.exec(call.body.toString())?.[1])?.();
    await answered(call);
  };
  return EvilNode.start(rig, { models, mode, ask: { input: '2000', output: '3000' } });
}
export async function settlingEnd() {
  if (nodes) await (await nodes).leave();
}

/// A request whose node runs `act` before it answers.
async function ready(kind, act) {
  nodes ??= nodesStart();
  const { models } = await nodes;
  const model = models.find(({ surface }) => surface === surfaceOf(kind)).id;
  const [wallet] = await buyersMake(1, { approve: kind !== 'eip3009' && kind !== 'v1' });
  const id = uuid();
  const [path, body] = kind === 'upto'
    ? ['/v1/chat/completions', JSON.stringify({ model, max_tokens: 8, messages: [{ role: 'user', content: `act-${id}` }] })]
    : [`/v2/models/${model}/infer`, JSON.stringify({ ...JSON.parse(adderBody(1)), id: `act-${id}` })];
  const offer = (await offersOf(path, body))[kind === 'v1' ? 'eip3009' : kind];
  const made = await makerOf(kind === 'v1' ? 'eip3009' : kind)(wallet, offer);
  const r = { kind, wallet, path, body, offer, made, ran: 0 };
  acts.set(id, async () => { r.ran++; await act?.(r); });
  r.headers = kind === 'v1' ? { 'X-PAYMENT': base64({ x402Version: 1, scheme: 'exact', network: 'base-sepolia', payload: made.payload }) } : { 'PAYMENT-SIGNATURE': base64(envelope(offer, made)) };
  return r;
}

/// `left`: what the act itself leaves in the wallet. `again`: the reason when the same payment comes once more.
const fails = (kind, name, act, reason, again, left = () => OPG) => [`${kind}: ${name} while the model runs`, async () => {
  const r = await ready(kind, act);
  const answer = await post(r.path, r.body, r.headers);
  const text = answer.bytes.toString();
  assert.deepEqual([answer.status, r.ran], [402, 1], text);
  assert.deepEqual([termsIn(answer), answer.headers.get('X-PAYMENT-RESPONSE'), answer.headers.get('Cache-Control')], [undefined, null, 'no-store']);
  if (kind === 'v1') assert.equal(answer.headers.get('PAYMENT-RESPONSE'), null);
  else {
    const { success, errorReason, transaction, payer, network } = receiptIn(answer);
    assert.deepEqual({ success, errorReason, transaction, payer, network }, { success: false, errorReason: reason, transaction: '', payer: r.wallet.account.address, network: 'eip155:84532' });
  }
  assert.ok(!text.includes('outputs') && !text.includes('choices'), 'no answer without money');
  const [{ state, outcome, charged }] = await waitFor('its job is closed', () => (paymentsOf(r.wallet.address)[0].outcome ? paymentsOf(r.wallet.address) : false));
  assert.deepEqual([state, outcome, charged], ['dropped', 'settlement_failed', '0']);
  assert.equal(await tokenBalance(r.wallet.address), left(r));
  const second = await post(r.path, r.body, r.headers);
  assert.deepEqual([second.status, termsIn(second)?.error ?? second.json.error, r.ran], [again === 'permit2_allowance_required' ? 412 : 402, again, 1]);
}];

const empties = (r) => send(r.wallet, token.address, token.abi, 'transfer', dev.treasury, OPG);
const withdraws = (r) => send(r.wallet, token.address, token.abi, 'approve', PERMIT2, 0n);
const invalidates = (r) => send(r.wallet, PERMIT2, parseAbi(['function invalidateUnorderedNonces(uint256 wordPos, uint256 mask)']), 'invalidateUnorderedNonces', r.made.message.nonce >> 8n, 1n << (r.made.message.nonce & 255n));
const cancels = (r) => cancelled(r.wallet, r.offer, r.made.message);

const SIMULATION = 'permit2_simulation_failed', BALANCE = 'permit2_insufficient_balance', ALLOWANCE = 'permit2_allowance_required';
export const SETTLING = [
  fails('eip3009', 'the wallet is emptied', empties, 'invalid_exact_evm_insufficient_balance', 'invalid_exact_evm_insufficient_balance', () => 0n),
  fails('eip3009', 'the authorization is cancelled', cancels, 'invalid_exact_evm_nonce_already_used', 'invalid_exact_evm_nonce_already_used'),
  fails('v1', 'the wallet is emptied', empties, '', 'insufficient_funds', () => 0n),
  fails('v1', 'the authorization is cancelled', cancels, '', 'invalid_transaction_state'),
  ...['permit2', 'upto'].flatMap((kind) => [
    fails(kind, 'the wallet is emptied', empties, BALANCE, BALANCE, () => 0n),
    fails(kind, 'the allowance is withdrawn', withdraws, ALLOWANCE, ALLOWANCE),
    fails(kind, 'the nonce is invalidated', invalidates, SIMULATION, SIMULATION),
  ]),
  ...['eip3009', 'permit2', 'upto', 'v1'].map((kind) => [`${kind}: nothing happens while the model runs`, async () => {
    const r = await ready(kind);
    const answer = await post(r.path, r.body, r.headers);
    assert.deepEqual([answer.status, r.ran], [200, 1], answer.bytes.toString());
    const [{ amount, charged }] = await waitFor('its job is closed', () => (paymentsOf(r.wallet.address)[0].outcome ? paymentsOf(r.wallet.address) : false));
    assert.deepEqual([charged, OPG - (await tokenBalance(r.wallet.address))], [amount, BigInt(amount)]);
  }]),
];
