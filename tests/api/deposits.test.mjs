// Deposits by signature: a wallet without a wei signs, the gateway's settling key sends, and the watcher credits the Transfer as any
// other. Bounded: a minimum, one in flight for each account, gas a day.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { privateKeyToAccount } from 'viem/accounts';
import { PERMIT2 } from '../../script/deploy.mjs';
import { accountMake, assertBooks, assertError, assertStatus, balanceOf, call, chain, dev, mine, OPG, rpc, sql, token, tokenBalance, tokenSend, waitFor, walletMake } from './stack.mjs';

before(() => rpc('evm_setIntervalMining', 0));
after(() => rpc('evm_setIntervalMining', 1));

const soon = () => Math.floor(Date.now() / 1000) + 600;
const depositor = async () => (await call('GET', '/v1/gateway')).json.depositor;
const post = (key, body) => call('POST', '/v1/deposits', { key, body });

/// A signed-in wallet with OPG and no ether at all; `allow`: Permit2 may take its tokens (which took gas, once).
async function walletOf(opg, { allow = false } = {}) {
  const rich = await walletMake();
  const account = await accountMake();
  await tokenSend(rich, [['mint', account.address, opg]]);
  if (allow) await tokenSend(account, [['approve', PERMIT2, 2n ** 256n - 1n]]);
  await rpc('anvil_setBalance', account.address, '0x0');
  return account;
}

async function permitSign({ private_key, address }, amount, { spender, deadline = soon(), nonce } = {}) {
  const own = nonce ?? await chain.read({ ...token, functionName: 'nonces', args: [address] });
  const signature = await privateKeyToAccount(private_key).signTypedData({
    domain: { name: 'OPG', version: '1', chainId: dev.chain_id, verifyingContract: token.address }, primaryType: 'Permit',
    types: { Permit: [['owner', 'address'], ['spender', 'address'], ['value', 'uint256'], ['nonce', 'uint256'], ['deadline', 'uint256']].map(([name, type]) => ({ name, type })) },
    message: { owner: address, spender: spender ?? await depositor(), value: amount, nonce: own, deadline: BigInt(deadline) },
  });
  return { method: 'permit', amount: String(amount), deadline, signature };
}

async function permit2Sign({ private_key, address }, amount, { nonce = 7n, deadline = soon(), account = address, treasury = dev.treasury } = {}) {
  const list = (pairs) => pairs.map(([name, type]) => ({ name, type }));
  const signature = await privateKeyToAccount(private_key).signTypedData({
    domain: { name: 'Permit2', chainId: dev.chain_id, verifyingContract: PERMIT2 }, primaryType: 'PermitWitnessTransferFrom',
    types: {
      PermitWitnessTransferFrom: list([['permitted', 'TokenPermissions'], ['spender', 'address'], ['nonce', 'uint256'], ['deadline', 'uint256'], ['witness', 'Deposit']]),
      TokenPermissions: list([['token', 'address'], ['amount', 'uint256']]), Deposit: list([['treasury', 'address'], ['account', 'address']]),
    },
    message: { permitted: { token: token.address, amount }, spender: await depositor(), nonce, deadline: BigInt(deadline), witness: { treasury, account } },
  });
  return { method: 'permit2', amount: String(amount), nonce: String(nonce), deadline, signature };
}

/// Mines until the deposit has ended; its last status.
const ended = (key, path) => waitFor('the deposit has ended', async () => {
  await mine();
  const { json } = assertStatus(await call('GET', path, { key }), 200);
  return ['done', 'failed'].includes(json.state) && json;
});

for (const [method, sign] of [['permit', permitSign], ['permit2', permit2Sign]])
  test(`${method}: a wallet without gas deposits, and is credited once`, async () => {
    const wallet = await walletOf(5n * OPG, { allow: method === 'permit2' });
    const body = await sign(wallet, 3n * OPG);
    const held = await tokenBalance(dev.treasury);
    const answer = assertStatus(await post(wallet.key, body), 202);
    const path = answer.headers.get('Location');
    assert.deepEqual([answer.json.method, answer.json.amount, answer.json.state === 'queued' || answer.json.state === 'sent'], [method, String(3n * OPG), true]);
    // Nobody mines: it is in flight, so neither this signature nor another is taken.
    await waitFor('it is on its way', async () => (await call('GET', path, { key: wallet.key })).json.state === 'sent');
    assertError(await post(wallet.key, body), 'problem', 409, 'conflict');
    assertError(await post(wallet.key, await sign(wallet, OPG, { nonce: method === 'permit' ? 0n : 8n })), 'problem', 409, 'conflict');
    const done = await ended(wallet.key, path);
    assert.deepEqual([done.state, done.reason], ['done', null]);
    await mine(2);
    await waitFor('it is credited', async () => (await balanceOf(wallet.key)).available === 3n * OPG);
    const { data } = (await call('GET', '/v1/deposits', { key: wallet.key })).json;
    assert.deepEqual(data.map(({ tx, sender, amount, state }) => [tx, sender, amount, state]), [[done.transaction, wallet.address, String(3n * OPG), 'credited']]);
    assert.equal(await tokenBalance(dev.treasury), held + 3n * OPG);
    assert.equal(await chain.client.getBalance({ address: wallet.address }), 0n, 'the wallet never had gas');
    const again = await post(wallet.key, body);
    assert.ok([409, 422].includes(again.status), 'the signature is used');
    await mine(3);
    assert.equal((await balanceOf(wallet.key)).available, 3n * OPG);
    const other = await accountMake();
    assertError(await call('GET', path, { key: other.key }), 'problem', 404, 'not_found');
    await assertBooks();
  });

