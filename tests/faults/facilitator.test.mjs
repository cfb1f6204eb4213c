// kill -9 at every named point of a settlement for others (server/base/fault.h), several at once. After the restart each of them ends
// one way, and the same call again says which: settled, and the payee has the money once; or, where nothing was written before the
// death, it is settled by that call.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { inRoot } from '../../script/lib/paths.mjs';

process.env.OPGATE_BIN = process.env.OPGATE_FAULTS_BIN || inRoot('build/faults/opgate');
const { Rig, OPG, waitFor } = await import('./rig.mjs');
const { chainAccount, chainOpen } = await import('../../script/lib/chain.mjs');
const { paymentsOpen } = await import('../stack/payments.mjs');

const ROUNDS = Number(process.env.PAYMENT_ROUNDS || 1);
const AT_ONCE = 5;
const POINTS = [...fs.readFileSync(inRoot('server/base/fault.h'), 'utf8').matchAll(/^\tX\(((?:facilitation|settlement)_\w+)\)/gm)].map(([, name]) => name)
  .filter((name) => !/_(found_out|bumped|replaced|filled|unmined)$/.test(name)); // those need a fault of the chain: chain-kill.test.mjs
const [payer, shop] = [chainAccount(5).account, chainAccount(4).account];
let rig, payments, round = 0;

before(async () => {
  assert.ok(fs.existsSync(process.env.OPGATE_BIN), `${process.env.OPGATE_BIN} is missing: make FAULTS=1 BUILD=build/faults`);
  rig = await Rig.start();
  await rig.gatewayAgain(rig.walletSettings());
  payments = paymentsOpen(chainOpen(rig.rpc_url), { ...rig.chain, chain_id: 84532 });
  await payments.mint(payer.address, 1000n * OPG);
  const signed = await rig.api().signIn(shop, 84532);
  await signed.json('POST', '/v1/payees', {});
});
after(() => rig?.stop());

async function callMake(number) {
  const amount = BigInt(number);
  const requirements = { scheme: 'exact', network: 'eip155:84532', amount: String(amount), asset: rig.chain.opg_token, payTo: shop.address, maxTimeoutSeconds: 600, extra: { name: 'OPG', version: '1' } };
  const nonce = `0x${number.toString(16).padStart(64, '0')}`;
  const { message, args } = await payments.eip3009(payer, { form: 'bytes', to: shop.address, value: amount, validBefore: BigInt(Math.floor(Date.now() / 1000) + 600), nonce });
  const authorization = { ...message, value: String(amount), validAfter: '0', validBefore: String(message.validBefore) };
  return { amount, nonce, body: JSON.stringify({ x402Version: 2, paymentRequirements: requirements, paymentPayload: { x402Version: 2, accepted: requirements, payload: { signature: args.at(-1), authorization } } }) };
}

const settle = ({ body, nonce }) => fetch(`${rig.base_url}/facilitator/settle`, { method: 'POST', body, headers: { 'Content-Type': 'application/json', 'Idempotency-Key': nonce }, signal: AbortSignal.timeout(60_000) }).then((response) => response.json());

for (let i = 0; i < ROUNDS; i++)
  for (const point of POINTS)
    test(`kill -9 at ${point}${i ? ` (${i + 1})` : ''}`, { timeout: 120_000 }, async () => {
      round++;
      const list = [];
      for (let k = 1; k <= AT_ONCE; k++) list.push(await callMake(round * 100 + k));
      await rig.kill('gateway');
      await rig.gatewaySpawn('gateway', `${point}:${1 + Math.floor(Math.random() * (point.startsWith('facilitation') ? AT_ONCE : 1))}`);
      await rig.gatewayReady();
      const held = await payments.read('balanceOf', shop.address);
      const asked = list.map((one) => settle(one).catch(() => 'broken'));
      await waitFor('the gateway is gone', () => rig.gone('gateway'), { seconds: 30 });
      const told = await Promise.all(asked);
      await rig.gatewaySpawn('gateway');
      await rig.gatewayReady();
      await waitFor('nothing is open', async () => (await rig.sql("SELECT count(*)::int AS n FROM facilitation WHERE state = 'settling'"))[0].n === 0, { seconds: 40 });
      for (const [k, one] of list.entries()) {
        if (told[k] !== 'broken') assert.equal(told[k].success, true, 'nobody was told of a failure');
        const [first, second] = [await settle(one), await settle(one)];
        assert.equal(first.success, true, JSON.stringify(first));
        assert.deepEqual(second, first);
        if (told[k] !== 'broken') assert.equal(told[k].transaction, first.transaction);
        assert.equal(await payments.read('authorizationState', payer.address, one.nonce), true);
      }
      assert.equal((await payments.read('balanceOf', shop.address)) - held, list.reduce((sum, { amount }) => sum + amount, 0n), 'the payee has each of them once');
      const [gas] = await rig.sql("SELECT (SELECT sum(wei) FROM gas_day)::text AS day, (SELECT sum(wei) FROM gas_subject_day)::text AS subjects, (SELECT sum(coalesce(used, reserved)) FROM gas_reservation)::text AS each, (SELECT count(*)::int FROM gas_reservation WHERE used IS NULL) AS open");
      assert.deepEqual([gas.subjects, gas.each, gas.open], [gas.day, gas.day, 0]);
    });
