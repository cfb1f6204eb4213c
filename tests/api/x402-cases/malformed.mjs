// Headers that are no payment, payments whose terms are not ours, and payments with the wrong members. Each row: [name, reason,
// sent(context), {official}]; what the rows mean is said at refuse() in kit.mjs.
import { base64, envelope } from '../payer.mjs';
import { dev } from '../stack.mjs';

const UNPAID = 'Payment required';
const NO_MATCH = 'No matching payment requirements';
const good = (c) => envelope(c.offer, c.good);
const goodText = (c) => JSON.stringify(good(c));
const latin1 = (...bytes) => Buffer.from(bytes).toString('base64');
const nested = (depth, open = '[', close = ']') => open.repeat(depth) + close.repeat(depth);

/// Nothing that could be read as a payment.
export const UNREADABLE = [
  ['an empty header', UNPAID, () => ''],
  ['a blank header', UNPAID, () => ' '],
  ['one letter', UNPAID, () => 'x'],
  ['percent signs', UNPAID, () => '%%%'],
  ['JSON that is not base64', UNPAID, goodText],
  ['base64 of a text', UNPAID, () => base64('text')],
  ['base64 of nothing but blanks', UNPAID, () => base64('   ')],
  ['base64 of null', UNPAID, () => base64('null')],
  ['base64 of false', UNPAID, () => base64('false')],
  ['base64 of 0', UNPAID, () => base64('0')],
  ['base64 of an empty string', UNPAID, () => base64('""')],
  ['base64 cut in the middle', UNPAID, (c) => base64(good(c)).slice(0, 400)],
  ['base64 with one letter too many', UNPAID, (c) => base64(goodText(c).replace(/ *$/, (end) => end + ' '.repeat((3 - (goodText(c).length % 3)) % 3))) + 'A'],
  ['base64url', UNPAID, (c) => Buffer.from(JSON.stringify({ ...good(c), note: '??>>~~' })).toString('base64url').replace(/$/, '-_')],
  ['base64 with a blank inside', UNPAID, (c) => base64(good(c)).replace(/^.{100}/, '$& ')],
  ['base64 with a tab inside', UNPAID, (c) => base64(good(c)).replace(/^.{100}/, '$&\t')],
  ['base64 with = in the middle', UNPAID, (c) => base64(good(c)).replace(/^.{100}/, '$&=')],
  ['base64 with three =', UNPAID, () => 'AAAA==='],
  ['only =', UNPAID, () => '=='],
  ['base64 in quotes', UNPAID, (c) => `"${base64(good(c))}"`],
  ['percent-encoded base64', UNPAID, (c) => encodeURIComponent(`${base64(`${goodText(c)} `)}=`)],
  ['base64 of base64', UNPAID, (c) => base64(base64(good(c)))],
  ['hex', UNPAID, (c) => `0x${Buffer.from(goodText(c)).toString('hex')}`],
  ['two payments with a comma', UNPAID, (c) => `${base64(good(c))}, ${base64(good(c))}`],
  ['a scheme word before it', UNPAID, (c) => `x402 ${base64(good(c))}`],
  ['bytes that are not UTF-8', UNPAID, () => latin1(0xff, 0xfe, 0x7b, 0x7d)],
  ['UTF-16', UNPAID, (c) => Buffer.from(goodText(c), 'utf16le').toString('base64')],
  ['a raw NUL in the JSON', UNPAID, (c) => base64(goodText(c).replace('"x402Version"', '"x402\0Version"'))],
  ['a NUL after the JSON', UNPAID, (c) => base64(`${goodText(c)}\0`)],
  ['a trailing comma', UNPAID, (c) => base64(goodText(c).replace(/}$/, ',}'))],
  ['single quotes', UNPAID, (c) => base64(goodText(c).replaceAll('"', "'"))],
  ['a comment', UNPAID, (c) => base64(`/**/${goodText(c)}`)],
  ['NaN', UNPAID, () => base64('{"x402Version":NaN}')],
  ['two objects', UNPAID, (c) => base64(goodText(c) + goodText(c))],
  ['no closing brace', UNPAID, (c) => base64(goodText(c).slice(0, -1))],
  ['keys without quotes', UNPAID, () => base64('{x402Version:2}')],
  ['a form', UNPAID, () => base64('x402Version=2&payload=1')],
  ['brackets that never close', UNPAID, () => base64('['.repeat(20_000))],
  ['objects that never close', UNPAID, () => base64('{"a":'.repeat(5_000))],
  ['20 KB of letters', UNPAID, () => 'A'.repeat(20_001)],
  ['version 1 in its own header, unreadable', 'Invalid or malformed payment header', () => ({ headers: { 'X-PAYMENT': '%%%' } })],
  ['version 1 in its own header, null', 'Invalid or malformed payment header', () => ({ headers: { 'X-PAYMENT': base64('null') } })],
  ['version 1 in its own header, an array', 'Invalid or malformed payment header', () => ({ headers: { 'X-PAYMENT': base64('[]') } })],
  ['version 1 in its own header, empty', UNPAID, () => ({ headers: { 'X-PAYMENT': '' } })],
  ['the header twice', UNPAID, (c) => ({ headers: { 'PAYMENT-SIGNATURE': [base64(good(c)), base64(good(c))] } })],
  ['an unreadable version 2 beside a version 1', UNPAID, (c) => ({ headers: { 'PAYMENT-SIGNATURE': '%%%', 'X-PAYMENT': base64({ ...good(c), x402Version: 1, scheme: 'exact', network: 'base-sepolia' }) } })],
  ['x402Version missing', 'Unsupported x402 version: undefined', (c) => ({ ...good(c), x402Version: undefined })],
  ...[['a list', '[]'], ['an empty object', '{}'], ['a number', '123'], ['a string', '"x"'], ['true', 'true']].map(([name, text]) => [name, 'Unsupported x402 version: undefined', () => base64(text)]),
  ['2000 lists in each other', 'Unsupported x402 version: undefined', () => base64(nested(2000))],
  ...[[99, '99'], ['2', '2'], [null, 'null'], [0, '0'], [3, '3'], [-1, '-1'], [1.5, '1.5'], [true, 'true'], [false, 'false'], ['', ''], ['x402', 'x402'], [{}, '[object Object]'], [[3], '[object Object]', '3'], [[], '[object Object]', '']]
    .map(([version, text, theirs = text]) => [`x402Version ${JSON.stringify(version)}`, `Unsupported x402 version: ${text}`, (c) => ({ ...good(c), x402Version: version }), { official: `Unsupported x402 version: ${theirs}` }]),
];

