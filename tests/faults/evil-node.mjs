// A fake node: registers, offers and signs as a real one does, and misbehaves as its `mode` says. A fake is for faults only;
// everything a real node does is tested with the real agent.
import { createHash, randomBytes } from 'node:crypto';
import http from 'node:http';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { CHAIN_ID } from './rig.mjs';

const TYPES = {
  Receipt: 'bytes16 jobId,uint32 attempt,address gateway,address node,bytes32 modelDigest,bytes32 requestHash,bytes32 responseHash,bytes32 profileHash,uint16 status,string policy,uint64 inputUnits,uint64 outputUnits,uint64 startedAt,uint64 finishedAt',
  NodeRegistration: 'address node,address operator,address gateway,string url,uint64 issuedAt',
  PayeeConsent: 'address gateway,address account,address payee,uint64 issuedAt',
  PayoutAddress: 'address account,address to,address gateway,uint64 issuedAt,bytes32 nonce',
  NodeRequest: 'address node,address gateway,string method,string path,bytes32 bodyHash,uint64 issuedAt,bytes32 nonce',
};
const fieldsOf = (name) => TYPES[name].split(',').map((field) => ({ type: field.split(' ')[0], name: field.split(' ')[1] }));
export const sha = (...parts) => '0x' + parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest('hex');
const base64url = (text) => Buffer.from(text).toString('base64url');

/// The canonical text of a statement and its bare signature.
export async function documentSign(name, values, signer) {
  const fields = fieldsOf(name);
  const message = Object.fromEntries(fields.map((field) => [field.name, values[field.name]]));
  const signature = await signer.signTypedData({
    domain: { name: 'opgate', version: '1', chainId: BigInt(CHAIN_ID) }, types: { [name]: fields }, primaryType: name, message,
  });
  const written = Object.fromEntries(fields.map((field) => [field.name, String(message[field.name])]));
  return { text: JSON.stringify({ domain: { name: 'opgate', version: '1', chainId: String(CHAIN_ID) }, message: written, signature }), signature };
}

const keyMake = () => {
  const made = privateKeyToAccount(generatePrivateKey());
  return { address: made.address.toLowerCase(), signTypedData: made.signTypedData };
};

export const TENSOR_ANSWER = '{"model_name":"m","outputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[3]}]}';
export const CHAT_ANSWER = '{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"five words and no more"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}';
export const STREAM_EVENTS = ['one ', 'two ', 'three ', 'four ', 'five'].map((content) => JSON.stringify({ object: 'chat.completion.chunk', choices: [{ index: 0, delta: { content } }] }));
export const UNITS = { tensor: { inputUnits: 1, outputUnits: 0 }, chat: { inputUnits: 3, outputUnits: 5 } };

