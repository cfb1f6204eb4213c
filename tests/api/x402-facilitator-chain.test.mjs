// Settlements for others, and what the chain does to them: it waits, somebody else is first, it goes back; and the gateway dies.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, test } from 'node:test';
import { encodeFunctionData, parseAbi, parseSignature } from 'viem';
import { contractsCompile } from '../../script/contracts.mjs';
import { PERMIT2 } from '../../script/deploy.mjs';
import { stackLocked, stackRestart } from '../../script/lib/stack.mjs';
import { paymentsOpen } from '../stack/payments.mjs';
import { assertStatus, call, chain, dev, inVar, mine, OPG, rpc, settingsChange, sql, tokenBalance, waitFor } from './stack.mjs';
import { buyerMake, eip3009, now, permit2 } from './payer.mjs';
import { PRICE, seller, bytea, requirementsOf, bodyOf, post, verify, settle, rowOf, jobOf, jobEnds, sold, quiet, assertAllEnded } from './facilitator.mjs';

after(assertAllEnded);

test('a settlement the chain has not seen is pending, not failed; the same call again has the result', async () => {
  const wallet = await buyerMake(OPG);
  const offer = requirementsOf();
  const made = bodyOf(offer, await eip3009(wallet, offer));
  const undo = await settingsChange({ payment_wait_ms: 1500 });
  await quiet();
  await rpc('evm_setIntervalMining', 0);
  try {
    const pending = await settle(made, 202);
    assert.deepEqual([pending.success, pending.errorReason], [false, 'settlement_pending']);
    assert.match(pending.transaction, /^0x[0-9a-f]{64}$/, 'official clients ask once more when there is one');
    assert.equal((await jobOf(pending.paymentJob.jobId)).status, 'processing');
    assert.equal((await verify(made)).isValid, false);
    await rpc('evm_setIntervalMining', 1);
    const final = await settle(made);
    const job = await jobEnds(pending.paymentJob.jobId);
    assert.deepEqual([job.status, final.success, final.transaction, OPG - (await tokenBalance(wallet.address))], ['succeeded', true, job.result.transaction, PRICE]);
  } finally {
    await rpc('evm_setIntervalMining', 1);
    await undo();
  }
});

const vrsOf = (signature) => {
  const { v, r, s } = parseSignature(signature);
  return [Number(v), r, s];
};

test('money that somebody else\'s transaction brought to the payee is a success; an authorization used for nothing is not', async () => {
  const stranger = await buyerMake(0n);
  const offer = requirementsOf();
  const wallet = await buyerMake(OPG);
  const [used, cancelled] = [await eip3009(wallet, offer), await eip3009(wallet, offer)];
  await quiet();
  await rpc('evm_setIntervalMining', 0);
  try {
    const first = await chain.client.getTransactionCount({ address: stranger.address });
    const settling = [used, cancelled].map((made) => post('settle', bodyOf(offer, made)));
    await waitFor('both are sent', () => sql(`SELECT 1 FROM facilitation WHERE tx IS NOT NULL AND payer = ${bytea(wallet.address)}`).length === 2);
    const { from, to, value, validAfter, validBefore, nonce } = used.message;
    const cancel = await wallet.account.signTypedData({
      domain: { name: 'OPG', version: '1', chainId: dev.chain_id, verifyingContract: offer.asset }, primaryType: 'CancelAuthorization',
      types: { CancelAuthorization: [{ name: 'authorizer', type: 'address' }, { name: 'nonce', type: 'bytes32' }] }, message: { authorizer: from, nonce: cancelled.message.nonce },
    });
    const { abi } = contractsCompile().OPG;
    for (const [i, [functionName, ...args]] of [
      ['transferWithAuthorization', from, to, value, validAfter, validBefore, nonce, ...vrsOf(used.payload.signature)],
      ['cancelAuthorization', from, cancelled.message.nonce, ...vrsOf(cancel)],
    ].entries())
      await chain.wallet(stranger.account).sendTransaction({ to: dev.opg_token, data: encodeFunctionData({ abi, functionName, args }), nonce: first + i, gas: 200_000n, maxFeePerGas: 90_000_000_000n, maxPriorityFeePerGas: 80_000_000_000n });
    const { result, got } = await sold(seller.address, async () => {
      await rpc('evm_setIntervalMining', 1);
      return Promise.all(settling);
    });
    const [good, bad] = result.map((answer) => assertStatus(answer, 200).json);
    assert.deepEqual([good.success, got], [true, PRICE]);
    assert.equal((await chain.client.getTransaction({ hash: good.transaction })).from.toLowerCase(), stranger.address);
    assert.deepEqual([bad.success, bad.errorReason, bad.transaction], [false, 'invalid_exact_evm_nonce_already_used', '']);
    assert.equal((await jobOf(bad.paymentJob.jobId)).status, 'failed');
    assert.deepEqual((await settle(bodyOf(offer, cancelled))), bad);
  } finally {
    await rpc('evm_setIntervalMining', 1);
  }
});