const change = (name, over) => [`accepted: ${name}`, NO_MATCH, (c) => envelope({ ...c.offer, ...(typeof over === 'function' ? over(c) : over) }, c.good)];
const extra = (name, over) => change(`extra: ${name}`, (c) => ({ extra: { ...c.offer.extra, ...(typeof over === 'function' ? over(c) : over) } }));

/// Terms that differ in one thing from what was offered.
export const TERMS = [
  ['accepted: missing', NO_MATCH, (c) => ({ x402Version: 2, payload: c.good.payload })],
  ...[null, 'exact', 1, [], {}, true].map((accepted) => [`accepted: ${JSON.stringify(accepted)}`, NO_MATCH, (c) => ({ ...good(c), accepted })]),
  ['version 1 in the header of version 2', NO_MATCH, (c) => ({ x402Version: 1, scheme: 'exact', network: 'base-sepolia', payload: c.good.payload })],
  change('one less', (c) => ({ amount: String(c.amount - 1n) })),
  change('one more', (c) => ({ amount: String(c.amount + 1n) })),
  change('nothing', { amount: '0' }),
  change('a number for the amount', (c) => ({ amount: Number(c.amount) })),
  change('an amount with a leading zero', (c) => ({ amount: `0${c.amount}` })),
  change('an amount with a plus', (c) => ({ amount: `+${c.amount}` })),
  change('an amount with a blank', (c) => ({ amount: `${c.amount} ` })),
  change('an amount in hex', (c) => ({ amount: `0x${c.amount.toString(16)}` })),
  change('an amount with an exponent', { amount: '1e15' }),
  change('an amount beyond 64 bits', (c) => ({ amount: String(c.amount + (1n << 64n)) })),
  change('an amount beyond 256 bits', (c) => ({ amount: String(c.amount + (1n << 256n)) })),
  change('no amount', { amount: undefined }),
  change('amount null', { amount: null }),
  change('a scheme nobody knows', { scheme: 'deferred' }),
  change('the scheme in capitals', (c) => ({ scheme: c.offer.scheme.toUpperCase() })),
  change('no scheme', { scheme: undefined }),
  change('another network', { network: 'eip155:1' }),
  change('the network of version 1', { network: 'base-sepolia' }),
  change('any network', { network: 'eip155:*' }),
  change('a network with a leading zero', { network: `eip155:0${dev.chain_id}` }),
  change('another payee', { payTo: dev.treasury }),
  change('the payee in lower case', (c) => ({ payTo: c.offer.payTo.toLowerCase() })),
  change('the payee as a list', (c) => ({ payTo: [c.offer.payTo] })),
  change('another asset', { asset: dev.treasury }),
  change('the asset in lower case', (c) => ({ asset: c.offer.asset.toLowerCase() })),
  change('a longer timeout', (c) => ({ maxTimeoutSeconds: c.offer.maxTimeoutSeconds + 1 })),
  change('the timeout as a string', (c) => ({ maxTimeoutSeconds: String(c.offer.maxTimeoutSeconds) })),
  change('a member we do not know', { unknown: 1 }),
  change('maxAmountRequired for amount', (c) => ({ amount: undefined, maxAmountRequired: c.offer.amount })),
  change('extra null', { extra: null }),
  change('no extra', { extra: undefined }),
  change('extra a list', { extra: [] }),
  extra('another token name', { name: 'USD Coin' }),
  extra('no token name', { name: undefined }),
  extra('another token version', { version: '2' }),
  extra('a number for the token version', { version: 1 }),
];
export const TERMS_EXACT = [change('another scheme', { scheme: 'upto' })];
export const TERMS_UPTO = [
  ['accepted: another scheme', 'invalid_permit2_spender', (c) => envelope({ ...c.offer, scheme: 'exact' }, c.good)], // as exact it is offered, too
  extra('another transfer method', { assetTransferMethod: 'eip3009' }),
  extra('no transfer method', { assetTransferMethod: undefined }),
  extra('another facilitator', { facilitatorAddress: dev.treasury }),
  extra('no facilitator', { facilitatorAddress: undefined }),
  extra('the facilitator in lower case', (c) => ({ facilitatorAddress: c.offer.extra.facilitatorAddress.toLowerCase() })),
];
