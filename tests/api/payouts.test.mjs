// Being paid out, from outside: what was earned arrives on chain to the last base unit and is traced to its jobs; money leaves once, to
// addresses that were signed for and have waited, and never because somebody held an API key or an old token.
import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { chainAccount } from '../../script/lib/chain.mjs';
import { documentSign, EvilNode } from '../faults/evil-node.mjs';
import { buyerMake, eip3009, envelope, offersOf, pay } from './payer.mjs';
import {
  accountMake, adderBody, api, assertBooks, assertError, assertStatus, balanceOf, call, chain, dev, host, inVar, mine, OPG, rpc, sql, token, tokenBalance, tokenSend, uuid, waitFor, walletMake,
} from './stack.mjs';

let author, operator, consumer, node, model, rig;

before(async () => {
  [author, operator] = await Promise.all([accountMake(), accountMake()]);
  consumer = await accountMake({ opg: OPG });
  await author.api.handleSet(`a-${uuid().slice(0, 8)}`);
  const bytes = Buffer.from(uuid());
  model = await author.api.modelPublish({ name: 'paid', title: '', description: '', surface: 'tensor', price: { input: '1001', output: '0' }, files: [{ path: 'm.onnx', bytes }] });
  rig = { accounts: { operator }, closers: [], gateway_address: dev.gateway_address, api: () => api };
  node = await EvilNode.start(rig, { models: [model], ask: { input: '2003', output: '0' } });
});
after(async () => {
  await rpc('evm_setIntervalMining', 1);
  await node?.leave();
});

/// Runs jobs of the model; their ids.
async function jobsRun(count, of = model.id) {
  const ids = [];
  for (let i = 0; i < count; i++) ids.push(assertStatus(await call('POST', `/v2/models/${of}/infer`, { key: consumer.key, body: adderBody(i) }), 200).headers.get('Opgate-Job'));
  // A payout covers what was written before any transaction that still runs: until then the newest job could be in the next one.
  await waitFor('every transaction since has ended', () => sql('SELECT pg_snapshot_xmin(pg_current_snapshot()) > (SELECT xid FROM ledger_entry ORDER BY xid DESC LIMIT 1)')[0][0] === 't');
  return ids;
}
const withdraw = (account, body, headers = {}) => call('POST', '/v1/withdrawals', { key: account.token, body, headers });
const withdrawal = async (account, id) => assertStatus(await call('GET', `/v1/withdrawals/${id}`, { key: account.key }), 200).json;
const ends = (account, id, state) => waitFor(`withdrawal ${id} is ${state}`, async () => {
  const now = await withdrawal(account, id);
  await assertBooks(); // at every moment
  return now.state === state && now;
}, { seconds: 60 });
const earnings = async (account) => assertStatus(await call('GET', '/v1/earnings', { key: account.key }), 200).json;
const statement = async (account, query = '') => assertStatus(await call('GET', `/v1/statements${query}`, { key: account.key }), 200).json;
const settings = (account, body) => call('PUT', '/v1/payouts/settings', { key: account.token, body });
const sum = (lines) => lines.reduce((total, { amount }) => total + BigInt(amount), 0n);

async function statementSign(account, to, over = {}, signer = account.account) {
  const values = { account: account.address, to, gateway: dev.gateway_address, issuedAt: Date.now(), nonce: `0x${randomBytes(32).toString('hex')}`, ...over };
  return (await documentSign('PayoutAddress', values, signer)).text;
}

