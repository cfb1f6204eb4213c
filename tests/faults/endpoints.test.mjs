// Two RPC endpoints, one of which lies, lags, is down or is another chain; and deposits whose sender is not an account by itself. The
// liar is a proxy in front of the same chain that changes answers on their way.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { encodeFunctionData, hashTypedData } from 'viem';
import { contractsCompile } from '../../script/contracts.mjs';
import { chainAccount, chainOpen } from '../../script/lib/chain.mjs';
import { environmentClean } from '../../script/lib/procs.mjs';
import { CHAIN_ID, opgateBinary, OPG, PAY_TO, Rig, waitFor } from './rig.mjs';

const CONFIRMATIONS = 2;
const WALLET = contractsCompile().TestWallet;
let rig, chain, token, liar;

/// A JSON-RPC endpoint that hands on what the chain says, unless `lie(method, answer, params)` says something else.
class Liar {
  static async start(target) {
    const liar = new Liar();
    liar.lie = null;
    liar.server = http.createServer(async (request, response) => {
      const text = (await Array.fromAsync(request)).join('');
      const { lie } = liar;
      if (lie === 'down') return response.destroy();
      const asked = JSON.parse(text);
      const told = await (await fetch(target, { method: 'POST', body: text, headers: { 'Content-Type': 'application/json' } })).json();
      const tell = ({ id, method, params }) => {
        const answer = [told].flat().find((one) => one.id === id);
        return lie ? { ...answer, ...lie(method, answer, params) } : answer;
      };
      response.setHeader('Content-Type', 'application/json');
      response.end(JSON.stringify(Array.isArray(asked) ? asked.map(tell) : tell(asked)));
    });
    await new Promise((resolve) => liar.server.listen(0, '127.0.0.1', resolve));
    liar.url = `http://127.0.0.1:${liar.server.address().port}`;
    return liar;
  }

  stop() {
    this.server.closeAllConnections();
    return new Promise((resolve) => this.server.close(resolve));
  }
}

before(async () => {
  rig = await Rig.start({ deposit_confirmations: CONFIRMATIONS });
  liar = await Liar.start(rig.rpc_url);
  rig.closers.push(() => liar.stop());
  await rig.gatewayAgain({ rpc_url_2: liar.url, pay_to: PAY_TO });
  chain = chainOpen(rig.rpc_url);
  token = { address: rig.chain.opg_token, abi: contractsCompile().OPG.abi };
});
after(() => rig?.stop());

const balance = () => rig.consumer.balance();
const endpoints = async () => (await rig.reconciliation()).endpoints;
const state = (wanted) => waitFor(`the endpoints are: ${wanted}`, async () => (await endpoints()).state === wanted, { seconds: 60 });
const mine = (n) => chain.client.request({ method: 'anvil_mine', params: [`0x${n.toString(16)}`] });
const cursor = async () => (await rig.sql('SELECT number FROM chain_cursor'))[0].number;
const consumer = () => rig.accounts.consumer.account;
const send = (amount, to = rig.accounts.treasury.address) => chain.write(consumer(), { ...token, functionName: 'transfer', args: [to, amount] });

/// While the second endpoint lies so, nothing is credited; when it is honest again, the deposit is, once.
async function uncredited(lie, wanted) {
  await chain.write(consumer(), { ...token, functionName: 'mint', args: [consumer().address, 10n * OPG] });
  await state('agree');
  const before = await balance();
  liar.lie = lie;
  await send(OPG);
  await mine(4);
  await state(wanted);
  assert.equal(await balance(), before, 'nothing is credited on one word');
  const metrics = await (await fetch(`${rig.base_url}/metrics`)).text();
  assert.match(metrics, new RegExp(`opgate_rpc_endpoints_disagree ${wanted === 'disagree' ? 1 : 0}\n`));
  liar.lie = null;
  await waitFor('it is credited after all', async () => (await balance()) === before + OPG, { seconds: 60 });
  await state('agree');
}

test('an endpoint that hides a transfer stops crediting', { timeout: 120_000 }, async () => {
  await uncredited((method) => (method === 'eth_getLogs' ? { result: [] } : {}), 'disagree');
  const log = rig.logTail('gateway', 300);
  assert.match(log, /"rpc_endpoints_disagree"/);
  assert.match(log, /"rpc_endpoints_agree"/);
});

test('an endpoint that invents another block hash stops crediting', { timeout: 120_000 }, async () => {
  const other = (hash) => hash.replace(/.$/, (c) => (c === '0' ? '1' : '0'));
  await uncredited((method, { result }) => (method === 'eth_getBlockByNumber' && result ? { result: { ...result, hash: other(result.hash) } } : {}), 'disagree');
});

