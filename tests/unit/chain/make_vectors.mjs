// Writes vectors.h: transactions as viem signs them and calls as viem encodes them. Run again only when a call is added:
//   script/node tests/unit/chain/make_vectors.mjs > tests/unit/chain/vectors.h
import { concatHex, encodeAbiParameters, encodeEventTopics, encodeFunctionData, encodeFunctionResult, keccak256, parseAbi, parseAbiParameters, parseSignature, serializeTransaction, toHex, toRlp } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';

const KEY = '0x' + '11'.repeat(32);
const account = privateKeyToAccount(KEY);
const lower = (s) => s.toLowerCase();
const address = (n) => '0x' + n.toString(16).padStart(2, '0').repeat(20);
const word = (n) => '0x' + n.toString(16).padStart(2, '0').repeat(32);
const MAX = 2n ** 256n - 1n;
const c = (s) => JSON.stringify(s);
const out = [];
const define = (name, text) => out.push(`#define ${name} ${c(text)}`);

// ---- transactions ----
const base = { type: 'eip1559', chainId: 84532, nonce: 7, maxPriorityFeePerGas: 1000000000n, maxFeePerGas: 30000000000n, gas: 21000n, to: address(0x3c), value: 1n };
const data = (n) => '0x' + Array.from({ length: n }, (_, i) => ((i * 7) & 255).toString(16).padStart(2, '0')).join('');
const txs = {
  plain: base,
  'all zero': { ...base, chainId: 1, nonce: 0, maxPriorityFeePerGas: 0n, maxFeePerGas: 0n, gas: 0n, value: 0n },
  'one small byte': { ...base, data: '0x05' },
  'one big byte': { ...base, data: '0x80' },
  '55 bytes': { ...base, data: data(55) },
  '56 bytes': { ...base, data: data(56), nonce: 128 },
  '256 bytes': { ...base, data: data(256), nonce: 255, gas: 256n },
  'large numbers': { ...base, chainId: 2 ** 40, nonce: 2 ** 40 + 1, maxPriorityFeePerGas: 2n ** 64n - 1n, maxFeePerGas: 2n ** 64n - 1n, gas: 2n ** 63n, value: MAX },
  // r and s with leading zeros are shorter on the wire: search for them
  ...Object.fromEntries(await Promise.all([['short r', 'r'], ['short s', 's']].map(async ([name, part]) => {
    for (let nonce = 0; ; nonce++) {
      const tx = { ...base, nonce };
      if (parseSignature((await account.sign({ hash: keccak256(serializeTransaction(tx)) })))[part].startsWith('0x00')) return [name, tx];
    }
  }))),
};
out.push('struct tx_vector {\n\tconst char *name;\n\tuint64_t chain_id, nonce, max_priority_fee, max_fee, gas;\n\tconst char *to, *value, *data, *raw, *hash;\n};');
define('TX_KEY', KEY);
define('TX_SENDER', lower(account.address));
out.push('static const struct tx_vector TX_VECTORS[] = {');
for (const [name, tx] of Object.entries(txs)) {
  const raw = await account.signTransaction(tx);
  out.push(`\t{ ${c(name)}, ${tx.chainId}u, ${tx.nonce}u, ${tx.maxPriorityFeePerGas}u, ${tx.maxFeePerGas}u, ${tx.gas}u, ${c(tx.to)}, ${c(toHex(tx.value, { size: 32 }))},\n\t  ${c(tx.data ?? '0x')},\n\t  ${c(raw)},\n\t  ${c(keccak256(raw))} },`);
}
out.push('};');

