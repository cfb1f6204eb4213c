// /operator: reads GET /v1/reconciliation again and again and shows it. What did not change is not drawn again, so that focus,
// selection and scroll positions stay where they are.
import { apiJson, formatCoins, formatOpg } from './api.js';
import { el, empty, facts, failure, identifier, table, tag, when } from './ui.js';

const EVERY_MS = 5000;
const main = document.getElementById('main'), state = document.getElementById('state'), parts = document.getElementById('parts');
const pause = document.getElementById('pause'), age = document.getElementById('age');
let paused = false, asking = false, timer = null, updated = null;
const drawn = new Map(); // what each part was drawn from

const opg = (units) => (units === null ? el('span', { class: 'soft' }, 'not known') : el('span', { class: 'price', title: `${units} base units` }, `${formatOpg(units)} OPG`));
const yes = (ok) => (ok === null ? tag('not known', 'maybe') : ok ? tag('yes', 'good') : tag('no', 'bad'));
const CHECKS = {
  ledger_sum: 'The ledger does not sum to zero', balance: 'A balance is not what its entries say', hold: 'A held balance is not its open holds', capture: 'A job was charged otherwise than booked',
  custody_short: 'The chain has less than is owed', custody_below_ledger: 'The chain has less than is booked', deposit_missing: 'A transfer is no deposit', deposit_differs: 'A deposit differs from its log',
  deposit_without_log: 'A deposit has no log', payment_missing: 'A settlement is no payment', payment_differs: 'A payment differs from its log', payment_without_log: 'A payment has no log',
  outflow_unknown: 'Money left that is no payout',
};
const ENDPOINTS = { agree: ['agree', 'good'], behind: ['the second lags', 'maybe'], down: ['the second does not answer', 'bad'], disagree: ['disagree: nothing is credited', 'bad'] };

// Draws a part when what it shows is new.
function part(name, title, data, draw) {
  const text = JSON.stringify(data);
  if (drawn.get(name) === text) return;
  drawn.set(name, text);
  let section = document.getElementById(`part-${name}`);
  if (!section) parts.append(section = el('section', { id: `part-${name}`, 'aria-labelledby': `title-${name}` }));
  section.replaceChildren(el('h2', { id: `title-${name}` }, title), ...[draw(data)].flat());
}

function banner(r) {
  const [kind, sign, title, words] = r.settlements_stopped || !r.ok ? ['failed', '!', 'Settlements are stopped', 'The books and the chain do not agree. Nothing new is settled or paid out until this is gone or resolved.']
    : r.custody_ok === null ? ['unverifiable', '?', 'The chain cannot be asked', 'The books hold by themselves; what is on chain is not known right now.']
      : ['passed', '✓', 'Everything agrees', 'Ledger, payments on their way and the chain tell the same story.'];
  const text = JSON.stringify([kind, title]);
  if (drawn.get('state') === text) return;
  drawn.set('state', text);
  state.replaceChildren(el('div', { class: 'card verdict', 'data-state': kind }, el('header', { class: kind }, el('span', { class: 'sign', 'aria-hidden': 'true' }, sign),
    el('div', {}, el('b', {}, title), el('p', {}, words)))));
  document.title = `${kind === 'failed' ? 'Stopped' : 'Operator'} · opgate`;
}

const STATES = { open: 'bad', resolved: 'maybe', healed: 'good' };
function mismatches(list) {
  if (!list.length) return empty('Nothing has ever disagreed.');
  return el('ul', { class: 'cards' }, list.map((m) => el('li', { class: 'card', 'data-mismatch': m.id },
    el('div', { class: 'row' }, el('h3', {}, CHECKS[m.check] ?? m.check), tag(m.state, STATES[m.state])),
    el('p', {}, m.detail),
    facts([['Number', String(m.id)], ['About', el('code', { class: 'mono' }, m.subject)], ['Block', m.block === null ? null : String(m.block)], ['First seen', when(m.first_seen_at)],
      ['Last seen', when(m.last_seen_at)], ['Gone', m.healed_at && when(m.healed_at)], ['Resolved', m.resolved_at && when(m.resolved_at)], ['Note', m.note]]),
    m.state === 'open' && el('p', { class: 'hint' }, 'An administrator resolves it with ', el('code', {}, `POST /v1/reconciliation/mismatches/${m.id}/resolve`)))));
}

