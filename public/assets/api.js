// Asking this gateway, and money. Amounts are base units as decimal strings; they become BigInt here and never a float.

export class ApiError extends Error {}

async function fail(response) {
  const body = await response.json().catch(() => ({}));
  const error = new ApiError(body.detail ?? body.error?.message ?? `the gateway answered ${response.status}`);
  Object.assign(error, { body, title: body.title, status: response.status, code: body.code, hint: body.hint, requestId: body.request_id });
  throw error;
}

const DEADLINE_MS = 30_000; // of a whole answer: a page that waits for ever tells nobody anything

async function ask(path, headers) {
  const response = await fetch(path, { headers, signal: AbortSignal.timeout(DEADLINE_MS) }).catch(() => {
    throw new ApiError('the gateway cannot be reached');
  });
  return response.ok ? response : fail(response);
}

export const apiJson = async (path, headers) => (await ask(path, headers)).json();
export const apiBytes = async (path, headers) => new Uint8Array(await (await ask(path, headers)).arrayBuffer());

// A list, all pages of it (bounded: a page that long helps nobody).
export async function apiList(path) {
  const all = [];
  for (let after = null, pages = 0; pages < 10; pages++) {
    const list = await apiJson(after ? `${path}?after=${encodeURIComponent(after)}` : path);
    all.push(...list.data);
    if (!list.has_more || !list.last_id) break;
    after = list.last_id;
  }
  return all;
}

// A model's id in a path: two segments.
export const modelPath = (id) => id.split('/').map(encodeURIComponent).join('/');

const DECIMALS = 18;

// Base units as OPG, exactly: "1500000000000000000" is "1.5".
export function formatOpg(units) {
  const value = BigInt(units);
  const digits = (value < 0n ? -value : value).toString().padStart(DECIMALS + 1, '0');
  const whole = digits.slice(0, -DECIMALS).replace(/\B(?=(\d{3})+$)/g, ',');
  const fraction = digits.slice(-DECIMALS).replace(/0+$/, '');
  return (value < 0n ? '-' : '') + whole + (fraction ? `.${fraction}` : '');
}

// Wei of the chain's own coin: the same 18 decimals.
export const formatCoins = (wei) => `${formatOpg(wei)} ETH`;

// The same on one line, for tables.
export function priceLine(surface, price) {
  const parts = priceParts(surface, price);
  return parts.length === 1 ? parts[0].join(' ') : `${parts[0][0]} in, ${parts[1][0]} out (${assetOf(price)} per million tokens)`;
}

// What is asked for may be in USD, with as many digits; what is paid is OPG.
const assetOf = (price) => price.currency ?? 'OPG';

// A price of one unit as people compare it: per million tokens, or per call.
export function priceParts(surface, price) {
  if (!price) return null;
  if (surface === 'tensor') return [[formatOpg(price.input), `${assetOf(price)} per call`]];
  const million = (units) => formatOpg(BigInt(units) * 1000000n);
  return [[million(price.input), `${assetOf(price)} per million input tokens`], [million(price.output), `${assetOf(price)} per million output tokens`]];
}
