// The operator's page in a real browser: it says at once what is wrong and where, keeps itself up to date without disturbing who
// reads it, works by keys and on a phone. With canned answers, and on a real stack.
import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';
import { browserOpen, siteCanned, siteStack, stackMissing } from './site.mjs';

const shots = process.env.OPGATE_WEB_SHOTS;
const now = new Date().toISOString();
const OPG = (n) => `${n}000000000000000000`;
const ADDRESS = `0x${'ab'.repeat(20)}`, TX = `0x${'cd'.repeat(32)}`;
const well = () => ({
  ok: true, ledger_sum: '0', balances_ok: true, holds_ok: true, captures_ok: true, custody_ok: true, settlements_stopped: false, checked_at: now, compared_block: 1234,
  custody: { on_chain: OPG(105), ledger: OPG(104), unsettled: '0', liabilities: OPG(100), difference: OPG(1), ok: true },
  in_flight: { transactions_signed: 2, transactions_mined: 3, payments: 4, amount: OPG(7), unproven: OPG(6) },
  deposits: { unconfirmed: OPG(9), held: 1, held_amount: OPG(8), reversed: 0, reversal_loss: '0' },
  endpoints: { count: 2, state: 'agree', block: null }, gas: { address: ADDRESS, balance: '1500000000000000000' }, mismatches: [],
});
const mismatch = (state, more = {}) => ({ id: 5, check: 'deposit_missing', subject: `${TX}:3`, block: 77, detail: '5 from 0xab arrived and is no deposit', state, first_seen_at: now,
  last_seen_at: now, healed_at: null, resolved_at: null, note: null, ...more });
const HELD = { object: 'list', has_more: false, data: [{ id: 9, tx: TX, ordinal: 0, sender: ADDRESS, amount: OPG(8), block: 70, state: 'held', reason: null, shortfall: '0', reversals: 0, seen_at: now, credited_at: null, claimed_at: null }] };

async function pageOpen(t, site, options = {}) {
  const browser = await browserOpen(t);
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(20000);
  page.problems = [];
  page.on('pageerror', (error) => page.problems.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && page.problems.push(message.text()));
  page.on('request', (request) => request.url().startsWith(site.base) || page.problems.push(`asked ${request.url()}`));
  page.shot = (name) => shots && page.screenshot({ path: path.join(shots, `${name}.png`), fullPage: true });
  await page.goto(`${site.base}/operator`);
  await page.waitForSelector('[data-state]');
  return page;
}
const stateIs = (page, state) => page.waitForSelector(`[data-state=${state}]`);

