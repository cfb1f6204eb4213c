// What every test of the API stands on: a running stack, and a few words for talking to it from outside. Importing it gives
// `dev` (the stack's dev.json) and holds the stack for this file alone, because some tests make the chain change its mind.
//
// The stack is the one of OPGATE_VAR when that is up. Otherwise the first file of a run brings one up in a folder of its
// own, the others of the same run use it too, and keeper.mjs takes it down when the run is over.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { contractsCompile } from '../../script/contracts.mjs';
import { Api } from '../../script/lib/api.mjs';
import { chainOpen } from '../../script/lib/chain.mjs';
import { inRoot, inVar } from '../../script/lib/paths.mjs';
import { environmentClean, procAlive, procSelf } from '../../script/lib/procs.mjs';
import { devRead, opgateBinary, stackLocked, stackRestart, stackStatus, stackUp } from '../../script/lib/stack.mjs';
import { progressQuiet, waitFor } from '../../script/lib/wait.mjs';

export { waitFor } from '../../script/lib/wait.mjs';
export { inVar, inRoot };
export const OPG = 10n ** 18n;

// ---- the stack ----

/// The process that runs all test files (node --test), or this one when a file is run by itself.
function runner() {
  if (!process.env.NODE_TEST_CONTEXT) return procSelf();
  const stat = fs.readFileSync(`/proc/${process.ppid}/stat`, 'latin1');
  return { pid: process.ppid, start: stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] };
}

const isUp = () => fs.existsSync(inVar('dev.json')) && stackStatus().every(({ alive }) => alive);

/// One test file at a time: the lock is released when the process ends, and a dead holder's does not count.
async function filesTakeTurns(lock) {
  const own = JSON.stringify(procSelf());
  await waitFor('no other test file uses the stack', () => {
    try {
      fs.writeFileSync(lock, own, { flag: 'wx' });
      return true;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
      const holder = fs.readFileSync(lock, 'utf8');
      if (holder && !procAlive(JSON.parse(holder))) fs.rmSync(lock, { force: true });
      return false;
    }
  }, { seconds: 900 });
  process.on('exit', () => fs.rmSync(lock, { force: true }));
}

async function stackUse() {
  progressQuiet(true);
  if (process.env.OPGATE_VAR && isUp()) {
    await filesTakeTurns(inVar('tests.lock'));
    return devRead();
  }
  const { pid, start } = runner();
  const folder = path.join(os.tmpdir(), `opgate-api-${pid}-${start}`);
  fs.mkdirSync(folder, { recursive: true, mode: 0o711 }); // PostgreSQL's unprivileged user passes through
  process.env.OPGATE_VAR = path.join(folder, 'var');
  await filesTakeTurns(path.join(folder, 'tests.lock'));
  if (!fs.existsSync(process.env.OPGATE_VAR)) {
    fs.mkdirSync(process.env.OPGATE_VAR);
    const keeper = fileURLToPath(new URL('keeper.mjs', import.meta.url));
    spawn(process.execPath, [keeper, folder, String(pid), start], { cwd: '/', detached: true, stdio: 'ignore' }).unref();
  }
  return (await stackLocked(stackUp)).dev;
}

export const dev = await stackUse();
export const api = new Api(dev.base_url);
export const host = new URL(dev.base_url).host;
export const modelOf = (surface) => dev.models.find((model) => model.surface === surface);

// ---- talking HTTP ----

/// One request; any answer is an answer: {status, headers, bytes, json}. `body` may be bytes, text, or a value for JSON.
export async function call(method, path, { key, body, headers = {} } = {}) {
  const plain = body === undefined || typeof body === 'string' || Buffer.isBuffer(body);
  const response = await fetch(dev.base_url + path, {
    method, signal: AbortSignal.timeout(60_000), body: plain ? body : JSON.stringify(body),
    headers: {
      ...(key && { Authorization: `Bearer ${key}` }), ...(body !== undefined && { 'Content-Type': 'application/json' }), ...headers,
    },
  });
  const bytes = Buffer.from(await response.arrayBuffer());
  const answer = { status: response.status, headers: response.headers, bytes };
  Object.defineProperty(answer, 'json', { get: () => JSON.parse(bytes.toString()) });
  return answer;
}

const told = (answer) => `${answer.status} ${answer.bytes.toString().slice(0, 400)}`;

export function assertStatus(answer, status) {
  assert.equal(answer.status, status, told(answer));
  return answer;
}

/// The error object of an answer, after checking that it has the shape of its surface, the status and the code.
export function assertError(answer, shape, status, code) {
  assertStatus(answer, status);
  const body = answer.json;
  const members = shape === 'openai' ? body.error : body;
  assert.equal(members.code, code, told(answer));
  assert.ok(members.request_id, told(answer));
  assert.equal(members.request_id, answer.headers.get('X-Request-Id'), 'the same request id in the header');
  assert.equal(typeof members.retryable, 'boolean', told(answer));
  assert.equal(members.charged, false, told(answer));
  if (shape === 'openai') {
    assert.ok(typeof members.message === 'string' && members.message, told(answer));
    assert.equal(typeof members.type, 'string', told(answer));
    assert.ok('param' in members, told(answer));
  } else if (shape === 'oip') {
    assert.ok(typeof body.error === 'string' && body.error, told(answer));
  } else {
    assert.equal(answer.headers.get('Content-Type'), 'application/problem+json', told(answer));
    for (const name of ['type', 'title', 'detail', 'instance']) assert.ok(typeof body[name] === 'string' && body[name], `${name}: ${told(answer)}`);
    assert.equal(body.status, status, told(answer));
  }
  return members;
}

