// The books as they must be, whatever happened: read from the database itself and from the chain, not from what the gateway says of
// itself. Each check counts what it looked at, because a check that saw nothing proves nothing.
import assert from 'node:assert/strict';
import { chainOpen } from '../../script/lib/chain.mjs';
import { contractsCompile } from '../../script/contracts.mjs';
import { FEE_BPS } from './rig.mjs';

/// What `input` and `output` units cost at a node's ask: {charged, ask, royalty, fee}, as docs/CHARGING.md and design §7 have it.
export function split({ price, ask }, input, output) {
  const of = (rate) => BigInt(rate.input) * BigInt(input) + BigInt(rate.output) * BigInt(output);
  const [node, royalty] = [of(ask), of(price)];
  const fee = ((node + royalty) * FEE_BPS + 9999n) / 10000n;
  return { charged: node + royalty + fee, ask: node, royalty, fee };
}

export const JOB_COLUMNS = `j.id, j.state, j.outcome, j.attempt, j.error, j.verdict, j.background, j.input_units, j.output_units, j.charged::text, j.ask::text,
  j.royalty::text, j.fee::text, j.lease, h.state AS hold_state, h.amount::text AS hold, h.captured::text,
  '0x' || encode(j.node, 'hex') AS node, j.receipt, j.response_status`;

export async function jobLast(rig) {
  return (await rig.sql(`SELECT ${JOB_COLUMNS} FROM job j LEFT JOIN hold h ON h.job = j.id ORDER BY j.created_at DESC, j.id DESC LIMIT 1`))[0];
}

export async function jobGet(rig, id) {
  return (await rig.sql(`SELECT ${JOB_COLUMNS} FROM job j LEFT JOIN hold h ON h.job = j.id WHERE j.id = '${id}'`))[0];
}

/// The movements of a job as {kind: {"owner address or platform/account": amount}}.
async function movements(rig, id) {
  const rows = await rig.sql(`SELECT t.kind, coalesce('0x' || encode(a.address, 'hex'), 'platform') AS owner, la.kind AS account, e.amount::text
    FROM ledger_transfer t JOIN ledger_entry e ON e.transfer = t.id JOIN ledger_account la ON la.id = e.account
    LEFT JOIN account a ON a.id = la.owner WHERE t.job = '${id}' ORDER BY t.id, e.line`);
  const kinds = {};
  for (const { kind, owner, account, amount } of rows) (kinds[kind] ??= {})[`${owner}/${account}`] = amount;
  return kinds;
}

/// The job ended as `outcome` and the ledger shows exactly `cost` (null: nothing) for it and nothing else.
export async function chargedExactly(rig, job, { state, outcome, cost, operator = 'operator' }) {
  assert.equal(job.outcome, outcome);
  assert.equal(job.state, state);
  assert.equal(job.lease, null, 'nobody holds an ended job');
  const hold = BigInt(job.hold);
  const consumer = rig.accounts.consumer.address;
  const expected = { hold: { [`${consumer}/available`]: String(-hold), [`${consumer}/held`]: String(hold) } };
  const want = cost ?? { charged: 0n, ask: 0n, royalty: 0n, fee: 0n };
  assert.ok(hold > 0n && want.charged <= hold, `charge ${want.charged} within hold ${hold}`);
  const close = { [`${consumer}/held`]: -hold, [`${consumer}/available`]: hold - want.charged };
  close[`${rig.accounts[operator].address}/operator`] = want.ask;
  close[`${rig.accounts.author.address}/author`] = want.royalty;
  close['platform/fee'] = want.fee;
  expected[cost ? 'capture' : 'void'] = Object.fromEntries(Object.entries(close).filter(([, amount]) => amount !== 0n).map(([key, amount]) => [key, String(amount)]));
  assert.deepEqual(await movements(rig, job.id), expected);
  assert.equal(job.hold_state, cost ? 'captured' : 'voided');
  for (const [column, value] of Object.entries({ charged: want.charged, ask: want.ask, royalty: want.royalty, fee: want.fee, captured: want.charged }))
    assert.equal(job[column], String(value), column);
}

const zero = async (rig, what, query) => {
  const rows = await rig.sql(`${query} LIMIT 5`);
  assert.deepEqual(rows, [], what);
};

const balanceOf = (rig, address) => chainOpen(rig.rpc_url).read({ address: rig.chain.opg_token, abi: contractsCompile().OPG.abi, functionName: 'balanceOf', args: [address] });
export const treasuryBalance = (rig) => balanceOf(rig, rig.accounts.treasury.address);
/// All we hold: x402 payments arrive at an address of their own.
const heldBalance = async (rig) => (await treasuryBalance(rig)) + (rig.settings.pay_to ? await balanceOf(rig, rig.settings.pay_to) : 0n);

