// A month in minutes: accounts deposit and withdraw, jobs run and fail, wallets pay by x402, blocks are taken back, gateways and the
// database are killed. At the end everything is counted again from the outside: what the chain says came and went, what the clients were
// told, what the price list makes of the jobs. Not one base unit may be missing or left over. See main.mjs; run by `make month`.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import path from 'node:path';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { contractsCompile } from '../../script/contracts.mjs';
import { chainAccount, chainOpen } from '../../script/lib/chain.mjs';
import { inRoot } from '../../script/lib/paths.mjs';
import { httpOk, portsFree } from '../../script/lib/wait.mjs';
import { BenchNode } from '../bench/node.mjs';
import { answer, EvilNode } from '../faults/evil-node.mjs';
import { randomFrom } from '../faults/kill.mjs';
import { CHAIN_ID, OPG, Rig, waitFor } from '../faults/rig.mjs';
import { paymentsOpen } from '../stack/payments.mjs';

const BENCH = path.resolve(process.env.BENCH_BIN ?? inRoot('build/bench'));
const PAYER = chainAccount(10);
const CONFIRMATIONS = 12; // no reorganisation goes deeper: what is final stays
const BLOCK_SECONDS = 1;
const AT_ONCE = 24;
const ROYALTY = 500n;
const base64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64');
const BODY = (number) => JSON.stringify({ inputs: [{ name: 'x', shape: [1], datatype: 'FP32', data: [number] }] });

export class Month {
  static async start({ seed, say, people = 16, wallets = 8 }) {
    const month = new Month();
    Object.assign(month, { seed, say, random: randomFrom(seed), number: 0, refusals: {}, told: { jobs: 0, paid: 0, refused: 0, broken: 0, withdrawals: 0 } });
    month.rig = await Rig.start({ deposit_confirmations: CONFIRMATIONS, payout_minimum: 1000, payout_sign_in_ms: 3_600_000, instance_timeout_ms: 1000, job_timeout_ms: 60000, poll_ms: 100, rate_paid: 0, rate_read: 0, rate_write: 0 });
    try {
      await month.build(people, wallets);
      return month;
    } catch (error) {
      await month.rig.stop();
      throw error;
    }
  }

  stop() {
    this.agent?.destroy();
    for (const node of this.nodes ?? []) node.stop();
    return this.rig.stop();
  }

  // ---- who takes part ----

  async build(people, wallets) {
    const { rig } = this;
    await rig.gatewayAgain({ ...rig.walletSettings(), payouts_contract: rig.chain.payouts, payout_key_file: rig.keyFile('payer', PAYER) });
    this.chain = chainOpen(rig.rpc_url);
    this.payments = paymentsOpen(this.chain, { ...rig.chain, chain_id: CHAIN_ID });
    this.opg = { address: rig.chain.opg_token, abi: contractsCompile().OPG.abi };
    this.agent = new http.Agent({ keepAlive: true, maxSockets: AT_ONCE });
    this.earners = {};
    for (const role of ['author', 'operator', 'operator_b']) {
      this.earners[role] = await rig.api().signIn(rig.accounts[role].account, CHAIN_ID);
      await this.earners[role].json('PUT', '/v1/payouts/settings', { schedule: 'daily', minimum: '1000' });
    }
    this.model = await rig.modelPublish('month', 'tensor', { input: String(ROYALTY), output: '0' });
    await this.nodesStart();
    this.people = await this.crowd(people, async (person) => {
      person.api = await rig.api().signIn(person.account, CHAIN_ID);
      person.key = await person.api.keyCreate('month', ['inference', 'read']);
    });
    this.wallets = await this.crowd(wallets, async () => {});
    await Promise.all(this.people.map((person) => this.deposit(person, 50n * OPG)));
    await waitFor('they are credited', async () => (await this.rig.sql(`SELECT count(*)::int AS n FROM deposit WHERE state = 'credited'`))[0].n > people);
    this.first_block = Number(await this.chain.client.getBlockNumber()); // no reorganisation takes back what everything stands on
  }

  /// Accounts nobody has used, with ether and OPG.
  async crowd(count, prepare) {
    const list = [];
    for (let i = 0; i < count; i++) {
      const account = privateKeyToAccount(generatePrivateKey());
      const person = { account, address: account.address.toLowerCase() };
      await this.chain.client.request({ method: 'anvil_setBalance', params: [person.address, '0x56bc75e2d63100000'] });
      await this.chain.write(chainAccount(9).account, { ...this.opg, functionName: 'mint', args: [person.address, 10_000n * OPG] });
      await prepare(person);
      list.push(person);
    }
    return list;
  }

