// Reference backend: serves the one .gguf file of a model version as OpenAI's chat and text completions, on the CPU.
//     node gguf.mjs --model DIR --port PORT [--context 4096] [--queue 8]
// One generation runs at a time; a few wait their turn, more are refused with 503. A caller who leaves ends theirs.
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { Template } from '@huggingface/jinja';
import { getLlama } from 'node-llama-cpp';
import { bodyJson, modelFile, optionsRead, Refusal, sendJson, serve } from './serve.mjs';

const options = optionsRead('gguf.mjs', {
  context: { type: 'string', default: '4096' }, queue: { type: 'string', default: '8' },
});
const threads = Number(options.threads);
const llama = await getLlama({ gpu: false, build: 'never', skipDownload: true, progressLogs: false, maxThreads: threads });
const model = await llama.loadModel({ modelPath: modelFile(options.model, '.gguf') });
const contextSize = Math.min(Number(options.context), model.trainContextSize);
const context = await model.createContext({ contextSize, threads, sequences: 1 });
const sequence = context.getSequence();
const templateText = model.fileInfo.metadata.tokenizer?.chat_template;
const template = templateText ? new Template(templateText) : null;

let last = Promise.resolve();
let waiting = 0;

/// Runs `work` when all admitted before it are done.
async function inTurn(work) {
  if (waiting > Number(options.queue)) throw new Refusal(503, 'too many generations are waiting', 'overloaded');
  waiting++;
  const turn = last.then(work);
  last = turn.catch(() => {});
  try {
    return await turn;
  } finally {
    waiting--;
  }
}

function field(body, name, fallback, check, what) {
  const value = body[name] ?? fallback;
  if (value !== undefined && !check(value)) throw new Refusal(400, `${name} must be ${what}`);
  return value;
}

function textOf(content) {
  if (typeof content === 'string') return content;
  if (content == null) return '';
  if (Array.isArray(content) && content.every((part) => part?.type === 'text' && typeof part.text === 'string'))
    return content.map((part) => part.text).join('');
  throw new Refusal(400, 'message content must be text');
}

function promptOf(body, chat) {
  if (!chat) return field(body, 'prompt', '', (value) => typeof value === 'string', 'a string');
  const good = (value) => Array.isArray(value) && value.length > 0 && value.every((m) => m !== null && typeof m === 'object');
  const given = field(body, 'messages', [], good, 'a non-empty array of messages');
  const messages = given.map((message) => ({ ...message, content: textOf(message.content) }));
  if (!template) return messages.map(({ content }) => content).join('\n');
  const token = (id) => (id == null ? '' : model.detokenize([id], true));
  try {
    const words = { bos_token: token(model.tokens.bos), eos_token: token(model.tokens.eos) };
    return template.render({ messages, add_generation_prompt: true, ...words });
  } catch (error) {
    throw new Refusal(400, `the model's chat template refused the messages: ${error.message}`);
  }
}

function requestRead(body, chat) {
  const tokens = model.tokenize(promptOf(body, chat), chat && template !== null);
  if (model.shouldPrependBosToken && tokens[0] !== model.tokens.bos) tokens.unshift(model.tokens.bos);
  const room = contextSize - tokens.length;
  if (tokens.length === 0) throw new Refusal(400, 'the prompt is empty');
  if (room < 1)
    throw new Refusal(400, `the prompt has ${tokens.length} tokens, the context ${contextSize}`, 'context_length_exceeded');
  const positive = [(value) => Number.isSafeInteger(value) && value > 0, 'a positive integer'];
  const limit = field(body, 'max_completion_tokens', undefined, ...positive) ?? field(body, 'max_tokens', 256, ...positive);
  field(body, 'n', 1, (value) => value === 1, '1');
  const stop = [field(body, 'stop', [], (value) => [value].flat().every((s) => typeof s === 'string' && s), 'text')].flat();
  return {
    tokens, stop, limit: Math.min(limit, room),
    stream: field(body, 'stream', false, (value) => typeof value === 'boolean', 'true or false'),
    sampling: {
      temperature: field(body, 'temperature', 0.1, (value) => value >= 0 && value <= 2, 'between 0 and 2'),
      topP: field(body, 'top_p', 1, (value) => value > 0 && value <= 1, 'above 0 and at most 1'),
      seed: field(body, 'seed', 0, Number.isSafeInteger, 'an integer') >>> 0,
    },
  };
}

