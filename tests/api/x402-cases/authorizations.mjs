// Payments by the right terms whose authorization is wrong: members, numbers, times, addresses, signatures. One table for each
// kind of payment; rows as refuse() in kit.mjs takes them.
import { concat, encodeAbiParameters, pad, serializeCompactSignature, parseSignature, signatureToCompactSignature, toHex } from 'viem';
import { envelope, highTwin, now, permit2 } from '../payer.mjs';
import { dev } from '../stack.mjs';

const REASONS = {
  eip3009: {
    value: 'invalid_exact_evm_payload_authorization_value_mismatch', before: 'invalid_exact_evm_payload_authorization_valid_before',
    after: 'invalid_exact_evm_payload_authorization_valid_after', to: 'invalid_exact_evm_recipient_mismatch', signature: 'invalid_exact_evm_signature', malformed: 'invalid_payload',
  },
  permit2: {
    value: 'permit2_amount_mismatch', before: 'permit2_deadline_expired', after: 'permit2_not_yet_valid', to: 'invalid_permit2_recipient_mismatch',
    signature: 'invalid_permit2_signature', malformed: 'invalid_payload',
  },
};
REASONS.upto = REASONS.permit2;
const TWO = (bits) => 1n << BigInt(bits);
const EXCEPTION = { official: true }; // a JavaScript exception's words stand for the reason there

// ---- one way of signing and changing for all kinds ----

const isPermit2 = (c) => c.kind !== 'eip3009';
/// Signs with these values instead of the good ones.
const sign = (c, { value, before, after, to, nonce } = {}) => {
  const given = (object) => Object.fromEntries(Object.entries(object).filter(([, v]) => v !== undefined));
  if (!isPermit2(c)) return c.make(given({ value, validBefore: before, validAfter: after, to, nonce }));
  return c.make(given({ permitted: value === undefined ? undefined : { token: c.offer.asset, amount: value }, deadline: before, nonce }), given({ validAfter: after, to }));
};
const place = (payload, kind, member) => {
  if (kind === 'eip3009') return [payload.authorization, { value: 'value', before: 'validBefore', after: 'validAfter' }[member] ?? member];
  const auth = payload.permit2Authorization;
  return { value: [auth.permitted, 'amount'], token: [auth.permitted, 'token'], before: [auth, 'deadline'], after: [auth.witness, 'validAfter'], to: [auth.witness, 'to'], facilitator: [auth.witness, 'facilitator'] }[member] ?? [auth, member];
};
/// A good payment, or one signed with `signed`, in which these members are written otherwise than they were signed.
export async function written(c, members, signed) {
  const { payload } = structuredClone({ payload: (await sign(c, signed)).payload });
  for (const [member, value] of Object.entries(members)) {
    const [object, key] = place(payload, c.kind, member);
    if (value === undefined) delete object[key];
    else object[key] = typeof value === 'function' ? value(object[key]) : value;
  }
  return envelope(c.offer, { payload });
}
const signedWith = (name, reason, values, more) => [name, reason, async (c) => envelope(c.offer, await sign(c, values(c))), more];
const writtenAs = (name, reason, members, signed, more) => [name, reason, (c) => written(c, typeof members === 'function' ? members(c) : members, signed?.(c)), more];

// ---- members ----

function members(kind) {
  const upto = kind === 'upto', malformed = upto ? 'unsupported_payload_type' : 'invalid_payload', more = upto ? {} : EXCEPTION;
  const outer = kind === 'eip3009' ? 'authorization' : 'permit2Authorization';
  const whole = (name, payload, reason = malformed, options = more) => [`payload: ${name}`, reason, (c) => envelope(c.offer, { payload: typeof payload === 'function' ? payload(c.good.payload) : payload }), options];
  return [
    whole('null', null, malformed, EXCEPTION),
    ...['x', 1, true, [], {}].map((payload) => whole(JSON.stringify(payload), payload)),
    ['payload: missing', malformed, (c) => ({ x402Version: 2, accepted: c.offer }), EXCEPTION],
    ...[null, [], 'x', {}].map((value) => whole(`${outer} ${JSON.stringify(value)}`, (good) => ({ ...good, [outer]: value }))),
    whole(`no ${outer}`, ({ signature }) => ({ signature })),
    ...[undefined, null, 1, [], {}].map((value) => whole(`signature ${JSON.stringify(value)}`, (good) => ({ ...good, signature: value }))),
    ...['value', 'before', 'after', ...(kind === 'eip3009' ? [] : ['nonce'])].flatMap((member) => [undefined, null, {}, ['1', '2']].map((value) => writtenAs(`${member} ${JSON.stringify(value)}`, malformed, { [member]: value }, undefined, more))),
    ...['1e3', '1.0', '1_000', '0x', 'ten', '--1', '0x-1', 'Infinity', '１２'].map((text) => writtenAs(`value written ${text}`, 'invalid_payload', { value: text }, undefined, EXCEPTION)),
  ];
}

