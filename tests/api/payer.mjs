// A buyer's wallet for the tests: signs x402 payments by hand (viem only), good ones and any kind of bad one, and sends
// them; or by the official client.
import assert from 'node:assert/strict';
import { registerExactEvmScheme } from '@x402/evm/exact/client';
import { UptoEvmScheme } from '@x402/evm/upto/client';
import { wrapFetchWithPayment, x402Client } from '@x402/fetch';
import { hashTypedData, hexToBigInt, keccak256, maxUint256, toHex } from 'viem';
import { EXACT_PROXY, PERMIT2, UPTO_PROXY } from '../../script/deploy.mjs';
import { assertStatus, call, chain, dev, sql, token, tokenSend, uuid, waitFor, walletMake } from './stack.mjs';

export const base64 = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64');
export const unbase64 = (text) => JSON.parse(Buffer.from(text, 'base64').toString());
export const termsOf = (answer) => unbase64(answer.headers.get('PAYMENT-REQUIRED'));
export const receiptOf = (answer) => unbase64(answer.headers.get('PAYMENT-RESPONSE'));
export const nonceMake = () => keccak256(toHex(uuid()));
export const now = () => Math.floor(Date.now() / 1000);

/// Asks without paying: the offers, checked to be a 402 of both versions.
export async function offersOf(path, body) {
  const answer = assertStatus(await call('POST', path, { body }), 402);
  const terms = termsOf(answer);
  const find = (scheme, permit2) => terms.accepts.find((one) => one.scheme === scheme && Boolean(one.extra.assetTransferMethod) === permit2);
  return { answer, terms, eip3009: find('exact', false), permit2: find('exact', true), upto: find('upto', true) };
}

const field = (list) => list.split(',').map((one) => ({ type: one.split(' ')[0], name: one.split(' ')[1] }));
const PERMIT = field('TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,Witness witness');
const PERMITTED = field('address token,uint256 amount');
const TYPES = {
  eip3009: { TransferWithAuthorization: field('address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce') },
  receive: { ReceiveWithAuthorization: field('address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce') },
  exact: { PermitWitnessTransferFrom: PERMIT, TokenPermissions: PERMITTED, Witness: field('address to,uint256 validAfter') },
  upto: { PermitWitnessTransferFrom: PERMIT, TokenPermissions: PERMITTED, Witness: field('address to,address facilitator,uint256 validAfter') },
};
const texts = (value) => (typeof value === 'bigint' || typeof value === 'number' ? String(value) : typeof value === 'object' ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, texts(v)])) : value);

/// An EIP-3009 payload for the offer; `over` changes what is signed, `domain` and `types` how.
export async function eip3009(wallet, offer, over = {}, { domain = {}, types = 'eip3009', signer = wallet.account } = {}) {
  const message = { from: wallet.account.address, to: offer.payTo, value: BigInt(offer.amount), validAfter: 0n, validBefore: BigInt(now() + 300), nonce: nonceMake(), ...over };
  const typed = {
    domain: { name: offer.extra.name, version: offer.extra.version, chainId: dev.chain_id, verifyingContract: offer.asset, ...domain },
    types: TYPES[types], primaryType: Object.keys(TYPES[types])[0], message,
  };
  return { payload: { signature: await signer.signTypedData(typed), authorization: texts(message) }, message, digest: hashTypedData(typed) };
}

/// A Permit2 payload for the offer, exact or upto by its scheme.
export async function permit2(wallet, offer, over = {}, witness_over = {}) {
  const upto = offer.scheme === 'upto';
  const witness = { to: offer.payTo, ...(upto && { facilitator: offer.extra.facilitatorAddress }), validAfter: 0n, ...witness_over };
  const message = {
    permitted: { token: offer.asset, amount: BigInt(offer.amount) }, spender: upto ? UPTO_PROXY : EXACT_PROXY, nonce: hexToBigInt(nonceMake()),
    deadline: BigInt(now() + 300), witness, ...over,
  };
  const typed = { domain: { name: 'Permit2', chainId: dev.chain_id, verifyingContract: PERMIT2 }, types: TYPES[offer.scheme], primaryType: 'PermitWitnessTransferFrom', message };
  return { payload: { signature: await wallet.account.signTypedData(typed), permit2Authorization: { from: wallet.account.address, ...texts(message) } }, message, digest: hashTypedData(typed) };
}

