// Waiting, with deadlines, on conditions; progress on stderr. Used by everything under script/ and by tests/stack/.
import { randomInt } from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';

let quiet = false;
export const progressQuiet = (value) => { quiet = value; };

export function progress(text) {
  if (!quiet) process.stderr.write(`  ${text}\n`);
}

/// Asks `condition` again and again until its answer is truthy, and returns that answer. An exception thrown by the
/// condition counts as "not yet" and is told when time is up; `alive` may throw to end the wait at once.
export async function waitFor(what, condition, { seconds = 30, every = 50, alive = () => {} } = {}) {
  const deadline = Date.now() + seconds * 1000;
  let last;
  for (;;) {
    alive();
    try {
      const answer = await condition();
      if (answer) return answer;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline)
      throw new Error(`${what}: not so after ${seconds} s${last ? ` (${last.cause?.message ?? last.message})` : ''}`);
    await new Promise((resolve) => setTimeout(resolve, every));
  }
}

const PORTS = { from: 11000, below: 32768 }; // below those that connections get, and above the last one that browsers refuse (10080)
/// Listens on any port of these that is free.
async function listenSomewhere() {
  for (;;) {
    const server = net.createServer();
    const taken = await new Promise((resolve) => server.once('error', resolve).listen(randomInt(PORTS.from, PORTS.below), '127.0.0.1', resolve));
    if (!taken) return server;
    if (taken.code !== 'EADDRINUSE') throw taken;
  }
}

/// Ports that were free a moment ago, all different.
export async function portsFree(count) {
  const servers = [];
  for (let i = 0; i < count; i++) servers.push(await listenSomewhere());
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

export async function httpOk(url) {
  const response = await fetch(url, { signal: AbortSignal.timeout(2000) });
  await response.arrayBuffer();
  return response.ok;
}

export function fileTail(file, lines = 15) {
  try {
    return fs.readFileSync(file, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  } catch {
    return '(no log)';
  }
}