test('what was earned arrives on chain, and every base unit of it is traced to a job', async () => {
  const jobs = await jobsRun(5);
  assert.deepEqual((await earnings(author)).author, { earned: '5005', in_flight: '0', paid: '0', available: '5005' });
  const asked = assertStatus(await withdraw(author, { source: 'author' }), 201).json;
  assert.deepEqual([asked.state === 'pending' || asked.state === 'sent', asked.amount, asked.address, asked.source], [true, '5005', author.address, 'author']);
  assert.deepEqual((await earnings(author)).author, { earned: '5005', in_flight: '5005', paid: '0', available: '0' });
  assertError(await withdraw(author, { source: 'author' }), 'problem', 409, 'conflict');
  const later = await jobsRun(2); // not in it
  const paid = await ends(author, asked.id, 'paid');
  assert.equal(await tokenBalance(author.address), 5005n);
  const receipt = await chain.client.getTransactionReceipt({ hash: paid.transaction });
  assert.equal(receipt.to, dev.payouts);
  assert.deepEqual((await earnings(author)).author, { earned: '7007', in_flight: '0', paid: '5005', available: '2002' });

  const { data } = await statement(author);
  assert.deepEqual(data.map(({ job }) => job), [...jobs, ...later]);
  assert.ok(data.every((line) => line.model === model.id && line.role === 'author' && line.amount === '1001'));
  assert.ok(data.slice(0, 5).every((line) => line.payout === asked.id && line.transaction === paid.transaction && line.payout_state === 'paid'));
  assert.ok(data.slice(5).every((line) => line.payout === null && line.transaction === null));
  assert.equal(sum(data.filter(({ payout }) => payout === asked.id)), BigInt(paid.amount));

  const second = assertStatus(await withdraw(author, { source: 'author' }), 201).json;
  const mine_too = assertStatus(await withdraw(operator, { source: 'operator' }), 201).json; // another account: perhaps the same transaction
  assert.deepEqual([second.amount, mine_too.amount], ['2002', String(7n * 2003n)]);
  await ends(author, second.id, 'paid');
  await ends(operator, mine_too.id, 'paid');
  assert.equal(sum((await statement(author)).data.filter(({ payout }) => payout === second.id)), 2002n);
  assert.equal(sum((await statement(operator)).data.filter(({ payout }) => payout === mine_too.id)), BigInt(mine_too.amount));
  assert.equal(await tokenBalance(operator.address), 7n * 2003n);
  const transfers = (await call('GET', '/v1/transfers', { key: author.key })).json.data;
  assert.deepEqual(transfers.filter(({ kind }) => kind === 'payout').map(({ entries }) => entries), [[{ account: 'author', amount: '-2002' }], [{ account: 'author', amount: '-5005' }]]);
});

test('statements go page by page, between two times, and as CSV', async () => {
  const { data } = await statement(author);
  const first = await statement(author, '?limit=3');
  assert.deepEqual([first.has_more, first.data], [true, data.slice(0, 3)]);
  assert.deepEqual((await statement(author, `?after=${first.data[2].id}`)).data, data.slice(3));
  assert.deepEqual((await statement(author, `?from=${data[2].at}&to=${data[4].at}`)).data, data.slice(2, 4));
  assert.deepEqual((await statement(author, '?to=2020-01-01')).data, []);
  assertError(await call('GET', '/v1/statements?from=yesterday', { key: author.key }), 'problem', 400, 'bad_field');
  for (const ask of [{ path: '/v1/statements?format=csv' }, { path: '/v1/statements', headers: { Accept: 'text/csv' } }]) {
    const answer = assertStatus(await call('GET', ask.path, { key: author.key, headers: ask.headers }), 200);
    assert.match(answer.headers.get('Content-Type'), /^text\/csv/);
    const [head, ...lines] = answer.bytes.toString().split('\r\n');
    assert.equal(head, 'id,at,job,role,model,amount,payout,payout_state,transaction');
    assert.equal(lines.pop(), '');
    assert.deepEqual(lines, data.map((line) => Object.values(line).map((value) => value ?? '').join(',')));
  }
  const page = await call('GET', '/v1/statements?format=csv&limit=2', { key: author.key });
  assert.equal(page.headers.get('Opgate-Next'), data[1].id);
  assert.deepEqual((await statement(consumer)).data, [], 'nobody sees what others earn');
});

