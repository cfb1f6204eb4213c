// `make faults`: every file of fault tests, some at once, each in a process of its own; progress while they run, what fails as soon as it
// does, and in the end how often each fault was made. Environment: SEED (printed; repeats the random choices), ROUNDS (of each fault of
// the chain), PAYMENT_ROUNDS, KILL_ROUNDS, AT_ONCE.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { inRoot } from '../../script/lib/paths.mjs';

const began = Date.now();
const { ROUNDS = '20', PAYMENT_ROUNDS = ROUNDS, KILL_ROUNDS = '20', AT_ONCE = '3', SEED = String(Date.now() % 2 ** 31) } = process.env;
const CHAIN_ROUNDS = 4; // on one chain, so that there are pieces enough to run some at once
const logs = inRoot('build/faults/log');
const folder = inRoot('tests/faults');
const chosen = process.argv.slice(2);
const files = fs.readdirSync(folder).filter((name) => name.endsWith('.test.mjs') && (!chosen.length || chosen.some((word) => name.includes(word))))
  .sort((a, b) => b.startsWith('chain') - a.startsWith('chain') || a.localeCompare(b)); // the long ones first
/// The runs of a file: {file, log, env}. Those of the chain come in pieces, each on a chain of its own, with the next seed.
function runsOf(file) {
  const env = { ...process.env, SEED, PAYMENT_ROUNDS, ROUNDS: KILL_ROUNDS };
  if (!file.startsWith('chain')) return [{ file, log: file, env }];
  return Array.from({ length: Math.ceil(ROUNDS / CHAIN_ROUNDS) }, (_, i) =>
    ({ file, log: `${file}.${i + 1}`, env: { ...env, SEED: Number(SEED) + i, CHAIN_ROUNDS: Math.min(CHAIN_ROUNDS, ROUNDS - i * CHAIN_ROUNDS) } }));
}
const faults = new Map(); // name → {passed, failed}
const clock = () => `${Math.floor((Date.now() - began) / 60000)}:${String(Math.floor((Date.now() - began) / 1000) % 60).padStart(2, '0')}`;
const sums = () => [...faults.values()].reduce(([passed, failed], one) => [passed + one.passed, failed + one.failed], [0, 0]);
const say = (line) => process.stdout.write(`${line}\n`);

function take(file, line, state) {
  const match = /^( *)(not )?ok \d+ - (.*)$/.exec(line);
  if (match && !/# (SKIP|TODO)/.test(line)) {
    const [, , failed, name] = match;
    const key = `${file.replace('.test.mjs', '')}: ${name.replace(/ \(\d+\)$/, '').replace(/^round \d+: /, '')}`;
    if (!faults.has(key)) faults.set(key, { passed: 0, failed: 0 });
    faults.get(key)[failed ? 'failed' : 'passed']++;
    state.telling = Boolean(failed);
    if (failed) say(`FAILED  ${file}: ${name}`);
  } else if (state.telling && (line.trim() === '...' || /^# Subtest/.test(line.trim()))) {
    state.telling = false;
  } else if (state.telling || /^# +seed/.test(line.replaceAll('\\', '').replace('# #', '#'))) {
    say(`  ${line}`);
  }
}

function run({ file, log: name, env }) {
  return new Promise((resolve) => {
    const log = fs.createWriteStream(path.join(logs, `${name}.log`));
    const state = {};
    let rest = '';
    const child = spawn(process.execPath, ['--test', '--test-reporter=tap', '--test-concurrency=1', path.join(folder, file)], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    child.stdout.on('data', (data) => {
      log.write(data);
      const lines = (rest + data).split('\n');
      rest = lines.pop();
      for (const line of lines) take(file, line, state);
    });
    child.on('close', (code) => {
      log.end();
      say(`${clock()}  ${name} ended${code ? ` (${code})` : ''}`);
      resolve(code === 0);
    });
  });
}

fs.mkdirSync(logs, { recursive: true });
say(`seed ${SEED}: each fault of the chain ${ROUNDS} times, each point of a payment ${PAYMENT_ROUNDS} times, ${KILL_ROUNDS} rounds of 200 jobs; logs in ${path.relative(inRoot('.'), logs)}`);
const progress = setInterval(() => {
  const [passed, failed] = sums();
  say(`${clock()}  ${passed} passed, ${failed} failed`);
}, 30_000);
const all = files.flatMap(runsOf), queue = [...all];
const good = [];
await Promise.all(Array.from({ length: Number(AT_ONCE) }, async () => {
  for (let one = queue.shift(); one; one = queue.shift()) good.push(await run(one));
}));
clearInterval(progress);
const [passed, failed] = sums();
for (const [name, one] of [...faults].filter(([name]) => !name.startsWith('charging') && !name.startsWith('outage'))) say(`${String(one.passed).padStart(5)} passed${one.failed ? `, ${one.failed} FAILED` : ''}  ${name}`);
say(`seed ${SEED}, ${Math.round((Date.now() - began) / 1000)} s`);
say(`# pass ${passed}\n# fail ${failed}`);
process.exit(failed === 0 && good.every(Boolean) && good.length === all.length ? 0 : 1);