  /// Two fast nodes that are honest, and one that is cheaper and often is not.
  async nodesStart() {
    const { rig } = this;
    this.nodes = [];
    for (const [i, ask] of [1000n, 1200n].entries()) {
      const [port] = await portsFree(1);
      const node = new BenchNode(rig.api(), { chain_id: CHAIN_ID, gateway_address: rig.gateway_address, operator_key: rig.accounts[i ? 'operator_b' : 'operator'].private_key, url: `http://127.0.0.1:${port}` });
      const file = path.join(rig.folder, `node-${i}.key`);
      fs.writeFileSync(file, node.private_key.slice(2), { mode: 0o600 });
      await rig.procs.start(`node-${i}`, { file: path.join(BENCH, 'bench_node'), args: [String(port), file, String(CHAIN_ID), node.profile_hash] });
      await waitFor(`node ${i} answers`, () => httpOk(node.url), { alive: () => rig.procs.demand(`node-${i}`) });
      await node.register();
      await node.offer([this.model.digest], { input: String(ask), output: '0' });
      Object.assign(node, { ask });
      this.nodes.push(node);
    }
    const moods = [answer, (call) => answer(call, { receipt: 'none' }), (call) => call.response.destroy(), (call) => answer(call, { status: 422 })];
    this.evil = await EvilNode.start(rig, { models: [this.model], ask: { input: '900', output: '0' }, capacity: 1, mode: (call) => moods[this.random.int(0, moods.length - 1)](call) });
  }

  // ---- what they do ----

  async deposit(person, amount) {
    await this.chain.wallet(person.account).writeContract({ ...this.opg, functionName: 'transfer', args: [this.rig.accounts.treasury.address, amount], gas: 200_000n });
  }

