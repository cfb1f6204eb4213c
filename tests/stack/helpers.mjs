// What the stack tests share: a process that never outlives its test, and the sample data that a fresh clone lacks.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { anvilArguments, ANVIL, chainOpen } from '../../script/lib/chain.mjs';
import { inRoot } from '../../script/lib/paths.mjs';
import { portsFree, waitFor, httpOk } from '../../script/lib/wait.mjs';

export const sharedData = (...parts) => inRoot('..', 'shared', 'data', ...parts);
export const missing = (file) => (fs.existsSync(file) ? false : `sample data is not here: ${file}`);

/// Starts a program that is killed when the test `t` ends; `child.exited` resolves to {code, signal}.
export function processStart(t, file, args, options = {}) {
  const child = spawn(file, args, { stdio: ['pipe', 'ignore', 'pipe'], ...options });
  child.errors = '';
  child.stderr?.on('data', (data) => { child.errors += data; });
  child.exited = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
  t.after(async () => {
    child.kill('SIGKILL');
    await child.exited;
  });
  child.alive = () => {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`${file} ended:\n${child.errors}`);
  };
  return child;
}

/// An anvil that mines each transaction at once.
export async function anvilStart(t) {
  const [port] = await portsFree(1);
  const child = processStart(t, ANVIL, anvilArguments(port, { blockTime: 0 }));
  const rpc_url = `http://127.0.0.1:${port}`;
  const chain = chainOpen(rpc_url);
  await waitFor('anvil answers', () => chain.client.getChainId(), { alive: child.alive });
  return { rpc_url, ...chain };
}

/// A reference backend serving the model in `folder`; resolves when it is ready.
export async function backendStart(t, name, folder, more = []) {
  const [port] = await portsFree(1);
  const args = [inRoot('examples/backends', name), '--model', folder, '--port', String(port), ...more];
  const child = processStart(t, process.execPath, args);
  const url = `http://127.0.0.1:${port}`;
  await waitFor(`${name} is ready`, () => httpOk(`${url}/v2/health/ready`), { alive: child.alive });
  return { url, child };
}
