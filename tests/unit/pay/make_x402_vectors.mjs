// Writes x402_vectors.h: payments exactly as the official x402 clients make them for our terms (a 402 with version 2's header and
// version 1's body at once), and the receipts their own encoders make. Clock and randomness are fixed, so a second run writes the
// same bytes. Needs the clients in some folder outside of this repository:
//   npm i --ignore-scripts @x402/core@2.27.0 @x402/evm@2.27.0 @x402/fetch@2.27.0 @x402/extensions@2.27.0 viem@2.57.1 \
//     x402@1.2.0 x402-fetch@1.2.0 core211@npm:@x402/core@2.11.0 evm211@npm:@x402/evm@2.11.0 fetch211@npm:@x402/fetch@2.11.0
//   script/node tests/unit/pay/make_x402_vectors.mjs <that folder> > tests/unit/pay/x402_vectors.h
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { createHash } from 'node:crypto';

const require = createRequire(process.argv[2] + '/');
const load = async (name) => import(pathToFileURL(require.resolve(name)));
const NOW = 1767225600;
Date.now = () => NOW * 1000;
let drawn = 0;
crypto.getRandomValues = (a) => {
  const h = createHash('sha256').update(`x402 ${drawn++}`).digest();
  new Uint8Array(a.buffer, a.byteOffset, a.byteLength).forEach((_, i, out) => { out[i] = h[i % 32] | (i === 0 ? 0x80 : 0); });
  return a;
};

const { privateKeyToAccount } = await load('viem/accounts');
const KEY = '0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6'; // a published test key
const account = privateKeyToAccount(KEY);
const resource = { url: 'http://127.0.0.1:8080/v1/infer?a=b&c=\u00e9', description: 'OPG inference "\u20ac"', mimeType: 'application/json' };
const base = {
  network: 'eip155:84532', amount: '1000000000000000', asset: '0x5FbDB2315678afecb367f032d93F642f64180aa3',
  payTo: '0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC', maxTimeoutSeconds: 300,
};
const quote = 'AQRpVcA0AggAAgQAAgIACAONfqTGgABzZWFsZWQ';
const offers = {
  exact: { scheme: 'exact', ...base, extra: { name: 'OPG', version: '1', quote } },
  permit2: { scheme: 'exact', ...base, extra: { name: 'OPG', version: '1', assetTransferMethod: 'permit2', quote } },
  upto: { scheme: 'upto', ...base, extra: { name: 'OPG', version: '1', assetTransferMethod: 'permit2', facilitatorAddress: '0x70997970C51812dc3A010C7d01b50e0d17dc79C8', quote } },
};
const extensions = { 'payment-identifier': { info: { required: false }, schema: { type: 'object', properties: { id: { type: 'string', minLength: 16 } } } } };
const required = (names, ext) => ({ x402Version: 2, error: 'Payment required', resource, accepts: names.map((n) => offers[n]), ...(ext && { extensions: ext }) });
const bodyV1 = (names) => ({
  x402Version: 1, error: 'X-PAYMENT header is required', accepts: names.filter((n) => n === 'exact').map((n) => ({
    scheme: 'exact', network: 'base-sepolia', maxAmountRequired: base.amount, resource: resource.url, description: resource.description,
    mimeType: resource.mimeType, payTo: base.payTo, maxTimeoutSeconds: 300, asset: base.asset,
    outputSchema: { input: { type: 'http', method: 'POST', discoverable: true } }, extra: offers[n].extra,
  })),
});
const b64 = (o) => Buffer.from(JSON.stringify(o)).toString('base64');

// A server that asks for payment, and keeps what it is paid with.
async function pay(wrap, names, ext) {
  let paid;
  const server = async (input, init) => {
    const headers = input instanceof Request ? input.headers : new Headers(init?.headers);
    paid = headers.get('PAYMENT-SIGNATURE') ?? headers.get('X-PAYMENT');
    if (paid) return new Response('{}', { status: 200 });
    return new Response(JSON.stringify(bodyV1(names)), { status: 402, headers: { 'PAYMENT-REQUIRED': b64(required(names, ext)) } });
  };
  await wrap(server)('http://127.0.0.1:8080/v1/infer', { method: 'POST', body: '{}' });
  return paid;
}

