// The processes of a stack: started detached, written down, stopped by what was written down. A process is known by its
// id and its start time together, so a process id that the system has given to somebody else is never signalled.
// Used by the stack only; the record is pids.json in the stack's folder.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileTail, waitFor } from './wait.mjs';

/// {start, parent} of a live process, or null. A zombie is not live: it only waits to be counted.
function procRead(pid) {
  let stat;
  try {
    stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return null;
  }
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return 'ZX'.includes(fields[0]) ? null : { parent: Number(fields[1]), start: fields[19] };
}

export const procAlive = ({ pid, start }) => procRead(pid)?.start === start;
/// Whether all its threads are stopped: a signal takes a moment to reach those that run.
export const procStopped = ({ pid }) => fs.readdirSync(`/proc/${pid}/task`).every((thread) => /^\d+ \(.*\) T /s.test(fs.readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1')));
export const procSelf = () => ({ pid: process.pid, start: procRead(process.pid).start });

function signal(proc, name) {
  try {
    if (procAlive(proc)) process.kill(proc.pid, name);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

/// All live processes below `pid`, as {pid, start}.
function descendants(pid) {
  const all = fs.readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name))
    .map((name) => ({ pid: Number(name), ...procRead(name) })).filter(({ start }) => start);
  const found = [pid];
  for (const parent of found) for (const child of all) if (child.parent === parent) found.push(child.pid);
  return all.filter((proc) => proc.pid !== pid && found.includes(proc.pid)).map(({ pid, start }) => ({ pid, start }));
}

async function goneOrKilled(what, all, seconds) {
  const gone = () => !all.some(procAlive);
  try {
    await waitFor(`${what} stops`, gone, { seconds, every: 20 });
  } catch {
    process.stderr.write(`  ${what} did not stop within ${seconds} s: killed\n`);
    for (const one of all) signal(one, 'SIGKILL');
    await waitFor(`${what} is gone`, gone, { seconds: 10, every: 20 });
  }
}

/// Our environment without OPGATE_*: opgate reads those as settings, and they would win over the file written for it.
export function environmentClean() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('OPGATE_')));
}

export class Procs {
  constructor(folder) {
    this.file = path.join(folder, 'pids.json');
    this.logs = path.join(folder, 'log');
    try {
      this.list = JSON.parse(fs.readFileSync(this.file, 'utf8'));
    } catch {
      this.list = {};
    }
  }

  save() {
    fs.writeFileSync(`${this.file}.new`, `${JSON.stringify(this.list, null, 1)}\n`, { mode: 0o600 });
    fs.renameSync(`${this.file}.new`, this.file);
  }

  alive(name) {
    return Boolean(this.list[name] && procAlive(this.list[name]));
  }

  logOf(name) {
    return path.join(this.logs, `${name}.log`);
  }

  /// Throws, with the end of its log, when the process is gone. Waits pass it as their `alive`.
  demand(name) {
    if (!this.alive(name)) throw new Error(`${name} ended; the end of ${this.logOf(name)}:\n${fileTail(this.logOf(name))}`);
  }

  /// Starts `spec` = {file, args, stop_signal?}; all of it is recorded, so that it can be started again.
  async start(name, spec) {
    if (this.alive(name)) throw new Error(`${name} is running already`);
    fs.mkdirSync(this.logs, { recursive: true });
    const log = fs.openSync(this.logOf(name), 'a');
    const child = spawn(spec.file, spec.args, {
      cwd: '/', detached: true, stdio: ['ignore', log, log], env: environmentClean(),
    });
    fs.closeSync(log);
    await new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject));
    child.unref();
    const start = procRead(child.pid)?.start;
    this.list[name] = { pid: child.pid, start: start ?? 'gone', spec };
    this.save();
    return child.pid;
  }

  /// Stops it and everything below it, kindly first; returns when all of them are gone. A gateway or a node that drains
  /// may take 30 s.
  async stop(name, { seconds = 40 } = {}) {
    const proc = this.list[name];
    if (!proc) return;
    const below = procAlive(proc) ? descendants(proc.pid) : [];
    signal(proc, proc.spec.stop_signal ?? 'SIGTERM');
    await goneOrKilled(name, [proc], seconds);
    await goneOrKilled(`what ${name} had started`, below, 3); // a backend ends when its agent has
    delete this.list[name];
    this.save();
  }

  async restart(name) {
    const { spec } = this.list[name];
    await this.stop(name);
    return this.start(name, spec);
  }
}
