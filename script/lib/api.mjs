// The part of opgate's REST API that the stack and the demo use, as a client of it would. One function a call, so that a
// changed answer is met in one place.
import { randomUUID } from 'node:crypto';
import { createSiweMessage } from 'viem/siwe';

const RENEW_MS = 300_000; // a token is good for 15 minutes

export class Api {
  constructor(base_url, bearer) {
    Object.assign(this, { base_url, bearer });
  }

  as(bearer) {
    return new Api(this.base_url, bearer);
  }

  async raw(method, path, { body, headers = {}, seconds = 60 } = {}) {
    if (this.renew && Date.now() > this.renew_at) await this.renew();
    const plain = body === undefined || typeof body === 'string' || Buffer.isBuffer(body);
    const response = await fetch(this.base_url + path, {
      method, signal: AbortSignal.timeout(seconds * 1000),
      body: plain ? body : JSON.stringify(body),
      headers: {
        ...(this.bearer && { Authorization: `Bearer ${this.bearer}` }),
        ...(body !== undefined && !Buffer.isBuffer(body) && { 'Content-Type': 'application/json' }), ...headers,
      },
    });
    const bytes = Buffer.from(await response.arrayBuffer());
    if (!response.ok) throw Object.assign(new Error(`${method} ${path}: ${response.status} ${bytes}`), { status: response.status });
    return { bytes, headers: response.headers, status: response.status };
  }

  async json(method, path, body, headers) {
    const { bytes } = await this.raw(method, path, { body, headers });
    return bytes.length ? JSON.parse(bytes) : null;
  }

  post(path, body = {}) {
    return this.json('POST', path, body, { 'Idempotency-Key': randomUUID() });
  }

  /// Signs in with Ethereum; returns an Api that speaks for the account, and signs in again before its token expires.
  async signIn(account, chain_id) {
    const signed = this.as();
    signed.renew = async () => {
      Object.assign(signed, { bearer: await this.tokenMake(account, chain_id), renew_at: Date.now() + RENEW_MS });
    };
    await signed.renew();
    return signed;
  }

  async tokenMake(account, chain_id) {
    const { nonce } = await this.json('GET', '/v1/auth/nonce');
    const message = createSiweMessage({
      address: account.address, chainId: chain_id, domain: new URL(this.base_url).host, nonce, uri: this.base_url,
      version: '1', issuedAt: new Date(), expirationTime: new Date(Date.now() + 240_000),
    });
    const signature = await account.signMessage({ message });
    return (await this.post('/v1/auth/siwe', { message, signature })).token;
  }

  async keyCreate(name, scopes) {
    return (await this.post('/v1/keys', { name, scopes })).key;
  }

  handleSet(handle) {
    return this.json('PATCH', '/v1/me', { handle });
  }

  /// Creates the model, uploads `files` [{path, bytes}] as its next version and publishes it: {id, version, digest, surface}.
  async modelPublish({ name, title, description, surface, price, max_output_tokens, files }) {
    const made = await this.post('/v1/models', { name, title, description });
    const id = made.id ?? `${made.author}/${made.name}`;
    const { version } = await this.post(`/v1/models/${id}/versions`, { surface, price, ...(max_output_tokens && { max_output_tokens }) });
    const base = `/v1/models/${id}/versions/${version}`;
    for (const { path, bytes } of files)
      await this.raw('PUT', `${base}/files/${path}`, { body: bytes, headers: { 'Content-Type': 'application/octet-stream' } });
    const { digest } = await this.post(`${base}/publish`);
    return { id, version, digest, surface };
  }

  /// How many offers stand for the model.
  async offerCount(id) {
    const { data } = await this.json('GET', '/v1/models');
    const offers = data.find((model) => model.id === id)?.offers ?? 0;
    return Array.isArray(offers) ? offers.length : Number(offers.count ?? offers);
  }

  async nodeList() {
    const answer = await this.json('GET', '/v1/nodes');
    return answer.data ?? answer.nodes ?? answer;
  }

  /// What the account can spend, in base units.
  async balance() {
    const answer = await this.json('GET', '/v1/balance');
    return BigInt(answer.available ?? answer.balance);
  }

  /// One job, waited for: {id, bytes}, the bytes being exactly what the node answered.
  async jobRun(model, body, { policy = 'signed' } = {}) {
    const query = new URLSearchParams({ model, policy });
    const headers = { 'Content-Type': 'application/json', Prefer: 'wait=30', 'Idempotency-Key': randomUUID() };
    const { bytes, headers: answer } = await this.raw('POST', `/v1/jobs?${query}`, { body, headers });
    return { id: answer.get('Opgate-Job') ?? JSON.parse(bytes).id };
  }

  job(id) {
    return this.json('GET', `/v1/jobs/${id}`);
  }

  async jobOutput(id) {
    return (await this.raw('GET', `/v1/jobs/${id}/output`)).bytes;
  }

  async jobReceipt(id) {
    return (await this.raw('GET', `/v1/jobs/${id}/receipt`)).bytes;
  }

  reconciliation() {
    return this.json('GET', '/v1/reconciliation');
  }
}

/// Reads a job as the API shows it: {state, verdict, charged, split {node, author, platform}}.
export function jobRead(job) {
  const verdict = typeof job.verdict === 'object' && job.verdict !== null ? job.verdict.verdict ?? job.verdict.result : job.verdict;
  const { node, author, platform } = job.split ?? job.charge?.split ?? job.shares ?? {};
  return { state: job.state ?? job.status, verdict, charged: job.charged ?? job.charge?.total, split: { node, author, platform } };
}

/// Reads a reconciliation: {ledger_sum, balances_ok, custody_ok}.
export function reconciliationRead(answer) {
  const truth = (value) => (typeof value === 'object' && value !== null ? value.ok === true : value === true);
  return {
    ledger_sum: String(answer.ledger_sum?.value ?? answer.ledger_sum),
    balances_ok: truth(answer.balances_ok ?? answer.balances),
    custody_ok: truth(answer.custody_ok ?? answer.custody),
  };
}
