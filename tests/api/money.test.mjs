// Money, from outside: deposits from the chain and back into it, the ledger added up again by SQL, the treasury asked by
// RPC, receipts recovered by viem, and what the gateway does when its books do not hold.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { recoverTypedDataAddress } from 'viem';
import { contractsCompile } from '../../script/contracts.mjs';
import {
  accountMake, adderBody, api, assertBooks, assertError, assertStatus, balanceOf, call, chain, depositSend, dev, jobEnded, mine, modelOf, OPG, rpc, splitOf, sql, token, tokenBalance,
  tokenSend, unbase64url, uuid, waitFor, walletMake,
} from './stack.mjs';

const adder = modelOf('tensor').id;
const infer = (key, body = adderBody(1)) => call('POST', `/v2/models/${adder}/infer`, { key, body });
const deposits = async (key) => assertStatus(await call('GET', '/v1/deposits', { key }), 200).json.data;
const available = async (key) => (await balanceOf(key)).available;

// Blocks come when these tests say so: states between two blocks can be looked at, and nobody mines into a reorganisation.
before(() => rpc('evm_setIntervalMining', 0));
after(() => rpc('evm_setIntervalMining', 1));

const head = () => chain.client.getBlockNumber();
/// Waits until the gateway has looked at the newest block.
async function watched() {
  const number = await head();
  await waitFor(`the gateway has seen block ${number}`, () => {
    const [[at]] = sql(`SELECT number FROM chain_cursor WHERE token = '\\x${dev.opg_token.slice(2)}'`);
    return BigInt(at) >= number;
  });
}
const stateIs = (key, state) => waitFor(`the deposit is ${state}`, async () => (await deposits(key))[0]?.state === state);

test('a transfer to the treasury is credited once, after its confirmations', async () => {
  const account = await accountMake();
  assert.equal((await call('GET', '/v1/gateway')).json.deposit_confirmations, 2);
  const receipt = await depositSend(account, 5n * OPG);
  await stateIs(account.key, 'seen');
  assert.equal(await available(account.key), 0n, 'one block is no confirmation');
  const [seen] = await deposits(account.key);
  assert.deepEqual([seen.tx, seen.amount, seen.block, seen.credited_at, seen.shortfall], [receipt.transactionHash, String(5n * OPG), Number(receipt.blockNumber), null, '0']);
  await mine();
  await stateIs(account.key, 'credited');
  assert.equal(await available(account.key), 5n * OPG);
  await mine(5);
  await watched();
  assert.equal(await available(account.key), 5n * OPG, 'and once only');
  assert.equal((await deposits(account.key)).length, 1);
  const [transfer, ...more] = (await call('GET', '/v1/transfers', { key: account.key })).json.data;
  assert.deepEqual([transfer.kind, transfer.job, transfer.entries, more], ['deposit', null, [{ account: 'available', amount: String(5n * OPG) }], []]);
});

test('two transfers of one block are two deposits; one made before the first sign-in waits for its owner', async () => {
  const wallet = await walletMake();
  await tokenSend(wallet, [['mint', wallet.address, 9n], ['transfer', dev.treasury, 2n], ['transfer', dev.treasury, 3n], ['transfer', dev.treasury, 0n]]);
  await mine(2);
  const signed = await api.signIn(wallet.account, dev.chain_id);
  await waitFor('both are credited', async () => (await signed.balance()) === 5n);
  assert.deepEqual((await deposits(signed.bearer)).map(({ amount }) => amount).filter((amount) => amount !== '0').toSorted(), ['2', '3']);
  // Sent by an allowance: it is the owner's, whoever sent it.
  const spender = await accountMake();
  await tokenSend(wallet, [['approve', spender.address, 4n]]);
  await tokenSend(spender, [['transferFrom', wallet.address, dev.treasury, 4n]]);
  await mine(2);
  await waitFor('it is credited to the owner', async () => (await signed.balance()) === 9n);
  assert.equal(await available(spender.key), 0n);
});

