// See script/with-postgres, which runs it.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { postgresStart } from './lib/postgres.mjs';
import { Procs } from './lib/procs.mjs';
import { portsFree } from './lib/wait.mjs';

if (process.argv.length < 3) {
  console.error('usage: script/with-postgres COMMAND [ARGUMENT…]');
  process.exit(2);
}
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'opgate-pg-'));
fs.chmodSync(folder, 0o711); // the unprivileged user passes through
const procs = new Procs(folder);
let status = 1;
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => {}); // the command gets it too, or dies of it below
try {
  const { database_url } = await postgresStart(procs, path.join(folder, 'postgres'), (await portsFree(1))[0]);
  const child = spawn(process.argv[2], process.argv.slice(3), {
    stdio: 'inherit', env: { ...process.env, TEST_DATABASE_URL: database_url },
  });
  for (const name of ['SIGTERM', 'SIGHUP']) process.on(name, () => child.kill(name));
  status = await new Promise((resolve, reject) =>
    child.once('error', reject).once('exit', (code, signal) => resolve(code ?? 128 + os.constants.signals[signal])));
} catch (error) {
  console.error(error.message);
} finally {
  const where = procs.list.postgres?.spec.folder;
  await procs.stop('postgres');
  for (const one of [where, folder]) if (one) fs.rmSync(one, { recursive: true, force: true });
}
process.exit(status);
