// Payments that are good, however they are written: each is served once and takes exactly its price. Rows as serve() in kit.mjs
// takes them: [name, sent(context), {place, official}].
import { checksumAddress, concat } from 'viem';
import { contractsCompile } from '../../../script/contracts.mjs';
import { base64, envelope, eip3009, highTwin, now, permit2 } from '../payer.mjs';
import { chain, OPG, rpc, token } from '../stack.mjs';
import { approveAs, CHAT, chatBody, completionBody, COMPLETIONS, INFER, inferBody, send } from './kit.mjs';
import { wrap6492, written } from './authorizations.mjs';

const PLACES = {
  'chat': [CHAT, chatBody], 'chat, streamed': [CHAT, () => chatBody({ stream: true })], 'completion': [COMPLETIONS, completionBody], 'infer': [INFER, inferBody],
};
const good = async (c) => envelope(c.offer, await c.make());
const header = (name, make) => [name, async (c) => make(await good(c), c)];
const text = (name, make) => [name, async (c) => base64(make(JSON.stringify(await good(c)), c))];
const member = (name, members, signed) => [name, (c) => written(c, typeof members === 'function' ? members(c) : members, signed)];
const reversed = (value) => (value && typeof value === 'object' && !Array.isArray(value) ? Object.fromEntries(Object.entries(value).reverse().map(([k, v]) => [k, reversed(v)])) : value);
const lower = (a) => a.toLowerCase();
const upperDigits = (a) => `0x${a.slice(2).toUpperCase()}`;

/// However the envelope is written.
const WRITING = [
  header('without padding', (sent) => base64(sent).replace(/=*$/, '')),
  text('pretty-printed', (json) => JSON.stringify(JSON.parse(json), null, '\t')),
  text('with blanks around', (json) => ` \r\n\t${json}\n `),
  text('with escaped letters', (json) => json.replace('"payload"', '"\\u0070ayload"').replace('"exact"', '"\\u0065xact"')),
  text('a key twice, the last one good', (json) => json.replace('"accepted":', '"accepted":{"scheme":"none"},"accepted":')),
  text('an authorization twice, the last one good', (json) => json.replace('"payload":', '"payload":{"signature":"0x"},"payload":')),
  text('version 2.0', (json) => json.replace('"x402Version":2', '"x402Version":2.0e0')),
  text('the timeout as 3e2', (json) => json.replace('"maxTimeoutSeconds":300', '"maxTimeoutSeconds":3e2')),
  header('keys in another order', (sent) => reversed(sent)),
  header('members nobody knows', (sent) => ({ ...sent, more: [1, { deep: null }], payload: { ...sent.payload, more: 'é' } })),
  header('more in extra', (sent) => ({ ...sent, accepted: { ...sent.accepted, extra: { ...sent.accepted.extra, decimals: 18, more: { x: [] } } } })),
  header('the resource of the terms', (sent, c) => ({ ...sent, resource: c.terms.resource })),
  header('another resource', (sent) => ({ ...sent, resource: { url: 'https://example.com/elsewhere', description: 'ü', mimeType: 'text/plain' } })),
  header('no resource', (sent) => ({ ...sent, resource: null })),
  header('no extensions', (sent) => ({ ...sent, extensions: {} })),
  header('extensions null', (sent) => ({ ...sent, extensions: null })),
  header('an extension nobody offered', (sent) => ({ ...sent, extensions: { 'x-more': { info: { a: 1 }, schema: {} } } })),
  header('a header of 16 KB', (sent) => ({ ...sent, note: 'n'.repeat(11_000) })),
  header('with blanks around the header', (sent) => `  ${base64(sent)} `),
  header('in a header of small letters', (sent) => ({ headers: { 'payment-signature': base64(sent) } })),
  header('with the headers the official clients send', (sent) => ({ headers: { 'PAYMENT-SIGNATURE': base64(sent), 'Access-Control-Expose-Headers': 'PAYMENT-RESPONSE,X-PAYMENT-RESPONSE' } })),
  header('with an X-PAYMENT that cannot be read beside', (sent) => ({ headers: { 'PAYMENT-SIGNATURE': base64(sent), 'X-PAYMENT': '%%%' } })),
  header('with a placeholder for a key', (sent) => ({ headers: { 'PAYMENT-SIGNATURE': base64(sent), Authorization: 'Bearer placeholder' } })),
  header('as a browser', (sent) => ({ headers: { 'PAYMENT-SIGNATURE': base64(sent), Accept: 'text/html', 'User-Agent': 'Mozilla/5.0', Origin: 'https://example.com' } })),
];

const everywhere = (more = {}) => Object.entries(PLACES).filter(([name]) => !(more.chat && name === 'infer')).map(([name, place]) => [name, good, { place }]);
const NUMBERS = [
  member('a value with leading zeros', { value: (v) => `000${v}` }), member('a value in hex', { value: (v) => `0x${BigInt(v).toString(16)}` }), member('a value in capital hex', { value: (v) => `0X${BigInt(v).toString(16).toUpperCase()}` }),
  member('a value in binary', { value: (v) => `0b${BigInt(v).toString(2)}` }), member('a value with blanks around', { value: (v) => ` ${v}\n` }), member('a value with a plus', { value: (v) => `+${v}` }),
  member('an empty begin, signed as 0', { after: '' }), member('an end at 2^64', {}, { before: 1n << 64n }), member('an end at 2^64 and more', {}, { before: (1n << 64n) + 100n }), member('an end at 2^255', {}, { before: 1n << 255n }),
  member('the last end', {}, { before: (1n << 256n) - 1n }), member('a begin that was', {}, { after: BigInt(now() - 600) }), member('an end in hex', { before: (v) => `0x${BigInt(v).toString(16)}` }),
];
const as3009 = (kind) => async (c) => envelope(c.offers[kind], await eip3009(c.wallet, c.offer));

