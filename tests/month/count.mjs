// The count at the end of a month: everything again from the outside, by the chain's own logs and the price list.
import assert from 'node:assert/strict';
import { parseAbiItem } from 'viem';
import { booksCheck } from '../faults/books.mjs';
import { CHAIN_ID, FEE_BPS, PAY_TO } from '../faults/rig.mjs';
import { ROYALTY } from './month.mjs';

const TRANSFER = parseAbiItem('event Transfer(address indexed from, address indexed to, uint256 value)');

/// {from, value} of every transfer of the token to the address, as the chain stands now.
async function arrivals(month, to) {
  const logs = await month.chain.client.getLogs({ address: month.opg.address, event: TRANSFER, args: { to }, fromBlock: 0n });
  return logs.map(({ args, transactionHash }) => ({ from: args.from.toLowerCase(), value: args.value, tx: transactionHash }));
}

/// What the price list makes of the jobs: every settled one costs its node's ask, the royalty, and the fee on both rounded up.
async function pricesCheck(month) {
  const asks = new Map([...month.nodes.map(({ address, ask }) => [address, ask]), [month.evil.key.address, 900n]]);
  const groups = await month.rig.sql(`SELECT '0x' || encode(node, 'hex') AS node, charged::text, ask::text, royalty::text, fee::text, input_units::int AS units, count(*)::int AS n
    FROM job WHERE state = 'settled' GROUP BY 1, 2, 3, 4, 5, 6`);
  for (const group of groups) {
    const ask = asks.get(group.node);
    const fee = ((ask + ROYALTY) * FEE_BPS + 9999n) / 10000n;
    assert.deepEqual([group.charged, group.ask, group.royalty, group.fee, group.units], [String(ask + ROYALTY + fee), String(ask), String(ROYALTY), String(fee), 1], JSON.stringify(group));
  }
  return { settled: groups.reduce((n, group) => n + group.n, 0), nodes: groups.length };
}

/// Each account: what came by the chain, less what its jobs cost, less what it took out, is what it has.
async function accountsCheck(month) {
  const came = new Map();
  for (const { from, value } of await arrivals(month, month.rig.accounts.treasury.address)) came.set(from, (came.get(from) ?? 0n) + value);
  const rows = await month.rig.sql(`SELECT '0x' || encode(a.address, 'hex') AS address, b.amount::text AS available,
      coalesce((SELECT sum(d.amount) FROM deposit d WHERE d.account = a.id AND d.state = 'credited'), 0)::text AS credited,
      coalesce((SELECT sum(d.shortfall) FROM deposit d WHERE d.account = a.id), 0)::text AS shortfall,
      coalesce((SELECT sum(j.charged) FROM job j WHERE j.account = a.id), 0)::text AS charged,
      coalesce((SELECT sum(o.amount) FROM payout o WHERE o.source = a.id * 16 + 1 AND o.state = 'paid'), 0)::text AS withdrawn,
      coalesce((SELECT sum(p.amount) FROM payment p WHERE p.account = a.id AND p.state IN ('settled', 'lost')), 0)::text AS paid
    FROM account a JOIN ledger_balance b ON b.account = a.id * 16 + 1`);
  for (const { address, available, credited, shortfall, charged, paid, withdrawn } of rows) {
    assert.equal(BigInt(credited), came.get(address) ?? 0n, `deposits of ${address}: the books, and the chain`);
    assert.equal(BigInt(available), BigInt(credited) + BigInt(shortfall) + BigInt(paid) - BigInt(charged) - BigInt(withdrawn), `balance of ${address}`);
  }
  return rows.length;
}