test('a payment of as much for something else is not the settlement of a permit that was made void', async () => {
  const offer = requirementsOf({}, 'permit2');
  const wallet = await buyerMake(OPG, { approve: true });
  const ours = await permit2(wallet, offer);
  const elsewhere = await paymentsOpen(chain, dev).exact(wallet.account, { max: PRICE, to: seller.account.address, deadline: BigInt(now() + 300) });
  await quiet();
  await rpc('evm_setIntervalMining', 0);
  try {
    const settling = post('settle', bodyOf(offer, ours));
    await waitFor('it is sent', () => sql(`SELECT 1 FROM facilitation WHERE tx IS NOT NULL AND payer = ${bytea(wallet.address)}`).length === 1);
    const first = await chain.client.getTransactionCount({ address: wallet.address }), fees = { gas: 300_000n, maxFeePerGas: 90_000_000_000n, maxPriorityFeePerGas: 80_000_000_000n };
    const { nonce } = ours.message;
    for (const [i, call] of [
      { to: elsewhere.to, data: elsewhere.data }, // as another facilitator would have settled it
      { to: PERMIT2, data: encodeFunctionData({ abi: parseAbi(['function invalidateUnorderedNonces(uint256, uint256)']), functionName: 'invalidateUnorderedNonces', args: [nonce >> 8n, 1n << (nonce & 255n)] }) },
    ].entries())
      await chain.wallet(wallet.account).sendTransaction({ ...call, ...fees, nonce: first + i });
    const { result, got } = await sold(seller.address, async () => {
      await rpc('evm_setIntervalMining', 1);
      return settling;
    });
    const { success, transaction } = assertStatus(result, 200).json;
    assert.deepEqual([success, transaction, got], [false, '', PRICE]);
    assert.deepEqual(rowOf(wallet.address).map(({ state }) => state), ['failed']);
  } finally {
    await rpc('evm_setIntervalMining', 1);
  }
});

test('a reorganisation takes a settlement back, and it comes again', async () => {
  const wallet = await buyerMake(OPG);
  const offer = requirementsOf();
  await waitFor('nothing is under way', () => sql("SELECT 1 FROM settlement_tx WHERE state IN ('signed', 'mined')").length === 0, { seconds: 60 });
  await rpc('evm_setIntervalMining', 0);
  try {
    const snapshot = await rpc('evm_snapshot');
    const settling = settle(bodyOf(offer, await eip3009(wallet, offer)));
    await waitFor('the chain has it', async () => (await rpc('txpool_status')).pending !== '0x0');
    await mine();
    const { paymentJob } = await settling;
    await rpc('evm_revert', snapshot);
    await mine(3);
    await waitFor('it is open again', () => rowOf(wallet.address)[0].state === 'settling');
    assert.notEqual((await jobOf(paymentJob.jobId)).status, 'succeeded');
    await waitFor('the chain has it again', async () => (await rpc('txpool_status')).pending !== '0x0', { seconds: 30 });
    await mine();
    assert.equal((await jobEnds(paymentJob.jobId)).status, 'succeeded');
    assert.deepEqual([rowOf(wallet.address)[0].reorganised, OPG - (await tokenBalance(wallet.address))], [1, PRICE]);
  } finally {
    await rpc('evm_setIntervalMining', 1);
  }
});

test('killed while settling: it is settled after the restart, and the same call finds out', async () => {
  const wallet = await buyerMake(OPG);
  const offer = requirementsOf();
  const made = bodyOf(offer, await eip3009(wallet, offer));
  await rpc('evm_setIntervalMining', 0);
  try {
    const lost = post('settle', made).catch((error) => error);
    await waitFor('it is sent', () => sql(`SELECT 1 FROM facilitation WHERE tx IS NOT NULL AND payer = ${bytea(wallet.address)}`).length === 1);
    process.kill(JSON.parse(fs.readFileSync(inVar('dev.json'))).pids.gateway, 'SIGKILL');
    assert.ok((await lost) instanceof Error);
  } finally {
    await stackLocked(() => stackRestart('gateway'));
    await rpc('evm_setIntervalMining', 1);
  }
  assert.equal((await settle(made)).success, true);
  assert.deepEqual([rowOf(wallet.address).length, OPG - (await tokenBalance(wallet.address))], [1, PRICE]);
});
