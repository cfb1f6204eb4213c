// What the fault tests run on: a private PostgreSQL, a local chain and gateways that can be killed, frozen and started
// again, with fake nodes (evil-node.mjs) or real agents in front of a slow backend. Everything is under one temporary folder.
import { execFile, execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { contractsCompile } from '../../script/contracts.mjs';
import { contractsDeploy } from '../../script/deploy.mjs';
import { Api } from '../../script/lib/api.mjs';
import { ANVIL, anvilArguments, CHAIN_ID, chainAccount, chainOpen } from '../../script/lib/chain.mjs';
import { inRoot } from '../../script/lib/paths.mjs';
import { postgresReady, postgresStart } from '../../script/lib/postgres.mjs';
import { environmentClean, procAlive, Procs, procStopped } from '../../script/lib/procs.mjs';
import { fileTail, httpOk, portsFree, waitFor } from '../../script/lib/wait.mjs';

export const OPG = 10n ** 18n;
export const FEE_BPS = 1000n;
export { CHAIN_ID, waitFor };
const run = promisify(execFile);
/// Published accounts that no role has.
export const SETTLER = chainAccount(7), PAY_TO = chainAccount(8).address;
const ROLES = { admin: 0, author: 1, operator: 2, operator_b: 3, consumer: 4, payer: 5, treasury: 6 };

export const opgateBinary = () => path.resolve(process.env.OPGATE_BIN || inRoot('build/opgate'));

export class Rig {
  /// `settings` are laid over the gateway's.
  static async start(settings = {}) {
    const rig = new Rig();
    try {
      await rig.build(settings);
      return rig;
    } catch (error) {
      await rig.stop();
      throw error;
    }
  }

  constructor() {
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'opgate-faults-'));
    fs.chmodSync(this.folder, 0o711); // PostgreSQL's unprivileged user passes through
    this.procs = new Procs(this.folder);
    this.accounts = Object.fromEntries(Object.entries(ROLES).map(([role, index]) => [role, chainAccount(index)]));
    this.closers = [];
  }

  async build(settings) {
    const [pg_port, anvil_port] = await portsFree(2);
    this.pg_port = pg_port;
    this.rpc_url = `http://127.0.0.1:${anvil_port}`;
    const both = [
      postgresStart(this.procs, path.join(this.folder, 'postgres'), pg_port),
      this.procs.start('anvil', { file: ANVIL, args: anvilArguments(anvil_port) }).then(() => this.chainPrepare()),
    ];
    await Promise.allSettled(both);
    const [{ database_url, folder }, chain] = await Promise.all(both);
    Object.assign(this, { database_url, pg_folder: folder, chain });
    this.key_file = path.join(this.folder, 'gateway.key');
    this.jwt_file = path.join(this.folder, 'jwt.secret');
    fs.writeFileSync(this.jwt_file, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600 });
    this.gateway_address = this.opgate('keygen', '--out', this.key_file).toLowerCase();
    this.settings = {
      database_url, rpc_url: this.rpc_url, chain_id: CHAIN_ID, opg_token: chain.opg_token, treasury: this.accounts.treasury.address,
      genesis_hash: chain.genesis_hash, gateway_key_file: this.key_file, jwt_secret_file: this.jwt_file, blob_dir: path.join(this.folder, 'blobs'),
      public_dir: inRoot('public'), allow_private_nodes: 'true', deposit_confirmations: 1, platform_fee_bps: Number(FEE_BPS), poll_ms: 100,
      node_timeout_ms: 600000, ...settings,
    };
    fs.mkdirSync(this.settings.blob_dir, { recursive: true });
    await this.gatewayStart('gateway', { migrate: true });
    await this.accountsPrepare();
  }

  opgate(...args) {
    return execFileSync(opgateBinary(), args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], env: environmentClean() }).trim();
  }

  async chainPrepare() {
    const { client } = chainOpen(this.rpc_url);
    await waitFor('anvil answers', () => client.getChainId(), { alive: () => this.procs.demand('anvil') });
    return contractsDeploy(this.rpc_url);
  }

  /// Starts a gateway; `settings` over the rig's, `fault` = "name:count" for a build with fault points.
  async gatewayStart(name, { port, settings = {}, migrate = false, fault, ready = true } = {}) {
    const at = port ?? (await portsFree(1))[0];
    const base_url = `http://127.0.0.1:${at}`;
    const config = path.join(this.folder, `${name}.conf`);
    const all = { listen_host: '127.0.0.1', listen_port: at, base_url, ...this.settings, ...settings };
    fs.writeFileSync(config, Object.entries(all).map(([key, value]) => `${key} = ${value}\n`).join(''), { mode: 0o600 });
    if (migrate) this.opgate('migrate', '--config', config);
    this.gateways = { ...this.gateways, [name]: { base_url, config } };
    if (name === 'gateway') this.base_url = base_url;
    await this.gatewaySpawn(name, fault);
    if (ready) await this.gatewayReady(name);
    return base_url;
  }

  /// The gateway again, where it was, with more settings, which stay.
  async gatewayAgain(settings) {
    await this.kill('gateway');
    Object.assign(this.settings, settings);
    await this.gatewayStart('gateway', { port: new URL(this.base_url).port });
  }

  /// A file with the key of one of the chain's accounts.
  keyFile(name, { private_key }) {
    const file = path.join(this.folder, `${name}.key`);
    fs.writeFileSync(file, `${private_key.slice(2)}\n`, { mode: 0o600 });
    return file;
  }

  /// What makes a gateway take what wallets pay.
  walletSettings() {
    return { settler_contract: this.chain.settler, settler_key_file: this.keyFile('settler', SETTLER), pay_to: PAY_TO };
  }

  gatewaySpawn(name, fault) {
    const args = [opgateBinary(), 'serve', '--config', this.gateways[name].config];
    if (fault) args.unshift(`OPGATE_TEST_FAULT=${fault}`);
    return this.procs.start(name, { file: '/usr/bin/env', args });
  }

  gatewayReady(name = 'gateway') {
    return waitFor(`${name} is ready`, () => httpOk(`${this.gateways[name].base_url}/readyz`), { alive: () => this.procs.demand(name), every: 25 });
  }

  pid(name) {
    return this.procs.list[name].pid;
  }

  /// Signals it, and waits until it is gone, or stands still, when that is what the signal does.
  async kill(name, signal = 'SIGKILL') {
    const proc = this.procs.list[name];
    if (procAlive(proc)) process.kill(proc.pid, signal);
    if (signal === 'SIGKILL') await waitFor(`${name} is gone`, () => !procAlive(proc), { every: 5 });
    if (signal === 'SIGSTOP') await waitFor(`${name} stands still`, () => procStopped(proc), { every: 5 });
  }

  gone(name) {
    return !procAlive(this.procs.list[name]);
  }

  /// PostgreSQL again after a kill: until the children of the killed one have let go of its memory, it refuses.
  async postgresRestart() {
    const { spec } = this.procs.list.postgres;
    await waitFor('PostgreSQL starts', async () => {
      if (this.gone('postgres')) await this.procs.start('postgres', spec);
      await postgresReady(this.procs, this.pg_port);
      return !this.gone('postgres');
    }, { every: 200, seconds: 60 });
  }

  /// Rows as objects. Numbers beyond 2^53 must be cast to text in the query.
  async sql(query) {
    const json = `SELECT coalesce(json_agg(t), '[]') FROM (${query}) t`;
    const { stdout } = await run('psql', ['-X', '-A', '-t', '-q', '-v', 'ON_ERROR_STOP=1', '-d', this.database_url, '-c', json], { maxBuffer: 1 << 28 });
    return JSON.parse(stdout);
  }

  async sqlRun(statement) {
    await run('psql', ['-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', this.database_url, '-c', statement]);
  }

  api(base_url = this.base_url) {
    return new Api(base_url);
  }

  async accountsPrepare() {
    const api = this.api();
    this.author = await api.signIn(this.accounts.author.account, CHAIN_ID);
    this.consumer = await api.signIn(this.accounts.consumer.account, CHAIN_ID);
    await this.author.handleSet('author');
    this.key = await this.consumer.keyCreate('faults', ['inference', 'read']);
    this.caller = api.as(this.key);
    await this.deposit('consumer', 1000n * OPG);
  }

  /// OPG to the treasury, as anybody does it; waits until it is credited.
  async deposit(role, amount, { wait = true } = {}) {
    const opg = { address: this.chain.opg_token, abi: contractsCompile().OPG.abi };
    const { write } = chainOpen(this.rpc_url);
    const { account, address } = this.accounts[role];
    const before = wait && (await this.consumer.balance());
    await write(account, { ...opg, functionName: 'mint', args: [address, amount] });
    await write(account, { ...opg, functionName: 'transfer', args: [this.accounts.treasury.address, amount] });
    if (wait) await waitFor('the deposit is credited', async () => (await this.consumer.balance()) >= before + amount);
  }

  /// A published model nobody serves yet: {id, digest, surface, price}.
  async modelPublish(name, surface, price, more = {}) {
    const files = [{ path: `model.${surface === 'chat' ? 'gguf' : 'onnx'}`, bytes: Buffer.from(`${name} ${surface}`) }];
    return { ...(await this.author.modelPublish({ name, title: name, description: 'for tests', surface, price, files, ...more })), price };
  }

  /// What is seen from now on: while that takes long, the gateway shows what it saw last.
  reconciliation() {
    const now = Date.now();
    return waitFor('the books are looked at', async () => {
      const seen = await this.api().reconciliation();
      return Date.parse(seen.checked_at) >= now && seen;
    }, { seconds: 60 });
  }

  logTail(name, lines = 30) {
    return fileTail(this.procs.logOf(name), lines);
  }

  async stop() {
    for (const close of this.closers.reverse()) await close();
    const others = Object.keys(this.procs.list).filter((name) => !['anvil', 'postgres'].includes(name));
    for (const name of [...others, 'anvil', 'postgres']) {
      if (!this.procs.list[name]) continue;
      if (procAlive(this.procs.list[name])) process.kill(this.pid(name), 'SIGCONT');
      if (name !== 'postgres' && !others.includes(name)) await this.kill(name);
      await this.procs.stop(name);
    }
    for (const folder of [this.pg_folder, this.folder]) if (folder) fs.rmSync(folder, { recursive: true, force: true });
  }
}
