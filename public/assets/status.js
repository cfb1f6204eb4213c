// #/status: whether this gateway is ready, and whether its books add up.
import { apiJson, formatCoins, formatOpg } from './api.js';
import { el, facts, failure, identifier, tag, when } from './ui.js';

const NAMES = {
  ok: 'In order', balances_ok: 'Balances agree', holds_ok: 'Holds agree', captures_ok: 'Captures agree', custody_ok: 'Custody covers them',
  on_chain: 'On chain', ledger: 'By the ledger', liabilities: 'Owed to accounts', checked_at: 'Checked', opg_token: 'OPG token', base_url: 'Address of the API',
  platform_fee_bps: 'Platform fee', deposit_confirmations: 'Deposits count after',
};
const words = (key) => NAMES[key] ?? key.replaceAll('_', ' ').replace(/^\w/, (c) => c.toUpperCase());

function shown(key, value) {
  if (value === true) return tag('yes', 'good');
  if (value === false) return tag('no', 'bad');
  if (value === null) return el('span', { class: 'soft' }, 'not known');
  if (key === 'gas') return facts([['Balance', formatCoins(value.balance)], ['Address', identifier(value.address, 'the settling address')]]);
  if (Array.isArray(value)) return el('span', {}, value.length ? value.join(', ') : 'none');
  if (typeof value === 'object') return facts(Object.entries(value).map(([k, v]) => [words(k), shown(k, v)]));
  if (/^(0x[0-9a-f]{40,}|sha256:[0-9a-f]{64})$/i.test(value)) return identifier(value, words(key));
  if (typeof value === 'string' && /^-?[0-9]{1,40}$/.test(value)) return el('span', { class: 'price', title: `${value} base units` }, `${formatOpg(value)} OPG`);
  if (key === 'platform_fee_bps') return `${value / 100} %`;
  if (key === 'deposit_confirmations') return `${value} ${value === 1 ? 'block' : 'blocks'}`;
  if (key === 'status') return tag(value, value === 'ok' ? 'good' : 'bad');
  if (/_at$/.test(key)) return when(value);
  return String(value);
}

// Not ready is an answer too: 503 with the same checks.
const answer = (path) => apiJson(path).catch((error) => {
  if (error.body?.checks) return error.body;
  throw error;
});

async function part(title, path, about) {
  try {
    const body = await answer(path);
    return [el('h2', {}, title), el('p', { class: 'soft' }, about), el('div', { class: 'card' }, facts(Object.entries(body).map(([k, v]) => [words(k), shown(k, v)])))];
  } catch (error) {
    return [el('h2', {}, title), failure(error)];
  }
}

export async function statusPage() {
  const parts = await Promise.all([
    part('Ready', '/readyz', 'Whether what the gateway needs answers; when not, it takes no paid work.'),
    part('Books', '/v1/reconciliation', 'The ledger re-added from its entries, and held against what the treasury owns on chain. When they disagree, settlements stop.'),
    part('This gateway', '/v1/gateway', 'Its key, chain, token and treasury. Do not take the key from here when you check a receipt: take it from someone you trust.'),
  ]);
  return [el('h1', {}, 'Status'), ...parts.flat()];
}
