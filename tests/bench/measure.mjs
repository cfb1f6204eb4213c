// Measuring for the bench: processor time of groups of processes, wrk, several runs of a case, and how figures are printed.
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { inRoot } from '../../script/lib/paths.mjs';

export const SECONDS = Number(process.env.BENCH_SECONDS ?? 2);
export const RUNS = Number(process.env.BENCH_RUNS ?? 3);
const TICK_US = 1e6 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

function statRead(pid) {
  try {
    const text = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    const f = text.slice(text.lastIndexOf(')') + 2).split(' ').map(Number);
    return { parent: f[1], own: f[11] + f[12], reaped: f[13] + f[14] };
  } catch {
    return null; // it ended: its time is in what its parent reaped
  }
}

const childrenOf = (pid) => fs.readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name)).map(statRead).filter((one) => one?.parent === pid);

/// Processor time of `pid`, of its living children and of those it has reaped, in us.
export function cpuOf(pid) {
  return [statRead(pid), ...childrenOf(pid)].reduce((sum, one) => sum + one.own + one.reaped, 0) * TICK_US;
}

/// Ticks of all processors since the start: {all, stolen} (by others on the same machine).
export function machineTicks() {
  const ticks = fs.readFileSync('/proc/stat', 'latin1').split('\n')[0].split(/ +/).slice(1, 9).map(Number);
  return { all: ticks.reduce((sum, one) => sum + one, 0), stolen: ticks[7] };
}

/// Children that end with a client (a connection's backend) are counted once their parent has reaped them: waits for that, as
/// long as `limits` is exceeded, but not for ever, because some have come to stay.
async function childrenSettle(groups, limits) {
  const over = () => Object.entries(groups).some(([name, pid]) => childrenOf(pid).length > limits[name]);
  for (const end = Date.now() + 1000; over() && Date.now() < end;) await new Promise((resolve) => setTimeout(resolve, 10));
  for (const [name, pid] of Object.entries(groups)) limits[name] = Math.max(limits[name], childrenOf(pid).length);
}

/// A child's standard output; rejects when it fails. The event loop goes on meanwhile, so heartbeats are sent.
export function output(file, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    const text = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr']) child[name].setEncoding('utf8').on('data', (part) => { text[name] += part; });
    child.once('error', reject).once('close', (code) =>
      code === 0 ? resolve(text.stdout) : reject(new Error(`${path.basename(file)} ${args[0]}: ${text.stderr || text.stdout}`)));
  });
}

/// One wrk run: {requests, us, bad, p50, p99}.
export async function wrk(connections, seconds, { url, method = 'GET', body = '', headers = {} }) {
  const args = ['-t', '1', '-c', String(connections), '-d', `${seconds}s`, '-s', inRoot('tests/bench/wrk.lua'), url, '--', method, body,
    ...Object.entries(headers).map(([name, value]) => `${name}=${value}`)];
  return JSON.parse(/RESULT (.*)/.exec(await output('wrk', args))[1]);
}

/// Runs `once` RUNS times after a warm-up; `groups` are {name: pid} whose processor time is told per request.
export async function runs(once, groups) {
  const limits = Object.fromEntries(Object.entries(groups).map(([name, pid]) => [name, childrenOf(pid).length]));
  await once(1);
  const all = [];
  for (let i = 0; i < RUNS; i++) {
    await childrenSettle(groups, limits);
    const before = Object.fromEntries(Object.entries(groups).map(([name, pid]) => [name, cpuOf(pid)]));
    const one = await once(SECONDS);
    await childrenSettle(groups, limits);
    if (one.bad) throw new Error(`${one.bad} of ${one.requests} requests failed`);
    const cpu = Object.fromEntries(Object.entries(groups).map(([name, pid]) => [name, (cpuOf(pid) - before[name]) / one.requests]));
    all.push({ rate: one.requests / (one.us / 1e6), p50: one.p50, p99: one.p99, cpu });
  }
  return all;
}

export const median = (values) => [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)];
const figure = (value) => (value >= 100 ? Math.round(value).toLocaleString('en').replaceAll(',', ' ') : value.toFixed(value >= 10 ? 1 : 2));

/// min/median/max.
export function spread(values) {
  return [Math.min(...values), median(values), Math.max(...values)].map(figure).join('/');
}

/// A row of a Markdown table from the runs of one case.
export function row(name, all) {
  const cpu = Object.keys(all[0].cpu).map((group) => `${group} ${spread(all.map((one) => one.cpu[group]))}`).join(', ');
  return `| ${name} | ${spread(all.map((one) => one.rate))} | ${spread(all.map((one) => one.p50))} | ${spread(all.map((one) => one.p99))} | ${cpu} |`;
}
