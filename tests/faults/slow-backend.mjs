// An inference backend that is as slow as the request says (`delay_ms`), for real node agents to stand in front of: so that many
// jobs stand in each state when something is killed. Ends with its parent, as the reference backends do.
import http from 'node:http';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { model: { type: 'string' }, port: { type: 'string' } } });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function answer(request, response) {
  const path = new URL(request.url, 'http://backend').pathname;
  if (request.method === 'GET') return response.end(path === '/v1/models' ? '{"data":[{"id":"slow"}]}' : '{}');
  const parts = [];
  for await (const part of request) parts.push(part);
  const body = JSON.parse(Buffer.concat(parts));
  const delay = body.delay_ms ?? body.parameters?.delay_ms ?? 0;
  if (body.stream) {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    for (let i = 0; i < 5; i++) {
      response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: `word${i} ` } }] })}\n\n`);
      await pause(delay / 5);
    }
    response.write(`data: ${JSON.stringify({ choices: [], usage: { prompt_tokens: 3, completion_tokens: 5 } })}\n\n`);
    return response.end('data: [DONE]\n\n');
  }
  await pause(delay);
  const made = body.messages
    ? { choices: [{ index: 0, message: { role: 'assistant', content: 'five words and no more' } }], usage: { prompt_tokens: 3, completion_tokens: 5 } }
    : { model_name: 'slow', outputs: [{ name: 'y', datatype: 'INT64', shape: [1], data: [body.inputs[0].data[0]] }] };
  response.writeHead(200, { 'Content-Type': 'application/json' });
  return response.end(JSON.stringify(made));
}

http.createServer((request, response) => answer(request, response).catch(() => response.destroy())).listen(Number(values.port), '127.0.0.1');
process.stdin.on('end', () => process.exit(0)).on('error', () => process.exit(0)).resume();
