// OPG/USD from real sources that stall, lie, break and jump: a rate is taken when most agree, the last one stands while they do not, and
// when it has run out nothing priced in USD is sold.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { EvilNode } from './evil-node.mjs';
import { OPG, Rig, waitFor } from './rig.mjs';

const MAX_AGE_MS = 4000;
const TENSOR = '{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}';
let rig, node, model, asked = 0;
/// What each source answers: a number, or a function of the response.
const says = [0.05, 0.05, 0.05];

async function sourceStart(i) {
  const server = http.createServer((_, response) => {
    asked++;
    if (typeof says[i] === 'function') return says[i](response);
    response.end(JSON.stringify({ data: [{ price: says[i] }] }));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, url: `http://127.0.0.1:${server.address().port}/v1?key=s3cret-${i}#/data/0/price` };
}

before(async () => {
  const sources = await Promise.all([0, 1, 2].map(sourceStart));
  rig = await Rig.start({ usd_sources: sources.map(({ url }) => url).join(' '), usd_poll_ms: 100, usd_max_age_ms: MAX_AGE_MS, usd_jump_bps: 1000, usd_deviation_bps: 200 });
  for (const { server } of sources) rig.closers.push(() => new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); }));
  model = await rig.modelPublish('usd', 'tensor', { currency: 'USD', input: '0' });
  node = await EvilNode.start(rig, { models: [model], ask: { currency: 'USD', input: String(OPG / 10n), output: '0' } });
});
after(() => rig?.stop());

const rate = async () => (await fetch(`${rig.base_url}/v1/rates`)).json();
const metric = async (name) => Number(new RegExp(`^${name} (\\d+)`, 'm').exec(await (await fetch(`${rig.base_url}/metrics`)).text())[1]);
const becomes = (value) => waitFor(`the rate is ${value}`, async () => { const r = await rate(); return r.good && r.rate === value; }, { every: 50, seconds: 30 });
const infer = () => fetch(`${rig.base_url}/v2/models/${model.id}/infer`, { method: 'POST', body: TENSOR, headers: { Authorization: `Bearer ${rig.key}`, 'Content-Type': 'application/json' } });
/// Several turns of the thread have passed.
async function turns(n = 4) {
  const from = asked;
  await waitFor('the sources were asked again', () => asked >= from + n * 3, { every: 20 });
}
async function assertSells(yes) {
  const answer = await infer();
  assert.equal(answer.status, yes ? 200 : 503, await answer.text());
}

test('most agree: the median; one that lies does not count', async () => {
  await becomes('50000000000000000');
  await assertSells(true);
  says[2] = 5;
  await turns();
  assert.equal((await rate()).rate, '50000000000000000');
  Object.assign(says, [0.051, 0.0512, 5]);
  await becomes('51100000000000000'); // the mean of the two that agree
});

test('one that breaks, sends rubbish or nothing at all does not count either', async () => {
  for (const broken of [(response) => response.destroy(), (response) => response.end('{"data":'), (response) => { response.statusCode = 500; response.end('{"data":[{"price":0.05}]}'); },
    (response) => response.end('{"data":[{"price":-1}]}'), (response) => response.end('{"data":[{"price":"1e3"}]}'), (response) => response.end(`{"data":[{"price":0.05}],"more":"${'x'.repeat(300_000)}"}`)]) {
    says[2] = broken;
    await turns(2);
    assert.equal((await rate()).good, true);
  }
  await assertSells(true);
});

test('they disagree: the last rate stands until it has run out, and then nothing is sold', async () => {
  Object.assign(says, [0.05, 0.07, (response) => response.destroy()]);
  const refused = await metric('opgate_usd_rates_refused_total');
  await waitFor('the rate has run out', async () => !(await rate()).good, { seconds: 30 });
  assert.ok((await metric('opgate_usd_rates_refused_total')) > refused);
  await assertSells(false);
  Object.assign(says, [0.05, 0.05, 0.05]);
  await becomes('50000000000000000');
  await assertSells(true);
});

test('a jump is not believed while the last rate is good', async () => {
  says.fill(0.5);
  await turns();
  const still = await rate();
  if (still.good) assert.equal(still.rate, '50000000000000000');
  await becomes('500000000000000000'); // it lasted
  assert.match(rig.logTail('gateway', 400), /rate_jumped/);
});

test('a source that never answers ends at its deadline', async () => {
  says[1] = () => {};
  await waitFor('the others go on', async () => { const { at } = await rate(); await turns(1); return (await rate()).at > at; }, { seconds: 30 });
  says[1] = 0.5;
});

test('the keys of the sources are nowhere in the log', () => {
  assert.doesNotMatch(rig.logTail('gateway', 100_000), /s3cret/);
});