/// Payments: each settled one is one transfer of the chain, and there is no other.
async function paymentsCheck(month) {
  const settled = await month.rig.sql(`SELECT '0x' || encode(payer, 'hex') AS "from", amount::text AS value, '0x' || encode(tx_hash, 'hex') AS tx FROM payment WHERE state = 'settled'`);
  const key = ({ from, value, tx }) => `${tx} ${from} ${value}`;
  assert.deepEqual(settled.map(key).sort(), (await arrivals(month, PAY_TO)).map(key).sort());
  const twice = await month.rig.sql('SELECT p.id FROM payment p WHERE (SELECT count(*) FROM payment q WHERE q.job = p.job) > 1');
  assert.deepEqual(twice, []);
  return settled.length;
}

/// Payouts: each one is one transfer out of the treasury, and there is no other; and each is the sum of its jobs, line by line, in the
/// statement of whoever earned it.
async function payoutsCheck(month) {
  const key = ({ to, value, tx }) => `${tx} ${to} ${value}`;
  const paid = await month.rig.sql(`SELECT id, '0x' || encode(address, 'hex') AS "to", amount::text AS value, '0x' || encode(tx_hash, 'hex') AS tx FROM payout WHERE state = 'paid'`);
  const treasury = month.rig.accounts.treasury.address;
  const left = (await month.chain.client.getLogs({ address: month.opg.address, event: TRANSFER, args: { from: treasury }, fromBlock: 0n }))
    .map(({ args, transactionHash }) => ({ to: args.to.toLowerCase(), value: args.value, tx: transactionHash }));
  assert.deepEqual(paid.map(key).sort(), left.map(key).sort(), 'what left the treasury is what was paid out');
  const byId = new Map(paid.map((one) => [one.id, one]));
  let traced = 0, lines = 0;
  for (const role of Object.keys(month.earners)) {
    const api = await month.rig.api().signIn(month.rig.accounts[role].account, CHAIN_ID);
    const sums = new Map();
    for (let after = ''; ;) {
      const page = await api.json('GET', `/v1/statements?limit=1000${after}`);
      for (const line of page.data) {
        lines++;
        if (!line.payout) continue;
        assert.equal(line.transaction, byId.get(line.payout)?.tx, JSON.stringify(line));
        sums.set(line.payout, (sums.get(line.payout) ?? 0n) + BigInt(line.amount));
      }
      if (!page.has_more) break;
      after = `&after=${page.data.at(-1).id}`;
    }
    for (const [id, sum] of sums) assert.equal(sum, BigInt(byId.get(id).value), `payout ${id} of ${role} is the sum of its jobs`);
    traced += sums.size;
  }
  assert.equal(traced, (await month.rig.sql(`SELECT count(*)::int AS n FROM payout WHERE state = 'paid' AND source % 16 IN (3, 4)`))[0].n, 'every payout of earnings is traced');
  return { payouts: paid.length, traced, lines };
}

export async function monthCount(month) {
  const { rig } = month;
  const books = await booksCheck(rig);
  const prices = await pricesCheck(month);
  const accounts = await accountsCheck(month);
  const payments = await paymentsCheck(month);
  const payouts = await payoutsCheck(month);
  assert.equal(books.treasury, -BigInt(books.custody), 'the chain holds what the books say, to the last base unit');
  const rebuilt = JSON.parse(rig.opgate('reconcile', '--from-chain', '--config', rig.gateways.gateway.config).split('\n').at(-1)); // exit 1 throws
  assert.equal(rebuilt.differences, 0);
  const told = await rig.reconciliation();
  assert.deepEqual([told.ok, told.ledger_sum, told.custody.unsettled], [true, '0', '0']);
  const [jobs] = await rig.sql(`SELECT count(*)::int AS jobs, count(*) FILTER (WHERE state = 'settled')::int AS settled, count(*) FILTER (WHERE state <> 'settled')::int AS refunded FROM job`);
  assert.ok(jobs.settled >= month.told.paid * 0.95, 'who was answered was served');
  return { ...jobs, ...prices, accounts, payments, ...payouts, entries: books.entries, held: String(books.treasury), clients: month.told };
}