/// The whole oracle. `ended`: no job may be open. Returns how much was looked at.
export async function booksCheck(rig, { ended = true } = {}) {
  const [seen] = await rig.sql(`SELECT (SELECT count(*) FROM job) AS jobs, (SELECT count(*) FROM ledger_entry) AS entries,
    (SELECT coalesce(sum(amount), 0)::text FROM ledger_entry) AS ledger_sum, (SELECT count(*) FROM ledger_balance) AS balances,
    (SELECT coalesce(sum(amount), 0)::text FROM ledger_entry WHERE account = 8) AS custody,
    (SELECT coalesce(sum(amount), 0)::text FROM ledger_balance WHERE account % 16 = 2) AS held,
    (SELECT coalesce(sum(amount), 0)::text FROM hold WHERE state = 'open') AS open_holds`);
  assert.ok(seen.entries > 0 && seen.balances > 0, 'the oracle saw a ledger');
  assert.equal(seen.ledger_sum, '0', 'the ledger sums to zero');
  assert.equal(seen.held, seen.open_holds, 'held = open holds');
  await zero(rig, 'every transfer sums to zero', 'SELECT transfer FROM ledger_entry GROUP BY transfer HAVING sum(amount) <> 0');
  await zero(rig, 'every transfer has entries', 'SELECT id FROM ledger_transfer t WHERE NOT EXISTS (SELECT FROM ledger_entry WHERE transfer = t.id)');
  await zero(rig, 'balances = sums of entries', `SELECT b.account FROM ledger_balance b WHERE b.amount <> (SELECT coalesce(sum(amount), 0) FROM ledger_entry e WHERE e.account = b.account)`);
  await zero(rig, 'no guarded balance is negative', 'SELECT account FROM ledger_balance WHERE amount < 0');
  await zero(rig, 'every job has its hold', 'SELECT id FROM job j WHERE NOT EXISTS (SELECT FROM hold WHERE job = j.id)');
  await zero(rig, 'every hold has its job', 'SELECT job FROM hold h WHERE NOT EXISTS (SELECT FROM job WHERE id = h.job)');
  await zero(rig, 'a job is ended exactly when its hold is closed', `SELECT j.id FROM job j JOIN hold h ON h.job = j.id WHERE (j.outcome IS NULL) <> (h.state = 'open')`);
  await zero(rig, 'captured exactly when settled, and never more than held', `SELECT j.id FROM job j JOIN hold h ON h.job = j.id
    WHERE j.outcome IS NOT NULL AND ((j.state = 'settled') <> (h.state = 'captured') OR h.captured <> j.charged OR j.charged > h.amount
      OR j.charged <> j.ask + j.royalty + j.fee OR (j.state <> 'settled' AND j.charged <> 0))`);
  await zero(rig, 'the ledger moved what the job says', `SELECT j.id FROM job j WHERE j.outcome IS NOT NULL AND ROW(j.charged, j.ask, j.royalty, j.fee)::text IS DISTINCT FROM
    (SELECT ROW(coalesce(sum(e.amount) FILTER (WHERE e.account = 9 OR e.account % 16 IN (3, 4)), 0), coalesce(sum(e.amount) FILTER (WHERE e.account % 16 = 4), 0),
      coalesce(sum(e.amount) FILTER (WHERE e.account % 16 = 3), 0), coalesce(sum(e.amount) FILTER (WHERE e.account = 9), 0))::text
     FROM ledger_transfer t JOIN ledger_entry e ON e.transfer = t.id WHERE t.job = j.id)`);
  await zero(rig, 'one hold and one close at most for a job', `SELECT job FROM ledger_transfer WHERE job IS NOT NULL GROUP BY job
    HAVING count(*) FILTER (WHERE kind = 'hold') <> 1 OR count(*) FILTER (WHERE kind IN ('capture', 'void')) > 1`);
  // Of a stream that was cut, the node may have signed for bytes that were still on the way: its receipt is right, its hash another.
  await zero(rig, 'nothing is charged without its proof', `SELECT id FROM job WHERE state = 'settled' AND policy = 'signed' AND verdict IS DISTINCT FROM 'passed'
    AND NOT (outcome = 'partial' AND verdict IS NOT DISTINCT FROM 'unverifiable')`);
  if (ended) await zero(rig, 'every job is ended', 'SELECT id, state FROM job WHERE outcome IS NULL');
  if (ended) assert.equal(seen.held, '0', 'nothing is held');
  const treasury = await heldBalance(rig);
  assert.ok(treasury >= -BigInt(seen.custody), `custody: ${treasury} on chain, ${seen.custody} in the books`);
  return { ...seen, treasury };
}