test('what would fail on chain is refused before it costs gas', async () => {
  const wallet = await walletOf(5n * OPG, { allow: true });
  const other = await walletOf(5n * OPG, { allow: true });
  const refused = async (body, status = 422) => assert.equal((await post(wallet.key, body)).status, status, JSON.stringify(body));
  await refused(await permitSign(other, 2n * OPG)); // somebody else's signature
  await refused(await permitSign(wallet, 6n * OPG)); // more than it has
  await refused(await permitSign(wallet, 2n * OPG, { spender: other.address }));
  await refused(await permitSign(wallet, OPG / 2n)); // below the minimum
  await refused(await permit2Sign(wallet, 2n * OPG, { account: other.address })); // the witness names another account
  await refused(await permit2Sign(wallet, 2n * OPG, { treasury: other.address })); // or another treasury
  await refused({ ...await permit2Sign(wallet, 2n * OPG), amount: String(3n * OPG) });
  await refused(await permitSign(wallet, 2n * OPG, { deadline: soon() - 599 }), 400);
  await refused(await permitSign(wallet, 2n * OPG, { deadline: soon() + 100_000 }), 400);
  await refused({ ...await permitSign(wallet, 2n * OPG), nonce: '1' }, 400);
  await refused({ ...await permitSign(wallet, 2n * OPG), method: 'eip3009' }, 400);
  await refused({ ...await permitSign(wallet, 2n * OPG), signature: '0x1234' }, 400);
  assert.deepEqual(sql(`SELECT count(*) FROM sponsored_deposit d JOIN account a ON a.id = d.account WHERE a.address = '\\x${wallet.address.slice(2)}'`), [['0']]);
  assert.equal((await call('POST', '/v1/deposits', { body: {} })).status, 401);
});

test('the gas of a day is bounded', async () => {
  const wallet = await walletOf(20n * OPG, { allow: true });
  for (let nonce = 1n; ; nonce++) {
    assert.ok(nonce < 20n, 'there is a limit');
    const answer = await post(wallet.key, await permit2Sign(wallet, OPG, { nonce }));
    if (answer.status === 429) break;
    await ended(wallet.key, assertStatus(answer, 202).headers.get('Location'));
  }
  const [[spent]] = sql(`SELECT sum(gas_cost) FROM sponsored_deposit d JOIN account a ON a.id = d.account WHERE a.address = '\\x${wallet.address.slice(2)}'`);
  assert.ok(BigInt(spent) <= 2_000_000_000_000_000n);
});

test('a signature that was used by somebody else fails quietly, and the deposit counts all the same', async () => {
  const wallet = await walletOf(5n * OPG, { allow: true });
  const helper = await walletMake();
  const body = await permit2Sign(wallet, 2n * OPG);
  const answer = assertStatus(await post(wallet.key, body), 202);
  await waitFor('it is on its way', async () => (await call('GET', answer.headers.get('Location'), { key: wallet.key })).json.state === 'sent');
  // Somebody sees it in the pool and pays more to be first.
  const { contractsCompile } = await import('../../script/contracts.mjs');
  await chain.wallet(helper.account).writeContract({ address: await depositor(), abi: contractsCompile().Depositor.abi, functionName: 'depositWithPermit2', gas: 400_000n,
    maxFeePerGas: 50_000_000_000n, maxPriorityFeePerGas: 40_000_000_000n, args: [wallet.address, 2n * OPG, 7n, BigInt(body.deadline), body.signature] });
  const done = await ended(wallet.key, answer.headers.get('Location'));
  assert.deepEqual([done.state, done.reason], ['failed', 'the transaction was reverted']);
  await mine(2);
  await waitFor('it is credited', async () => (await balanceOf(wallet.key)).available === 2n * OPG);
  await assertBooks();
});