test('one endpoint alone takes nothing back', { timeout: 120_000 }, async () => {
  const before = await balance();
  // The liar as the first endpoint: it says that the chain changed its mind about everything.
  await rig.kill('gateway');
  const fork = (hash) => `0xdead${hash.slice(6)}`;
  await rig.gatewayStart('gateway', { port: new URL(rig.base_url).port, settings: { rpc_url: liar.url, rpc_url_2: rig.rpc_url } });
  liar.lie = (method, { result }) => (method === 'eth_getBlockByNumber' && result && Number(result.number) > 0 ? { result: { ...result, hash: fork(result.hash), parentHash: fork(result.parentHash) } } : {});
  await mine(2);
  await state('disagree');
  await mine(3);
  assert.equal(await balance(), before);
  assert.deepEqual(await rig.sql("SELECT 1 FROM deposit WHERE state = 'reversed'"), []);
  liar.lie = null;
  await state('agree');
  await rig.kill('gateway');
  await rig.gatewayStart('gateway', { port: new URL(rig.base_url).port });
});

test('an endpoint that lags or is down is waited for, and is no disagreement', { timeout: 180_000 }, async () => {
  const head = await chain.client.getBlockNumber();
  await uncredited((method, answer, [number]) => (method === 'eth_getBlockByNumber' && BigInt(number) > head ? { result: null } : {}), 'behind');
  await uncredited('down', 'down');
});

test('a second endpoint of another chain refuses to start', async () => {
  const config = path.join(rig.folder, 'wrong.conf');
  liar.lie = (method) => (method === 'eth_chainId' ? { result: '0x1' } : {});
  fs.writeFileSync(config, fs.readFileSync(rig.gateways.gateway.config, 'utf8').replace(/listen_port = .*/, 'listen_port = 0'));
  // The other process serves this test; this one must not stand still.
  const child = spawn(opgateBinary(), ['serve', '--config', config], { env: environmentClean(), stdio: ['ignore', 'ignore', 'pipe'] });
  const words = (await Array.fromAsync(child.stderr)).join('');
  liar.lie = null;
  assert.match(words, /start_refused[^\n]*rpc_url_2 is chain 1, not 84532/);
});

// ---- whose deposit is it ----

const wallets = {};
async function walletDeposit(amount) {
  const owner = chainAccount(5).account;
  wallets.address ??= await chain.deploy(owner, WALLET);
  await chain.write(owner, { ...token, functionName: 'mint', args: [wallets.address, amount] });
  await chain.client.request({ method: 'anvil_impersonateAccount', params: [wallets.address] });
  await chain.client.request({ method: 'anvil_setBalance', params: [wallets.address, '0x56bc75e2d63100000'] });
  const data = encodeFunctionData({ abi: token.abi, functionName: 'transfer', args: [rig.accounts.treasury.address, amount] });
  const hash = await chain.client.request({ method: 'eth_sendTransaction', params: [{ from: wallets.address, to: token.address, data }] });
  await chain.receiptOf(hash);
  return hash;
}
const held = async (query = '') => (await (await fetch(`${rig.base_url}/v1/deposits/held${query}`)).json()).data;

const claimOf = (deposit, to) => ({
  domain: { name: 'opgate', version: '1', chainId: CHAIN_ID }, primaryType: 'DepositClaim',
  types: { DepositClaim: [['token', 'address'], ['treasury', 'address'], ['transaction', 'bytes32'], ['ordinal', 'uint64'], ['account', 'address']].map(([name, type]) => ({ name, type })) },
  message: { token: token.address, treasury: rig.accounts.treasury.address, transaction: deposit.tx, ordinal: deposit.ordinal, account: to },
});
/// The wallet's owner lets it stand behind this claim (ERC-1271).
const approve = (deposit, to) => chain.write(chainAccount(5).account, { address: wallets.address, abi: WALLET.abi, functionName: 'approve', args: [hashTypedData(claimOf(deposit, to))] });
const claim = (id, account, signature) => fetch(`${rig.base_url}/v1/deposits/${id}/claim`, {
  method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ account, signature }) });

test("a contract's transfer is held, and goes to the account its sender names by signature", { timeout: 120_000 }, async () => {
  const tx = await walletDeposit(7n);
  const deposit = await waitFor('it is held', async () => (await held(`?sender=${wallets.address}`))[0], { seconds: 60 });
  assert.deepEqual([deposit.tx, deposit.sender, deposit.amount, deposit.state], [tx, wallets.address, '7', 'held']);
  assert.deepEqual(await held('?sender=0x00000000000000000000000000000000000000aa'), []);
  const books = await rig.reconciliation();
  assert.deepEqual([books.ok, books.deposits.held, books.deposits.held_amount], [true, 1, '7'], 'custody is right, and it is owed');
  const owner = chainAccount(5).account, to = consumer().address, before = await balance();
  await approve({ ...deposit, ordinal: deposit.ordinal + 1 }, to);
  await approve(deposit, chainAccount(3).address);
  for (const [account, signature, status] of [[to, await owner.signTypedData(claimOf(deposit, to)), 401], [to, '0x12', 401], [to, 'nonsense', 400]])
    assert.equal((await claim(deposit.id, account, signature)).status, status);
  await approve(deposit, to);
  const good = '0x1234';
  assert.equal((await claim(deposit.id + 1000, to, good)).status, 404);
  assert.equal(await balance(), before);
  assert.deepEqual((await Promise.all([1, 2, 3].map(() => claim(deposit.id, to, good)))).map(({ status }) => status), [200, 200, 200], 'racing copies');
  assert.equal(await balance(), before + 7n, 'credited once');
  assert.equal((await claim(deposit.id, chainAccount(3).address, good)).status, 409, 'it is given away');
  assert.deepEqual(await held(), []);
  assert.equal((await rig.reconciliation()).ok, true);
});