/// A contract wallet that approves the digest of the payment, with what it needs to pay; what is sent carries `signature`.
const byWallet = (signature, setCode) => async (c) => {
  const { TestWallet } = contractsCompile();
  let address = await chain.deploy(c.wallet.account, TestWallet);
  if (setCode) { // the buyer's own address, delegated (EIP-7702)
    await rpc('anvil_setCode', c.wallet.account.address, concat(['0xef0100', address]));
    address = c.wallet.address;
  } else {
    await send(c.wallet, token.address, token.abi, 'mint', address, OPG);
    if (c.kind !== 'eip3009') await approveAs(address);
  }
  c.payer = checksumAddress(address);
  const made = await (c.kind === 'eip3009' ? eip3009 : permit2)({ account: { ...c.wallet.account, address: c.payer } }, c.offer);
  await send(c.wallet, address, TestWallet.abi, 'approve', made.digest);
  return envelope(c.offer, { payload: { ...made.payload, signature: signature(made.payload.signature) } });
};
const WALLETS = [
  ['a wallet with code, a signature of 65 bytes', byWallet((s) => s)],
  ['a wallet with code, no signature at all', byWallet(() => '0x')],
  ['a wallet with code, a signature of two bytes', byWallet(() => '0x1234')],
  ['a wallet with code, a signature of 1000 bytes', byWallet(() => `0x${'ab'.repeat(1000)}`)],
  ['a delegated account whose code says yes', byWallet((s) => s, true)],
];

const paidV1 = (over = {}, sent = {}) => async (c) => {
  const { payload } = await c.make(typeof over === 'function' ? over(c) : over);
  if (typeof over === 'function') c.pays = BigInt(payload.authorization.value);
  return { headers: { 'X-PAYMENT': base64({ x402Version: 1, scheme: 'exact', network: 'base-sepolia', payload, ...sent }) } };
};

export const SERVED = {
  eip3009: [
    ...everywhere(), ...WRITING, ...NUMBERS, ...WALLETS,
    ['by the terms for Permit2', as3009('permit2'), { place: PLACES.infer }],
    member('payer in small letters', { from: lower }), member('payee in small letters', { to: lower }), member('both in small letters', { from: lower, to: lower }),
    member('a value as a number', { value: Number }), member('times as numbers', { before: Number, after: 0 }),
    member('a nonce in capitals', { nonce: upperDigits }), member('a nonce of nothing', {}, { nonce: `0x${'0'.repeat(64)}` }), member('the largest nonce', {}, { nonce: `0x${'f'.repeat(64)}` }),
    header('a signature in capitals', (sent) => ({ ...sent, payload: { ...sent.payload, signature: upperDigits(sent.payload.signature) } })),
    ['a wallet with code, ERC-6492 around its signature', byWallet((s) => wrap6492('0x000000000000000000000000000000000000dEaD', '0x1234', s))],
    ['version 1', paidV1()],
    ['version 1, more than the price', paidV1((c) => ({ value: c.amount + 1n }))],
    ['version 1, no version said', paidV1({}, { x402Version: undefined }), { official: { status: 402, reason: 'malformed' } }],
    ['version 1, streamed', paidV1(), { place: PLACES['chat, streamed'] }],
  ],
  permit2: [
    ...everywhere(), ...NUMBERS, ...WALLETS,
    ['by the terms for EIP-3009', async (c) => envelope(c.offers.eip3009, await c.make())],
    member('addresses in small letters', { from: lower, spender: lower, token: lower, to: lower }), member('addresses in capitals', { spender: upperDigits, token: upperDigits, to: upperDigits }),
    member('a nonce in hex', { nonce: (n) => `0x${BigInt(n).toString(16)}` }), member('a nonce with leading zeros', { nonce: (n) => `00${n}` }), member('a small nonce as a number', { nonce: Number }, { nonce: 7n }),
    member('a nonce of nothing', {}, { nonce: 0n }), member('the largest nonce', {}, { nonce: (1n << 256n) - 1n }), member('an end as a number', { before: Number }),
    header('with the high s', (sent) => ({ ...sent, payload: { ...sent.payload, signature: highTwin(sent.payload.signature) } })),
  ],
  upto: [
    ...everywhere({ chat: true }), ...NUMBERS, ...WALLETS,
    member('addresses in small letters', { from: lower, spender: lower, token: lower, to: lower, facilitator: lower }), member('addresses in capitals', { spender: upperDigits, token: upperDigits, to: upperDigits, facilitator: upperDigits }),
    member('a nonce in hex', { nonce: (n) => `0x${BigInt(n).toString(16)}` }), member('a nonce with leading zeros', { nonce: (n) => `00${n}` }), member('the largest nonce', {}, { nonce: (1n << 256n) - 1n }),
    header('with the high s', (sent) => ({ ...sent, payload: { ...sent.payload, signature: highTwin(sent.payload.signature) } })),
  ],
};
