// Makes bench_node a node of the gateway, as a node agent would: registers it, offers a model, sends heartbeats.
import { createHash, randomBytes } from 'node:crypto';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';

const TYPES = {
  NodeRegistration: 'address node,address operator,address gateway,string url,uint64 issuedAt',
  NodeRequest: 'address node,address gateway,string method,string path,bytes32 bodyHash,uint64 issuedAt,bytes32 nonce',
  Ticket: 'bytes16 jobId,uint32 attempt,address gateway,address node,bytes32 modelDigest,string policy,bytes32 requestHash,uint64 expiresAt',
};
const sha256 = (text) => `0x${createHash('sha256').update(text).digest('hex')}`;

/// A statement of server/proof in its JSON form, and its signature.
async function sign(account, chainId, primaryType, values) {
  const fields = TYPES[primaryType].split(',').map((field) => ({ type: field.split(' ')[0], name: field.split(' ')[1] }));
  const message = Object.fromEntries(fields.map(({ name }) => [name, values[name]]));
  const signature = await account.signTypedData({ domain: { name: 'opgate', version: '1', chainId }, types: { [primaryType]: fields }, primaryType, message });
  const text = Object.fromEntries(Object.entries(message).map(([name, value]) => [name, String(value)]));
  return { signature, json: JSON.stringify({ domain: { name: 'opgate', version: '1', chainId: String(chainId) }, message: text, signature }) };
}

export class BenchNode {
  constructor(api, { chain_id, gateway_address, operator_key, url }) {
    this.private_key = generatePrivateKey();
    this.account = privateKeyToAccount(this.private_key);
    this.address = this.account.address.toLowerCase();
    this.profile = JSON.stringify({ engine: 'bench_node', precision: 'fp32' });
    Object.assign(this, { api, chain_id, gateway: gateway_address, operator: privateKeyToAccount(operator_key), url });
  }

  get profile_hash() {
    return sha256(this.profile);
  }

  async register() {
    const values = { node: this.address, operator: this.operator.address.toLowerCase(), gateway: this.gateway, url: this.url, issuedAt: Date.now() };
    const { json } = await sign(this.account, this.chain_id, 'NodeRegistration', values);
    const { signature } = await sign(this.operator, this.chain_id, 'NodeRegistration', values);
    await this.api.json('POST', '/v1/nodes', { registration: json, operator_signature: signature });
  }

  async call(method, what, body) {
    const path = `/v1/nodes/${this.address}/${what}`;
    const text = JSON.stringify(body);
    const { json } = await sign(this.account, this.chain_id, 'NodeRequest', {
      node: this.address, gateway: this.gateway, method, path, bodyHash: sha256(text), issuedAt: Date.now(), nonce: `0x${randomBytes(32).toString('hex')}`,
    });
    return this.api.json(method, path, text, { 'Opgate-Node': Buffer.from(json).toString('base64url') });
  }

  async offer(digests) {
    const ask = { input: '1000', output: '0' };
    await this.call('PUT', 'offers', { offers: digests.map((digest) => ({ digest, ask, capacity: 10000, precision: 'fp32', profile: this.profile })) });
    this.beat = setInterval(() => this.call('POST', 'heartbeat', {}).catch((error) => console.error(error.message)), 4000);
  }

  stop() {
    clearInterval(this.beat);
  }

  /// A ticket as the gateway makes one, for measuring the node without it: the header's value.
  async ticket(digest) {
    const { json } = await sign(privateKeyToAccount(generatePrivateKey()), this.chain_id, 'Ticket', {
      jobId: `0x${randomBytes(16).toString('hex')}`, attempt: 1, gateway: this.gateway, node: this.address, modelDigest: digest.replace('sha256:', '0x'),
      policy: 'signed', requestHash: sha256('request'), expiresAt: Date.now() + 3_600_000,
    });
    return Buffer.from(json).toString('base64url');
  }
}