  /// {status, job}; status 0 when the connection broke before the answer was whole.
  post(where, body, headers) {
    return new Promise((resolve) => {
      const told = { status: 0 };
      const request = http.request(this.rig.base_url + where, { method: 'POST', agent: this.agent, headers: { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body), ...headers } }, (response) => {
        Object.assign(told, { job: response.headers['opgate-job'], headers: response.headers });
        const parts = [];
        response.on('data', (part) => parts.push(part)).on('end', () => { told.text = Buffer.concat(parts).toString(); }).on('end', () => { if (response.complete) told.status = response.statusCode; });
        response.on('close', () => resolve(told)).on('error', () => {});
      });
      request.setTimeout(60_000, () => request.destroy());
      request.on('error', () => resolve(told));
      request.end(body);
    });
  }

  count({ status, text }) {
    this.told.jobs++;
    if (status >= 400) { const { code } = JSON.parse(text); this.refusals[code] = (this.refusals[code] ?? 0) + 1; }
    this.told[status === 200 || status === 202 ? 'paid' : status ? 'refused' : 'broken']++;
  }

  /// Somebody with a key: at once, or in the background.
  async call() {
    const person = this.people[this.random.int(0, this.people.length - 1)];
    const background = this.random.chance(0.05);
    const where = background ? `/v1/jobs?model=${encodeURIComponent(this.model.id)}` : `/v2/models/${this.model.id}/infer`;
    const told = await this.post(where, BODY(this.number++), { Authorization: `Bearer ${person.key}` });
    this.count(told);
    if (!told.status || told.status === 503) await new Promise((resolve) => setTimeout(resolve, 50)); // it is being started again
  }

  /// A wallet without an account, by x402.
  async pay() {
    const wallet = this.wallets[this.random.int(0, this.wallets.length - 1)];
    const [where, body] = [`/v2/models/${this.model.id}/infer`, BODY(this.number++)];
    const asked = await this.post(where, body, {});
    if (asked.status !== 402) return this.count(asked);
    const [offer] = JSON.parse(Buffer.from(asked.headers['payment-required'], 'base64')).accepts;
    const { message, args } = await this.payments.eip3009(wallet.account, { form: 'bytes', to: offer.payTo, value: BigInt(offer.amount), validBefore: BigInt(Math.floor(Date.now() / 1000) + 900) });
    const authorization = { ...message, value: String(message.value), validAfter: '0', validBefore: String(message.validBefore) };
    const header = { 'PAYMENT-SIGNATURE': base64({ x402Version: 2, accepted: offer, payload: { signature: args.at(-1), authorization } }) };
    const told = await this.post(where, body, header);
    this.count(told);
    if (told.status === 0) await this.post(where, body, header); // what a client does that was cut off: the same again
  }

  /// Some take money back, and by the schedule those who earned are paid.
  async evening() {
    for (let i = this.random.int(0, 2); i > 0; i--) {
      const person = this.people[this.random.int(0, this.people.length - 1)];
      const api = await this.rig.api().signIn(person.account, CHAIN_ID);
      const [body, key] = [{ source: 'available', amount: String(this.random.int(1000, 10 ** 9)) }, randomUUID()];
      await waitFor('a withdrawal is taken', () => api.json('POST', '/v1/withdrawals', body, { 'Idempotency-Key': key }).catch((error) => {
        if (error.status !== 503) throw error; // a reorganisation is being looked at
      }), { seconds: 120, every: 250 });
      this.told.withdrawals++;
    }
    await this.rig.sqlRun('UPDATE payout_setting SET next_at = now() WHERE schedule = \'daily\''); // a day has passed
  }

  // ---- what happens to them ----

  async crash() {
    await this.rig.kill('gateway');
    await this.rig.gatewaySpawn('gateway');
    await this.rig.gatewayReady();
    return 'the gateway was killed';
  }

  async databaseCrash() {
    await this.rig.kill('postgres');
    await this.rig.postgresRestart();
    return 'PostgreSQL was killed';
  }

  /// No block comes meanwhile: anvil takes back all that came after the block it has chosen, which would be deeper than it was told.
  async reorg() {
    const { client } = this.chain;
    await client.request({ method: 'evm_setIntervalMining', params: [0] });
    try {
      return await this.blocksTakeBack(client);
    } finally {
      await client.request({ method: 'evm_setIntervalMining', params: [BLOCK_SECONDS] });
    }
  }

  async blocksTakeBack(client) {
    await client.request({ method: 'anvil_mine', params: ['0x1'] });
    const head = Number(await client.getBlockNumber({ cacheTime: 0 }));
    const depth = Math.min(this.random.int(1, CONFIRMATIONS - 1), head - this.first_block);
    const [kept, lost] = [[], new Set()];
    for (let i = 0; i < depth; i++) {
      const { transactions } = await client.getBlock({ blockNumber: BigInt(head - depth + 1 + i), includeTransactions: true });
      for (const { hash, from } of transactions) {
        if (lost.has(from) || this.random.chance(0.1)) lost.add(from); // and what the sender sent after it
        else kept.push([await client.request({ method: 'eth_getRawTransactionByHash', params: [hash] }), i]);
      }
    }
    await client.request({ method: 'anvil_reorg', params: [depth, kept] });
    return `${depth} blocks were taken back; ${kept.length} of their transactions came again, those of ${lost.size} senders did not`;
  }

  async nothing() {
    return 'nothing happened';
  }

  /// One day: its jobs, and in the middle of them something else.
  async day(day, jobs) {
    const begun = Date.now();
    const event = this.random.shuffle(['crash', 'reorg', 'reorg', 'databaseCrash', 'nothing', 'crash'])[0];
    let left = jobs, struck = false, happened;
    const one = async () => {
      while (left-- > 0) {
        if (!struck && left < jobs / 2) {
          struck = true;
          happened = this[event]().then((text) => ({ text }), (error) => ({ error })); // thrown below, by whoever waits for the day
        }
        await (this.random.chance(0.02) ? this.pay() : this.call());
      }
    };
    const others = (async () => {
      for (let i = this.random.int(1, 4); i > 0; i--) await this.deposit(this.people[this.random.int(0, this.people.length - 1)], BigInt(this.random.int(1, 10 ** 9)) * 1_000_000_007n);
    })();
    await Promise.all([...Array.from({ length: AT_ONCE }, one), others]);
    const what = await happened;
    if (what.error) throw what.error;
    await this.evening();
    this.say(`day ${day}: ${jobs} jobs in ${((Date.now() - begun) / 1000).toFixed(1)} s; ${what.text}; refused: ${JSON.stringify(this.refusals)}`);
    this.refusals = {};
  }

  /// Until nothing is on its way any more.
  async quiet() {
    await this.chain.client.request({ method: 'anvil_mine', params: ['0x20'] }); // what is mined becomes final
    const open = `SELECT (SELECT count(*) FROM job WHERE outcome IS NULL) AS jobs, (SELECT count(*) FROM payment WHERE state IN ('claimed', 'settling', 'failed')) AS payments,
      (SELECT count(*) FROM deposit WHERE state = 'seen') AS deposits, (SELECT count(*) FROM settlement_tx WHERE state IN ('signed', 'mined')) AS transactions, (SELECT count(*) FROM payout WHERE state IN ('pending', 'sent')) AS payouts`;
    let seen;
    await waitFor('everything has ended', async () => {
      [seen] = await this.rig.sql(open);
      return Object.values(seen).every((n) => n === 0);
    }, { seconds: 180, every: 500 }).catch((error) => { throw new Error(`${error.message}: ${JSON.stringify(seen)}`); });
    const head = Number(await this.chain.client.getBlockNumber());
    await waitFor('the watcher has seen the newest block', async () => (await this.rig.sql(`SELECT coalesce(max(number), 0) AS n FROM chain_block`))[0].n >= head, { seconds: 60 });
  }
}

export { AT_ONCE, ROYALTY };