test('another token, or another receiver, is no deposit', async () => {
  const account = await accountMake();
  const { OPG: artifact } = contractsCompile();
  const hash = await chain.wallet(account.account).deployContract({ ...artifact, args: [], gas: 5_000_000n });
  await mine();
  const other = { ...token, address: (await chain.receiptOf(hash)).contractAddress };
  await tokenSend(account, [['mint', account.address, 1000n * OPG], ['transfer', dev.treasury, 1000n * OPG], ['mint', dev.treasury, OPG]], other);
  await tokenSend(account, [['mint', account.address, 50n], ['transfer', dev.gateway_address, 20n], ['approve', dev.treasury, 20n]]);
  await tokenSend(account, [['transfer', dev.treasury, 7n]]);
  await mine(2);
  await waitFor('the real one is credited', async () => (await available(account.key)) === 7n);
  assert.equal((await deposits(account.key)).length, 1);
  await assertBooks();
});

/// The raw transactions of these receipts, to send again after the chain has forgotten them.
const rawOf = (receipts) => Promise.all(receipts.map(({ transactionHash }) => rpc('eth_getRawTransactionByHash', transactionHash)));

test('a reorganisation takes back a deposit that was seen, and one that was credited', async () => {
  const account = await accountMake();
  const start = await assertBooks();
  await mine();
  const base = await head();
  await tokenSend(account, [['mint', account.address, 6n * OPG], ['transfer', dev.treasury, 4n * OPG]]);
  await stateIs(account.key, 'seen');
  await rpc('anvil_reorg', Number((await head()) - base), []);
  await stateIs(account.key, 'vanished');
  assert.equal(await available(account.key), 0n);
  assert.equal(await tokenBalance(dev.treasury), BigInt(start.custody.on_chain), 'the chain itself forgot it');

  const snapshot = await rpc('evm_snapshot');
  const receipts = await tokenSend(account, [['mint', account.address, 6n * OPG], ['transfer', dev.treasury, 4n * OPG]]);
  const raw = await rawOf(receipts);
  await mine(3);
  await waitFor('it is credited', async () => (await available(account.key)) === 4n * OPG);
  assert.equal(await rpc('evm_revert', snapshot), true);
  await mine(5); // the other branch grows past ours
  await waitFor('it is taken back', async () => (await available(account.key)) === 0n);
  const [reversed] = await deposits(account.key);
  assert.deepEqual([reversed.tx, reversed.state, reversed.shortfall], [receipts[1].transactionHash, 'reversed', '0']);
  const moves = (await call('GET', '/v1/transfers', { key: account.key })).json.data.map(({ kind, entries }) => [kind, entries[0].amount]);
  assert.deepEqual(moves, [['deposit_reversal', String(-4n * OPG)], ['deposit', String(4n * OPG)]]);
  assert.deepEqual((await assertBooks()).custody, start.custody);

  // The same transactions in another block of the new branch: the same deposit, credited once more.
  for (const transaction of raw) await rpc('eth_sendRawTransaction', transaction);
  await mine(3);
  await waitFor('it is credited again', async () => (await available(account.key)) === 4n * OPG);
  const again = (await deposits(account.key)).filter(({ tx }) => tx === receipts[1].transactionHash);
  assert.deepEqual(again.map(({ state, id }) => [state, id]), [['credited', reversed.id]]);
  await mine(5);
  await watched();
  assert.equal(await available(account.key), 4n * OPG);
  await assertBooks();
});

test('a deposit taken back after it was spent leaves no debt and no hole in the ledger', async () => {
  const account = await accountMake();
  await mine();
  const base = await head();
  await depositSend(account, OPG);
  await mine(2);
  await waitFor('it is credited', async () => (await available(account.key)) === OPG);
  const { charged } = splitOf(await jobEnded(account.key, assertStatus(await infer(account.key), 200).headers.get('Opgate-Job')));
  try {
    await rpc('anvil_reorg', Number((await head()) - base), []);
    await stateIs(account.key, 'reversed');
    assert.deepEqual(await balanceOf(account.key), { available: 0n, held: 0n, author: 0n, operator: 0n });
    assert.equal((await deposits(account.key))[0].shortfall, String(charged), 'the spent part is the loss');
    const books = (await call('GET', '/v1/reconciliation')).json;
    assert.deepEqual([books.ledger_sum, books.balances_ok, books.holds_ok, books.captures_ok], ['0', true, true, true]);
    assert.equal(books.custody_ok, BigInt(books.custody.on_chain) >= BigInt(books.custody.liabilities), 'and custody is what it is');
    assertError(await infer(account.key), 'oip', books.ok ? 402 : 503, books.ok ? 'insufficient_funds' : 'settlement_stopped');
  } finally {
    await treasurySet((await tokenBalance(dev.treasury)) + charged); // somebody makes up for the loss
  }
  await assertBooks();
});