// What a strict reader must not take, though most of it is well signed.
const n = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const minimal = (v) => (BigInt(v) === 0n ? '0x' : toHex(BigInt(v)));
const fields = (tx) => [minimal(tx.chainId), minimal(tx.nonce), minimal(tx.maxPriorityFeePerGas), minimal(tx.maxFeePerGas), minimal(tx.gas), tx.to ?? '0x', minimal(tx.value), tx.data ?? '0x', []];
const raw = (list) => concatHex(['0x02', toRlp(list)]);
const signed = async (list) => {
  const s = parseSignature(await account.sign({ hash: keccak256(raw(list)) }));
  return [...list, minimal(s.yParity), minimal(s.r), minimal(s.s)];
};
const good = await signed(fields(base));
const change = (at, v) => good.map((f, i) => (i === at ? v : f));
const refused = {
  'legacy': await account.signTransaction({ type: 'legacy', chainId: 84532, nonce: 7, gasPrice: 1n, gas: 21000n, to: base.to, value: 1n }),
  'type 1': await account.signTransaction({ type: 'eip2930', chainId: 84532, nonce: 7, gasPrice: 1n, gas: 21000n, to: base.to, value: 1n }),
  'an access list': await account.signTransaction({ ...base, accessList: [{ address: address(1), storageKeys: [word(2)] }] }),
  'a creation': await account.signTransaction({ ...base, to: undefined, data: '0x6000' }),
  'not signed': serializeTransaction(base),
  'a fee of 65 bits': await account.signTransaction({ ...base, maxFeePerGas: 2n ** 64n }),
  'more priority than fee': raw(await signed(fields({ ...base, maxPriorityFeePerGas: 5n, maxFeePerGas: 4n }))),
  'high s': raw([...good.slice(0, 9), good[9] === '0x' ? '0x01' : '0x', good[10], toHex(n - BigInt(good[11]))]),
  'parity 2': raw(change(9, '0x02')),
  'parity as a zero byte': raw(change(9, '0x00')),
  'parity 27': raw(change(9, '0x1b')),
  'r of zero': raw(change(10, '0x')),
  's of zero': raw(change(11, '0x')),
  'r with a leading zero': raw(change(10, concatHex(['0x00', good[10]]))),
  'a nonce with a leading zero': raw(await signed(change(1, '0x0007').slice(0, 9))),
  'a recipient of 19 bytes': raw(await signed(change(5, '0x' + '3c'.repeat(19)).slice(0, 9))),
  'a recipient of 21 bytes': raw(await signed(change(5, '0x' + '3c'.repeat(21)).slice(0, 9))),
  'a list as data': raw(await signed(change(7, []).slice(0, 9))),
  'bytes as access list': raw(await signed(change(8, '0x').slice(0, 9))),
  'eleven fields': raw(good.slice(0, 11)),
  'thirteen fields': raw([...good, '0x']),
  'a byte behind': concatHex([raw(good), '0x00']),
  'only the type': '0x02',
  'an empty list': '0x02c0',
  'bytes for a list': concatHex(['0x02', toRlp('0x' + '11'.repeat(60))]),
};
out.push('static const struct {\n\tconst char *name, *raw;\n} TX_REFUSED[] = {');
for (const [name, text] of Object.entries(refused)) out.push(`\t{ ${c(name)}, ${c(text)} },`);
out.push('};');

// ---- calls; the arguments here and in test_calls.c are the same ----
const P = '((address token, uint256 amount) permitted, uint256 nonce, uint256 deadline) permit';
const E = '(uint256 value, uint256 deadline, bytes32 r, bytes32 s, uint8 v) permit2612';
const W = '(address to, uint256 validAfter) witness';
const U = '(address to, address facilitator, uint256 validAfter) witness';
const permit = { permitted: { token: address(0x70), amount: 10n ** 18n }, nonce: MAX - 1n, deadline: 1893456000n };
const permit2612 = { value: 10n ** 18n, deadline: 1893456001n, r: word(0xa1), s: word(0x52), v: 28 };
const owner = address(0x0e), to = address(0x3c), spender = address(0x5e);
const exact = { to, validAfter: 5n }, upto = { to, facilitator: address(0xfa), validAfter: 6n };
const sig65 = concatHex([word(0xa1), word(0x52), '0x1b']), sig97 = data(97);
const authorization = [owner, to, MAX, 0n, 1893456000n, word(0x99)];
const call = (name, signature, args) => define(name, encodeFunctionData({ abi: parseAbi([`function ${signature}`]), args }));