function show(r, held) {
  banner(r);
  part('mismatches', r.mismatches.some((m) => m.state === 'open') ? 'What does not agree' : 'What did not agree', r.mismatches, mismatches);
  part('custody', 'Custody', [r.custody, r.custody_ok], ([c]) => el('div', { class: 'card' }, facts([['Covers what is owed', yes(c.ok)], ['On chain', opg(c.on_chain)], ['By the ledger', opg(c.ledger)],
    ['Difference', c.difference === null ? null : opg(c.difference)], ['Owed to accounts', opg(c.liabilities)], ['Owed to us by payers', opg(c.unsettled)]])));
  part('flight', 'On its way', [r.in_flight, r.gas, r.endpoints, r.compared_block], ([f, gas, ends, block]) => el('div', { class: 'card' }, facts([
    ['Transactions sent', `${f.transactions_signed} waiting, ${f.transactions_mined} mined and not final`], ['Payments to settle', [`${f.payments} for `, opg(f.amount)]],
    ['Booked, not final', opg(f.unproven)], ['Gas left', gas ? [formatCoins(gas.balance), ' ', identifier(gas.address, 'the settling address')] : 'no settling key'],
    ['RPC endpoints', ends.count === 2 ? tag(...ENDPOINTS[ends.state]) : 'one, not compared'], ['Logs compared up to block', String(block)]])));
  part('deposits', 'Deposits', [r.deposits, held], ([d, list]) => [el('div', { class: 'card' }, facts([['Not confirmed yet', opg(d.unconfirmed)], ['Held', [`${d.held}, `, opg(d.held_amount)]],
    ['Reversed after confirmation', d.reversed ? [tag(String(d.reversed), 'bad'), ' lost ', opg(d.reversal_loss)] : 'none']])),
  list.length ? table('Held deposits', ['Id', 'Sender', 'Amount', 'Block', 'Transaction'], list.map((h) => [String(h.id), identifier(h.sender, 'the sender'), opg(h.amount), String(h.block),
    identifier(h.tx, 'the transaction')])) : null].filter(Boolean));
  part('books', 'The ledger by itself', [r.ledger_sum, r.balances_ok, r.holds_ok, r.captures_ok], () => el('div', { class: 'card' }, facts([['Sum of all entries', r.ledger_sum],
    ['Balances agree', yes(r.balances_ok)], ['Holds agree', yes(r.holds_ok)], ['Captures agree', yes(r.captures_ok)]])));
}

function tellAge() {
  age.textContent = updated ? `${paused ? 'paused, ' : ''}as of ${Math.max(0, Math.round((Date.now() - updated) / 1000))} s ago` : 'asking…';
}

async function refresh() {
  if (asking) return; // an older answer must not come after a newer one; what is under way goes on by itself
  asking = true;
  clearTimeout(timer);
  try {
    const [r, held] = await Promise.all([apiJson('/v1/reconciliation'), apiJson('/v1/deposits/held?limit=20')]);
    document.getElementById('trouble')?.remove();
    updated = Date.now();
    show(r, held.data);
  } catch (error) {
    if (!document.getElementById('trouble')) main.insertBefore(el('div', { id: 'trouble' }, failure(error)), parts);
  } finally {
    asking = false;
  }
  tellAge();
  if (!paused) timer = setTimeout(refresh, EVERY_MS);
}

pause.addEventListener('click', () => {
  paused = !paused;
  pause.setAttribute('aria-pressed', String(paused));
  pause.textContent = paused ? 'Go on' : 'Pause';
  if (paused) clearTimeout(timer);
  else refresh();
  tellAge();
});
document.getElementById('skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
setInterval(tellAge, 1000);
refresh();