// ---- numbers ----

function numbers(kind) {
  const R = REASONS[kind], over = kind === 'eip3009' ? R.signature : R.value; // what no uint256 can be: nothing can have signed it
  return [
    signedWith('one less', R.value, (c) => ({ value: c.amount - 1n })),
    signedWith('one more', R.value, (c) => ({ value: c.amount + 1n })),
    signedWith('nothing', R.value, () => ({ value: 0n })),
    ...[64, 128, 255].flatMap((bits) => [
      signedWith(`2^${bits}`, R.value, () => ({ value: TWO(bits) })),
      signedWith(`2^${bits} and the price`, R.value, (c) => ({ value: TWO(bits) + c.amount })),
    ]),
    signedWith('the largest number', R.value, () => ({ value: TWO(256) - 1n })),
    writtenAs('2^256 and the price, signed as the price', over, (c) => ({ value: String(TWO(256) + c.amount) })),
    writtenAs('2^256 and the price in hex, signed as the price', over, (c) => ({ value: `0x${(TWO(256) + c.amount).toString(16)}` })),
    writtenAs('2^512 and the price, signed as the price', over, (c) => ({ value: String(TWO(512) + c.amount) })),
    writtenAs('the price less 2^256, signed as the price', over, (c) => ({ value: String(c.amount - TWO(256)) })),
    writtenAs('the negative price', over, (c) => ({ value: `-${c.amount}` })),
    writtenAs('an empty string, signed as nothing', R.value, { value: '' }, () => ({ value: 0n })),
    writtenAs('another value than was signed', kind === 'eip3009' ? R.signature : R.value, (c) => ({ value: String(c.amount + 1n) })),
    writtenAs('the price, where less was signed', R.signature, (c) => ({ value: String(c.amount) }), (c) => ({ value: c.amount - 1n })),
    ...(kind === 'eip3009' ? [] : [writtenAs('nonce beyond 256 bits, signed as its rest', R.signature, { nonce: (n) => String(BigInt(n) + TWO(256)) }),
      writtenAs('a negative nonce', R.signature, { nonce: (n) => `-${n}` }), writtenAs('another nonce', R.signature, { nonce: (n) => String(BigInt(n) ^ 1n) })]),
  ];
}

// ---- times ----

function times(kind) {
  const R = REASONS[kind];
  const beyond = kind === 'eip3009' ? R.signature : undefined;
  return [
    signedWith('over since 1970', R.before, () => ({ before: 0n })),
    signedWith('over for an hour', R.before, (c) => ({ before: c.at - 3600n })),
    signedWith('over for a second', R.before, () => ({ before: BigInt(now() - 1) })),
    signedWith('over in three seconds', R.before, () => ({ before: BigInt(now() + 3) })),
    signedWith('over in five seconds', R.before, () => ({ before: BigInt(now() + 5) })),
    signedWith('begins in a minute', R.after, () => ({ after: BigInt(now() + 60) })),
    signedWith('begins in ten seconds', R.after, () => ({ after: BigInt(now() + 10) })),
    ...[64, 128, 255].map((bits) => signedWith(`begins at 2^${bits}`, R.after, () => ({ after: TWO(bits) }))),
    signedWith('begins at 2^64 and no more', R.after, () => ({ after: TWO(64) + 1n })),
    signedWith('begins at the largest number', R.after, () => ({ after: TWO(256) - 1n, before: TWO(256) - 1n })),
    signedWith('ends before it begins, both to come', R.after, (c) => ({ after: c.at + 200n, before: c.at + 100n })),
    signedWith('ends before it begins, both gone', R.before, (c) => ({ after: c.at - 100n, before: c.at - 200n })),
    writtenAs('end in milliseconds, signed in seconds', R.signature, { before: (n) => `${n}000` }),
    writtenAs('end later than was signed', R.signature, { before: (n) => String(BigInt(n) + 1000n) }),
    writtenAs('end beyond 256 bits, signed as its rest', R.signature, { before: (n) => String(BigInt(n) + TWO(256)) }),
    writtenAs('negative end', beyond ?? R.before, { before: (n) => `-${n}` }),
    writtenAs('empty end', beyond ?? R.before, { before: '' }),
    writtenAs('begin beyond 256 bits, signed as 0', beyond ?? R.after, { after: String(TWO(256)) }),
    writtenAs('negative begin', R.signature, { after: '-1' }),
  ];
}

