// An RPC endpoint that can be made to lie, stall and forget: it stands between a gateway and anvil, and hands everything on until
// `fault` is set.
import http from 'node:http';

export class RpcProxy {
  static async start(upstream) {
    const proxy = new RpcProxy();
    Object.assign(proxy, { upstream, fault: null, asked: {} });
    proxy.server = http.createServer({ keepAliveTimeout: 60_000 }, (request, response) => proxy.take(request, response).catch(() => response.destroy()));
    await new Promise((resolve) => proxy.server.listen(0, '127.0.0.1', resolve));
    proxy.url = `http://127.0.0.1:${proxy.server.address().port}`;
    return proxy;
  }

  async forward(call, upstream = this.upstream) {
    const response = await fetch(upstream, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(call) });
    return response.json();
  }

  /// `fault(call, forward, response)` answers {result}, {error}, or null: then the connection breaks. Undefined: the call goes through.
  async take(request, response) {
    const parts = [];
    for await (const part of request) parts.push(part);
    const asked = JSON.parse(Buffer.concat(parts)), answers = [];
    for (const call of [asked].flat()) answers.push(await this.answer(call, response)); // a batch: the fault meets each call of it
    if (answers.includes(null)) return void response.destroy();
    response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(Array.isArray(asked) ? answers : answers[0]));
  }

  async answer(call, response) {
    this.asked[call.method] = (this.asked[call.method] ?? 0) + 1;
    const own = await this.fault?.(call, (other) => this.forward(call, other), response);
    return own === null ? null : own ? { jsonrpc: '2.0', id: call.id, ...own } : this.forward(call);
  }

  /// The fault holds while `work` runs.
  async during(fault, work) {
    this.fault = fault;
    try {
      return await work();
    } finally {
      this.fault = null;
    }
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
