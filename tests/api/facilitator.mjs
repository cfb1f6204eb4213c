// What the tests of the facilitator share: a payee, what he asks for, and his calls.
import assert from 'node:assert/strict';
import { assertCustody, envelope } from './payer.mjs';
import { accountMake, assertBooks, assertStatus, call, dev, rpc, sql, tokenBalance, waitFor } from './stack.mjs';

export const NETWORK = `eip155:${dev.chain_id}`;
export const FACILITATOR = `${dev.base_url}/facilitator`;
export const PRICE = 10n ** 15n;
/// A payee of ours, for this file of tests alone.
export const seller = await accountMake();
assertStatus(await call('POST', '/v1/payees', { key: seller.key, body: {} }), 201);
export const supported = assertStatus(await call('GET', '/facilitator/supported'), 200).json;

export const bytea = (address) => `'\\x${address.slice(2).toLowerCase()}'`;
export const extraOf = (method) => ({ name: 'OPG', version: '1', ...(method === 'permit2' && { assetTransferMethod: 'permit2' }) });
export const requirementsOf = (over = {}, method = 'eip3009') => ({
  scheme: 'exact', network: NETWORK, amount: String(PRICE), asset: dev.opg_token, payTo: seller.account.address, maxTimeoutSeconds: 300, extra: extraOf(method), ...over,
});
export const uptoOf = (over = {}) => requirementsOf({ scheme: 'upto', extra: { ...extraOf('permit2'), facilitatorAddress: supported.kinds[1].extra.facilitatorAddress }, ...over });
export const bodyOf = (requirements, made) => ({ x402Version: 2, paymentPayload: envelope(requirements, made), paymentRequirements: requirements });
export const post = (path, body, headers = {}, key = undefined) => call('POST', `/facilitator/${path}`, { body, headers, key });
export const verify = async (body) => assertStatus(await post('verify', body), 200).json;
export const settle = async (body, status = 200) => assertStatus(await post('settle', body), status).json;
export const settleAsPayee = async (body, { key } = seller) => assertStatus(await post('settle', body, {}, key), 200).json;
export const rowOf = (address) => sql(`SELECT id, state, amount, coalesce(reason, ''), reorganised FROM facilitation WHERE payer = ${bytea(address)}`)
  .map(([id, state, amount, reason, reorganised]) => ({ id, state, amount, reason, reorganised: Number(reorganised) }));
export const jobOf = async (id) => assertStatus(await call('GET', `/facilitator/settle/${id}`), 200).json;
export const jobEnds = (id) => waitFor(`${id} ends`, async () => {
  const job = await jobOf(id);
  return ['succeeded', 'failed'].includes(job.status) && job;
}, { seconds: 60 });
export const sold = async (payee, work) => {
  const before = await tokenBalance(payee);
  const result = await work();
  return { result, got: (await tokenBalance(payee)) - before };
};
export const quiet = () => waitFor('nothing is under way', () => sql("SELECT 1 FROM settlement_tx WHERE state = 'signed'").length === 0, { seconds: 60 });

/// After the tests of a file: nothing is open, and gas, custody and the books agree.
export async function assertAllEnded() {
  await rpc('evm_setIntervalMining', 1);
  await waitFor('nothing is open', () => sql("SELECT 1 FROM facilitation WHERE state = 'settling'").length === 0, { seconds: 60 });
  const [[all, subjects, left]] = sql('SELECT (SELECT coalesce(sum(wei), 0) FROM gas_day), (SELECT coalesce(sum(wei), 0) FROM gas_subject_day), (SELECT coalesce(sum(coalesce(used, reserved)), 0) FROM gas_reservation)');
  assert.deepEqual([subjects, left], [all, all], 'the sums of gas agree');
  await assertCustody();
  await assertBooks();
}
