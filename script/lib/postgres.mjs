// A private PostgreSQL cluster on loopback, with a password nobody else knows. PostgreSQL refuses to run as root, so
// root hands it to an unprivileged user. Used by the stack and by script/with-postgres.
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { waitFor } from './wait.mjs';

function binFolder() {
  const known = '/usr/lib/postgresql';
  const versions = fs.existsSync(known) ? fs.readdirSync(known).sort((a, b) => Number(b) - Number(a)) : [];
  for (const folder of [...versions.map((version) => path.join(known, version, 'bin')), ...process.env.PATH.split(':')])
    if (fs.existsSync(path.join(folder, 'initdb'))) return folder;
  throw new Error('PostgreSQL is not installed; run ./script/bootstrap');
}

/// The words that drop root's rights; none when we have none.
function dropRoot() {
  if (process.getuid() !== 0) return { user: null, prefix: [] };
  for (const user of ['postgres', 'nobody'])
    try {
      const [uid, gid] = ['-u', '-g'].map((flag) => Number(execFileSync('id', [flag, user], { stdio: 'pipe' })));
      return { user: { uid, gid }, prefix: ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--'] };
    } catch {
      // no such user: try the next
    }
  throw new Error('no unprivileged user to run PostgreSQL as');
}

function run(prefix, file, args, options = {}) {
  const [first, ...rest] = [...prefix, file, ...args];
  try {
    return execFileSync(first, rest, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8', cwd: '/', ...options });
  } catch (error) {
    throw new Error(`${path.basename(file)} failed:\n${error.stderr || error.message}`);
  }
}

/// The folder wished for, or one under /var/tmp when the unprivileged user cannot reach the wish (a clone in /root).
function folderMake(wish, { user, prefix }) {
  const make = (folder) => {
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (user) fs.chownSync(folder, user.uid, user.gid);
    return folder;
  };
  make(wish);
  if (!user) return wish;
  try {
    run(prefix, 'test', ['-w', wish]);
    return wish;
  } catch {
    return make(`/var/tmp/opgate-${createHash('sha256').update(wish).digest('hex').slice(0, 16)}`);
  }
}

/// Creates and starts a cluster under `wish` with an empty database; returns {database_url, local_url, folder}: local_url goes by its socket.
/// The role owns its database and may create others, but is no superuser: the schema's own guards bind it.
export async function postgresStart(procs, wish, port) {
  const bin = binFolder();
  const drop = dropRoot();
  const folder = folderMake(wish, drop);
  const data = path.join(folder, 'data');
  const password = randomBytes(16).toString('hex');
  const password_file = path.join(folder, 'password');
  fs.rmSync(data, { recursive: true, force: true });
  fs.writeFileSync(password_file, password, { mode: 0o600 });
  if (drop.user) fs.chownSync(password_file, drop.user.uid, drop.user.gid);
  run(drop.prefix, path.join(bin, 'initdb'), [
    '-D', data, '-U', 'postgres', '-A', 'scram-sha-256', `--pwfile=${password_file}`, '-E', 'UTF8', '--locale=C', '-N',
  ]);
  fs.rmSync(password_file);
  const socket = folder.length < 80 ? folder : ''; // a socket's path has 107 bytes at most
  fs.appendFileSync(path.join(data, 'postgresql.conf'), [
    '', `port = ${port}`, "listen_addresses = '127.0.0.1'", `unix_socket_directories = '${socket}'`,
    'max_connections = 200', 'fsync = on', 'synchronous_commit = on', "log_timezone = 'UTC'", "timezone = 'UTC'", '',
  ].join('\n'));
  const [file, ...args] = [...drop.prefix, path.join(bin, 'postgres'), '-D', data];
  await procs.start('postgres', { file, args, stop_signal: 'SIGINT', folder }); // SIGINT: its fast shutdown
  await postgresReady(procs, port);
  run([], path.join(bin, 'psql'), [
    '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-h', '127.0.0.1', '-p', String(port), '-U', 'postgres',
    '-c', `CREATE ROLE opgate LOGIN CREATEDB PASSWORD '${password}'`, '-c', 'CREATE DATABASE opgate OWNER opgate',
  ], { env: { ...process.env, PGPASSWORD: password } });
  const database_url = `postgresql://opgate:${password}@127.0.0.1:${port}/opgate`;
  return { database_url, local_url: socket ? `postgresql://opgate:${password}@/opgate?host=${encodeURIComponent(socket)}&port=${port}` : database_url, folder };
}

export async function postgresReady(procs, port) {
  const isready = path.join(binFolder(), 'pg_isready');
  const ready = () => run([], isready, ['-q', '-h', '127.0.0.1', '-p', String(port)]) === '';
  await waitFor('PostgreSQL accepts connections', ready, { seconds: 60, alive: () => procs.demand('postgres') });
}