export const envelope = (offer, { payload }, more = {}) => ({ x402Version: 2, accepted: offer, payload, ...more });
/// Sends the request with this payment: an envelope, or any text for the header.
export const pay = (path, body, payment, headers = {}) =>
  call('POST', path, { body, headers: { 'PAYMENT-SIGNATURE': typeof payment === 'string' ? payment : base64(payment), ...headers } });

/// The same signature with the other s.
export function highTwin(signature) {
  const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
  const s = (order - BigInt(`0x${signature.slice(66, 130)}`)).toString(16).padStart(64, '0');
  return `${signature.slice(0, 66)}${s}${signature.endsWith('1b') ? '1c' : '1b'}`;
}

/// A wallet with OPG, and Permit2 approved when asked.
export async function buyerMake(opg, { approve = false } = {}) {
  const wallet = await walletMake();
  await tokenSend(wallet, [['mint', wallet.address, opg], ...(approve ? [['approve', PERMIT2, maxUint256]] : [])]);
  return wallet;
}

/// fetch as the official client pays with it; `only` chooses offers.
export function shopperOf(wallet, only = () => true) {
  const client = registerExactEvmScheme(new x402Client(), { signer: wallet.account });
  client.register('eip155:*', new UptoEvmScheme(wallet.account));
  client.setSpendControls({ allowedAssets: true });
  client.registerPolicy((_, list) => list.filter(only));
  return wrapFetchWithPayment(fetch, client);
}

const bytea = (hex) => `'\\x${hex.slice(2).toLowerCase()}'`;
/// What the database holds of the payer: [{state, amount, outcome, attempts}], oldest first.
export const paymentsOf = (address) =>
  sql(`SELECT p.id, p.state, coalesce(p.amount::text, ''), coalesce(j.outcome, ''), (SELECT count(*) FROM job_attempt a WHERE a.job = j.id), coalesce(j.charged::text, '')
    FROM payment p JOIN job j ON j.id = p.job WHERE p.payer = ${bytea(address)} ORDER BY p.claimed_at`)
    .map(([id, state, amount, outcome, attempts, charged]) => ({ id, state, amount, outcome, attempts: Number(attempts), charged }));
export const jobsOf = (address) => Number(sql(`SELECT count(*) FROM job j JOIN account a ON a.id = j.account WHERE a.address = ${bytea(address)}`)[0][0]);
export const nonceUsed = (from, nonce) => chain.read({ ...token, functionName: 'authorizationState', args: [from, nonce] });

/// The payment's public state once it is one of these.
export async function paymentEnds(id, states = ['settled', 'dropped', 'failed']) {
  return waitFor(`payment ${id} is ${states}`, async () => {
    const row = assertStatus(await call('GET', `/v1/payments/${id}`), 200).json;
    return states.includes(row.state) && row;
  });
}

/// Every entry of the ledger added up again, by the accounts x402 uses, and the chain's word on what we hold.
export async function assertCustody() {
  const [[sum, unsettled, liabilities]] = sql(`SELECT coalesce(sum(amount), 0), coalesce(sum(amount) FILTER (WHERE account = 11), 0),
    coalesce(sum(amount) FILTER (WHERE account NOT IN (8, 9, 10, 11)), 0) FROM ledger_entry`);
  const [[open]] = sql(`SELECT coalesce(sum(p.amount_max) FILTER (WHERE p.state IN ('claimed', 'failed')), 0) + coalesce(sum(CASE WHEN j.outcome IS NULL THEN p.amount_max ELSE p.amount END)
    FILTER (WHERE p.state = 'settling'), 0) + coalesce(sum(p.amount_max - p.amount) FILTER (WHERE p.state = 'settled' AND j.outcome IS NULL), 0) FROM payment p JOIN job j ON j.id = p.job`);
  assert.equal(sum, '0', 'the ledger adds up to nothing');
  assert.equal(-BigInt(unsettled), BigInt(open), 'what is owed to us is what is open');
  const { custody } = assertStatus(await call('GET', '/v1/reconciliation'), 200).json;
  assert.ok(BigInt(custody.on_chain) - BigInt(unsettled) >= BigInt(liabilities), 'custody covers what we owe');
}
