// Receipts and statements for the page's tests, signed by viem with keys of their own.
import { createHash } from 'node:crypto';
import { privateKeyToAccount } from 'viem/accounts';

const account = (byte) => {
  const made = privateKeyToAccount('0x' + byte.repeat(32));
  return { address: made.address.toLowerCase(), signTypedData: made.signTypedData };
};
export const NODE = account('11');
export const GATEWAY = account('22');
export const OPERATOR = account('33');
export const OTHER = account('44');

export const sha = (...parts) => '0x' + parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest('hex');
export const MODEL = sha('model');
export const REQUEST = { path: '/v1/chat/completions', type: 'application/json', body: '{"model":"ada/tiny","messages":[{"role":"user","content":"hé"}]}' };
export const RESPONSE = '{"answer":42}';
const EVENTS = ['{"delta":"a"}', '{"delta":"b"}', ''];
export const STREAM = EVENTS.map((data) => `data: ${data}\n\n`).join('') + 'data: [DONE]\n\n';
export const streamHash = () => sha(...EVENTS.map((data) => `${data}\n`));

const TYPES = {
  Receipt: 'bytes16 jobId,uint32 attempt,address gateway,address node,bytes32 modelDigest,bytes32 requestHash,bytes32 responseHash,bytes32 profileHash,uint16 status,string policy,uint64 inputUnits,uint64 outputUnits,uint64 startedAt,uint64 finishedAt',
  NodeStatement: 'address gateway,address node,address operator,bytes32 modelDigest,bytes32 profileHash,uint64 registeredAt,uint64 issuedAt',
};
const fieldsOf = (name) => TYPES[name].split(',').map((field) => ({ type: field.split(' ')[0], name: field.split(' ')[1] }));
const typed = (primaryType, message) => ({
  domain: { name: 'opgate', version: '1', chainId: 84532n }, types: { [primaryType]: fieldsOf(primaryType) }, primaryType, message,
});
export const typedReceipt = (message) => typed('Receipt', message);

async function make(name, all, signer) {
  const message = Object.fromEntries(fieldsOf(name).map((field) => [field.name, all[field.name]]));
  return JSON.stringify({
    domain: { name: 'opgate', version: '1', chainId: '84532' },
    message: Object.fromEntries(Object.entries(message).map(([key, value]) => [key, String(value)])),
    signature: await signer.signTypedData(typed(name, message)),
  });
}

/// The canonical text of a receipt, with some fields as given.
export const receiptMake = (more = {}, signer = NODE) => make('Receipt', {
  jobId: '0x0198c0ffee007abc8def0123456789ab', attempt: 1, gateway: GATEWAY.address, node: NODE.address, modelDigest: MODEL,
  requestHash: sha(`POST ${REQUEST.path}\n${REQUEST.type}\n\n`, createHash('sha256').update(REQUEST.body).digest()),
  responseHash: sha(RESPONSE), profileHash: sha('profile'), status: 200, policy: 'signed', inputUnits: 12n, outputUnits: 34n,
  startedAt: 1767225600000n, finishedAt: 1767225600123n, ...more,
}, signer);

/// The gateway's word that the node serves the model.
export const statementMake = (more = {}, signer = GATEWAY) => make('NodeStatement', {
  gateway: GATEWAY.address, node: NODE.address, operator: OPERATOR.address, modelDigest: MODEL, profileHash: sha('profile'),
  registeredAt: 1767225500000n, issuedAt: 1767225700000n, ...more,
}, signer);
