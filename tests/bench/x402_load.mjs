// The buyers of the x402 bench: sends requests that were made (and their payments signed) before the clock starts, over a few
// connections that stay open, each with one request under way. Plain sockets, so that little of the machine goes into asking.
import net from 'node:net';

/// One HTTP/1.1 request as bytes.
export function requestBytes(url, { headers, body }) {
  const { host, pathname } = new URL(url);
  const lines = Object.entries({ Host: host, 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body), ...headers });
  return Buffer.from(`POST ${pathname} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body}`);
}

/// The first whole answer in `bytes`: {status, headers, body, length}, or null.
function answerRead(bytes) {
  const head = bytes.indexOf('\r\n\r\n');
  if (head < 0) return null;
  const [first, ...lines] = bytes.toString('latin1', 0, head).split('\r\n');
  const headers = Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]));
  if (!/^\d+$/.test(headers['content-length'] ?? '')) throw new Error(`an answer without a length: ${first}`);
  const length = head + 4 + Number(headers['content-length']);
  return bytes.length < length ? null : { status: Number(first.split(' ')[1]), headers, body: bytes.toString('utf8', head + 4, length), length };
}

function connect(url) {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: hostname, port: Number(port), noDelay: true }, () => resolve(socket));
    socket.once('error', reject);
  });
}

const PATIENCE_MS = 60_000; // without any answer: then the seller hangs

/// Sends `requests`, the next one on whichever connection is free: {us, answers, latencies_us, cpu_us}.
export async function load(url, connections, requests) {
  const sockets = await Promise.all(Array.from({ length: connections }, () => connect(url)));
  const answers = new Array(requests.length), latencies_us = [];
  let next = 0;
  const cpu = process.cpuUsage(), begin = process.hrtime.bigint();
  const silence = setTimeout(() => {
    for (const socket of sockets) socket.destroy(new Error(`no answer for ${PATIENCE_MS / 1000} s, after ${latencies_us.length} of ${requests.length}`));
  }, PATIENCE_MS);
  const done = Promise.all(sockets.map((socket) => new Promise((resolve, reject) => {
    let bytes = Buffer.alloc(0), at = begin, current = -1;
    const send = () => {
      if (next === requests.length) return resolve();
      current = next++;
      at = process.hrtime.bigint();
      socket.write(requests[current]);
    };
    socket.on('data', (part) => {
      bytes = bytes.length ? Buffer.concat([bytes, part]) : part;
      try {
        const answer = answerRead(bytes);
        if (!answer) return;
        silence.refresh();
        latencies_us.push(Number(process.hrtime.bigint() - at) / 1000);
        answers[current] = answer;
        bytes = bytes.subarray(answer.length);
        send();
      } catch (error) {
        reject(error);
      }
    }).once('close', () => reject(new Error('a connection was closed'))).once('error', reject);
    send();
  })));
  await done.finally(() => clearTimeout(silence));
  const us = Number(process.hrtime.bigint() - begin) / 1000, { user, system } = process.cpuUsage(cpu);
  for (const socket of sockets) socket.removeAllListeners().destroy();
  return { us, answers, latencies_us, cpu_us: user + system };
}
