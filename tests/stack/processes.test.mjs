// The machinery under the stack: processes on record, and private PostgreSQL clusters.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { inRoot } from '../../script/lib/paths.mjs';
import { procAlive, Procs } from '../../script/lib/procs.mjs';
import { processStart } from './helpers.mjs';

function folderMake(t) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'opgate-procs-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  return folder;
}

test('a process and its children are stopped by what was written down', async (t) => {
  const folder = folderMake(t);
  const pid = await new Procs(folder).start('shell', { file: 'sh', args: ['-c', 'sleep 1000 & echo $!; wait'] });
  const later = new Procs(folder); // as another command sees it
  assert.ok(later.alive('shell'));
  assert.equal(later.list.shell.pid, pid);
  const said = () => fs.readFileSync(later.logOf('shell'), 'utf8').trim();
  while (!said()) await new Promise(setImmediate);
  const child = said();
  await later.stop('shell');
  assert.equal(procAlive({ pid, start: 'x' }), false);
  assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
  assert.ok(!fs.existsSync(`/proc/${child}`) || / Z /.test(fs.readFileSync(`/proc/${child}/stat`, 'utf8')));
  assert.deepEqual(new Procs(folder).list, {});
});

test('a process that ignores the request is killed', async (t) => {
  const procs = new Procs(folderMake(t));
  await procs.start('deaf', { file: 'sh', args: ['-c', 'trap "" TERM; echo deaf; while :; do sleep 1; done'] });
  while (!fs.readFileSync(procs.logOf('deaf'), 'utf8')) await new Promise(setImmediate);
  await procs.stop('deaf', { seconds: 0.2 });
  assert.equal(procs.alive('deaf'), false);
});

test('a stranger with a recorded process id is left alone', async (t) => {
  const procs = new Procs(folderMake(t));
  const stranger = processStart(t, 'sleep', ['1000']);
  procs.list.gateway = { pid: stranger.pid, start: '1', spec: { file: 'gateway', args: [] } };
  procs.save();
  assert.equal(procs.alive('gateway'), false);
  await procs.stop('gateway');
  stranger.alive();
});

test('the end of the log says why a process ended', async (t) => {
  const procs = new Procs(folderMake(t));
  await procs.start('short', { file: 'sh', args: ['-c', 'echo because; exit 1'] });
  while (procs.alive('short')) await new Promise(setImmediate);
  assert.throws(() => procs.demand('short'), /short ended; .*because/s);
});

test('with-postgres gives a cluster to a command, and its status back', () => {
  const check = 'psql "$TEST_DATABASE_URL" -Atc "SHOW fsync" -c "SELECT usesuper FROM pg_user WHERE usename = user"; exit 7';
  const { status, stdout, stderr } = spawnSync(inRoot('script/with-postgres'), ['bash', '-c', check], { encoding: 'utf8' });
  assert.equal(stdout, 'on\nf\n', stderr);
  assert.equal(status, 7);
});