/// Generates, handing out text as it is made; text that may become a stop word is kept back. Returns how it ended.
async function generate({ tokens, stop, limit, sampling }, left, emit) {
  await sequence.clearHistory();
  let count = 0, held = '', reason = 'length', pending = [], before = tokens.slice(-8);
  const safe = () => {
    let keep = 0; // the longest end of `held` that begins a stop word
    for (const word of stop)
      for (let n = Math.min(word.length - 1, held.length); n > keep; n--) if (held.endsWith(word.slice(0, n))) keep = n;
    return held.length - keep;
  };
  const generation = sequence.evaluate(tokens, sampling);
  while (!left.aborted) {
    const { value: token, done } = await generation.next();
    if (done) { reason = 'stop'; break; }
    count++;
    pending.push(token);
    const text = model.detokenize(pending, false, before);
    if (!text.endsWith('\ufffd')) { // else: a character of several tokens, not yet whole
      before = [...before, ...pending].slice(-8);
      pending = [];
      held += text;
    }
    const found = stop.map((word) => held.indexOf(word)).filter((at) => at >= 0);
    const end = found.length ? Math.min(...found) : safe();
    if (end > 0) await emit(held.slice(0, end));
    held = found.length ? '' : held.slice(end);
    if (found.length) { reason = 'stop'; break; }
    if (count >= limit) break;
  }
  await generation.return();
  if (held && !left.aborted) await emit(held);
  return { reason, usage: { prompt_tokens: tokens.length, completion_tokens: count, total_tokens: tokens.length + count } };
}

async function complete(request, response, chat) {
  const body = await bodyJson(request, Number(options['max-body']));
  const wanted = requestRead(body, chat);
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  const head = {
    id: `${chat ? 'chatcmpl' : 'cmpl'}-${randomUUID()}`,
    object: chat ? (wanted.stream ? 'chat.completion.chunk' : 'chat.completion') : 'text_completion',
    created: Math.floor(Date.now() / 1000), model: typeof body.model === 'string' ? body.model : 'model',
  };
  const choice = (text, finish_reason) => {
    const said = chat ? { [wanted.stream ? 'delta' : 'message']: wanted.stream ? text : { role: 'assistant', content: text } } : { text };
    return { index: 0, ...said, logprobs: null, finish_reason };
  };
  await inTurn(async () => {
    if (gone.signal.aborted) return;
    if (!wanted.stream) {
      let text = '';
      const { reason, usage } = await generate(wanted, gone.signal, (more) => { text += more; });
      return sendJson(response, 200, { ...head, choices: [choice(text, reason)], usage });
    }
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
    const withUsage = body.stream_options?.include_usage === true;
    const send = async (choices, usage = null) => {
      const event = { ...head, choices, ...(withUsage && { usage }) };
      if (gone.signal.aborted || response.write(`data: ${JSON.stringify(event)}\n\n`)) return;
      await once(response, 'drain', { signal: gone.signal }).catch(() => {}); // a slow reader slows us
    };
    if (chat) await send([choice({ role: 'assistant', content: '' }, null)]);
    const { reason, usage } = await generate(wanted, gone.signal, (text) => send([choice(chat ? { content: text } : text, null)]));
    await send([choice(chat ? {} : '', reason)]);
    if (withUsage) await send([], usage);
    response.end('data: [DONE]\n\n');
  });
}

async function route(request, response, path) {
  const chat = path === '/v1/chat/completions';
  if (chat || path === '/v1/completions') {
    if (request.method !== 'POST') throw new Refusal(405, 'wrong method');
    return complete(request, response, chat);
  }
  if (request.method !== 'GET') throw new Refusal(405, 'wrong method');
  if (path === '/health') return sendJson(response, 200, { status: 'ok' });
  if (path === '/v2/health/ready') return sendJson(response, 200, { ready: true });
  if (path !== '/v1/models') throw new Refusal(404, `no such route: ${path}`);
  sendJson(response, 200, { object: 'list', data: [{ id: 'model', object: 'model', created: 0, owned_by: 'opgate' }] });
}

serve(options, route, ({ status, message, code }) => ({
  error: { message, type: status < 500 ? 'invalid_request_error' : 'server_error', param: null, code },
}));