// ---- the books, by other means ----

const TYPES = {
  Receipt: [
    ['jobId', 'bytes16'], ['attempt', 'uint32'], ['gateway', 'address'], ['node', 'address'], ['modelDigest', 'bytes32'], ['requestHash', 'bytes32'], ['responseHash', 'bytes32'], ['profileHash', 'bytes32'], ['status', 'uint16'],
    ['policy', 'string'], ['inputUnits', 'uint64'], ['outputUnits', 'uint64'], ['startedAt', 'uint64'], ['finishedAt', 'uint64'],
  ],
  NodeStatement: [
    ['gateway', 'address'], ['node', 'address'], ['operator', 'address'], ['modelDigest', 'bytes32'], ['profileHash', 'bytes32'], ['registeredAt', 'uint64'], ['issuedAt', 'uint64'],
  ],
};

/// Who signed this statement, by viem.
async function signerOf(primaryType, { domain, message, signature }) {
  assert.deepEqual(domain, { name: 'opgate', version: '1', chainId: String(dev.chain_id) });
  assert.deepEqual(Object.keys(message), TYPES[primaryType].map(([name]) => name), 'the fields in their order');
  const types = { [primaryType]: TYPES[primaryType].map(([name, type]) => ({ name, type })) };
  const address = await recoverTypedDataAddress({ domain: { ...domain, chainId: dev.chain_id }, types, primaryType, message, signature });
  return address.toLowerCase();
}

async function earnedBy(role, index = 0) {
  const { private_key } = dev.accounts.filter((account) => account.role === role)[index];
  const { privateKeyToAccount } = await import('viem/accounts');
  return balanceOf((await api.signIn(privateKeyToAccount(private_key), dev.chain_id)).bearer);
}

test('a job is paid by its payer, to its operator, its author and the platform, and signed by its node', async () => {
  const account = await accountMake({ opg: OPG });
  const fee = () => BigInt(sql('SELECT coalesce(sum(amount), 0) FROM ledger_entry WHERE account = 9')[0][0]);
  const operators = async () => [await earnedBy('operator', 0), await earnedBy('operator', 1)];
  const before = { author: await earnedBy('author'), operators: await operators(), fee: fee() };
  const answer = assertStatus(await infer(account.key), 200);
  const job = await jobEnded(account.key, answer.headers.get('Opgate-Job'));
  const { charged, node, author, platform } = splitOf(job);
  // The price by the rule: asks and royalty exact, the fee on both rounded up once.
  const offer = (await call('GET', `/v1/nodes/${job.node}`)).json.offers.find(({ digest }) => digest === job.digest);
  assert.equal(node, BigInt(offer.ask.input));
  assert.equal(author, 1_000_000_000_000_000n);
  assert.equal(platform, ((node + author) * 1000n + 9999n) / 10_000n);

  const after = { author: await earnedBy('author'), operators: await operators(), fee: fee() };
  const which = dev.accounts.filter(({ role }) => role === 'operator').findIndex(({ address }) => address === job.operator);
  assert.equal(after.author.author - before.author.author, author);
  assert.equal(after.operators[which].operator - before.operators[which].operator, node);
  assert.equal(after.operators[1 - which].operator, before.operators[1 - which].operator);
  assert.equal(after.fee - before.fee, platform);
  assert.equal(await available(account.key), OPG - charged);

  const transfers = (await call('GET', '/v1/transfers', { key: account.key })).json.data;
  assert.deepEqual(transfers.map(({ kind }) => kind), ['capture', 'hold', 'deposit']);
  const [capture, hold] = transfers.map(({ entries }) => Object.fromEntries(entries.map(({ account: which, amount }) => [which, BigInt(amount)])));
  assert.deepEqual(hold, { available: -BigInt(job.hold), held: BigInt(job.hold) });
  assert.equal(capture.held, -BigInt(job.hold));
  assert.equal(capture.available ?? 0n, BigInt(job.hold) - charged);
  assert.ok(transfers.slice(0, 2).every((transfer) => transfer.job === job.id));
  const lines = sql(`SELECT e.account, e.amount FROM ledger_entry e JOIN ledger_transfer t ON t.id = e.transfer WHERE t.job = '${job.id}' AND t.kind = 'capture'`);
  assert.equal(lines.reduce((sum, [, amount]) => sum + BigInt(amount), 0n), 0n);

  const receipt = JSON.parse(unbase64url(answer.headers.get('Opgate-Receipt')));
  assert.equal(await signerOf('Receipt', receipt), job.node);
  const statement = assertStatus(await call('GET', `/v1/nodes/${job.node}/statements/${job.digest}`), 200).json;
  assert.equal(await signerOf('NodeStatement', statement), dev.gateway_address);
  assert.deepEqual([statement.message.node, statement.message.operator, statement.message.modelDigest], [job.node, job.operator, receipt.message.modelDigest]);
  const changed = { ...receipt, message: { ...receipt.message, outputUnits: '1' } };
  assert.notEqual(await signerOf('Receipt', changed), job.node);
});

