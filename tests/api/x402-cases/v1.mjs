// Version 1: X-PAYMENT, its own reasons, told in the body. Rows: [name, reason, sent(context)] as refuse() in kit.mjs takes them. The
// official server of version 1 is asked beside.
import { base64, envelope, highTwin, now } from '../payer.mjs';
import { dev } from '../stack.mjs';
import { compact, written, yParity } from './authorizations.mjs';

const SIGNATURE = 'invalid_exact_evm_payload_signature';
const NO_MATCH = 'Unable to find matching payment requirements';
const ONLY_AT_SETTLEMENT = { official: { status: 200, reason: null } }; // it runs the model for what the token will refuse
const v1 = (payload, more = {}) => ({ headers: { 'X-PAYMENT': base64({ x402Version: 1, scheme: 'exact', network: 'base-sepolia', payload, ...more }) } });
const signed = (name, reason, over, how) => [name, reason, async (c) => v1((await c.make(typeof over === 'function' ? over(c) : over, how)).payload)];
const as = (name, members, reason = SIGNATURE) => [name, reason, async (c) => v1((await written(c, members)).payload)];
const signature = (name, make, more) => [`signature: ${name}`, SIGNATURE, (c) => v1({ ...c.good.payload, signature: make(c.good.payload.signature) }), more];
const terms = (name, more) => [name, NO_MATCH, (c) => v1(c.good.payload, more)];
const payload = (name, make) => [`payload: ${name}`, 'invalid_payload', (c) => v1(make(c.good.payload))];

export const V1_REFUSED = [
  terms('another network', { network: 'base' }), terms('version 2\'s network', { network: `eip155:${dev.chain_id}` }), terms('no network', { network: undefined }), terms('a number for the network', { network: 84532 }),
  terms('the network in capitals', { network: 'Base-Sepolia' }), terms('another scheme', { scheme: 'upto' }), terms('no scheme', { scheme: undefined }), terms('scheme null', { scheme: null }),
  ['an envelope of version 2', NO_MATCH, (c) => ({ headers: { 'X-PAYMENT': base64(envelope(c.offer, c.good)) } })],
  payload('null', () => null), payload('empty', () => ({})), payload('a list', () => []), payload('no signature', ({ authorization }) => ({ authorization })), payload('no authorization', ({ signature: s }) => ({ signature: s })),
  ...['from', 'to', 'value', 'validAfter', 'validBefore', 'nonce'].flatMap((member) => [undefined, null, 1].map((value) => payload(`${member} ${JSON.stringify(value)}`, (good) => ({ ...good, authorization: { ...good.authorization, [member]: value } })))),
  signature('none', () => '0x'), signature('not hex', () => 'zz'), signature('64 bytes', (s) => s.slice(0, -2)), signature('66 bytes', (s) => `${s}00`), signature('compact', compact), signature('3000 bytes', () => `0x${'ab'.repeat(3000)}`), signature('all zero', () => `0x${'0'.repeat(130)}`),
  signature('v = 0 or 1', yParity, ONLY_AT_SETTLEMENT), signature('with the high s', highTwin, ONLY_AT_SETTLEMENT),
  signed('for another chain', SIGNATURE, {}, { domain: { chainId: 1 } }), signed('for another name', SIGNATURE, {}, { domain: { name: 'USD Coin' } }), signed('for another contract', SIGNATURE, {}, { domain: { verifyingContract: dev.treasury } }),
  signed('receiving', SIGNATURE, {}, { types: 'receive' }),
  as('another payer', { from: dev.treasury }), as('value beyond 256 bits', { value: (v) => String(BigInt(v) + (1n << 256n)) }), as('a negative value', { value: (v) => `-${v}` }), as('another nonce', { nonce: `0x${'1'.repeat(64)}` }),
  as('a short nonce', { nonce: '0x01' }), as('a value in words', { value: 'ten' }, 'invalid_payload'), as('an exponent', { value: '1e15' }, 'invalid_payload'),
  signed('another payee', 'invalid_exact_evm_payload_recipient_mismatch', { to: dev.treasury }),
  signed('over', 'invalid_exact_evm_payload_authorization_valid_before', { validBefore: 0n }), signed('over in three seconds', 'invalid_exact_evm_payload_authorization_valid_before', () => ({ validBefore: BigInt(now() + 3) })),
  signed('begins in a minute', 'invalid_exact_evm_payload_authorization_valid_after', () => ({ validAfter: BigInt(now() + 60) })), signed('begins at 2^64', 'invalid_exact_evm_payload_authorization_valid_after', { validAfter: 1n << 64n }),
  signed('one less', 'invalid_exact_evm_payload_authorization_value', (c) => ({ value: c.amount - 1n })), signed('nothing', 'invalid_exact_evm_payload_authorization_value', { value: 0n }),
  signed('more than the wallet has', 'insufficient_funds', { value: 1n << 64n }), signed('2^128 and the price', 'insufficient_funds', (c) => ({ value: (1n << 128n) + c.amount })), signed('2^255', 'insufficient_funds', { value: 1n << 255n }),
];