// ---- addresses ----

const swapCase = (text) => text.slice(0, 2) + text.slice(2).replace(/[a-zA-Z]/g, (l) => (l === l.toLowerCase() ? l.toUpperCase() : l.toLowerCase()));

function addresses(kind) {
  const R = REASONS[kind];
  const eip3009 = [
    writtenAs('payer in the wrong mixed case', R.signature, { from: swapCase }),
    writtenAs('payer in capitals', R.signature, { from: (a) => `0x${a.slice(2).toUpperCase()}` }),
    writtenAs('payee in the wrong mixed case', R.signature, { to: swapCase }),
    writtenAs('another payer', R.signature, { from: dev.treasury }),
    writtenAs('the gateway as payer', R.signature, { from: dev.gateway_address }),
    writtenAs('nobody as payer', R.signature, { from: `0x${'0'.repeat(40)}` }),
    ...[undefined, null, '', '0x', 'x', 1].map((value) => writtenAs(`payer ${JSON.stringify(value)}`, R.signature, { from: value })),
    writtenAs('payer a byte short', R.signature, { from: (a) => a.slice(0, -2) }),
    writtenAs('payer a byte long', R.signature, { from: (a) => `${a}00` }),
    writtenAs('payer without 0x', R.signature, { from: (a) => a.slice(2) }),
    writtenAs('payer with a blank', R.signature, { from: (a) => `${a} ` }),
    writtenAs('payee that was not signed', R.signature, { to: dev.treasury }),
    signedWith('another payee', R.to, () => ({ to: dev.treasury })),
    signedWith('the token as payee', R.to, () => ({ to: dev.opg_token })),
    ...[undefined, null, '', 'x', 1].map((value) => writtenAs(`nonce ${JSON.stringify(value)}`, R.signature, { nonce: value })),
    writtenAs('nonce a byte short', R.signature, { nonce: (n) => n.slice(0, -2) }),
    writtenAs('nonce a byte long', R.signature, { nonce: (n) => `${n}00` }),
    writtenAs('nonce a digit short', R.signature, { nonce: (n) => n.slice(0, -1) }, () => ({ nonce: `0x${'12'.repeat(32)}` })), // one that ends in 0 would be padded to itself there
    writtenAs('nonce without 0x', R.signature, { nonce: (n) => n.slice(2) }),
    writtenAs('nonce that is not hex', R.signature, { nonce: (n) => `${n.slice(0, -1)}g` }),
    writtenAs('nonce in decimal', R.signature, { nonce: (n) => String(BigInt(n)) }),
    writtenAs('another nonce', R.signature, { nonce: (n) => toHex(BigInt(n) ^ 1n, { size: 32 }) }),
  ];
  const malformed = kind === 'upto' ? 'unsupported_payload_type' : 'invalid_payload', more = kind === 'upto' ? {} : EXCEPTION;
  const both = [
    ['another spender', 'invalid_permit2_spender', async (c) => envelope(c.offer, await c.make({ spender: dev.treasury }))],
    ['the payee as spender', 'invalid_permit2_spender', async (c) => envelope(c.offer, await c.make({ spender: c.offer.payTo }))],
    ['Permit2 as spender', 'invalid_permit2_spender', async (c) => envelope(c.offer, await c.make({ spender: '0x000000000022D473030F116dDEE9F6B43aC78BA3' }))],
    ['the other scheme\'s proxy as spender', 'invalid_permit2_spender', async (c) => envelope(c.offer, await c.make({ spender: kind === 'upto' ? '0x402085c248EeA27D92E8b30b2C58ed07f9E20001' : '0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002' }))],
    ['another token', 'permit2_token_mismatch', async (c) => envelope(c.offer, await c.make({ permitted: { token: dev.treasury, amount: c.amount } }))],
    ['another payee', R.to, async (c) => envelope(c.offer, await c.make({}, { to: dev.treasury }))],
    writtenAs('payee that was not signed', R.to, { to: dev.treasury }),
    writtenAs('another payer', R.signature, { from: dev.treasury }),
    writtenAs('nobody as payer', R.signature, { from: `0x${'0'.repeat(40)}` }),
    writtenAs('spender that was not signed', 'invalid_permit2_spender', { spender: dev.treasury }),
    writtenAs('another begin than was signed', R.signature, { after: '1' }),
    ...['spender', 'token', 'to'].flatMap((member) => [undefined, null, 1].map((value) => writtenAs(`${member} ${JSON.stringify(value)}`, malformed, { [member]: value }, undefined, more))),
    ...['spender', 'token', 'to'].map((member) => writtenAs(`${member} a byte short`, 'invalid_payload', { [member]: (a) => a.slice(0, -2) }, undefined, EXCEPTION)),
    ['the other scheme\'s witness', R.signature, async (c) => { // signed as the other scheme asks, written as this one does
      const { payload, message } = await c.make();
      const { permitted, spender, nonce, deadline } = message;
      const signed = await permit2(c.wallet, c.offers[kind === 'upto' ? 'permit2' : 'upto'], { permitted, spender, nonce, deadline });
      return envelope(c.offer, { payload: { ...payload, signature: signed.payload.signature } });
    }],
  ];
  const upto = [
    ['another facilitator', 'upto_facilitator_mismatch', async (c) => envelope(c.offer, await c.make({}, { facilitator: dev.treasury }))],
    ['the payee as facilitator', 'upto_facilitator_mismatch', async (c) => envelope(c.offer, await c.make({}, { facilitator: c.offer.payTo }))],
    ['the payer as facilitator', 'upto_facilitator_mismatch', async (c) => envelope(c.offer, await c.make({}, { facilitator: c.wallet.account.address }))],
    writtenAs('facilitator that was not signed', 'upto_facilitator_mismatch', { facilitator: dev.treasury }),
    ...[undefined, null, 1].map((value) => writtenAs(`facilitator ${JSON.stringify(value)}`, malformed, { facilitator: value })),
    writtenAs('numbers instead of strings', malformed, { nonce: 1, before: 4e9 }),
  ];
  return kind === 'eip3009' ? eip3009 : kind === 'upto' ? [...both, ...upto] : both;
}

