// Writes vectors.h: statements as viem signs and hashes them. Run again only when a statement's type changes:
//   script/node tests/unit/proof/make_vectors.mjs > tests/unit/proof/vectors.h
import { hashTypedData } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { createHash } from 'node:crypto';

const sha = (...parts) => '0x' + parts.reduce((h, p) => h.update(p), createHash('sha256')).digest('hex');
const keys = { NODE: '0x' + '11'.repeat(32), GATEWAY: '0x' + '22'.repeat(32), OPERATOR: '0x' + '33'.repeat(32) };
const accounts = Object.fromEntries(Object.entries(keys).map(([k, v]) => [k, privateKeyToAccount(v)]));
const lower = (k) => accounts[k].address.toLowerCase();
const chainId = 84532n;

const fields = (text) => text.split(',').map((f) => ({ type: f.split(' ')[0], name: f.split(' ')[1] }));
const TYPES = {
  Receipt: 'bytes16 jobId,uint32 attempt,address gateway,address node,bytes32 modelDigest,bytes32 requestHash,bytes32 responseHash,bytes32 profileHash,uint16 status,string policy,uint64 inputUnits,uint64 outputUnits,uint64 startedAt,uint64 finishedAt',
  Ticket: 'bytes16 jobId,uint32 attempt,address gateway,address node,bytes32 modelDigest,string policy,bytes32 requestHash,uint64 expiresAt',
  NodeRegistration: 'address node,address operator,address gateway,string url,uint64 issuedAt',
  NodeStatement: 'address gateway,address node,address operator,bytes32 modelDigest,bytes32 profileHash,uint64 registeredAt,uint64 issuedAt',
  NodeRequest: 'address node,address gateway,string method,string path,bytes32 bodyHash,uint64 issuedAt,bytes32 nonce',
};

const requestBody = '{"model":"tiny","messages":[{"role":"user","content":"h\u00e9"}]}';
const bodySha = createHash('sha256').update(requestBody).digest();
const requestHash = (method, path, type, length) => sha(`${method} ${path}\n${type}\n${length}\n`, bodySha);
const events = ['{"delta":"a"}', '{"delta":"b"}', ''];
const plain = '{"answer":42}';

const receipt = {
  jobId: '0x0198c0ffee007abc8def0123456789ab', attempt: 2, gateway: lower('GATEWAY'), node: lower('NODE'),
  modelDigest: sha('model'), requestHash: requestHash('POST', '/v1/chat/completions', 'application/json', ''),
  responseHash: sha(plain), profileHash: sha('profile'), status: 200, policy: 'signed',
  inputUnits: 12n, outputUnits: 18446744073709551615n, startedAt: 1767225600000n, finishedAt: 1767225600123n,
};
const messages = {
  Receipt: ['NODE', receipt],
  StreamReceipt: ['NODE', { ...receipt, responseHash: sha(events.map((e) => e + '\n').join('')) }],
  Ticket: ['GATEWAY', { ...receipt, expiresAt: 1767225660000n }],
  NodeRegistration: ['NODE', { node: lower('NODE'), operator: lower('OPERATOR'), gateway: lower('GATEWAY'), url: 'http://127.0.0.1:9001/a?b=c&d=~', issuedAt: 0n }],
  NodeStatement: ['GATEWAY', { gateway: lower('GATEWAY'), node: lower('NODE'), operator: lower('OPERATOR'), modelDigest: sha('model'), profileHash: sha('profile'), registeredAt: 1767225500000n, issuedAt: 1767225700000n }],
  NodeRequest: ['NODE', { node: lower('NODE'), gateway: lower('GATEWAY'), method: 'POST', path: '/v1/nodes/' + lower('NODE') + '/heartbeat', bodyHash: sha(requestBody), issuedAt: 1767225600000n, nonce: sha('nonce') }],
};

const c = (s) => JSON.stringify(s).replace(/[^\x20-\x7e]/g, (ch) => [...Buffer.from(ch)].map((b) => '\\' + b.toString(8).padStart(3, '0')).join(''));
console.log('/* Made by make_vectors.mjs with viem; do not edit. */\n#ifndef OPGATE_TESTS_PROOF_VECTORS_H\n#define OPGATE_TESTS_PROOF_VECTORS_H\n');
for (const [k, v] of Object.entries(keys)) console.log(`#define ${k}_KEY ${c(v)}\n#define ${k}_ADDRESS ${c(lower(k))}`);
console.log(`#define CHAIN_ID ${chainId}u\n#define REQUEST_BODY ${c(requestBody)}\n#define PLAIN_RESPONSE ${c(plain)}`);
console.log(`#define STREAM_RESPONSE ${c(events.map((e) => `data: ${e}\n\n`).join('') + 'data: [DONE]\n\n')}`);
for (const [name, args] of Object.entries({
  REQUEST_HASH_CHAT: ['POST', '/v1/chat/completions', 'application/json', ''],
  REQUEST_HASH_INFER: ['POST', '/v2/models/a%2Fb/infer', 'application/octet-stream', '137'],
  REQUEST_HASH_GET: ['GET', '/', '', ''],
})) console.log(`#define ${name} ${c(requestHash(...args))}`);
for (const [name, [signer, all]] of Object.entries(messages)) {
  const primaryType = name.replace('Stream', '');
  const types = { [primaryType]: fields(TYPES[primaryType]) };
  const message = Object.fromEntries(types[primaryType].map((f) => [f.name, all[f.name]]));
  const typed = { domain: { name: 'opgate', version: '1', chainId }, types, primaryType, message };
  const signature = await accounts[signer].signTypedData(typed);
  const json = JSON.stringify({
    domain: { name: 'opgate', version: '1', chainId: String(chainId) },
    message: Object.fromEntries(Object.entries(message).map(([k, v]) => [k, String(v)])), signature,
  });
  const upper = name.replace(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase();
  console.log(`#define ${upper}_DIGEST ${c(hashTypedData(typed))}\n#define ${upper}_JSON ${c(json)}`);
}
console.log('\n#endif');
