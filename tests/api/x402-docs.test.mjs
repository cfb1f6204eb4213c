// The buyer of docs/API.md, run as it stands there: by a wallet that has OPG and nothing else.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { dev, inRoot, OPG, tokenBalance, tokenSend, waitFor, walletMake } from './stack.mjs';

const example = (name) => new RegExp(`^\`\`\`js\n(// ${name},.*?)^\`\`\``, 'ms').exec(fs.readFileSync(inRoot('docs/API.md'), 'utf8'))[1];

test('the buyer pays what the job cost, without an account and without gas', async () => {
  const private_key = generatePrivateKey();
  const { address } = privateKeyToAccount(private_key);
  await tokenSend(await walletMake(), [['mint', address, OPG]]);
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', example('buy.mjs'), 'buy.mjs', dev.base_url, dev.rpc_url], {
    cwd: inRoot(), timeout: 60_000, env: { ...process.env, PRIVATE_KEY: private_key } });
  assert.match(stdout, /^200 \{[^]*completion_tokens: 20,/);
  const paid = await waitFor('it is paid', async () => OPG - (await tokenBalance(address)));
  assert.ok(paid > 0n && paid < OPG / 500n, `${paid}: exact would have taken some 0.035 OPG`);
});