test('the operator’s page says what is wrong, and follows what happens', async (t) => {
  const answers = { '/v1/reconciliation': well(), '/v1/deposits/held': HELD };
  const page = await pageOpen(t, await siteCanned(t, answers));
  await stateIs(page, 'passed');
  const text = (await page.innerText('main')).replace(/\s+/g, ' ');
  for (const words of ['Everything agrees', '105 OPG', '2 waiting, 3 mined and not final', '4 for 7 OPG', '1.5 ETH', 'agree', '1234', '1, 8 OPG', 'Nothing has ever disagreed'])
    assert.ok(text.includes(words), `${words}: ${text}`);
  assert.equal(await page.locator('table tbody tr').count(), 1, 'the held deposit');
  await page.shot('operator-well');

  // Who stands somewhere stays there while nothing changes under them.
  await page.focus('[role=region]');
  answers['/v1/reconciliation'] = { ...well(), ok: false, settlements_stopped: true, mismatches: [mismatch('open')], endpoints: { count: 2, state: 'disagree', block: 78 } };
  await stateIs(page, 'failed');
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute('role')), 'region');
  assert.equal(await page.title(), 'Stopped · opgate');
  const wrong = (await page.innerText('main')).replace(/\s+/g, ' ');
  for (const words of ['Settlements are stopped', 'What does not agree', 'A transfer is no deposit', '5 from 0xab arrived and is no deposit', `${TX}:3`, '77', 'open', 'mismatches/5/resolve', 'disagree: nothing is credited'])
    assert.ok(wrong.includes(words), `${words}: ${wrong}`);
  await page.shot('operator-stopped');
  answers['/v1/reconciliation'] = { ...well(), mismatches: [mismatch('resolved', { resolved_at: now, note: 'looked into' })] };
  await stateIs(page, 'passed');
  assert.match(await page.innerText('#part-mismatches'), /What did not agree[^]*resolved[^]*looked into/);
  answers['/v1/reconciliation'] = { ...well(), custody_ok: null, custody: { ...well().custody, on_chain: null, difference: null, ok: null } };
  await stateIs(page, 'unverifiable');

  // Paused, it asks no more; without the gateway it says so and keeps what it knew.
  await page.focus('#pause');
  await page.keyboard.press('Enter');
  assert.equal(await page.getAttribute('#pause', 'aria-pressed'), 'true');
  answers['/v1/reconciliation'] = well();
  await page.waitForFunction(() => /paused/.test(document.getElementById('age').textContent));
  assert.deepEqual(page.problems, []);
  answers.down = true;
  await page.keyboard.press('Enter');
  await page.waitForSelector('#trouble [role=alert]');
  assert.equal(await page.locator('[data-state=unverifiable]').count(), 1);
  answers.down = false;
  await stateIs(page, 'passed');
  assert.equal(await page.locator('#trouble').count(), 0);

  // Whoever pauses and goes on while an answer is under way gets that one, and not a second one beside it.
  let asked = 0, release;
  const held = new Promise((resolve) => { release = resolve; });
  const press = () => page.keyboard.press('Enter');
  await press(); // paused
  await page.route('**/v1/reconciliation', async (route) => {
    asked++;
    await held;
    await route.continue();
  });
  for (let i = 0; i < 5; i++) await press();
  await page.evaluate(() => fetch('/operator')); // what the page asked before that has been seen by now
  assert.equal(await page.getAttribute('#pause', 'aria-pressed'), 'false');
  assert.equal(asked, 1);
  answers['/v1/reconciliation'] = { ...well(), custody_ok: null, custody: { ...well().custody, on_chain: null, difference: null, ok: null } };
  release();
  await stateIs(page, 'unverifiable');
});

test('strange words stay words, and a phone needs no sideways scrolling', async (t) => {
  const evil = '<img src=x onerror=alert(1)>';
  const answers = { '/v1/reconciliation': { ...well(), ok: false, settlements_stopped: true, mismatches: [mismatch('open', { detail: evil.repeat(3), check: evil }), mismatch('healed', { id: 4, healed_at: now })] },
    '/v1/deposits/held': HELD };
  const site = await siteCanned(t, answers);
  for (const colorScheme of ['light', 'dark']) {
    const page = await pageOpen(t, site, { viewport: { width: 360, height: 740 }, colorScheme });
    await stateIs(page, 'failed');
    const { scroll, client } = await page.evaluate(() => ({ scroll: document.documentElement.scrollWidth, client: document.documentElement.clientWidth }));
    assert.ok(scroll <= client, `${scroll} wide on a screen of ${client}`);
    assert.ok((await page.innerText('main')).includes(evil));
    assert.deepEqual(page.problems, []);
    await page.shot(`operator-phone-${colorScheme}`);
  }
});

test('the operator’s page of a running stack', { skip: stackMissing() }, async (t) => {
  const site = await siteStack();
  const page = await pageOpen(t, site);
  await stateIs(page, 'passed');
  const { custody } = await (await fetch(`${site.base}/v1/reconciliation`)).json();
  assert.ok(custody.ok);
  assert.match(await page.innerText('#part-books'), /Sum of all entries\s+0/);
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'skip');
  assert.deepEqual(page.problems, []);
});
