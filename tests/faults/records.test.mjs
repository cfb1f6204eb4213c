// kill -9 on the way of a call to the chain (server/pay/records.c): after the restart each call that was answered is in exactly one
// event, and what the gateway says of it is what the chain has.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { inRoot } from '../../script/lib/paths.mjs';

process.env.OPGATE_BIN = process.env.OPGATE_FAULTS_BIN || inRoot('build/faults/opgate');
const { Rig, waitFor } = await import('./rig.mjs');
const { EvilNode } = await import('./evil-node.mjs');
const { contractsCompile } = await import('../../script/contracts.mjs');
const { chainOpen } = await import('../../script/lib/chain.mjs');

const ROUNDS = Number(process.env.PAYMENT_ROUNDS || 1);
const POINTS = ['record_queued', 'record_posted', 'settlement_written', 'settlement_sent', 'settlement_mined'];
const AT_ONCE = { batch: 5, individual: 3 };
let rig, chain, model, number = 0;

before(async () => {
  assert.ok(fs.existsSync(process.env.OPGATE_BIN), `${process.env.OPGATE_BIN} is missing: make FAULTS=1 BUILD=build/faults`);
  rig = await Rig.start({ instance_timeout_ms: 1000, job_timeout_ms: 60000 });
  await rig.gatewayAgain({ ...rig.walletSettings(), record_contract: rig.chain.data_settlement,
    record_batch_wait_ms: 300, record_batch_max: 3, payment_wait_ms: 500 });
  chain = chainOpen(rig.rpc_url);
  model = await rig.modelPublish('recorded', 'tensor', { input: '1000', output: '0' });
  await EvilNode.start(rig, { models: [model] });
});
after(() => rig?.stop());

/// One call; the id of its job, or undefined when the gateway died before it could say.
async function ask(mode) {
  const body = JSON.stringify({ inputs: [{ name: 'x', shape: [1], datatype: 'FP32', data: [number++] }] });
  const headers = { Authorization: `Bearer ${rig.key}`, 'Content-Type': 'application/json', 'X-SETTLEMENT-TYPE': mode };
  return fetch(`${rig.base_url}/v2/models/${model.id}/infer`, { method: 'POST', body, headers, signal: AbortSignal.timeout(30_000) }).then(async (answer) => {
    await answer.arrayBuffer();
    return answer.headers.get('Opgate-Job');
  }, () => undefined);
}

for (let i = 0; i < ROUNDS; i++)
  for (const point of POINTS)
    test(`kill -9 at ${point}${i ? ` (${i + 1})` : ''}`, { timeout: 120_000 }, async () => {
      await rig.kill('gateway');
      await rig.gatewaySpawn('gateway', `${point}:${1 + Math.floor(Math.random() * 2)}`);
      await rig.gatewayReady();
      const asked = Object.entries(AT_ONCE).flatMap(([mode, count]) => Array.from({ length: count }, () => ask(mode)));
      await waitFor('the gateway is gone', () => rig.gone('gateway'), { seconds: 30 });
      const told = (await Promise.all(asked)).filter(Boolean);
      await rig.gatewaySpawn('gateway');
      await rig.gatewayReady();
      await waitFor('everything has ended', async () => {
        const [{ open }] = await rig.sql(`SELECT (SELECT count(*) FROM record r JOIN job j ON j.id = r.job WHERE r.state IN ('wanted', 'queued')) + (SELECT count(*) FROM job WHERE outcome IS NULL)
          + (SELECT count(*) FROM record_post p LEFT JOIN settlement_tx t ON t.id = p.tx WHERE coalesce(t.state, 'none') NOT IN ('mined', 'final')) AS open`);
        return open === 0;
      }, { seconds: 60 });
      const contract = { address: rig.chain.data_settlement, abi: contractsCompile().DataSettlement.abi, fromBlock: 0n, toBlock: 'latest' };
      const trees = await chain.client.getContractEvents({ ...contract, eventName: 'BatchSettlement' });
      const singles = await chain.client.getContractEvents({ ...contract, eventName: 'IndividualSettlement' });
      const delivered = await rig.sql("SELECT r.individual, encode(r.input_hash, 'hex') AS input_hash, encode(p.root, 'hex') AS root FROM record r JOIN job j ON j.id = r.job LEFT JOIN record_post p ON p.id = r.post WHERE j.outcome = 'delivered'");
      assert.ok(delivered.length > 0);
      assert.equal(trees.reduce((sum, { args }) => sum + Number(args.batchSize), 0), delivered.filter(({ individual }) => !individual).length, 'each is a leaf once');
      assert.equal(new Set(trees.map(({ args }) => args.merkleRoot)).size, trees.length);
      assert.deepEqual(singles.map(({ args }) => args.inputHash.slice(2)).sort(), delivered.filter(({ individual }) => individual).map(({ input_hash }) => input_hash).sort());
      for (const { root } of delivered.filter(({ individual }) => !individual)) assert.ok(trees.some(({ args }) => args.merkleRoot === `0x${root}`));
      for (const id of told) {
        const row = await (await fetch(`${rig.base_url}/v1/settlements/${id}`)).json();
        assert.ok(['succeeded', 'failed'].includes(row.status), JSON.stringify(row));
        if (row.transaction) assert.ok([...trees, ...singles].some(({ transactionHash }) => transactionHash === row.transaction));
      }
      assert.equal((await rig.reconciliation()).ok, true);
    });
