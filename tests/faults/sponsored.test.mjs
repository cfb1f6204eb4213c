// kill -9 at every step of a deposit by signature, and of its crediting. After the restart the money moved once and is credited once.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { contractsCompile } from '../../script/contracts.mjs';
import { inRoot } from '../../script/lib/paths.mjs';

process.env.OPGATE_BIN = process.env.OPGATE_FAULTS_BIN || inRoot('build/faults/opgate');
const { CHAIN_ID, OPG, Rig, waitFor } = await import('./rig.mjs');
const { chainAccount, chainOpen } = await import('../../script/lib/chain.mjs');

const ROUNDS = Number(process.env.PAYMENT_ROUNDS || 1);
const POINTS = [null, 'settlement_written', 'settlement_sent', 'settlement_mined', 'deposit_seen', 'deposit_written']; // null: as soon as it is told that it was taken
let rig, chain, token;

before(async () => {
  assert.ok(fs.existsSync(process.env.OPGATE_BIN), `${process.env.OPGATE_BIN} is missing: make FAULTS=1 BUILD=build/faults`);
  rig = await Rig.start({ instance_timeout_ms: 1000, deposit_confirmations: 2 });
  await rig.gatewayAgain({ ...rig.walletSettings(), depositor_contract: rig.chain.depositor });
  chain = chainOpen(rig.rpc_url);
  token = { address: rig.chain.opg_token, abi: contractsCompile().OPG.abi };
});
after(() => rig?.stop());

const balanceOf = (address) => chain.read({ ...token, functionName: 'balanceOf', args: [address] });

async function permitSign(account, amount) {
  const deadline = Math.floor(Date.now() / 1000) + 3600;
  const signature = await account.signTypedData({
    domain: { name: 'OPG', version: '1', chainId: CHAIN_ID, verifyingContract: token.address }, primaryType: 'Permit',
    types: { Permit: [['owner', 'address'], ['spender', 'address'], ['value', 'uint256'], ['nonce', 'uint256'], ['deadline', 'uint256']].map(([name, type]) => ({ name, type })) },
    message: { owner: account.address, spender: rig.chain.depositor, value: amount, nonce: 0n, deadline: BigInt(deadline) },
  });
  return { method: 'permit', amount: String(amount), deadline, signature };
}

for (let round = 0; round < ROUNDS; round++)
  for (const point of POINTS)
    test(`kill -9 at ${point ?? 'the answer'}${round ? ` (${round + 1})` : ''}`, { timeout: 120_000 }, async () => {
      const account = privateKeyToAccount(generatePrivateKey());
      const amount = 2n * OPG + BigInt(POINTS.indexOf(point));
      await chain.write(chainAccount(9).account, { ...token, functionName: 'mint', args: [account.address, 3n * OPG] });
      const signed = await rig.api().signIn(account, CHAIN_ID);
      const body = await permitSign(account, amount);
      const treasury = await balanceOf(rig.accounts.treasury.address);
      await rig.kill('gateway');
      await rig.gatewaySpawn('gateway', point ? `${point}:1` : undefined);
      await rig.gatewayReady();
      const asked = await fetch(`${rig.base_url}/v1/deposits`, { method: 'POST', body: JSON.stringify(body), signal: AbortSignal.timeout(30_000),
        headers: { Authorization: `Bearer ${signed.bearer}`, 'Content-Type': 'application/json' } }).then(({ status }) => status, () => 'broken');
      if (!point) await rig.kill('gateway');
      await waitFor('the gateway is gone', () => rig.gone('gateway'), { seconds: 60 });
      await rig.gatewaySpawn('gateway');
      await rig.gatewayReady();
      assert.ok([202, 'broken'].includes(asked), String(asked));
      await waitFor('it is credited', async () => (await signed.balance()) > 0n, { seconds: 60 });
      await waitFor('its transaction is final', async () => (await rig.sql("SELECT count(*) AS open FROM settlement_tx WHERE state IN ('signed', 'mined')"))[0].open === 0, { seconds: 60 });
      assert.equal(await signed.balance(), amount);
      assert.equal((await balanceOf(rig.accounts.treasury.address)) - treasury, amount, 'it moved once');
      assert.equal(await balanceOf(account.address), 3n * OPG - amount);
      const rows = await rig.sql(`SELECT s.state, t.succeeded FROM sponsored_deposit s JOIN settlement_tx t ON t.id = s.tx JOIN account a ON a.id = s.account WHERE a.address = '\\x${account.address.slice(2).toLowerCase()}'`);
      assert.deepEqual(rows, [{ state: 'done', succeeded: true }]);
      const books = await rig.reconciliation();
      assert.deepEqual([books.ok, books.ledger_sum, books.settlements_stopped], [true, '0', false]);
    });