// ---- signatures ----

const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const word = (n) => toHex(n, { size: 32 }).slice(2);
const MAGIC_6492 = `0x${'6492'.repeat(16)}`;
export const wrap6492 = (factory, data, signature) => concat([encodeAbiParameters([{ type: 'address' }, { type: 'bytes' }, { type: 'bytes' }], [factory, data, signature]), MAGIC_6492]);
export const compact = (signature) => serializeCompactSignature(signatureToCompactSignature(parseSignature(signature)));
const low = (signature, v) => signature.slice(0, -2) + v;
export const yParity = (signature) => low(signature, signature.endsWith('1b') ? '00' : '01');

function signatures(kind) {
  const { signature: S } = REASONS[kind];
  const as = (name, make, reason = S, more) => [`signature: ${name}`, reason, (c) => envelope(c.offer, { payload: { ...c.good.payload, signature: make(c.good.payload.signature, c) } }), more];
  const failed = kind === 'eip3009' ? 'invalid_exact_evm_transaction_simulation_failed' : 'permit2_simulation_failed';
  return [
    as('empty', () => ''), as('0x', () => '0x'), as('not hex', () => 'zz'), as('words', () => 'signed by me'),
    as('64 bytes', (s) => s.slice(0, -2)), as('66 bytes', (s) => `${s}00`), as('a leading zero byte', (s) => `0x00${s.slice(2)}`),
    as('an odd number of digits', (s) => s.slice(0, -1)), as('half of it', (s) => s.slice(0, 66)), as('twice', (s) => s + s.slice(2)),
    as('3000 bytes', () => `0x${'ab'.repeat(3000)}`),
    as('EIP-2098, compact', compact), as('all zero', () => `0x${'0'.repeat(130)}`), as('all ones', () => `0x${'f'.repeat(130)}`),
    as('r = 0', (s) => `0x${word(0n)}${s.slice(66)}`), as('s = 0', (s) => `${s.slice(0, 66)}${word(0n)}${s.slice(-2)}`),
    as('r = n', (s) => `0x${word(ORDER)}${s.slice(66)}`), as('s = n', (s) => `${s.slice(0, 66)}${word(ORDER)}${s.slice(-2)}`),
    as('r above n', (s) => `0x${word(ORDER + 1n)}${s.slice(66)}`), as('s above n', (s) => `${s.slice(0, 66)}${word(ORDER + 1n)}${s.slice(-2)}`),
    as('r the largest number', (s) => `0x${'f'.repeat(64)}${s.slice(66)}`),
    as('the other v', (s) => low(s, s.endsWith('1b') ? '1c' : '1b')),
    ...['02', '1d', '1e', '1a', '25', '26', 'ff', '80'].map((v) => as(`v = 0x${v}`, (s) => low(s, v))),
    as('r and s exchanged', (s) => `0x${s.slice(66, 130)}${s.slice(2, 66)}${s.slice(-2)}`),
    as('a flipped bit in r', (s) => toHex(BigInt(s) ^ TWO(400), { size: 65 })), as('a flipped bit in s', (s) => toHex(BigInt(s) ^ TWO(100), { size: 65 })),
    as('v = 0 or 1', yParity, failed),
    ...(kind === 'eip3009' ? [as('with the high s', highTwin, failed)] : []),
    ['signature: of another payment', S, async (c) => envelope(c.offer, { payload: { ...c.good.payload, signature: (await c.make()).payload.signature } })],
    ['signature: of a stranger', S, async (c) => envelope(c.offer, { payload: { ...c.good.payload, signature: await c.stranger.sign({ hash: c.good.digest }) } })],
    ['signature: of a text', S, async (c) => envelope(c.offer, { payload: { ...c.good.payload, signature: await c.wallet.account.signMessage({ message: 'pay' }) } })],
    ['signature: of the digest as a text', S, async (c) => envelope(c.offer, { payload: { ...c.good.payload, signature: await c.wallet.account.signMessage({ message: { raw: c.good.digest } }) } })],
    as('ERC-6492 of a wallet that is not there', (s) => wrap6492(dev.treasury, '0x', s), kind === 'eip3009' ? 'eip6492_factory_not_allowed' : S),
    as('ERC-6492 that cannot be read', (s) => concat([s, pad('0x', { size: 27 }), MAGIC_6492]), S, { official: true }),
    as('ERC-6492 without a factory', (s) => wrap6492(`0x${'0'.repeat(40)}`, '0x', s), S),
  ];
}

function domains() {
  const { signature: S } = REASONS.eip3009;
  const by = (name, domain, more = {}) => [`signed for ${name}`, S, async (c) => envelope(c.offer, await c.make({}, { domain, ...more }))];
  return [
    by('another chain', { chainId: 1 }), by('no chain', { chainId: 0 }), by('a chain 2^64 away', { chainId: TWO(64) + BigInt(dev.chain_id) }), by('another contract', { verifyingContract: dev.treasury }),
    by('another name', { name: 'USD Coin' }), by('a name in lower case', { name: 'opg' }), by('no name', { name: '' }), by('another version', { version: '2' }), by('no version', { version: '' }),
    by('receiving', {}, { types: 'receive' }),
  ];
}

/// All refusals of the kind, in groups.
export const refusalsOf = (kind) => ({
  members: members(kind), numbers: numbers(kind), times: times(kind), addresses: addresses(kind), signatures: signatures(kind), ...(kind === 'eip3009' && { domains: domains() }),
});
