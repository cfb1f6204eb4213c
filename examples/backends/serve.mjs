// What both reference backends share: the command line, the HTTP listener, and an end that comes with the parent's.
// A node agent starts a backend with its standard input on a pipe: when the agent dies, however it dies, the pipe
// closes and the backend ends too. --stay keeps it running without a parent.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { parseArgs } from 'node:util';

const USAGE = '--model DIR --port PORT [--host 127.0.0.1] [--threads 1] [--max-body BYTES] [--stay]';

/// An error that the caller is told about, with its HTTP status.
export class Refusal extends Error {
  constructor(status, message, code = 'invalid_request') {
    super(message);
    Object.assign(this, { status, code });
  }
}

export function optionsRead(program, extra = {}) {
  try {
    const { values } = parseArgs({
      options: {
        model: { type: 'string' }, port: { type: 'string' }, host: { type: 'string', default: '127.0.0.1' },
        threads: { type: 'string', default: '1' }, 'max-body': { type: 'string', default: String(32 << 20) },
        stay: { type: 'boolean', default: false }, ...extra,
      },
    });
    if (!values.model || !values.port) throw new Error('--model and --port are needed');
    return values;
  } catch (error) {
    console.error(`${program}: ${error.message}\nusage: ${program} ${USAGE}`);
    process.exit(2);
  }
}

/// The one file with this ending in the folder of a model version, in whatever subfolder its author put it.
export function modelFile(folder, ending) {
  const names = fs.readdirSync(folder, { recursive: true }).filter((name) => name.endsWith(ending));
  if (names.length !== 1) {
    console.error(`${folder}: expected one ${ending} file, found ${names.length}`);
    process.exit(1);
  }
  return path.join(folder, names[0]);
}

export function sendJson(response, status, value, headers = {}) {
  const body = Buffer.from(JSON.stringify(value));
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': body.length, ...headers });
  response.end(body);
}

export async function bodyJson(request, limit) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > limit) throw new Refusal(413, `the body is larger than ${limit} bytes`);
    parts.push(part);
  }
  let value;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(parts)));
  } catch (error) {
    throw new Refusal(400, `the body is not JSON: ${error.message}`);
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new Refusal(400, 'the body is not a JSON object');
  return value;
}

/// Listens; `route(request, response, path)` answers one request, `errorBody(error)` renders what it throws.
export function serve(options, route, errorBody) {
  const server = http.createServer(async (request, response) => {
    try {
      await route(request, response, new URL(request.url, 'http://backend').pathname);
    } catch (error) {
      const refusal = error instanceof Refusal ? error : new Refusal(500, 'the engine failed', 'engine_failed');
      if (refusal !== error) console.error(error);
      if (response.headersSent) return response.destroy(); // cut short: must not look complete
      const headers = { Connection: 'close', ...(refusal.status === 503 && { 'Retry-After': '1' }) };
      sendJson(response, refusal.status, errorBody(refusal), headers);
    }
  });
  server.keepAliveTimeout = 65_000; // longer than a client keeps an idle connection: it must be the one to close it
  server.on('error', (error) => {
    console.error(error.message);
    process.exit(1);
  });
  server.listen(Number(options.port), options.host, () => console.error(`ready on ${options.host}:${options.port}`));

  const end = () => process.exit(0);
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  if (!options.stay) process.stdin.on('end', end).on('error', end).resume();
}