async function client(fetchName, evmName, spend) {
  const f = await load(fetchName);
  const { ExactEvmScheme } = await load(`${evmName}/exact/client`);
  const { UptoEvmScheme } = await load(`${evmName}/upto/client`);
  const c = new f.x402Client();
  if (spend) c.setSpendControls({ allowedAssets: [{ network: base.network, asset: base.asset }] });
  c.register('eip155:*', new ExactEvmScheme(account)).register('eip155:*', new UptoEvmScheme(account));
  return { c, wrap: (server) => f.wrapFetchWithPayment(server, c) };
}

const out = {};
const current = await client('@x402/fetch', '@x402/evm', true);
const older = await client('fetch211', 'evm211', false);
for (const name of ['exact', 'permit2', 'upto']) {
  out[`CLIENT_227_${name.toUpperCase()}`] = await pay(current.wrap, [name]);
  out[`CLIENT_211_${name.toUpperCase()}`] = await pay(older.wrap, [name]);
}
out.CLIENT_227_ALL = await pay(current.wrap, ['upto', 'permit2', 'exact'], extensions);
const v1 = await load('x402-fetch');
const { createWalletClient, http: transport } = await load('viem');
const { baseSepolia } = await load('viem/chains');
const wallet = createWalletClient({ account, chain: baseSepolia, transport: transport('http://127.0.0.1:9') });
out.CLIENT_V1 = await pay((server) => v1.wrapFetchWithPayment(server, wallet, 10n ** 18n), ['exact', 'upto']);

const http = await load('@x402/core/http');
const TX = '0x' + 'ab'.repeat(32);
out.REQUIRED_ALL = http.encodePaymentRequiredHeader(required(['upto', 'permit2', 'exact'], extensions));
out.REQUIRED_EXACT = http.encodePaymentRequiredHeader(required(['exact']));
out.BODY_V1 = JSON.stringify(bodyV1(['exact', 'upto']));
out.RECEIPT_EXACT = http.encodePaymentResponseHeader({ success: true, payer: account.address, transaction: TX, network: base.network });
out.RECEIPT_UPTO = http.encodePaymentResponseHeader({ success: true, payer: account.address, transaction: TX, network: base.network, amount: '123456789012345' });
out.RECEIPT_ZERO = http.encodePaymentResponseHeader({ success: true, payer: account.address, transaction: '', network: base.network, amount: '0' });
out.RECEIPT_FAILED = http.encodePaymentResponseHeader({ success: false, errorReason: 'invalid_exact_evm_nonce_already_used', errorMessage: 'used', payer: account.address, transaction: '', network: base.network });
const { settleResponseHeader } = await load('x402/types');
out.RECEIPT_V1 = settleResponseHeader({ success: true, payer: account.address, transaction: TX, network: 'base-sepolia' });

const c = (s) => JSON.stringify(s).replace(/[^\x20-\x7e]/g, (x) => [...Buffer.from(x)].map((b) => '\\' + b.toString(8).padStart(3, '0')).join(''));
console.log(`/* Made by make_x402_vectors.mjs with the official clients (2.27.0, 2.11.0, version 1: 1.2.0); do not edit. */
#ifndef OPGATE_TESTS_X402_VECTORS_H
#define OPGATE_TESTS_X402_VECTORS_H

#define VECTOR_NOW ${NOW}
#define VECTOR_KEY ${c(KEY)}
#define VECTOR_PAYER ${c(account.address)}
#define VECTOR_QUOTE ${c(quote)}
#define VECTOR_URL ${c(resource.url)}
#define VECTOR_DESCRIPTION ${c(resource.description)}
#define VECTOR_EXTENSIONS ${c(JSON.stringify(extensions))}`);
for (const [k, v] of Object.entries(out)) console.log(`#define ${k} ${c(v)}`);
console.log('\n#endif');