test('a withdrawal of the balance happens once for its Idempotency-Key', async () => {
  const account = await accountMake({ opg: 10000n });
  const headers = { 'Idempotency-Key': uuid() };
  const body = { source: 'available', amount: '4000' };
  const answers = await Promise.all([1, 2, 3, 4].map(() => withdraw(account, body, headers)));
  answers.forEach((answer) => assertStatus(answer, 201));
  assert.equal(new Set(answers.map(({ json }) => json.id)).size, 1);
  assert.equal(answers.filter(({ headers: got }) => got.get('Idempotent-Replayed') === 'true').length, 3);
  assertError(await withdraw(account, { ...body, amount: '4001' }, headers), 'problem', 422, 'idempotency_key_reused');
  assertError(await withdraw(account, { source: 'available', amount: '6001' }), 'problem', 402, 'insufficient_funds');
  assertError(await withdraw(account, { source: 'available', amount: '999' }), 'problem', 422, 'unprocessable');
  assertError(await withdraw(account, { source: 'author' }), 'problem', 422, 'unprocessable');
  assertError(await withdraw(account, { source: 'author', amount: '4000' }), 'problem', 400, 'bad_field');
  assertError(await withdraw(account, { source: 'held' }), 'problem', 400, 'bad_field');
  await ends(account, answers[0].json.id, 'paid');
  assert.equal(await tokenBalance(account.address), 4000n);
  const rest = assertStatus(await withdraw(account, { source: 'available' }), 201).json; // all of it
  assert.equal(rest.amount, '6000');
  await ends(account, rest.id, 'paid');
  assert.equal((await balanceOf(account.key)).available, 0n);
  const list = (await call('GET', '/v1/withdrawals', { key: account.key })).json;
  assert.deepEqual([list.data.map(({ amount }) => amount), list.has_more], [['6000', '4000'], false]);
  assert.deepEqual((await call('GET', `/v1/withdrawals?after=${rest.id}`, { key: account.key })).json.data.map(({ amount }) => amount), ['4000']);
  assertError(await call('GET', `/v1/withdrawals/${rest.id}`, { key: consumer.key }), 'problem', 404, 'not_found');
});

