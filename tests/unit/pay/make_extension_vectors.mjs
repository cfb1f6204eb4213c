// Writes extension_vectors.h: what the official x402 packages make of our extensions, with a fixed key, clock and chain. A second run
// writes the same bytes: script/node tests/unit/pay/make_extension_vectors.mjs > tests/unit/pay/extension_vectors.h
import { createHash, createHmac } from 'node:crypto';
import { ExactEvmScheme } from '@x402/evm/exact/client';
import { UptoEvmScheme } from '@x402/evm/upto/client';
import { appendPaymentIdentifierToExtensions, createSIWxPayload, encodeSIWxHeader } from '@x402/extensions';
import { privateKeyToAccount } from 'viem/accounts';

const NOW = 1767225600;
Date.now = () => NOW * 1000;
let drawn = 0;
crypto.getRandomValues = (a) => {
  const h = createHash('sha256').update(`extension ${drawn++}`).digest();
  new Uint8Array(a.buffer, a.byteOffset, a.byteLength).forEach((_, i, out) => { out[i] = h[i % 32] | (i === 0 ? 0x80 : 0); });
  return a;
};
const account = privateKeyToAccount('0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6'); // a published test key
const b64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64');
const lines = [];
const define = (name, text) => lines.push(`#define ${name} \\\n${text.match(/.{1,150}/gs).map((part) => `\t${JSON.stringify(part)}`).join(' \\\n')}`);

// ---- a wallet's answer to our challenge ----

const base = 'http://127.0.0.1:8080';
const digest = Buffer.concat([Buffer.from([9]), Buffer.alloc(31)]);
const issued = Buffer.alloc(8);
issued.writeBigUInt64BE(BigInt(NOW) * 1000n);
const mac = createHmac('sha256', Buffer.alloc(32, 7)).update(Buffer.concat([Buffer.from('siwx'), digest, issued])).digest().subarray(0, 16);
const uri = `${base}/v1/chat/completions`;
const challenge = {
  domain: '127.0.0.1:8080', uri, version: '1', statement: 'Get again what this wallet has paid for.', nonce: mac.toString('hex'),
  issuedAt: new Date(NOW * 1000).toISOString(), expirationTime: new Date((NOW + 300) * 1000).toISOString(), resources: [uri], chainId: 'eip155:84532', type: 'eip191',
};
define('SIWX_HEADER', encodeSIWxHeader(await createSIWxPayload(challenge, account, uri)));
define('SIWX_BARE', encodeSIWxHeader(await createSIWxPayload({ ...challenge, statement: undefined, resources: undefined, expirationTime: undefined, requestId: 'r1' }, account, uri)));
define('SIWX_JSON', JSON.stringify(await createSIWxPayload(challenge, account, uri)));

// ---- payments ----

const offer = (scheme, more = {}) => ({
  scheme, network: 'eip155:84532', amount: '1000000000000000', asset: '0x5FbDB2315678afecb367f032d93F642f64180aa3', payTo: '0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC',
  maxTimeoutSeconds: 300, extra: { name: 'OPG', version: '1', assetTransferMethod: 'permit2', ...more, quote: 'AQRpVcA0AggAAgQAAgIACAONfqTGgABzZWFsZWQ' },
});
const exact = offer('exact');
const upto = offer('upto', { facilitatorAddress: '0x70997970C51812dc3A010C7d01b50e0d17dc79C8' });
const signer = { // the account on a chain where it has approved nothing: 5 permits were used, and 3 transactions
  address: account.address, signTypedData: (typed) => account.signTypedData(typed), signTransaction: (tx) => account.signTransaction(tx),
  readContract: async ({ functionName }) => (functionName === 'nonces' ? 5n : 0n), getTransactionCount: async () => 3,
  estimateFeesPerGas: async () => ({ maxFeePerGas: 2_000_000_000n, maxPriorityFeePerGas: 1_000_000_000n }),
};
const declared = { eip2612GasSponsoring: { info: { version: '1' } }, erc20ApprovalGasSponsoring: { info: { version: '1' } } };
async function payment(scheme, accepted, keys) {
  const extensions = Object.fromEntries(keys.map((key) => [key, declared[key]]));
  const made = await scheme.createPaymentPayload(2, accepted, { extensions });
  return b64({ ...made, accepted, extensions: made.extensions });
}
define('PERMIT_EXACT', await payment(new ExactEvmScheme(signer), exact, ['eip2612GasSponsoring', 'erc20ApprovalGasSponsoring']));
define('PERMIT_UPTO', await payment(new UptoEvmScheme(signer), upto, ['eip2612GasSponsoring']));
define('APPROVAL_EXACT', await payment(new ExactEvmScheme(signer), exact, ['erc20ApprovalGasSponsoring']));
const named = appendPaymentIdentifierToExtensions({ 'payment-identifier': { info: { required: false }, schema: {} } }, 'pay_7d5d747be160e280504c099d984bcfe0');
define('NAMED', b64({ x402Version: 2, payload: {}, accepted: exact, extensions: named }));

console.log('/* Made by make_extension_vectors.mjs from the official x402 packages. */\n#ifndef OPGATE_TESTS_EXTENSION_VECTORS_H\n#define OPGATE_TESTS_EXTENSION_VECTORS_H\n');
console.log(lines.join('\n\n'));
console.log('\n#endif');
