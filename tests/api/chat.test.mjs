// The language model through the npm `openai` client as it is published, given nothing but a base URL and a key; and what
// the answers carry beside the text: job, receipt, and a charge that adds up.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import OpenAI from 'openai';
import { accountMake, assertBooks, assertError, assertStatus, balanceOf, call, dev, jobEnded, modelOf, OPG, splitOf, unbase64url } from './stack.mjs';

const model = modelOf('chat').id;
const messages = [{ role: 'user', content: 'This program is free software' }];
const client = (apiKey) => new OpenAI({ baseURL: `${dev.base_url}/v1`, apiKey });
let consumer, openai;

before(async () => {
  consumer = await accountMake({ opg: 10n * OPG });
  openai = client(consumer.key);
});

/// What the prices of model and node say the usage costs.
async function priceOf(job) {
  const { data } = (await call('GET', '/v1/nodes')).json;
  const ask = data.find(({ address }) => address === job.node).offers.find(({ digest }) => digest === job.digest).ask;
  const { royalty } = (await call('GET', '/v1/models')).json.data.find(({ id }) => id === job.model);
  const { platform_fee_bps } = (await call('GET', '/v1/gateway')).json;
  const cost = (price) => BigInt(price.input) * BigInt(job.usage.input_units) + BigInt(price.output) * BigInt(job.usage.output_units);
  const [node, author] = [cost(ask), cost(royalty)];
  const platform = ((node + author) * BigInt(platform_fee_bps) + 9999n) / 10000n;
  return { charged: node + author + platform, node, author, platform };
}

/// The job is settled, charged by the prices for exactly this usage, and the payer's balance moved by exactly that.
async function assertCharged(id, usage, balance_before) {
  const job = await jobEnded(consumer.key, id);
  assert.equal(job.state, 'settled');
  assert.equal(job.verdict, 'passed');
  assert.deepEqual(job.usage, { input_units: usage.prompt_tokens, output_units: usage.completion_tokens });
  assert.deepEqual(splitOf(job), await priceOf(job));
  assert.ok(splitOf(job).charged > 0n);
  const after = await balanceOf(consumer.key);
  assert.equal(balance_before.available - after.available, BigInt(job.charged), 'the balance moved by the charge');
  assert.equal(after.held, 0n, 'nothing stays held');
  return job;
}

test('lists models', async () => {
  const all = [];
  for await (const one of openai.models.list()) all.push(one);
  const found = all.find(({ id }) => id === model);
  assert.equal(found.object, 'model');
  assert.equal(found.owned_by, 'demo');
  assert.ok(Number.isSafeInteger(found.created) && found.created > 1_600_000_000);
  assert.equal(found.digest, modelOf('chat').digest);
  assert.equal(found.offers, 2);
  assert.ok(all.some(({ id }) => id === modelOf('tensor').id));
  const one = await openai.models.retrieve(model);
  assert.equal(one.id, model);
  assert.equal(one.object, 'model');
});

test('chats without streaming', async () => {
  const before = await balanceOf(consumer.key);
  const { data, response } = await openai.chat.completions.create({ model, messages, max_tokens: 24, temperature: 0 }).withResponse();
  assert.equal(data.object, 'chat.completion');
  assert.equal(data.choices.length, 1);
  assert.equal(data.choices[0].message.role, 'assistant');
  assert.match(data.choices[0].message.content, /[a-z]{3}/, 'the model says words');
  assert.equal(data.choices[0].finish_reason, 'length');
  assert.equal(data.usage.completion_tokens, 24);
  assert.ok(data.usage.prompt_tokens > 3);
  assert.equal(data.usage.total_tokens, data.usage.prompt_tokens + 24);

  const job = await assertCharged(response.headers.get('Opgate-Job'), data.usage, before);
  const receipt = unbase64url(response.headers.get('Opgate-Receipt'));
  const stored = await call('GET', `/v1/jobs/${job.id}/receipt`, { key: consumer.key });
  assert.deepEqual(stored.bytes, receipt, 'the receipt of the header is the job\'s');
  const { message } = JSON.parse(receipt);
  assert.equal(message.jobId, `0x${job.id.replaceAll('-', '')}`);
  assert.equal(message.node, job.node);
  assert.equal(message.modelDigest, `0x${job.digest.slice('sha256:'.length)}`);
  assert.equal(message.outputUnits, '24');
  assert.ok(dev.nodes.some(({ address }) => address === message.node));
});

