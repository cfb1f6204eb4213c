// Where the browser tests go: public/ with canned answers, and a running stack.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { inRoot } from '../../script/lib/paths.mjs';
import { opgateBinary } from '../../script/lib/stack.mjs';
import { GATEWAY, MODEL, NODE, OPERATOR, receiptMake, REQUEST, RESPONSE, statementMake } from './fixtures.mjs';

const DIGEST = `sha256:${MODEL.slice(2)}`;
const now = new Date().toISOString();
const offer = (model, surface) => ({ model, version: 1, digest: DIGEST, surface, ask: { currency: 'OPG', input: '1000000000000', output: '2000000000000' }, capacity: 4, precision: 'int8', profile_hash: MODEL, state: 'ready' });
const model = (id, title, surface, more = {}) => ({
  id, object: 'model', created: 1767225600, owned_by: id.split('/')[0], title, surface, version: 1, digest: DIGEST, offers: 1, max_output_tokens: 256,
  price: { input: '1650000000000', output: '3300000000001', asset: 'OPG', decimals: 18 }, royalty: { currency: 'USD', input: '500000000000', output: '1000000000000' }, ...more,
});
const MODELS = [model('ada/tiny', 'Tiny storyteller', 'chat'), model('ada/adder', 'Adds two tensors', 'tensor'),
  model(`${OPERATOR.address}/long-name-that-does-not-fit-into-any-card-at-all`, '<img src=x onerror=alert(1)>', 'chat', { offers: 0, price: null })];
const NODES = [{ address: NODE.address, operator: OPERATOR.address, url: 'http://127.0.0.1:9001', state: 'active', alive: true, registered_at: now, heartbeat_at: now,
  offers: [offer('ada/tiny', 'chat'), offer('ada/adder', 'tensor')] }];
const list = (data) => ({ object: 'list', data, has_more: false, first_id: null, last_id: null });

const CANNED = {
  '/v1/models': list(MODELS),
  '/v1/models/ada/tiny': { ...MODELS[0], description: 'Tells very short stories.', offers: [{ node: NODE.address, operator: OPERATOR.address, ...offer('ada/tiny', 'chat') }],
    versions: [{ id: 'ada/tiny@1', version: 1, surface: 'chat', price: MODELS[0].royalty, state: 'published', digest: DIGEST, created_at: now, published_at: now }] },
  '/v1/nodes': list(NODES), [`/v1/nodes/${NODE.address}`]: NODES[0],
  '/v1/gateway': { address: GATEWAY.address, chain_id: 84532, opg_token: NODE.address, treasury: OPERATOR.address },
  '/readyz': { status: 'ok', checks: { database: true, reconciliation: true, x402: true } },
  '/v1/reconciliation': { ok: true, ledger_sum: '0', custody: '1500000000000000000', liabilities: '1500000000000000000', gas: { address: GATEWAY.address, balance: '2500000000000000000' } },
};

const JOB = '0198c0ff-ee00-7abc-8def-0123456789ab'; // the id in the canned receipt
const CANNED_JOB = { id: JOB, object: 'job', state: 'settled', outcome: 'delivered', error: null, model: 'ada/tiny', digest: DIGEST, version: 1, policy: 'signed',
  attempt: 1, node: NODE.address, verdict: 'passed', hold: '9000000000000', charged: '5000000000000', split: { node: '3000000000000', author: '1500000000000', platform: '500000000000' },
  usage: { input_units: 12, output_units: 34 }, request: { method: 'POST', path: REQUEST.path, content_type: REQUEST.type }, created_at: now, ended_at: now };

const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml' };
// The policy of handlers/pages.c: a page that breaks it must not pass here.
const POLICY = /POLICY\[\] = "([^"]+)"/.exec(fs.readFileSync(inRoot('handlers/pages.c'), 'utf8'))[1];

async function cannedServe(t, more = {}) {
  const texts = { [`/v1/nodes/${NODE.address}/statements/${DIGEST}`]: await statementMake(), [`/v1/jobs/${JOB}`]: JSON.stringify(CANNED_JOB),
    [`/v1/jobs/${JOB}/receipt`]: await receiptMake(), [`/v1/jobs/${JOB}/output`]: RESPONSE };
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://x');
    const file = pathname === '/' ? 'index.html' : pathname === '/operator' ? 'operator.html' : /^\/assets\/[a-z0-9.]+$/.test(pathname) ? pathname.slice(1) : null;
    if (more.down) return response.destroy();
    if (file && fs.existsSync(inRoot('public', file))) {
      response.writeHead(200, { 'content-type': TYPES[path.extname(file)], 'content-security-policy': POLICY });
      return response.end(fs.readFileSync(inRoot('public', file)));
    }
    const answer = texts[pathname] ?? ((more[pathname] ?? CANNED[pathname]) && JSON.stringify(more[pathname] ?? CANNED[pathname]));
    response.writeHead(answer ? 200 : 404, { 'content-type': 'application/json' });
    return response.end(answer || JSON.stringify({ title: 'Not found', code: 'not_found', detail: 'no such thing', hint: 'check the path', request_id: 'canned' }));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  }));
  return `http://127.0.0.1:${server.address().port}`;
}

/// public/ behind a small server of the tests' own: {base, sample}. `more`: answers over the canned ones, by path; may change.
export async function siteCanned(t, more) {
  const sample = { job: JOB, key: 'none', receipt: await receiptMake(), response: RESPONSE, request: REQUEST.body, path: REQUEST.path, node: NODE.address, gateway: GATEWAY.address };
  return { base: await cannedServe(t, more), sample };
}

export const stackMissing = () => (fs.existsSync(opgateBinary()) ? false : `not built: ${opgateBinary()}`);

/// The running stack (or one brought up for this run), and a job that was really done there.
export async function siteStack() {
  const { dev } = await import('../api/stack.mjs');
  const request = JSON.stringify({ model: dev.models.find((m) => m.surface === 'chat').id, messages: [{ role: 'user', content: 'Once upon a time' }], max_tokens: 8 });
  const answer = await fetch(`${dev.base_url}/v1/chat/completions`, {
    method: 'POST', headers: { authorization: `Bearer ${dev.api_keys.consumer}`, 'content-type': 'application/json' }, body: request,
  });
  const response = await answer.text();
  if (!answer.ok) throw new Error(`the stack answered ${answer.status}: ${response}`);
  const receipt = Buffer.from(answer.headers.get('opgate-receipt'), 'base64url').toString();
  const sample = { job: answer.headers.get('opgate-job'), key: dev.api_keys.consumer, receipt, response, request, path: '/v1/chat/completions', node: JSON.parse(receipt).message.node, gateway: dev.gateway_address };
  return { base: dev.base_url, sample };
}

const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

/// A browser with a profile of its own that is gone when the test ends.
export async function browserOpen(t) {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: FLAGS });
  t.after(() => browser.close());
  return browser;
}
