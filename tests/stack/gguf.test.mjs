// The reference GGUF backend: spoken to by the unmodified OpenAI client, and byte by byte where timing matters.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import OpenAI from 'openai';
import { inRoot } from '../../script/lib/paths.mjs';
import { waitFor } from '../../script/lib/wait.mjs';
import { backendStart } from './helpers.mjs';

describe('gguf backend', () => {
  const ends = [];
  const messages = [{ role: 'user', content: 'This program is free software' }];
  let url, child, openai;

  before(async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'opgate-model-'));
    ends.push(() => fs.rmSync(folder, { recursive: true }));
    fs.symlinkSync(inRoot('examples/models/tiny-llama-q8_0.gguf'), path.join(folder, 'model.gguf'));
    ({ url, child } = await backendStart({ after: (end) => ends.push(end) }, 'gguf.mjs', folder, ['--queue', '2']));
    openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 });
  });
  after(async () => { for (const end of ends.reverse()) await end(); });

  const chat = (more) => openai.chat.completions.create({ model: 'm', messages, max_tokens: 20, ...more });
  const streamed = async (more) => {
    const events = [];
    for await (const event of await chat({ stream: true, ...more })) events.push(event);
    return events;
  };
  const post = (body, more = {}) =>
    fetch(`${url}/v1/chat/completions`, { method: 'POST', body: JSON.stringify({ messages, ...body }), ...more });

  it('lists its model', async () => {
    assert.equal((await openai.models.list()).data.length, 1);
    assert.equal((await fetch(`${url}/health`)).status, 200);
  });
  it('chats, counting true tokens', async () => {
    const { choices, usage } = await chat();
    assert.equal(choices[0].message.role, 'assistant');
    assert.ok(choices[0].message.content.length > 0);
    assert.ok(usage.prompt_tokens > 5 && usage.prompt_tokens < 30, `${usage.prompt_tokens}`);
    assert.equal(usage.completion_tokens, 20);
    assert.equal(usage.total_tokens, usage.prompt_tokens + 20);
    assert.equal(choices[0].finish_reason, 'length');
  });
  it('streams the same text, an event a token', async () => {
    const whole = (await chat({ temperature: 0 })).choices[0].message.content;
    const events = await streamed({ temperature: 0, stream_options: { include_usage: true } });
    assert.equal(events.map((event) => event.choices[0]?.delta.content ?? '').join(''), whole);
    assert.ok(events.filter((event) => event.choices[0]?.delta.content).length >= 18);
    assert.equal(events[0].choices[0].delta.role, 'assistant');
    assert.equal(events.at(-2).choices[0].finish_reason, 'length');
    assert.deepEqual(events.at(-1).choices, []);
    assert.equal(events.at(-1).usage.completion_tokens, 20);
    assert.ok((await streamed()).every((event) => event.usage === undefined));
  });
  it('says the same with the same seed, something else with another', async () => {
    const say = async (seed) => (await chat({ temperature: 1.5, seed })).choices[0].message.content;
    assert.equal(await say(1), await say(1));
    assert.notEqual(await say(1), await say(2));
  });
  it('ends before a stop word, streamed or not', async () => {
    const whole = (await chat({ temperature: 0 })).choices[0].message.content;
    const stop = whole.slice(6, 10);
    const expected = whole.slice(0, whole.indexOf(stop));
    const { choices } = await chat({ temperature: 0, stop: ['never said', stop] });
    assert.equal(choices[0].message.content, expected);
    assert.equal(choices[0].finish_reason, 'stop');
    const events = await streamed({ temperature: 0, stop });
    assert.equal(events.map((event) => event.choices[0].delta.content ?? '').join(''), expected);
  });
  it('completes text', async () => {
    const { choices, usage } = await openai.completions.create({ model: 'm', prompt: 'This program', max_tokens: 5 });
    assert.equal(typeof choices[0].text, 'string');
    assert.equal(usage.completion_tokens, 5);
  });
  it('sends each event as it is made', async () => {
    for (let attempt = 1; ; attempt++) { // who collects them is late every time; a busy machine may make this reader late now and then
      const started = performance.now();
      const response = await post({ stream: true, max_tokens: 200 });
      const reader = response.body.getReader();
      let text = '', reads = 0, first;
      for (let part; !(part = await reader.read()).done; reads++) {
        first ??= performance.now() - started;
        text += Buffer.from(part.value);
      }
      const total = performance.now() - started;
      assert.ok(text.endsWith('data: [DONE]\n\n'));
      if (reads > 20 && first < total / 2) return;
      assert.ok(attempt < 5, `${reads} reads, the first after ${first} of ${total} ms`);
    }
  });
  it('stops when the caller leaves, and serves the next', async () => {
    const leaving = new AbortController();
    const response = await post({ stream: true, max_tokens: 200 }, { signal: leaving.signal });
    await response.body.getReader().read();
    leaving.abort();
    assert.equal((await chat({ max_tokens: 1 })).usage.completion_tokens, 1);
  });
  it('refuses more than its queue holds', async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => post({ max_tokens: 100 })));
    const statuses = answers.map(({ status }) => status);
    assert.ok(statuses.includes(200) && statuses.includes(503), `${statuses}`);
    const full = answers.find(({ status }) => status === 503);
    assert.equal(full.headers.get('retry-after'), '1');
    assert.equal((await full.json()).error.code, 'overloaded');
    await waitFor('it serves again', async () => (await post({ max_tokens: 1 })).ok);
  });
  for (const [what, more] of [
    ['no messages', { messages: [] }], ['null messages', { messages: [null, 1] }],
    ['an image', { messages: [{ role: 'user', content: [{ type: 'image_url' }] }] }],
    ['max_tokens 0', { max_tokens: 0 }], ['max_tokens text', { max_tokens: '5' }], ['temperature 3', { temperature: 3 }],
    ['two choices', { n: 2 }], ['an empty stop word', { stop: '' }], ['a seed of text', { seed: 'x' }],
    ['a prompt beyond its context', { messages: [{ role: 'user', content: 'free software '.repeat(1000) }] }],
  ])
    it(`refuses ${what}`, async () => {
      const response = await post(more);
      assert.equal(response.status, 400);
      assert.equal((await response.json()).error.type, 'invalid_request_error');
    });
  it('ends when its parent lets go', async () => {
    child.stdin.end();
    assert.deepEqual(await child.exited, { code: 0, signal: null });
  });
});
