// The official server (@x402/core with @x402/evm, what @x402/express wraps), asked about the same payments for the same offers on
// the same chain. It only verifies: nothing is settled by it.
import { x402Facilitator } from '@x402/core/facilitator';
import { x402HTTPResourceServer } from '@x402/core/http';
import { x402ResourceServer } from '@x402/core/server';
import { toFacilitatorEvmSigner } from '@x402/evm';
import { ExactEvmScheme as ExactFacilitator } from '@x402/evm/exact/facilitator';
import { ExactEvmScheme as ExactServer } from '@x402/evm/exact/server';
import { UptoEvmScheme as UptoFacilitator } from '@x402/evm/upto/facilitator';
import { UptoEvmScheme as UptoServer } from '@x402/evm/upto/server';
import { verify } from 'x402/facilitator';
import { exact } from 'x402/schemes';
import { findMatchingPaymentRequirements } from 'x402/shared';
import { chain, dev } from '../stack.mjs';

const network = `eip155:${dev.chain_id}`;
export const MALFORMED = 'malformed';
const refused = () => { throw new Error('the official server only verifies here'); };
let server;

/// `settler` is whom the upto offers name: there the contract that settles, here the facilitator's own address.
async function serverMake(settler) {
  const { client } = chain;
  const signer = toFacilitatorEvmSigner({
    address: settler, getCode: (a) => client.getCode(a), readContract: (a) => client.readContract({ account: settler, ...a }), verifyTypedData: (a) => client.verifyTypedData(a),
    writeContract: refused, sendTransaction: refused, waitForTransactionReceipt: refused,
  });
  const facilitator = new x402Facilitator().register(network, new ExactFacilitator(signer)).register(network, new UptoFacilitator(signer));
  const resource = new x402ResourceServer(facilitator).register(network, new ExactServer()).register(network, new UptoServer());
  const made = new x402HTTPResourceServer(resource, { 'POST /*': { accepts: { scheme: 'exact', network, payTo: settler, price: '$1' }, description: 'the same offers' } });
  await made.initialize();
  return { made, resource };
}

/// Version 1 as its last package has it: {status, reason}; `accepts` are the terms of the 402's body.
export async function officialAnswerV1(accepts, header) {
  const refuse = (reason) => ({ status: 402, reason });
  try {
    const payment = exact.evm.decodePayment(header);
    payment.x402Version = 1;
    const offer = findMatchingPaymentRequirements(accepts, payment);
    if (!offer) return refuse('Unable to find matching payment requirements');
    const { isValid, invalidReason } = await verify(chain.client, payment, offer);
    return isValid ? { status: 200, reason: null } : refuse(invalidReason);
  } catch {
    return refuse(MALFORMED); // there it is the text of the exception, or of the schema
  }
}

/// {status, reason} for a request with these headers when `accepts` is what is offered; status 200: it would be served.
export async function officialAnswer(accepts, headers, settler) {
  server ??= serverMake(settler);
  const { made, resource } = await server;
  resource.buildPaymentRequirementsFromOptions = async () => structuredClone(accepts);
  const values = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), Array.isArray(value) ? value.join(', ') : value.trim()]));
  const adapter = {
    getHeader: (name) => values[name.toLowerCase()], getMethod: () => 'POST', getPath: () => '/x', getUrl: () => 'http://localhost/x', getAcceptHeader: () => '', getUserAgent: () => '',
  };
  const warn = console.warn;
  console.warn = () => {}; // it tells of each header that it cannot read
  try {
    const result = await made.processHTTPRequest({ adapter, path: '/x', method: 'POST' });
    if (result.type !== 'payment-error') return { status: 200, reason: null };
    return { status: result.response.status, reason: JSON.parse(Buffer.from(result.response.headers['PAYMENT-REQUIRED'], 'base64')).error };
  } finally {
    console.warn = warn;
  }
}
