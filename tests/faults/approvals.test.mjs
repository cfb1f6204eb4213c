// kill -9 at every named point of an approval that we fund and broadcast (server/base/fault.h). After the restart the payer was given
// exactly what was missing, once; the approval is mined; and its payment ends one way.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { encodeFunctionData, keccak256, maxUint256 } from 'viem';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { PERMIT2 } from '../../script/deploy.mjs';
import { inRoot } from '../../script/lib/paths.mjs';

process.env.OPGATE_BIN = process.env.OPGATE_FAULTS_BIN || inRoot('build/faults/opgate');
const { Rig, OPG, waitFor } = await import('./rig.mjs');
const { EvilNode } = await import('./evil-node.mjs');
const { chainOpen } = await import('../../script/lib/chain.mjs');
const { paymentsOpen } = await import('../stack/payments.mjs');

const ROUNDS = Number(process.env.PAYMENT_ROUNDS || 1);
const POINTS = [...fs.readFileSync(inRoot('server/base/fault.h'), 'utf8').matchAll(/^\tX\((approval_\w+)\)/gm)].map(([, name]) => name);
const GWEI = 10n ** 9n;
const LIMIT = { gas: 70_000n, maxFeePerGas: 3n * GWEI };
let rig, model, payments, chain, nonce = 1n;

before(async () => {
  assert.ok(fs.existsSync(process.env.OPGATE_BIN), `${process.env.OPGATE_BIN} is missing: make FAULTS=1 BUILD=build/faults`);
  assert.equal(POINTS.length, 4);
  rig = await Rig.start({ instance_timeout_ms: 1000, job_timeout_ms: 60000 });
  await rig.gatewayAgain({ ...rig.walletSettings(), gas_sponsor_per_day: String(OPG) }); // campaigns are longer than a day's budget
  chain = chainOpen(rig.rpc_url);
  payments = paymentsOpen(chain, { ...rig.chain, chain_id: 84532 });
  model = await rig.modelPublish('paid', 'tensor', { input: '1000', output: '0' });
  await EvilNode.start(rig, { models: [model] });
});
after(() => rig?.stop());

const ask = (body, headers = {}) =>
  fetch(`${rig.base_url}/v2/models/${model.id}/infer`, { method: 'POST', body, headers: { 'Content-Type': 'application/json', ...headers }, signal: AbortSignal.timeout(60_000) });

/// A wallet with OPG and some coin, too little; its payment by Permit2 and its approval for it.
async function paymentMake(coin) {
  const account = privateKeyToAccount(generatePrivateKey());
  await payments.mint(account.address, OPG);
  await chain.client.request({ method: 'anvil_setBalance', params: [account.address, `0x${coin.toString(16)}`] });
  const body = JSON.stringify({ inputs: [{ name: 'x', shape: [1], datatype: 'FP32', data: [Number(nonce++)] }] });
  const terms = JSON.parse(Buffer.from((await ask(body)).headers.get('PAYMENT-REQUIRED'), 'base64'));
  const offer = terms.accepts.find(({ scheme, extra }) => scheme === 'exact' && extra.assetTransferMethod);
  const deadline = BigInt(Math.floor(Date.now() / 1000) + 600);
  const { message, args } = await payments.exact(account, { to: offer.payTo, max: BigInt(offer.amount), deadline });
  const { permitted, witness } = message;
  const signedTransaction = await account.signTransaction({
    to: offer.asset, data: encodeFunctionData({ abi: payments.token.abi, functionName: 'approve', args: [PERMIT2, maxUint256] }), nonce: 0, chainId: 84532,
    maxPriorityFeePerGas: GWEI, type: 'eip1559', ...LIMIT,
  });
  const payment = {
    x402Version: 2, accepted: offer,
    payload: { signature: args.at(-1), permit2Authorization: {
      from: account.address, permitted: { token: permitted.token, amount: String(permitted.amount) }, spender: message.spender, nonce: String(message.nonce),
      deadline: String(deadline), witness: { to: witness.to, validAfter: '0' } } },
    extensions: { erc20ApprovalGasSponsoring: { info: {
      ...terms.extensions.erc20ApprovalGasSponsoring.info, from: account.address, asset: offer.asset, spender: PERMIT2, amount: String(maxUint256), signedTransaction, version: '1' } } },
  };
  return { account, body, coin, amount: BigInt(offer.amount), approval: keccak256(signedTransaction), header: { 'PAYMENT-SIGNATURE': Buffer.from(JSON.stringify(payment)).toString('base64') } };
}

for (let i = 0; i < ROUNDS; i++)
  for (const point of POINTS)
    test(`kill -9 at ${point}${i ? ` (${i + 1})` : ''}`, { timeout: 120_000 }, async () => {
      const one = await paymentMake(i % 2 ? 0n : 12345n);
      await rig.kill('gateway');
      await rig.gatewaySpawn('gateway', `${point}:1`);
      await rig.gatewayReady();
      const asked = ask(one.body, one.header).then(({ status }) => status, () => 'broken');
      await waitFor('the gateway is gone', () => rig.gone('gateway'), { seconds: 30 });
      assert.equal(await asked, 'broken');
      await rig.gatewaySpawn('gateway');
      await rig.gatewayReady();
      await waitFor('everything has ended', async () => {
        const [{ open }] = await rig.sql(`SELECT (SELECT count(*) FROM payment WHERE state IN ('claimed', 'settling', 'failed')) + (SELECT count(*) FROM job WHERE outcome IS NULL)
          + (SELECT count(*) FROM sponsored_approval WHERE state NOT IN ('done', 'failed')) AS open`);
        return open === 0;
      }, { seconds: 40 });
      const receipt = await chain.client.getTransactionReceipt({ hash: one.approval });
      assert.equal(receipt.status, 'success');
      const burned = receipt.gasUsed * receipt.effectiveGasPrice;
      const left = await chain.client.getBalance({ address: one.account.address });
      assert.equal(left + burned, LIMIT.gas * LIMIT.maxFeePerGas, 'what was missing, once');
      const rows = await rig.sql(`SELECT p.state, p.amount::text, a.state AS approval FROM payment p JOIN sponsored_approval a ON a.hash = p.approval WHERE p.payer = '\\x${one.account.address.slice(2)}'`);
      assert.deepEqual(rows, [{ state: 'settled', amount: String(one.amount), approval: 'done' }]);
      assert.equal(await payments.read('balanceOf', one.account.address), OPG - one.amount);
      const again = await ask(one.body, one.header);
      assert.ok([200, 409].includes(again.status), 'its answer, or where the money is when the run died with the gateway');
      assert.equal(again.headers.get('Idempotent-Replayed'), 'true');
      const books = await rig.reconciliation();
      assert.deepEqual([books.ok, books.ledger_sum, books.custody.unsettled], [true, '0', '0']);
    });
