// The page and `opgate verify` must never disagree: the same receipts, good and bad, given to both; every line is compared.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { utf8 } from '../../public/assets/bytes.js';
import { verdictCheck } from '../../public/assets/verdict.js';
import { inRoot } from '../../script/lib/paths.mjs';
import { GATEWAY, MODEL, NODE, OTHER, receiptMake, REQUEST, RESPONSE, sha, statementMake, STREAM, streamHash } from './fixtures.mjs';

const opgate = process.env.OPGATE_BIN || inRoot('build/opgate');
const lines = (checks) => checks.map(({ name, result }) => `${name} ${result}`);

// What a case may say: receipt and statement texts, node, gateway, chain, model, request {body, path, contentType, headerLength}, response.
function verifyRun(folder, given) {
  const file = (name, text) => {
    fs.writeFileSync(path.join(folder, name), text);
    return path.join(folder, name);
  };
  const args = ['verify', file('receipt.json', given.receipt), '--json'];
  const option = (name, value) => value !== undefined && args.push(name, value);
  option('--node', given.node);
  option('--gateway', given.gateway);
  option('--chain-id', given.chain);
  option('--model', given.model);
  if (given.statement !== undefined) option('--statement', file('statement.json', given.statement));
  if (given.response !== undefined) option('--response', file('response', given.response));
  if (given.request) {
    option('--request', file('request', given.request.body));
    option('--path', given.request.path);
    option('--content-type', given.request.contentType);
    option('--header-length', given.request.headerLength);
  }
  const { status, stdout, stderr } = spawnSync(opgate, args, { encoding: 'utf8' });
  assert.ok([0, 1, 2].includes(status), stderr);
  const report = JSON.parse(stdout);
  assert.equal(status, ['passed', 'failed', 'unverifiable'].indexOf(report.verdict));
  return report;
}

const pageRun = (given) => verdictCheck({
  receipt: utf8(given.receipt), node: given.node, gateway: given.gateway, chainId: given.chain && BigInt(given.chain), model: given.model, now: Date.now(),
  statement: given.statement === undefined ? undefined : utf8(given.statement), response: given.response === undefined ? undefined : utf8(given.response),
  request: given.request && { ...given.request, body: utf8(given.request.body) },
});

// The same signature with the other s: no form of a receipt.
function highTwin(text) {
  const [, r, s, v] = /0x([0-9a-f]{64})([0-9a-f]{64})(1b|1c)"}$/.exec(text);
  const twin = (0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n - BigInt(`0x${s}`)).toString(16).padStart(64, '0');
  return text.replace(`${r}${s}${v}`, `${r}${twin}${v === '1b' ? '1c' : '1b'}`);
}

async function cases() {
  const good = await receiptMake();
  const streamed = await receiptMake({ responseHash: streamHash() });
  const receipts = [good, highTwin(good), `${good}\n`, ` ${good}`, good.slice(0, -1), '', '{}', good.replace('"84532"', '"1"'), good.replace('"84532"', '"084532"'), good.replace('"84532"', '"18446744073709551616"'),
    good.replace('"signed"', '"s\u00e9"'), good.replace('"signed"', `"${'s'.repeat(63)}"`), good.replace('"signed"', `"${'s'.repeat(64)}"`), good.replace('"200"', '"65536"'),
    good.replace(/0x1563/, '0x156A'), good.replace(/1[bc]"}$/, '1d"}'), good.replace(/1b"}$/, '1x"}').replace(/1c"}$/, '1b"}').replace(/1x"}$/, '1c"}'), 'x'.repeat(5000),
    await receiptMake({ node: OTHER.address }), await receiptMake({}, OTHER), await receiptMake({ policy: 'replicated' }), await receiptMake({ policy: 'none', status: 499 }),
    await receiptMake({ status: 0 }), await receiptMake({ startedAt: 1767225600124n }), await receiptMake({ finishedAt: 18446744073709551615n })];
  for (let at = 50; at < good.length; at += 97) receipts.push(good.slice(0, at) + String.fromCharCode(good.charCodeAt(at) ^ 1) + good.slice(at + 1));
  const statements = [await statementMake(), await statementMake({}, OTHER), await statementMake({ node: OTHER.address }), await statementMake({ modelDigest: sha('b') }),
    await statementMake({ registeredAt: 1767225720123n }), await statementMake({ registeredAt: 1767225720124n }), await statementMake({ profileHash: sha('b') }), '', '{}', good];
  const trust = statements.flatMap((statement) => [{}, { gateway: GATEWAY.address }, { gateway: OTHER.address }, { node: NODE.address }, { node: OTHER.address, gateway: GATEWAY.address }]
    .map((more) => ({ receipt: good, statement, ...more })));
  const requests = [{ body: REQUEST.body }, { body: REQUEST.body, path: REQUEST.path }, { body: REQUEST.body, path: '/v1/jobs' }, { body: REQUEST.body, headerLength: '7' },
    { body: `${REQUEST.body} ` }, { body: REQUEST.body, contentType: 'text/plain' }, { body: '' }];
  const responses = [STREAM, STREAM.replaceAll('\n', '\r\n'), STREAM.replaceAll('\n', '\r'), STREAM.slice(0, -1), STREAM.slice(0, -16), `\ufeff${STREAM}`, `: c\n${STREAM}`, `${STREAM}: c\n`, `${STREAM}\n\n`,
    STREAM.replace('data: {', 'data:{'), STREAM.replace('\n\n', '\nid: 7\n\n'), STREAM.replace('data: [', `: opgate-receipt ${Buffer.from(streamed).toString('base64url')}\n\ndata: [`),
    STREAM.replace('data: [', ': opgate-receipt AAAA\n\ndata: ['), STREAM.replace('data: [', ': opgate-receipt =\n\ndata: ['), RESPONSE, '', '\n'];
  return [...receipts.flatMap((receipt) => [{ receipt }, { receipt, node: NODE.address, response: RESPONSE }]), ...trust,
    ...requests.map((request) => ({ receipt: good, node: NODE.address, request })), ...responses.map((response) => ({ receipt: streamed, node: NODE.address, response })),
    { receipt: good, chain: '84532', model: MODEL, gateway: GATEWAY.address }, { receipt: good, chain: '1', model: sha('b'), gateway: OTHER.address }];
}

test('page and command agree, line by line', { skip: fs.existsSync(opgate) ? false : `not built: ${opgate}` }, async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'opgate-web-'));
  try {
    const seen = new Set();
    for (const given of await cases()) {
      const [page, command] = [await pageRun(given), verifyRun(folder, given)];
      assert.deepEqual([page.verdict, ...lines(page.checks)], [command.verdict, ...lines(command.checks)], JSON.stringify([given, page, command], (key, value) => (typeof value === 'bigint' ? String(value) : value)));
      assert.equal(page.signer, command.signer);
      seen.add(page.verdict);
    }
    assert.equal(seen.size, 3, 'all three verdicts occurred');
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});