// ---- the chain, and accounts ----

export const chain = chainOpen(dev.rpc_url);
export const token = { address: dev.opg_token, abi: contractsCompile().OPG.abi };
export const rpc = (method, ...params) => chain.client.request({ method, params });
export const tokenBalance = (address) => chain.read({ ...token, functionName: 'balanceOf', args: [address] });
/// Mines now instead of waiting for the next second.
export const mine = (blocks = 1) => rpc('anvil_mine', `0x${blocks.toString(16)}`);

/// A wallet nobody has used, with ether for gas.
export async function walletMake() {
  const private_key = generatePrivateKey();
  const account = privateKeyToAccount(private_key);
  await rpc('anvil_setBalance', account.address, '0x56bc75e2d63100000');
  return { private_key, account, address: account.address.toLowerCase() };
}

/// Sends calls of the token from the wallet and mines them into one block; returns their receipts, all successful.
export async function tokenSend(wallet, calls, contract = token) {
  const sender = chain.wallet(wallet.account);
  const first = await chain.client.getTransactionCount({ address: wallet.address, blockTag: 'pending' });
  const hashes = [];
  for (const [i, [functionName, ...args]] of calls.entries())
    hashes.push(await sender.writeContract({ ...contract, functionName, args, nonce: first + i, gas: 200_000n }));
  await mine();
  return Promise.all(hashes.map(async (hash) => {
    const receipt = await chain.receiptOf(hash);
    assert.equal(receipt.status, 'success', `transaction ${hash}`);
    return receipt;
  }));
}

/// Mints `amount` to the wallet and sends it to the treasury: the receipt of the transfer.
export async function depositSend(wallet, amount) {
  return (await tokenSend(wallet, [['mint', wallet.address, amount], ['transfer', dev.treasury, amount]]))[1];
}

/// A new account, signed in: {…wallet, api (with the token), token, key}. `opg` base units are deposited and credited.
export async function accountMake({ opg = 0n, scopes = ['inference', 'read', 'registry'] } = {}) {
  const wallet = await walletMake();
  const signed = await api.signIn(wallet.account, dev.chain_id);
  const key = await signed.keyCreate('test', scopes);
  if (opg > 0n) {
    await depositSend(wallet, opg);
    await mine(2);
    await waitFor('the deposit is credited', async () => (await signed.balance()) === opg);
  }
  return { ...wallet, api: signed, token: signed.bearer, key };
}

export async function balanceOf(key) {
  const { available, held, earned } = assertStatus(await call('GET', '/v1/balance', { key }), 200).json;
  return { available: BigInt(available), held: BigInt(held), author: BigInt(earned.author), operator: BigInt(earned.operator) };
}

// ---- jobs ----

export const adderBody = (...data) => JSON.stringify({ inputs: [{ name: 'x', shape: [data.length], datatype: 'FP32', data }] });
export const unbase64url = (text) => Buffer.from(text, 'base64url');

/// The job as its payer sees it, once it has ended.
export function jobEnded(key, id) {
  return waitFor(`job ${id} ends`, async () => {
    const job = assertStatus(await call('GET', `/v1/jobs/${id}`, { key, headers: { Prefer: 'wait=10' } }), 200).json;
    return job.outcome && job;
  });
}

/// charged = node + author + platform, checked; as bigints.
export function splitOf(job) {
  const [charged, node, author, platform] = [job.charged, job.split.node, job.split.author, job.split.platform].map(BigInt);
  assert.equal(node + author + platform, charged, `the split of job ${job.id} adds up`);
  assert.ok(charged <= BigInt(job.hold), 'never more than the hold');
  return { charged, node, author, platform };
}

/// The books hold, by the gateway's own word.
export async function assertBooks() {
  const books = assertStatus(await call('GET', '/v1/reconciliation'), 200).json;
  assert.deepEqual(
    { ok: books.ok, sum: books.ledger_sum, balances: books.balances_ok, holds: books.holds_ok, captures: books.captures_ok, custody: books.custody_ok },
    { ok: true, sum: '0', balances: true, holds: true, captures: true, custody: true },
  );
  return books;
}

// ---- programs ----

/// Rows of a statement, each a list of texts.
export function sql(statement, database_url = dev.database_url) {
  const out = execFileSync('psql', ['-X', '-A', '-t', '-F', '\t', '-v', 'ON_ERROR_STOP=1', '-c', statement, database_url], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  return out.split('\n').filter(Boolean).map((line) => line.split('\t'));
}

/// Runs the opgate binary: {status, stdout, stderr}.
export function opgate(...args) {
  return spawnSync(opgateBinary(), args, { encoding: 'utf8', env: environmentClean(), timeout: 30_000 });
}

/// Writes settings of the gateway and starts it again; undone by the returned function.
export async function settingsChange(settings) {
  const file = inVar('config/gateway.conf');
  const before = fs.readFileSync(file, 'utf8');
  const kept = before.split('\n').filter((line) => !(line.split(' = ')[0] in settings));
  const restart = async (text) => {
    fs.writeFileSync(file, text);
    await stackLocked(() => stackRestart('gateway'));
  };
  await restart([...kept, ...Object.entries(settings).map(([name, value]) => `${name} = ${value}`), ''].join('\n'));
  return () => restart(before);
}

let folders;
/// A new folder that is gone when the test file ends.
export function folderMake() {
  if (!folders) {
    folders = fs.mkdtempSync(path.join(os.tmpdir(), 'opgate-test-'));
    process.on('exit', () => fs.rmSync(folders, { recursive: true, force: true }));
  }
  return fs.mkdtempSync(path.join(folders, 'f-'));
}

export const uuid = randomUUID;