test('a contract somebody signed in or paid as is credited at once; mints are held; our own addresses make no deposit', { timeout: 120_000 }, async () => {
  await rig.sqlRun(`INSERT INTO account (address, signed_in_at) VALUES ('\\x${wallets.address.slice(2)}', now()) ON CONFLICT (address) DO UPDATE SET signed_in_at = now()`);
  await walletDeposit(5n);
  const rows = () => rig.sql(`SELECT state, amount::text, '0x' || encode(sender, 'hex') AS sender, account IS NOT NULL AS owned FROM deposit ORDER BY id DESC LIMIT 1`);
  await waitFor('it is credited', async () => (await rows())[0].state === 'credited' && (await rows())[0].amount === '5', { seconds: 60 });
  await chain.write(consumer(), { ...token, functionName: 'mint', args: [rig.accounts.treasury.address, 11n] });
  await waitFor('the mint is held', async () => (await held()).some(({ amount, sender }) => amount === '11' && /^0x0+$/.test(sender)), { seconds: 60 });
  await send(13n, chainAccount(8).address);
  await chain.write(chainAccount(8).account, { ...token, functionName: 'transfer', args: [rig.accounts.treasury.address, 13n] });
  await waitFor('our own money is no deposit', async () => (await rows())[0].state === 'internal', { seconds: 60 });
  assert.deepEqual(await rows(), [{ state: 'internal', amount: '13', sender: chainAccount(8).address, owned: false }]);
  // EIP-7702: an account with a key that borrows code is still that account.
  await chain.client.request({ method: 'anvil_setCode', params: [consumer().address, `0xef0100${wallets.address.slice(2)}`] });
  const before = await balance();
  await send(3n);
  await waitFor('it is credited', async () => (await balance()) === before + 3n, { seconds: 60 });
  await chain.client.request({ method: 'anvil_setCode', params: [consumer().address, '0x'] });
  assert.equal((await rig.reconciliation()).ok, true);
});

test('a confirmed deposit that the chain gives up is shown as reversed, with its reason', { timeout: 120_000 }, async () => {
  const amount = 17n;
  const snapshot = await chain.client.request({ method: 'evm_snapshot' });
  const before = await balance();
  await send(amount);
  await mine(3);
  await waitFor('it is credited', async () => (await balance()) === before + amount, { seconds: 60 });
  const { number } = { number: await cursor() };
  await chain.client.request({ method: 'evm_revert', params: [snapshot] });
  await mine(8);
  await waitFor('it is taken back', async () => (await balance()) === before, { seconds: 60 });
  const { data } = await rig.caller.json('GET', '/v1/deposits');
  const reversed = data.find((deposit) => deposit.amount === String(amount));
  assert.deepEqual([reversed.state, reversed.reversals], ['reversed', 1]);
  assert.match(reversed.reason, /^the chain gave up block \d+ after the deposit was confirmed$/);
  assert.ok(reversed.block <= number);
  await waitFor('the books agree again', async () => (await rig.reconciliation()).ok, { seconds: 60 });
  assert.equal((await rig.reconciliation()).deposits.reversed, 1);
  assert.match(await (await fetch(`${rig.base_url}/metrics`)).text(), /opgate_deposits_reversed 1\n/);
});

test('blocks before deposit_from_block are never looked at', { timeout: 60_000 }, async () => {
  const [{ number }] = await rig.sql('SELECT number FROM chain_cursor');
  await rig.kill('gateway');
  await rig.sqlRun('DELETE FROM chain_cursor; DELETE FROM chain_block; DELETE FROM audit_cursor; DELETE FROM audit_block');
  await rig.gatewayStart('gateway', { port: new URL(rig.base_url).port, settings: { deposit_from_block: number } });
  await mine(1);
  await waitFor('it looks at new blocks', async () => (await cursor()) > number, { seconds: 60 });
  const [{ first }] = await rig.sql('SELECT min(number) AS first FROM chain_block');
  assert.equal(first, number);
});

test('a gateway that is far behind asks where the deposits are, and does not walk there', { timeout: 120_000 }, async () => {
  const before = await balance(), from = await cursor();
  await rig.kill('gateway');
  await mine(400);
  await rig.deposit('consumer', 5n, { wait: false });
  for (let i = 0; i < 3; i++) await mine(400); // the last 1024 are walked
  await rig.gatewayStart('gateway', { port: new URL(rig.base_url).port });
  await waitFor('the deposit is credited', async () => (await balance()) === before + 5n, { seconds: 60 });
  const [{ walked }] = await rig.sql(`SELECT count(*) AS walked FROM chain_block WHERE number > ${from} AND number <= ${from + 500}`);
  assert.ok(walked < 10, `${walked} of the first 500 blocks were looked at`);
});