test('chats with streaming, token by token, the same words', async () => {
  const whole = await openai.chat.completions.create({ model, messages, max_tokens: 60, temperature: 0 });
  const before = await balanceOf(consumer.key);
  const { data: stream, response } = await openai.chat.completions.create({
    model, messages, max_tokens: 60, temperature: 0, stream: true, stream_options: { include_usage: true },
  }).withResponse();
  assert.match(response.headers.get('Content-Type'), /^text\/event-stream/);
  let text = '', pieces = 0, reason, usage;
  for await (const chunk of stream) {
    assert.equal(chunk.object, 'chat.completion.chunk');
    assert.equal(usage, undefined, 'the usage comes last');
    usage = chunk.usage ?? undefined;
    const [choice] = chunk.choices;
    if (choice?.delta.content) {
      assert.equal(reason, undefined, 'no words after the reason to stop');
      pieces++;
    }
    text += choice?.delta.content ?? '';
    reason ??= choice?.finish_reason ?? undefined;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(reason, 'length');
  assert.equal(usage.completion_tokens, 60);
  assert.ok(pieces > 30, `60 tokens came in ${pieces} pieces`);
  await assertCharged(response.headers.get('Opgate-Job'), usage, before);
});

/// Reads a stream of our own request as it comes: its events in order, comments apart, and when the first came.
async function streamRead(body) {
  const response = await fetch(`${dev.base_url}/v1/chat/completions`, {
    method: 'POST', body: JSON.stringify({ model, messages, stream: true, ...body }),
    headers: { Authorization: `Bearer ${consumer.key}`, 'Content-Type': 'application/json' },
  });
  assert.equal(response.status, 200);
  let first_at, text = '', reads = 0;
  for await (const part of response.body) {
    first_at ??= Date.now();
    text += Buffer.from(part).toString('latin1');
    reads++;
  }
  assert.ok(text.endsWith('\n\n'));
  return { job: response.headers.get('Opgate-Job'), events: text.split('\n\n').slice(0, -1), first_at, reads };
}

test('a stream ends with the receipt as a comment, and [DONE]', async () => {
  const { job, events } = await streamRead({ max_tokens: 8 });
  assert.equal(events.at(-1), 'data: [DONE]');
  const comment = /^: opgate-receipt ([A-Za-z0-9_-]+)$/.exec(events.at(-2));
  assert.ok(comment, events.at(-2));
  const receipt = unbase64url(comment[1]);
  assert.deepEqual((await call('GET', `/v1/jobs/${job}/receipt`, { key: consumer.key })).bytes, receipt);
  assert.equal(JSON.parse(receipt).message.jobId, `0x${job.replaceAll('-', '')}`);
  assert.equal(events.slice(0, -2).every((event) => /^data: \{.*\}$/.test(event)), true, 'nothing else travels in the stream');
  // Without stream_options nobody asked for usage, so no client meets an event without choices.
  for (const event of events.slice(0, -2)) assert.equal(JSON.parse(event.slice(6)).choices.length, 1);
});

test('the first token is here long before the node has made the last', async () => {
  // The node signs when it finished. A gateway that collects a stream before passing it on is late every time; a busy
  // machine may make this reader late now and then.
  for (let attempt = 1; ; attempt++) {
    const { job, first_at, reads } = await streamRead({ max_tokens: 200, temperature: 1 });
    const receipt = (await call('GET', `/v1/jobs/${job}/receipt`, { key: consumer.key })).json;
    const { startedAt, finishedAt } = receipt.message;
    if (first_at < (Number(startedAt) + Number(finishedAt)) / 2 && reads > 3) return;
    assert.ok(attempt < 5, `first chunk ${first_at - Number(startedAt)} ms after the start, the end ${finishedAt - startedAt} ms after it, ${reads} reads`);
  }
});

test('completes text', async () => {
  const before = await balanceOf(consumer.key);
  const { data, response } = await openai.completions.create({ model, prompt: 'This program is free software', max_tokens: 10, temperature: 0 }).withResponse();
  assert.equal(data.object, 'text_completion');
  assert.match(data.choices[0].text, /[a-z]/);
  assert.equal(data.usage.completion_tokens, 10);
  await assertCharged(response.headers.get('Opgate-Job'), data.usage, before);
  let text = '';
  for await (const chunk of await openai.completions.create({ model, prompt: 'This program is free software', max_tokens: 10, temperature: 0, stream: true }))
    text += chunk.choices[0].text;
  assert.equal(text, data.choices[0].text);
});

const chatAs = (key, over = {}) => client(key).chat.completions.create({ model, messages, max_tokens: 4, ...over });
const refusal = (type, status, code) => (error) => {
  assert.ok(error instanceof type, `${error.constructor.name}: ${error.message}`);
  assert.equal(error.status, status);
  assert.equal(error.code, code);
  assert.equal(error.error.charged, false);
  assert.ok(error.error.request_id);
  assert.equal(typeof error.error.message, 'string');
  return true;
};

test('a bad key and a revoked one are 401; a placeholder and none are asked to pay', async () => {
  const good = consumer.key;
  const mistyped = good.slice(0, -1) + (good.endsWith('A') ? 'B' : 'A');
  await assert.rejects(chatAs(mistyped), refusal(OpenAI.AuthenticationError, 401, 'invalid_api_key'));
  const { id, key } = await consumer.api.post('/v1/keys', { name: 'short-lived' });
  assert.equal((await chatAs(key)).usage.completion_tokens, 4);
  assert.equal((await call('DELETE', `/v1/keys/${id}`, { key: consumer.token })).status, 204);
  await assert.rejects(chatAs(key), refusal(OpenAI.AuthenticationError, 401, 'invalid_api_key'));
  for (const placeholder of ['placeholder', 'sk-0123456789abcdef0123456789abcdef'])
    await assert.rejects(chatAs(placeholder), (error) => error.status === 402 && error.headers.has('PAYMENT-REQUIRED'));
  assert.ok(assertStatus(await call('POST', '/v1/chat/completions', { body: { model, messages } }), 402).headers.has('PAYMENT-REQUIRED'));
});

test('an unknown model is 404', async () => {
  for (const unknown of ['nobody/nothing', 'gpt-4o', `${model}@sha256:${'0'.repeat(64)}`])
    await assert.rejects(chatAs(consumer.key, { model: unknown }), (error) => refusal(OpenAI.NotFoundError, 404, 'model_not_found')(error) && error.param === 'model');
  await assert.rejects(openai.models.retrieve('nobody/nothing'), refusal(OpenAI.NotFoundError, 404, 'model_not_found'));
});

test('an empty balance is 402, and one that does not cover the hold too', async () => {
  const poor = await accountMake();
  await assert.rejects(chatAs(poor.key), refusal(OpenAI.APIError, 402, 'insufficient_funds'));
  await assert.rejects(chatAs(poor.key, { stream: true }), refusal(OpenAI.APIError, 402, 'insufficient_funds'));
  assert.deepEqual((await call('GET', '/v1/jobs', { key: poor.key })).json.data, [], 'no job came to be');
  const quote = (await call('POST', '/v1/quotes', { key: poor.key, body: { model, input_bytes: 1000, max_output_tokens: 4 } })).json;
  const almost = await accountMake({ opg: BigInt(quote.hold) / 2n });
  const long = { messages: [{ role: 'user', content: 'x'.repeat(1000) }] };
  await assert.rejects(chatAs(almost.key, long), (error) => {
    const [, most, there] = /may cost up to (\d+) base units of OPG; (\d+) are available/.exec(error.message);
    assert.ok(BigInt(most) > BigInt(quote.hold), 'its body has more than 1000 bytes');
    assert.equal(BigInt(there), BigInt(quote.hold) / 2n);
    return refusal(OpenAI.APIError, 402, 'insufficient_funds')(error);
  });
  assert.deepEqual(await balanceOf(almost.key), { available: BigInt(quote.hold) / 2n, held: 0n, author: 0n, operator: 0n });
});

test('what the gateway or the node finds wrong is 4xx and costs nothing', async () => {
  const before = await balanceOf(consumer.key);
  const wrong = [
    [{ messages: 'hello' }, 400], [{ temperature: 9 }, 400], [{ max_tokens: 0 }, 400], [{ max_tokens: 'many' }, 400],
    [{ stream: 'yes' }, 400], [{ opgate: { maximum_price: '1' } }, 400], [{ opgate: { max_price: '1' } }, 422], [{ opgate: { policy: 'zk' } }, 422],
  ];
  for (const [over, status] of wrong)
    await assert.rejects(chatAs(consumer.key, over), (error) => {
      assert.ok(error instanceof OpenAI.APIError && error.status === status, `${JSON.stringify(over)}: ${error.status} ${error.message}`);
      assert.equal(error.error.charged, false);
      return true;
    });
  await assert.rejects(chatAs(consumer.key, { model: modelOf('tensor').id }), refusal(OpenAI.UnprocessableEntityError, 422, 'unprocessable'));
  assert.deepEqual(await balanceOf(consumer.key), before);
});

test('a caller who hangs up mid-stream pays for what came, and the node stops', async () => {
  const outcomes = [];
  for (let attempt = 1; outcomes.at(-1) !== 'partial'; attempt++) { // the node may be faster than our leaving
    assert.ok(attempt < 8, `only ${outcomes}`);
    const before = await balanceOf(consumer.key);
    const { data: stream, response } = await openai.chat.completions.create({ model, messages, max_tokens: 200, temperature: 1, stream: true }).withResponse();
    let chunks = 0;
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content && ++chunks === 2) break; // the client aborts the request
    const job = await jobEnded(consumer.key, response.headers.get('Opgate-Job'));
    outcomes.push(job.outcome);
    const after = await balanceOf(consumer.key);
    assert.equal(before.available - after.available, BigInt(job.charged));
    assert.equal(after.held, 0n);
    if (job.outcome === 'client_left') assert.equal(job.charged, '0');
    else assert.deepEqual(splitOf(job), await priceOf(job));
    if (job.outcome !== 'partial') continue;
    assert.ok(job.usage.output_units >= 2 && job.usage.output_units < 200, `${job.usage.output_units} tokens`);
    assert.ok(splitOf(job).charged > 0n);
    const { message } = (await call('GET', `/v1/jobs/${job.id}/receipt`, { key: consumer.key })).json;
    assert.ok(Number(message.outputUnits) < 200, 'the node did not go on');
    assertStatus(await call('GET', `/v1/jobs/${job.id}/output`, { key: consumer.key }), 404);
  }
});

test('the books hold', assertBooks);