test('transfers and deposits are listed page by page', async () => {
  const account = await accountMake({ opg: OPG });
  for (let i = 0; i < 4; i++) await infer(account.key, adderBody(i));
  for (const route of ['/v1/transfers', '/v1/deposits']) {
    const all = (await call('GET', `${route}?limit=200`, { key: account.key })).json;
    const paged = [];
    for (let after = ''; ;) {
      const page = assertStatus(await call('GET', `${route}?limit=2${after}`, { key: account.key }), 200).json;
      paged.push(...page.data);
      if (!page.has_more) break;
      after = `&after=${page.data.at(-1).id}`;
    }
    assert.deepEqual(paged, all.data);
    assert.deepEqual(all.asset, { symbol: 'OPG', decimals: 18 });
  }
  const all = (await call('GET', '/v1/transfers?limit=200', { key: account.key })).json.data;
  assert.equal(all.length, 9, 'one deposit, four holds, four captures');
  const sums = {};
  for (const { entries } of all) for (const { account: which, amount } of entries) sums[which] = (sums[which] ?? 0n) + BigInt(amount);
  assert.deepEqual(sums, { available: await available(account.key), held: 0n });
});

test('a balance cannot be overdrawn by many at once', async () => {
  const { hold } = (await call('POST', '/v1/quotes', { body: { model: adder, input_bytes: adderBody(1).length } })).json;
  const opg = BigInt(hold) * 3n + BigInt(hold) / 2n;
  const account = await accountMake({ opg });
  // Not more than the two nodes have places for (8 each): the others would be told that all are busy.
  const answers = await Promise.all(Array.from({ length: 15 }, () => infer(account.key)));
  let charged = 0n;
  for (const answer of answers) {
    if (answer.status !== 200) assertError(answer, 'oip', 402, 'insufficient_funds');
    else charged += splitOf(await jobEnded(account.key, answer.headers.get('Opgate-Job'))).charged;
  }
  const served = answers.filter(({ status }) => status === 200).length;
  assert.equal(served, 3, 'as many as the money covers');
  assert.deepEqual(await balanceOf(account.key), { available: opg - charged, held: 0n, author: 0n, operator: 0n });
});

