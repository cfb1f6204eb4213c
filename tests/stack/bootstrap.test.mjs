// What script/bootstrap must not touch: in a folder of its own, with an npm that only says that it ran.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { inRoot } from '../../script/lib/paths.mjs';

/// A clone's folder: bootstrap, a lock, and the tools of another folder, installed `seconds` before the lock was written.
function cloneMake(t, seconds) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'opgate-clone-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const at = (...parts) => path.join(folder, ...parts);
  const write = (file, text, mode) => {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text, { mode });
    return file;
  };
  fs.mkdirSync(at('script'));
  fs.copyFileSync(inRoot('script/bootstrap'), at('script/bootstrap'));
  write(at('script/node'), '#!/bin/sh\n', 0o755);
  write(at('package-lock.json'), '{}');
  write(at('bin/npm'), `#!/bin/sh\necho "$@" >> ${at('npm.log')}\n`, 0o755);
  const record = write(at('tools/.package-lock.json'), '{}');
  const then = fs.statSync(at('package-lock.json')).mtimeMs / 1000 - seconds;
  fs.utimesSync(record, then, then);
  const run = () => spawnSync('bash', [at('script/bootstrap')], { encoding: 'utf8', env: { ...process.env, PATH: `${at('bin')}:${process.env.PATH}` } });
  return { at, run, npm: () => (fs.existsSync(at('npm.log')) ? fs.readFileSync(at('npm.log'), 'utf8') : '') };
}

test('a node_modules that is a link is used as it is, and never installed into', (t) => {
  const current = cloneMake(t, -60);
  fs.symlinkSync('tools', current.at('node_modules'));
  assert.equal(current.run().status, 0, 'what is there is new enough');
  const old = cloneMake(t, 60);
  fs.symlinkSync('tools', old.at('node_modules'));
  const { status, stderr } = old.run();
  assert.match(stderr, /node_modules is a link .*tools/);
  assert.equal(status, 1);
  assert.equal(current.npm() + old.npm(), '', 'npm ci would empty the folder behind the link');
});

test('a node_modules of its own, older than the lock, is installed anew', (t) => {
  const clone = cloneMake(t, 60);
  fs.renameSync(clone.at('tools'), clone.at('node_modules'));
  assert.equal(clone.run().status, 0);
  assert.match(clone.npm(), /^ci /);
});