call('CALL_BALANCE_OF', 'balanceOf(address)', [owner]);
call('CALL_TRANSFER', 'transfer(address, uint256)', [to, MAX]);
call('CALL_APPROVE', 'approve(address, uint256)', [spender, MAX]);
call('CALL_ALLOWANCE', 'allowance(address, address)', [owner, spender]);
const T = 'transferWithAuthorization(address, address, uint256, uint256, uint256, bytes32';
call('CALL_3009', `${T}, uint8, bytes32, bytes32)`, [...authorization, 27, word(0xa1), word(0x52)]);
call('CALL_3009_BYTES', `${T}, bytes)`, [...authorization, sig97]);
call('CALL_3009_EMPTY', `${T}, bytes)`, [...authorization, '0x']);
call('CALL_3009_STATE', 'authorizationState(address, bytes32)', [owner, word(0x99)]);
call('CALL_2612_PERMIT', 'permit(address, address, uint256, uint256, uint8, bytes32, bytes32)', [owner, spender, 10n ** 18n, 1893456001n, 28, word(0xa1), word(0x52)]);
call('CALL_2612_NONCES', 'nonces(address)', [owner]);
call('CALL_NONCE_BITMAP', 'nonceBitmap(address, uint256)', [owner, (MAX - 1n) >> 8n]);
call('CALL_PERMIT_TRANSFER_FROM', `permitTransferFrom(${P}, (address to, uint256 requestedAmount) details, address, bytes)`, [permit, { to, requestedAmount: 5n }, owner, sig65]);
call('CALL_EXACT', `settle(${P}, address owner, ${W}, bytes signature)`, [permit, owner, exact, sig65]);
call('CALL_EXACT_PERMIT', `settleWithPermit(${E}, ${P}, address owner, ${W}, bytes signature)`, [permit2612, permit, owner, exact, sig65]);
call('CALL_UPTO', `settle(${P}, uint256 amount, address owner, ${U}, bytes signature)`, [permit, 5n, owner, upto, sig65]);
call('CALL_UPTO_PERMIT', `settleWithPermit(${E}, ${P}, uint256 amount, address owner, ${U}, bytes signature)`, [permit2612, permit, 5n, owner, upto, sig65]);
call('CALL_1271', 'isValidSignature(bytes32, bytes)', [word(0x99), sig97]);
// Any shape: an array of tuples with two dynamic members each, a static array, static tuples in an array.
const shape = 'settle((uint8 kind, address target, bytes data, bytes signature)[] items, bool strict, uint256[] list, (address, uint256)[] pairs)';
call('CALL_SHAPE', shape, [[1, 2, 3].map((kind) => ({ kind, target: to, data: data(kind * 31), signature: kind === 2 ? '0x' : sig65 })), true, [1n, MAX], [[to, 1n], [owner, 2n]]]);
call('CALL_SHAPE_EMPTY', shape, [[], false, [], []]);
const aggregate = parseAbi(['function aggregate3((address target, bool allowFailure, bytes callData)[] calls) returns ((bool success, bytes returnData)[])']);
const items = [[to, data(36)], [owner, '0x'], [spender, data(64)]];
define('CALL_AGGREGATE3', encodeFunctionData({ abi: aggregate, args: [items.map(([target, callData]) => ({ target, allowFailure: true, callData }))] }));
define('CALL_AGGREGATE3_EMPTY', encodeFunctionData({ abi: aggregate, args: [[]] }));
define('RESULT_AGGREGATE3', encodeFunctionResult({ abi: aggregate, result: [{ success: true, returnData: word(0x11) }, { success: false, returnData: data(36) }, { success: true, returnData: '0x' }] }));
define('RESULT_AGGREGATE3_EMPTY', encodeFunctionResult({ abi: aggregate, result: [] }));
// contracts/Settler.sol: one item of each kind, its arguments the calls above without their selectors.
const made = (name) => '0x' + out.find((line) => line.startsWith(`#define ${name} `)).split('"')[1].slice(10);
const kinds = ['CALL_3009', 'CALL_3009_BYTES', 'CALL_EXACT', 'CALL_EXACT_PERMIT', 'CALL_UPTO', 'CALL_UPTO_PERMIT'];
call('CALL_SETTLER', 'settle((uint8 kind, address token, uint64 gasLimit, bytes32 ref, bytes args)[] items)',
  [kinds.map((name, kind) => ({ kind, token: address(0x70), gasLimit: 2n ** 64n - 1n - BigInt(kind), ref: word(kind), args: made(name) }))]);
const events = parseAbi(['event Settled(uint256 indexed index, bytes32 indexed ref, bool ok, bytes reason)', 'event Skipped(uint256 indexed index, bytes32 indexed ref, uint8 why)']);
const topics = (eventName) => concatHex(encodeEventTopics({ abi: events, eventName, args: { index: 258n, ref: word(0x77) } }));
define('SETTLED_TOPICS', topics('Settled'));
define('SETTLED_OK', encodeAbiParameters(parseAbiParameters('bool, bytes'), [true, '0x']));
define('SETTLED_FAILED', encodeAbiParameters(parseAbiParameters('bool, bytes'), [false, data(36)]));
define('SKIPPED_TOPICS', topics('Skipped'));
define('SKIPPED_DATA', encodeAbiParameters(parseAbiParameters('uint8'), [3]));
// contracts/Payouts.sol
call('CALL_PAYOUTS_PAY', 'pay((bytes32 id, address to, uint256 amount)[] items)', [[{ id: word(0x77), to, amount: 5n }, { id: word(0x78), to: owner, amount: MAX }]]);
call('CALL_PAYOUTS_END_OF', 'endOf(bytes32)', [word(0x77)]);
call('CALL_PAYOUTS_TOTAL', 'totalPaid()', []);
// what contracts say about themselves
call('CALL_TOKEN', 'token()', []);
call('CALL_SOURCE', 'source()', []);
call('CALL_TREASURY', 'treasury()', []);
call('CALL_IS_CALLER', 'isCaller(address)', [to]);
const payouts = parseAbi(['event Paid(bytes32 indexed id, address indexed to, uint256 amount, bool ok)', 'event Skipped(bytes32 indexed id, uint8 why)']);
define('PAID_OUT_TOPICS', concatHex(encodeEventTopics({ abi: payouts, eventName: 'Paid', args: { id: word(0x77), to } })));
define('PAID_OUT_DATA', encodeAbiParameters(parseAbiParameters('uint256, bool'), [5n, true]));
define('PAYOUT_SKIPPED_TOPICS', concatHex(encodeEventTopics({ abi: payouts, eventName: 'Skipped', args: { id: word(0x77) } })));

console.log('/* Made by make_vectors.mjs with viem; do not edit. */\n#ifndef OPGATE_TESTS_CHAIN_VECTORS_H\n#define OPGATE_TESTS_CHAIN_VECTORS_H\n\n#include <stdint.h>\n');
console.log(out.join('\n'));
console.log('\n#endif');
