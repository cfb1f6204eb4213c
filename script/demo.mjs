// The demo behind script/demo: one paid inference through the running stack, checked from outside, told as one JSON line.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { Api, jobRead, reconciliationRead } from './lib/api.mjs';
import { inVar } from './lib/paths.mjs';
import { environmentClean } from './lib/procs.mjs';
import { opgateBinary, stackDown, stackLocked, stackUp } from './lib/stack.mjs';
import { progress, waitFor } from './lib/wait.mjs';

const REQUEST = JSON.stringify({ inputs: [{ name: 'x', shape: [3], datatype: 'FP32', data: [1, 2, 3] }] });
const EXPECTED = '[3,5,7]';

/// Runs `opgate verify` on the files of the demo, as a stranger would who knows the node's address.
function receiptVerify(address, digest, files) {
  const args = ['verify', files.receipt, '--node', address, '--model', digest, '--request', files.request, '--response', files.response];
  const { status, stdout, stderr } = spawnSync(opgateBinary(), args, { encoding: 'utf8', env: environmentClean() });
  if (status !== 0) process.stderr.write(`opgate ${args.join(' ')} says ${status}:\n${stdout}${stderr}`);
  return status === 0;
}

function filesWrite(contents) {
  fs.mkdirSync(inVar('demo'), { recursive: true });
  return Object.fromEntries(Object.entries(contents).map(([name, bytes]) => {
    fs.writeFileSync(inVar('demo', `${name}.json`), bytes);
    return [name, inVar('demo', `${name}.json`)];
  }));
}

async function paidInference(dev) {
  const consumer = new Api(dev.base_url, dev.api_keys.consumer);
  const model = dev.models.find(({ surface }) => surface === 'tensor');
  progress(`asking ${model.id} for ${REQUEST}`);
  const { id } = await consumer.jobRun(model.id, REQUEST);
  const job = jobRead(await waitFor(`job ${id} is settled`, async () => {
    const seen = await consumer.job(id);
    const { state } = jobRead(seen);
    if (['refused', 'failed', 'expired', 'cancelled'].includes(state)) return seen;
    return state === 'settled' && seen;
  }));
  if (job.state !== 'settled') throw new Error(`job ${id} ended ${job.state}: ${JSON.stringify(await consumer.job(id))}`);
  const response = await consumer.jobOutput(id);
  progress(`answer ${response}`);
  if (JSON.stringify(JSON.parse(response).outputs[0].data) !== EXPECTED) throw new Error(`the answer is not ${EXPECTED}`);

  progress('verifying the receipt offline');
  const receipt = await consumer.jobReceipt(id);
  const files = filesWrite({ receipt, request: REQUEST, response });
  const signer = JSON.parse(receipt).message.node;
  const known = dev.nodes.some(({ address }) => address === signer);
  return {
    job: id, model: model.id, digest: model.digest, verdict: job.verdict, charged: job.charged, ...job.split,
    receipt_ok: known && receiptVerify(signer, model.digest, files),
    ...reconciliationRead(await consumer.as(dev.api_keys.admin).reconciliation()),
  };
}

function resultCheck(result) {
  const sum = BigInt(result.node) + BigInt(result.author) + BigInt(result.platform);
  return result.verdict === 'passed' && result.receipt_ok && result.balances_ok && result.custody_ok
    && result.ledger_sum === '0' && BigInt(result.charged) > 0n && sum === BigInt(result.charged);
}

function urlsPrint(dev) {
  const chat = dev.models.find(({ surface }) => surface === 'chat').id;
  process.stderr.write(`
opgate runs at ${dev.base_url}   (accounts, keys and addresses: ${inVar('dev.json')})

  curl ${dev.base_url}/v1/chat/completions -H 'Authorization: Bearer ${dev.api_keys.consumer}' \\
    -H 'Content-Type: application/json' \\
    -d '{"model":"${chat}","messages":[{"role":"user","content":"This program is free software"}],"stream":true}'

  import OpenAI from 'openai';
  const openai = new OpenAI({ baseURL: '${dev.base_url}/v1', apiKey: '${dev.api_keys.consumer}' });
  const messages = [{ role: 'user', content: 'This program is free software' }];
  console.log(await openai.chat.completions.create({ model: '${chat}', messages }));

Ctrl-C stops everything.
`);
}

const flags = process.argv.slice(2);
if (flags.some((flag) => flag !== '--exit')) {
  console.error('usage: script/demo [--exit]');
  process.exit(2);
}
let interrupt;
const interrupted = new Promise((resolve) => { interrupt = resolve; });
// A signal ends the demo at the next step, and what it started is stopped whatever step that was.
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => interrupt(null));

const exit = flags.includes('--exit');
let result = null;
let fresh = false;
process.exitCode = 1;
try {
  let dev;
  ({ dev, fresh } = await stackLocked(stackUp));
  result = await Promise.race([paidInference(dev), interrupted]);
  if (result && resultCheck(result)) process.exitCode = 0;
  else if (result) process.stderr.write(`  something is wrong with this result: ${JSON.stringify(result)}\n`);
  if (result && !exit) {
    console.log(JSON.stringify(result));
    urlsPrint(dev);
    setInterval(() => {}, 60_000); // keeps us here until a signal comes
    await interrupted;
  }
} catch (error) {
  process.exitCode = 1;
  process.stderr.write(`script/demo: ${error.message}\n`);
}
if (fresh) await stackLocked(stackDown); // one that ran before is left as it was
if (result && exit) console.log(JSON.stringify(result));
process.exit();