/// A token of the gateway's own making, as of somebody who signed in `age` seconds ago.
function tokenOf(account, age) {
  const part = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  const claims = { ...JSON.parse(Buffer.from(account.token.split('.')[1], 'base64url')), iat: now, nbf: now, exp: now + 900, auth_time: now - age };
  const text = `${account.token.split('.')[0]}.${part(claims)}`;
  const secret = Buffer.from(fs.readFileSync(inVar('keys/jwt.secret'), 'utf8').trim(), 'hex');
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

test('API keys and old tokens move nothing', async () => {
  const account = await accountMake({ opg: 5000n });
  const body = { source: 'available' };
  for (const answer of [await call('POST', '/v1/withdrawals', { key: account.key, body }), await call('PUT', '/v1/payouts/settings', { key: account.key, body: { schedule: 'daily' } })])
    assert.match(assertError(answer, 'problem', 403, 'forbidden').detail, /a token from \/v1\/auth\/siwe, not with an API key$/); // not a scope that no key can have
  assertError(await call('POST', '/v1/withdrawals', { key: tokenOf(account, 61), body }), 'problem', 401, 'invalid_token');
  assertError(await call('PUT', '/v1/payouts/settings', { key: tokenOf(account, 61), body: { schedule: 'daily' } }), 'problem', 401, 'invalid_token');
  assertStatus(await call('GET', '/v1/withdrawals', { key: tokenOf(account, 61) }), 200);
  assertError(await call('POST', '/v1/withdrawals', { body }), 'problem', 401, 'unauthenticated');
  assert.equal((await balanceOf(account.key)).available, 5000n);
  assertStatus(await call('POST', '/v1/withdrawals', { key: tokenOf(account, 1), body }), 201);
});

test('a new address is signed for by the account, waits, and can be cancelled meanwhile', async () => {
  const account = await accountMake({ opg: 20000n });
  const [cold, other] = [await walletMake(), await walletMake()];
  const read = async () => assertStatus(await call('GET', '/v1/payouts/settings', { key: account.key }), 200).json;
  assert.deepEqual([(await read()).address, (await read()).schedule], [account.address, 'manual']);
  const put = async (over) => settings(account, { schedule: 'manual', address: cold.address, ...over });
  assertError(await put({}), 'problem', 422, 'unprocessable');
  for (const bad of [
    statementSign(account, other.address), // another address than the one asked for
    statementSign(account, cold.address, {}, other.account), // another signer
    statementSign(account, cold.address, { gateway: other.address }),
    statementSign(account, cold.address, { issuedAt: Date.now() - 3_600_000 }),
    statementSign(other, cold.address),
  ]) assertError(await put({ statement: await bad }), 'problem', 401, 'bad_signature');
  for (const address of [dev.treasury, dev.payouts, dev.opg_token, dev.pay_to])
    assertError(await put({ address, statement: await statementSign(account, address) }), 'problem', 400, 'bad_field');
  assertError(await settings(account, { schedule: 'hourly' }), 'problem', 400, 'bad_field');
  assertError(await settings(account, { schedule: 'daily', minimum: '999' }), 'problem', 400, 'bad_field');

  const signed = await statementSign(account, cold.address);
  const chosen = assertStatus(await put({ statement: signed }), 200).json;
  assert.deepEqual([chosen.address, chosen.addresses.map(({ address, valid }) => [address, valid])], [account.address, [[cold.address, false]]]);
  assertError(await withdraw(account, { source: 'available', amount: '1000', address: cold.address }), 'problem', 403, 'forbidden');
  const own = assertStatus(await withdraw(account, { source: 'available', amount: '1000' }), 201).json;
  assert.equal(own.address, account.address, 'until then to the account itself');
  // Somebody else saw it in time.
  assertStatus(await call('DELETE', `/v1/payouts/addresses/${cold.address}`, { key: tokenOf(account, 300) }), 204);
  assertError(await call('DELETE', `/v1/payouts/addresses/${cold.address}`, { key: account.token }), 'problem', 404, 'not_found');
  assertError(await put({ statement: signed }), 'problem', 409, 'conflict');
  await waitFor('its delay is over', () => sql(`SELECT valid_at < clock_timestamp() FROM payout_address WHERE address = '\\x${cold.address.slice(2)}'`)[0][0] === 't');
  assertError(await withdraw(account, { source: 'available', amount: '1000', address: cold.address }), 'problem', 403, 'forbidden');

  assertStatus(await put({ statement: await statementSign(account, cold.address) }), 200);
  await waitFor('the address is valid', async () => (await read()).address === cold.address);
  const out = assertStatus(await withdraw(account, { source: 'available', amount: '2000' }), 201).json;
  assert.equal(out.address, cold.address);
  assertStatus(await put({ address: account.address }), 200); // back, without delay
  assert.equal((await read()).address, account.address);
  assertStatus(await withdraw(account, { source: 'available', amount: '3000', address: cold.address }), 201); // still on the list
  await ends(account, out.id, 'paid');
  await waitFor('both are there', async () => (await tokenBalance(cold.address)) === 5000n);
});

test('a schedule pays what is above the minimum when it is due', async () => {
  const before = await tokenBalance(operator.address);
  assertStatus(await settings(operator, { schedule: 'daily', minimum: '5000' }), 200);
  const [account] = sql(`SELECT id FROM account WHERE address = '\\x${operator.address.slice(2)}'`);
  const due = () => sql(`UPDATE payout_setting SET next_at = now() - interval '1 second' WHERE account = ${account}`);
  const passed = () => waitFor('the schedule was looked at', () => sql(`SELECT 1 FROM payout_setting WHERE account = ${account} AND next_at > now()`).length === 1);
  await jobsRun(2);
  due();
  await passed();
  assert.equal((await earnings(operator)).operator.available, '4006', 'too little');
  await jobsRun(1);
  due();
  await passed();
  const [last] = (await call('GET', '/v1/withdrawals', { key: operator.key })).json.data;
  assert.deepEqual([last.asked_by, last.amount, last.source], ['schedule', '6009', 'operator']);
  await ends(operator, last.id, 'paid');
  assert.equal(await tokenBalance(operator.address), before + 6009n);
  assertStatus(await settings(operator, { schedule: 'manual' }), 200);
  assert.equal((await call('GET', '/v1/payouts/settings', { key: operator.key })).json.next_at, null);
});

test('payouts wait while the treasury is short, and are paid when it is not', async () => {
  const treasury = { ...chainAccount(6) };
  const account = await accountMake({ opg: 8000n });
  const allow = (amount) => tokenSend(treasury, [['approve', dev.payouts, amount]]);
  await allow(2500n);
  const large = assertStatus(await withdraw(account, { source: 'available', amount: '5000' }), 201).json;
  await waitFor('it waits for funds', async () => (await withdrawal(account, large.id)).waits_for === 'funds');
  const small = assertStatus(await withdraw(account, { source: 'available', amount: '2000' }), 201).json;
  await ends(account, small.id, 'paid'); // a large one does not hold up the others
  assert.deepEqual([(await withdrawal(account, large.id)).state, await tokenBalance(account.address)], ['pending', 2000n]);
  await allow(2n ** 256n - 1n);
  await ends(account, large.id, 'paid');
  assert.equal(await tokenBalance(account.address), 7000n);
});

test('the royalty is shared with co-authors from the next job on', async () => {
  const [second, third] = [await accountMake(), await accountMake()];
  const path = `/v1/models/${model.id}/authors`;
  const put = (authors, key = author.token) => call('PUT', path, { key, body: { authors } });
  const share = ({ address }, bps) => ({ address, bps });
  assert.deepEqual(assertStatus(await call('GET', path, { key: author.key }), 200).json.authors, [share(author, 10000)]);
  assertError(await put([share(author, 9999)]), 'problem', 400, 'bad_field');
  assertError(await put([share(second, 5000), share(second, 5000)]), 'problem', 400, 'bad_field');
  assertError(await put([share(author, 10000)], author.key), 'problem', 403, 'forbidden');
  assertError(await put([share(author, 10000)], tokenOf(author, 61)), 'problem', 401, 'invalid_token');
  assertError(await put([share(second, 10000)], second.token), 'problem', 403, 'forbidden');
  const had = BigInt((await earnings(author)).author.available);
  assert.deepEqual(assertStatus(await put([share(second, 3000), share(author, 3700), share(third, 3300)]), 200).json.authors, [share(author, 3700), share(second, 3000), share(third, 3300)]);
  const [job] = await jobsRun(1);
  const lines = await Promise.all([second, third, author].map(async (who) => (await statement(who)).data.filter((line) => line.job === job)));
  assert.deepEqual(lines.map(([line, ...more]) => [line.amount, line.role, line.model, more.length]), [['300', 'author', model.id, 0], ['330', 'author', model.id, 0], ['371', 'author', model.id, 0]]);
  assert.equal(BigInt((await earnings(author)).author.available), had + 371n);
  assert.equal((await call('GET', `/v1/jobs/${job}`, { key: consumer.key })).json.split.author, '1001');
  assertStatus(await put([share(author, 10000)]), 200);
  await assertBooks();
});

test('what is swept to the treasury from our own addresses is nobody\'s deposit', async () => {
  const own = { ...chainAccount(8) };
  assert.equal(own.address, dev.pay_to);
  await tokenSend(own, [['mint', own.address, 500n], ['transfer', dev.treasury, 500n]]);
  const control = await accountMake({ opg: 7n }); // seen after it
  assert.equal((await balanceOf(control.key)).available, 7n);
  assert.deepEqual(sql(`SELECT 1 FROM deposit d JOIN account a ON a.id = d.account WHERE a.address = '\\x${own.address.slice(2)}'`), []);
  await assertBooks();
});

test('what came by x402 is withdrawn once it is final, not before', async () => {
  const wallet = await buyerMake(OPG);
  const signed = await api.signIn(wallet.account, dev.chain_id);
  const buyer = { ...wallet, token: signed.bearer, key: await signed.keyCreate('test', ['read']) };
  const path = `/v1/jobs?model=${encodeURIComponent(model.id)}`;
  const { eip3009: offer } = await offersOf(path, adderBody(7));
  await waitFor('nothing is under way', () => sql("SELECT 1 FROM settlement_tx WHERE state IN ('signed', 'mined')").length === 0, { seconds: 60 });
  await rpc('evm_setIntervalMining', 0);
  node.mode = 'error_500'; // his own node, say
  try {
    const paid = pay(path, adderBody(7), envelope(offer, await eip3009(wallet, offer)));
    await waitFor('the chain has it', async () => (await rpc('txpool_status')).pending !== '0x0');
    await mine();
    assertStatus(await paid, 202);
    await waitFor('it is credited', async () => (await balanceOf(buyer.key)).available === BigInt(offer.amount), { seconds: 60 });
    for (const [body, status, code] of [[{ source: 'available', amount: offer.amount }, 402, 'insufficient_funds'], [{ source: 'available' }, 422, 'unprocessable']]) {
      const refused = assertError(await withdraw(buyer, body), 'problem', status, code);
      assert.ok(refused.detail.includes(`${offer.amount} base units that came by x402 are not final on chain yet`), refused.detail);
    }
    await mine(3);
    await waitFor('it is final', () => sql("SELECT 1 FROM settlement_tx WHERE state IN ('signed', 'mined')").length === 0, { seconds: 30 });
    await rpc('evm_setIntervalMining', 1);
    const asked = assertStatus(await withdraw(buyer, { source: 'available' }), 201).json;
    assert.equal(asked.amount, offer.amount);
    await ends(buyer, asked.id, 'paid');
    assert.equal(await tokenBalance(buyer.address), OPG);
  } finally {
    node.mode = 'good';
    await rpc('evm_setIntervalMining', 1);
  }
});
