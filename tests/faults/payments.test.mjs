// kill -9 at every named point of a payment's life (server/base/fault.h), several payments at once. After the restart every payment
// ends one way: settled, and then the same payment gets its answer and the money moved once; or dropped, and then nothing moved.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { inRoot } from '../../script/lib/paths.mjs';

process.env.OPGATE_BIN = process.env.OPGATE_FAULTS_BIN || inRoot('build/faults/opgate');
const { Rig, OPG, PAY_TO, waitFor } = await import('./rig.mjs');
const { EvilNode } = await import('./evil-node.mjs');
const { chainAccount, chainOpen } = await import('../../script/lib/chain.mjs');
const { paymentsOpen } = await import('../stack/payments.mjs');
const { randomFrom } = await import('./kill.mjs');

const ROUNDS = Number(process.env.PAYMENT_ROUNDS || 1);
const SEED = Number(process.env.SEED || Date.now() % 2 ** 31);
const random = randomFrom(SEED);
const AT_ONCE = 6;
const POINTS = [...fs.readFileSync(inRoot('server/base/fault.h'), 'utf8').matchAll(/^\tX\(((?:payment|settlement)_\w+)\)/gm)].map(([, name]) => name)
  .filter((name) => !/_(found_out|bumped|replaced|filled|unmined)$/.test(name)); // those need a fault of the chain: chain-kill.test.mjs
const SETTLES_FIRST = 'payment_closed'; // the other way round a job ends in the transaction that books its money
const base64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64');
let rig, node, model, payments, chain, round = 0;

before(async () => {
  assert.ok(fs.existsSync(process.env.OPGATE_BIN), `${process.env.OPGATE_BIN} is missing: make FAULTS=1 BUILD=build/faults`);
  console.log(`# seed ${SEED}, ${ROUNDS} rounds`);
  rig = await Rig.start({ instance_timeout_ms: 1000, job_timeout_ms: 60000 });
  await rig.gatewayAgain(rig.walletSettings());
  chain = chainOpen(rig.rpc_url);
  payments = paymentsOpen(chain, { ...rig.chain, chain_id: 84532 });
  await payments.mint(chainAccount(5).account.address, 1000n * OPG);
  model = await rig.modelPublish('paid', 'tensor', { input: '1000', output: '0' });
  node = await EvilNode.start(rig, { models: [model] });
});
after(() => rig?.stop());

const url = () => `${rig.base_url}/v2/models/${model.id}/infer`;
const ask = (body, headers = {}) => fetch(url(), { method: 'POST', body, headers: { 'Content-Type': 'application/json', ...headers }, signal: AbortSignal.timeout(60_000) });

async function paymentMake(number) {
  const body = JSON.stringify({ inputs: [{ name: 'x', shape: [1], datatype: 'FP32', data: [number] }] });
  const { accepts } = JSON.parse(Buffer.from((await ask(body)).headers.get('PAYMENT-REQUIRED'), 'base64'));
  const [offer] = accepts;
  const { message, args } = await payments.eip3009(chainAccount(5).account, { form: 'bytes', to: offer.payTo, value: BigInt(offer.amount), validBefore: BigInt(Math.floor(Date.now() / 1000) + 600), nonce: `0x${number.toString(16).padStart(64, '0')}` });
  const authorization = { ...message, value: String(message.value), validAfter: '0', validBefore: String(message.validBefore) };
  return { body, amount: BigInt(offer.amount), nonce: message.nonce, header: { 'PAYMENT-SIGNATURE': base64({ x402Version: 2, accepted: offer, payload: { signature: args.at(-1), authorization } }) } };
}

for (let i = 0; i < ROUNDS; i++)
  for (const point of POINTS)
    test(`kill -9 at ${point}${i ? ` (${i + 1})` : ''}`, { timeout: 120_000 }, async () => {
      round++;
      const x402_exposure_payer = point === SETTLES_FIRST ? '0' : String(10n * OPG);
      if (rig.settings.x402_exposure_payer !== x402_exposure_payer) await rig.gatewayAgain({ x402_exposure_payer });
      const list = [];
      for (let k = 0; k < AT_ONCE; k++) list.push(await paymentMake(round * 100 + k));
      await rig.kill('gateway');
      await rig.gatewaySpawn('gateway', `${point}:${random.int(1, point.startsWith('payment') ? AT_ONCE : 1)}`);
      await rig.gatewayReady();
      const held = await payments.read('balanceOf', PAY_TO);
      const asked = list.map(({ body, header }) => ask(body, header).then((response) => response.status, () => 'broken'));
      await waitFor('the gateway is gone', () => rig.gone('gateway'), { seconds: 30 });
      const told = await Promise.all(asked);
      await rig.gatewaySpawn('gateway');
      await rig.gatewayReady();
      await waitFor('everything has ended', async () => {
        const [{ open }] = await rig.sql("SELECT (SELECT count(*) FROM payment WHERE state IN ('claimed', 'settling', 'failed')) + (SELECT count(*) FROM job WHERE outcome IS NULL) AS open");
        return open === 0;
      }, { seconds: 40 });
      let settled = 0n;
      for (const [k, { body, header, nonce, amount }] of list.entries()) {
        const rows = await rig.sql(`SELECT p.state, j.outcome, (SELECT count(*) FROM job_attempt a WHERE a.job = j.id) AS attempts FROM payment p JOIN job j ON j.id = p.job WHERE p.nonce = '\\x${nonce.slice(2)}'`);
        const used = await payments.read('authorizationState', chainAccount(5).account.address, nonce);
        assert.ok(rows.length <= 1);
        assert.equal(used, rows[0]?.state === 'settled', JSON.stringify(rows));
        if (told[k] === 200) assert.equal(rows[0].state, 'settled');
        if (used) {
          settled += amount;
          assert.equal(rows[0].attempts, 1);
          const again = await ask(body, header), delivered = rows[0].outcome === 'delivered';
          assert.equal(again.status, delivered ? 200 : 409, await again.text()); // settled first and not worked for: it is the payer's, on his account
          assert.ok(delivered || point === SETTLES_FIRST, rows[0].outcome);
          assert.equal(again.headers.get('Idempotent-Replayed'), 'true');
        } else if (rows.length) {
          assert.equal((await ask(body, header)).status, 402);
        }
      }
      assert.equal((await payments.read('balanceOf', PAY_TO)) - held, settled, 'every settled payment moved once, and nothing else did');
      assert.ok(node.calls.length <= round * AT_ONCE, 'the model never ran twice for a payment');
      const books = await rig.reconciliation();
      assert.deepEqual([books.ok, books.ledger_sum, books.custody.unsettled], [true, '0', '0']);
    });