test('the ledger adds up to zero by SQL, and the treasury covers it by RPC', async () => {
  const books = await assertBooks();
  assert.deepEqual(sql('SELECT sum(amount) FROM ledger_entry'), [['0']]);
  assert.deepEqual(sql('SELECT transfer FROM ledger_entry GROUP BY transfer HAVING sum(amount) <> 0 OR count(*) < 2'), []);
  assert.deepEqual(sql('SELECT b.account FROM ledger_balance b LEFT JOIN ledger_entry e USING (account) GROUP BY b.account, b.amount HAVING b.amount <> coalesce(sum(e.amount), 0)'), []);
  assert.deepEqual(sql("SELECT h.job FROM hold h JOIN job j ON j.id = h.job WHERE h.captured > h.amount OR (j.outcome IS NULL) <> (h.state = 'open')"), []);
  assert.deepEqual(sql('SELECT id FROM job WHERE outcome IS NOT NULL AND charged <> ask + royalty + fee'), []);
  assert.deepEqual(sql("SELECT id FROM job WHERE charged > 0 AND state <> 'settled'"), []);
  const [[liabilities]] = sql("SELECT coalesce(sum(e.amount), 0) FROM ledger_entry e JOIN ledger_account a ON a.id = e.account WHERE a.kind IN ('available', 'held', 'author', 'operator')");
  assert.equal(books.custody.liabilities, liabilities);
  const on_chain = await tokenBalance(dev.treasury);
  assert.equal(books.custody.on_chain, String(on_chain));
  assert.ok(on_chain >= BigInt(liabilities));
  // What the chain says was sent to the treasury is what was credited, less what the chain took back.
  const [[credited]] = sql("SELECT coalesce(sum(amount), 0) FROM deposit WHERE state = 'credited'");
  const logs = await chain.client.getContractEvents({ ...token, eventName: 'Transfer', args: { to: dev.treasury }, fromBlock: 0n });
  assert.equal(String(logs.reduce((sum, { args }) => sum + args.value, 0n)), credited);
});

test('the ledger is append-only and refuses what does not add up, whoever asks', () => {
  const refused = (statement, what) => assert.throws(() => sql(statement), what);
  refused('UPDATE ledger_entry SET amount = amount + 1', /append-only/);
  refused('DELETE FROM ledger_transfer', /append-only/);
  refused('TRUNCATE ledger_entry', /append-only/);
  refused('UPDATE ledger_balance SET amount = amount + 1', /balances follow entries only/);
  const key = uuid();
  refused(`WITH t AS (INSERT INTO ledger_transfer (key, kind) VALUES ('${key}', 'deposit') RETURNING id) INSERT INTO ledger_entry (transfer, line, account, amount) SELECT id, 1, 9, 5 FROM t`, /do not sum to zero/);
  refused(`INSERT INTO ledger_transfer (key, kind) VALUES ('${key}', 'deposit')`, /has no entries/);
  refused(`WITH t AS (INSERT INTO ledger_transfer (key, kind) VALUES ('${key}', 'hold') RETURNING id), b AS (SELECT account, amount FROM ledger_balance WHERE account % 16 = 1 LIMIT 1)
    INSERT INTO ledger_entry (transfer, line, account, amount) SELECT t.id, p.line, p.account, p.amount FROM t, b, LATERAL (VALUES (1, b.account, -b.amount - 1), (2, 9::bigint, b.amount + 1)) p(line, account, amount)`, /would be overdrawn/);
});

// ---- books that do not hold ----

/// Sets what the treasury owns on chain, without a transfer.
const treasurySet = async (amount) => {
  await rpc('anvil_dealERC20', dev.treasury, dev.opg_token, `0x${amount.toString(16)}`);
  assert.equal(await tokenBalance(dev.treasury), amount);
};

test('when custody does not cover the liabilities, no new paid work is taken until it does', async () => {
  const account = await accountMake({ opg: OPG });
  const books = await assertBooks();
  try {
    await treasurySet(BigInt(books.custody.liabilities) - 1n);
    const short = (await call('GET', '/v1/reconciliation')).json;
    assert.deepEqual([short.ok, short.custody_ok, short.custody.ok, short.balances_ok, short.ledger_sum], [false, false, false, true, '0']);
    const refused = await infer(account.key);
    assert.equal(assertError(refused, 'oip', 503, 'settlement_stopped').retryable, true);
    assert.ok(Number(refused.headers.get('Retry-After')) > 0);
    assertError(await call('POST', `/v1/jobs?model=${adder}`, { key: account.key, body: adderBody(1) }), 'problem', 503, 'settlement_stopped');
    assert.deepEqual([(await call('GET', '/readyz')).status, (await call('GET', '/livez')).status], [503, 200]);
    assert.match((await call('GET', '/metrics')).bytes.toString(), /reconcil\w* 0\n/);
    assert.equal(await available(account.key), OPG, 'reading goes on');
  } finally {
    await treasurySet(BigInt(books.custody.on_chain));
  }
  await assertBooks();
  assertStatus(await infer(account.key), 200);
  assertStatus(await call('GET', '/readyz'), 200);
});