const JSON_TYPE = { 'Content-Type': 'application/json' };
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class EvilNode {
  /// Registers and offers `models` [{digest, surface}] at `ask`. `mode` is a key of MODES, or a function (call) of its own.
  static async start(rig, { models, mode = 'good', ask = { input: '2000', output: '3000' }, capacity = 1000, operator = 'operator' }) {
    const node = new EvilNode();
    Object.assign(node, { rig, mode, models, ask, operator: rig.accounts[operator], key: keyMake(), other: keyMake(), calls: [] });
    node.profile = JSON.stringify({ engine: 'evil' });
    node.server = http.createServer({ keepAlive: true, keepAliveTimeout: 120_000 }, (request, response) => node.take(request, response));
    await new Promise((resolve) => node.server.listen(0, '127.0.0.1', resolve));
    node.url = `http://127.0.0.1:${node.server.address().port}`;
    rig.closers.push(() => node.close());
    await node.register();
    await node.offer(capacity);
    node.beat = setInterval(() => { node.beaten = node.call('POST', '/heartbeat', '{}').catch(() => {}); }, 3000).unref(); // a silent node gets no work
    return node;
  }

  async register(url = this.url) {
    const values = { node: this.key.address, operator: this.operator.address, gateway: this.rig.gateway_address, url, issuedAt: Date.now() };
    const { text } = await documentSign('NodeRegistration', values, this.key);
    const { signature } = await documentSign('NodeRegistration', values, this.operator.account);
    await this.rig.api().json('POST', '/v1/nodes', { registration: text, operator_signature: signature });
  }

  /// A call of the node to the gateway, signed.
  async call(method, what, body) {
    const path = `/v1/nodes/${this.key.address}${what}`;
    const values = {
      node: this.key.address, gateway: this.rig.gateway_address, method, path, bodyHash: sha(body), issuedAt: Date.now(), nonce: `0x${randomBytes(32).toString('hex')}`,
    };
    const { text } = await documentSign('NodeRequest', values, this.key);
    return this.rig.api().raw(method, path, { body, headers: { 'Opgate-Node': base64url(text) } });
  }

  offer(capacity) {
    const offers = this.models.map(({ digest }) => ({ digest, ask: this.ask, capacity, precision: '', profile: this.profile }));
    return this.call('PUT', '/offers', JSON.stringify({ offers }));
  }

  /// The last call that came, and how many did.
  get last() {
    return this.calls.at(-1);
  }

  async take(request, response) {
    const came = Date.now();
    const parts = [];
    const call = { node: this, request, response, came, closed: new Promise((resolve) => response.once('close', () => resolve(Date.now()))) };
    try {
      for await (const part of request) parts.push(part);
      call.body = Buffer.concat(parts);
      call.ticket = JSON.parse(Buffer.from(request.headers['opgate-ticket'], 'base64url')).message;
      call.surface = this.models.find(({ digest }) => digest.slice(7) === call.ticket.modelDigest.slice(2)).surface;
      call.stream = call.surface === 'chat' && JSON.parse(call.body).stream === true;
      this.calls.push(call);
      const mode = typeof this.mode === 'function' ? this.mode : MODES[this.mode];
      await mode(call);
    } catch (error) {
      if (!request.destroyed || error.code !== 'ECONNRESET') response.destroy(); // a gateway that leaves is no news
    }
  }

  async receipt({ ticket, came, surface }, bytes_hash, more = {}, signer = this.key) {
    const { jobId, attempt, gateway, modelDigest, requestHash, policy } = ticket;
    const values = {
      jobId, attempt, gateway, node: this.key.address, modelDigest, requestHash, responseHash: bytes_hash, profileHash: sha(this.profile), status: 200,
      policy, ...UNITS[surface], startedAt: came, finishedAt: Date.now(), ...more,
    };
    return (await documentSign('Receipt', values, signer)).text;
  }

  /// The receipt of a stream that was cut, pushed as the agent does.
  async pushPartial(call, events, more = {}) {
    const text = await this.receipt(call, streamHash(events), { status: 499, inputUnits: 3, outputUnits: events.length, ...more });
    return this.call('POST', '/receipts', text);
  }

  async close() {
    clearInterval(this.beat);
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  /// Gone from the market: no later test meets it.
  async leave() {
    clearInterval(this.beat);
    await this.beaten; // it would take the drain back
    await this.call('POST', '/drain', '{}');
    await this.close();
    this.rig.closers = this.rig.closers.filter((one) => one !== this.close);
  }
}

export const streamHash = (events) => sha(...events.map((data) => `${data}\n`));
const frame = (data) => `data: ${data}\n\n`;
const answerOf = ({ surface }) => (surface === 'chat' ? CHAT_ANSWER : TENSOR_ANSWER);

/// A complete answer in the form that was asked for, with the receipt that `more` and `signer` make of it.
/// receipt: 'none' leaves it out, any other string stands in its place.
export async function answer(call, { more = {}, signer, receipt, body = answerOf(call), events = STREAM_EVENTS, done = true, status = 200 } = {}) {
  const { node, response } = call;
  const hash = call.stream ? streamHash(events) : sha(body);
  const text = receipt ?? (await node.receipt(call, hash, { status, ...more }, signer));
  const has = receipt !== 'none';
  if (!call.stream) {
    response.writeHead(status, { ...JSON_TYPE, 'Content-Length': Buffer.byteLength(body), ...(has && { 'Opgate-Receipt': base64url(text) }) });
    response.end(body);
    return;
  }
  response.writeHead(status, { 'Content-Type': 'text/event-stream' });
  for (const data of events) response.write(frame(data));
  if (has) response.write(`: opgate-receipt ${base64url(text)}\n\n`);
  response.end(done ? frame('[DONE]') : '');
}

function raw(call, text, then) {
  const { socket } = call.request;
  socket.write(text, () => then?.(socket));
}

const status = (code, message = 'because') => async ({ response }) => {
  const body = JSON.stringify({ error: { message } });
  response.writeHead(code, { ...JSON_TYPE, 'Content-Length': Buffer.byteLength(body) }).end(body);
};

const HEAD = 'HTTP/1.1 200 OK\r\n';
const STREAM_HEAD = { 'Content-Type': 'text/event-stream' };

export const MODES = {
  good: (call) => answer(call),
  /* nothing usable */
  hang: () => {},
  reset: ({ request }) => request.socket.resetAndDestroy(),
  hang_up: ({ request }) => request.socket.end(),
  not_http: (call) => raw(call, 'SSH-2.0-evil\r\n', (socket) => socket.end()),
  headers_bomb: (call) => raw(call, `${HEAD}${`X-Bomb: ${'x'.repeat(8000)}\r\n`.repeat(200)}\r\n`, (socket) => socket.end()),
  continue_forever: (call) => {
    const timer = setInterval(() => raw(call, 'HTTP/1.1 100 Continue\r\n\r\n'), 20);
    call.closed.then(() => clearInterval(timer));
  },
  too_much: async ({ response }) => {
    response.writeHead(200, JSON_TYPE);
    const piece = Buffer.alloc(1 << 20, 'x');
    for (let i = 0; i < 32 && !response.destroyed; i++) if (!response.write(piece)) await Promise.race([new Promise((go) => response.once('drain', go)), pause(500)]);
    response.end();
  },
  too_much_promised: (call) => raw(call, `${HEAD}Content-Length: 33554432\r\n\r\n{`),
  truncated: (call) => raw(call, `${HEAD}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"half":`, (socket) => socket.end()),
  truncated_reset: (call) => raw(call, `${HEAD}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"half":`, (socket) => setTimeout(() => socket.resetAndDestroy(), 20)),
  chunk_cut: (call) => raw(call, `${HEAD}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{"half":`, (socket) => socket.end()),
  chunk_bad: (call) => raw(call, `${HEAD}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{"half":`, (socket) => socket.end()),
  drip: ({ response, closed }) => {
    response.writeHead(200, JSON_TYPE);
    const timer = setInterval(() => response.write(' '), 100);
    closed.then(() => clearInterval(timer));
  },
  compressed: async (call) => {
    const body = Buffer.from('1f8b08000000000000030300000000000000000000', 'hex');
    call.response.writeHead(200, { ...JSON_TYPE, 'Content-Encoding': 'gzip', 'Content-Length': body.length }).end(body);
  },
  redirect: ({ response }) => response.writeHead(307, { Location: 'http://127.0.0.1:1/' }).end(),
  error_500: status(500),
  error_503: status(503),
  empty: (call) => answer(call, { body: '', events: [] }),
  /* complete, but the proof is wrong */
  garbage: (call) => answer(call, { body: '\u0000not json', events: ['not json'], receipt: 'none' }),
  closed_by_end: async (call) => {
    const text = await call.node.receipt(call, sha(answerOf(call)));
    raw(call, `${HEAD}Content-Type: application/json\r\nOpgate-Receipt: ${base64url(text)}\r\nConnection: close\r\n\r\n${answerOf(call)}`, (socket) => socket.end());
  },
  no_receipt: (call) => answer(call, { receipt: 'none' }),
  receipt_garbage: (call) => answer(call, { receipt: 'not a receipt' }),
  receipt_wrong_response: (call) => answer(call, { more: { responseHash: sha('something else') } }),
  receipt_wrong_request: (call) => answer(call, { more: { requestHash: sha('something else') } }),
  receipt_other_attempt: (call) => answer(call, { more: { attempt: Number(call.ticket.attempt) + 1 } }),
  receipt_other_job: (call) => answer(call, { more: { jobId: `0x${randomBytes(16).toString('hex')}` } }),
  receipt_other_node: (call) => answer(call, { more: { node: call.node.other.address }, signer: call.node.other }),
  receipt_other_signer: (call) => answer(call, { signer: call.node.other }),
  receipt_other_model: (call) => answer(call, { more: { modelDigest: sha('another model') } }),
  receipt_other_gateway: (call) => answer(call, { more: { gateway: call.node.other.address } }),
  receipt_other_policy: (call) => answer(call, { more: { policy: 'zk' } }),
  receipt_other_profile: (call) => answer(call, { more: { profileHash: sha('another profile') } }),
  receipt_future: (call) => answer(call, { more: { finishedAt: Date.now() + 3_600_000 } }),
  receipt_other_status: (call) => answer(call, { more: { status: 201 } }),
  inflated: (call) => answer(call, { more: { inputUnits: 2n ** 40n, outputUnits: 2n ** 40n } }),
  type_not_text: async (call) => {
    const text = await call.node.receipt(call, sha(answerOf(call)));
    const body = Buffer.from(answerOf(call));
    const head = `${HEAD}Content-Type: application/\xff\xfe\r\nOpgate-Receipt: ${base64url(text)}\r\nContent-Length: ${body.length}\r\n\r\n`;
    call.request.socket.write(Buffer.concat([Buffer.from(head, 'latin1'), body]));
  },
  /* streams */
  stream_no_done: (call) => answer(call, { done: false }),
  stream_only_done: (call) => answer(call, { events: [] }),
  stream_broken: async ({ response, request }) => {
    response.writeHead(200, STREAM_HEAD);
    for (const data of STREAM_EVENTS.slice(0, 2)) response.write(frame(data));
    await pause(100);
    request.socket.resetAndDestroy();
  },
  /// More than a stream to a caller can take in one piece.
  stream_huge_event: (call) => answer(call, { events: [JSON.stringify({ choices: [{ index: 0, delta: { content: 'x'.repeat(400_000) } }] })] }),
  stream_head_only: ({ response }) => response.writeHead(200, STREAM_HEAD).flushHeaders(),
  stream_stalls: ({ response }) => {
    response.writeHead(200, STREAM_HEAD);
    for (const data of STREAM_EVENTS.slice(0, 2)) response.write(frame(data));
  },
  /// One event every 50 ms until the gateway leaves; what was sent is in call.sent.
  stream_endless: async (call) => {
    call.response.writeHead(200, STREAM_HEAD);
    call.sent = [];
    while (!call.response.destroyed) {
      call.sent.push(STREAM_EVENTS[0]);
      call.response.write(frame(STREAM_EVENTS[0]));
      await pause(50);
    }
    await call.node.left?.(call);
  },
  rejects_400: status(400, 'the tensor has the wrong shape'),
  rejects_402: status(402),
  rejects_413: status(413),
  rejects_415: status(415),
  rejects_422: status(422),
};
