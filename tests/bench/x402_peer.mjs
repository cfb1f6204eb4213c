// The official stack as a seller, for measuring opgate next to it: @x402/express, selling one route, with the official facilitator
// (viem) in its process or, as the packages' documentation has it, behind HTTP in a process of its own: a child of this one. Started by
// x402.mjs. One setting is not that of the packages' example, because without it it cannot settle eight payments at once: the settling
// account has viem's nonceManager.
//
//   node x402_peer.mjs '{"port","facilitator_port","polling_ms","rpc_url","chain_id","private_key","asset","pay_to","amount","upto_max"}'
//   facilitator_port: of the facilitator's own process; without it, it is in this one
//   polling_ms: how often a receipt that is not there yet is asked for; without it as often as viem does on this chain
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { x402Facilitator } from '@x402/core/facilitator';
import { HTTPFacilitatorClient } from '@x402/core/server';
import { registerExactEvmScheme } from '@x402/evm/exact/facilitator';
import { ExactEvmScheme } from '@x402/evm/exact/server';
import { UptoEvmScheme as UptoFacilitator } from '@x402/evm/upto/facilitator';
import { UptoEvmScheme } from '@x402/evm/upto/server';
import { toFacilitatorEvmSigner } from '@x402/evm';
import { paymentMiddleware, setSettlementOverrides, x402ResourceServer } from '@x402/express';
import express from 'express';
import { createWalletClient, http, publicActions } from 'viem';
import { nonceManager, privateKeyToAccount } from 'viem/accounts';
import { baseSepolia } from 'viem/chains';

const { port, facilitator_port, only_facilitator, polling_ms, rpc_url, chain_id, private_key, asset, pay_to, amount, upto_max } = JSON.parse(process.argv[2]);
const network = `eip155:${chain_id}`;
const chain = { ...baseSepolia, id: chain_id };
const account = privateKeyToAccount(private_key, { nonceManager });
const client = createWalletClient({ account, chain, transport: http(rpc_url), pollingInterval: polling_ms }).extend(publicActions);
const signer = toFacilitatorEvmSigner({
  address: account.address,
  readContract: (call) => client.readContract(call),
  verifyTypedData: (call) => client.verifyTypedData(call),
  writeContract: (call) => client.writeContract(call),
  sendTransaction: (call) => client.sendTransaction(call),
  waitForTransactionReceipt: (call) => client.waitForTransactionReceipt(call),
  getCode: (call) => client.getCode(call),
});
const facilitator = new x402Facilitator();
registerExactEvmScheme(facilitator, { signer, networks: network });
facilitator.register(network, new UptoFacilitator(signer));

const local = {
  verify: (...args) => facilitator.verify(...args),
  settle: (...args) => facilitator.settle(...args),
  getSupported: async () => facilitator.getSupported(),
};

/// This process is the facilitator: serves it until the one that started it is gone.
async function facilitatorServe() {
  const app = express();
  app.use(express.json());
  app.get('/supported', (req, res) => res.json(facilitator.getSupported()));
  for (const verb of ['verify', 'settle'])
    app.post(`/${verb}`, async (req, res) => res.json(await facilitator[verb](req.body.paymentPayload, req.body.paymentRequirements)));
  app.listen(port, '127.0.0.1', () => console.log('ready'));
  process.stdin.resume();
  await once(process.stdin, 'end');
  process.exit();
}

async function facilitatorApart() {
  const settings = { ...JSON.parse(process.argv[2]), port: facilitator_port, only_facilitator: true };
  const child = spawn(process.execPath, [process.argv[1], JSON.stringify(settings)], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return new HTTPFacilitatorClient({ url: `http://127.0.0.1:${facilitator_port}` });
}

if (only_facilitator) await facilitatorServe();
const client_of = facilitator_port ? await facilitatorApart() : local;
const server = new x402ResourceServer(client_of).register(network, new ExactEvmScheme()).register(network, new UptoEvmScheme());
const offer = (scheme, price, extra) => ({ scheme, network, payTo: pay_to, price: { amount: price, asset, extra: { name: 'OPG', version: '1', ...extra } }, maxTimeoutSeconds: 300 });
const routes = {
  'POST /eip3009': { accepts: [offer('exact', amount)] },
  'POST /permit2': { accepts: [offer('exact', amount, { assetTransferMethod: 'permit2' })] },
  'POST /upto': { accepts: [offer('upto', upto_max, { assetTransferMethod: 'permit2' })] },
};
const app = express();
app.use(express.json());
app.use(paymentMiddleware(routes, server));
const answer = { model_name: 'bench', outputs: [{ name: 'y', shape: [201], datatype: 'INT8', data: Array.from({ length: 201 }, () => 1) }] };
app.post('/eip3009', (req, res) => res.json(answer));
app.post('/permit2', (req, res) => res.json(answer));
app.post('/upto', (req, res) => {
  setSettlementOverrides(res, { amount });
  res.json(answer);
});
app.listen(port, '127.0.0.1', () => console.log('ready'));

// Verification alone, in this process: a line {payments: [{payload, requirements}], at_once} is answered by {us, latencies_us, bad}.
createInterface({ input: process.stdin }).on('line', async (line) => {
  const { payments, at_once } = JSON.parse(line);
  const latencies = [], reasons = new Set();
  let next = 0, bad = 0;
  const begin = process.hrtime.bigint(), cpu = process.cpuUsage();
  await Promise.all(Array.from({ length: at_once }, async () => {
    while (next < payments.length) {
      const { payload, requirements } = payments[next++];
      const at = process.hrtime.bigint();
      const { isValid, invalidReason } = await facilitator.verify(payload, requirements);
      latencies.push(Number(process.hrtime.bigint() - at) / 1000);
      if (!isValid) {
        bad++;
        reasons.add(invalidReason);
      }
    }
  }));
  const us = Number(process.hrtime.bigint() - begin) / 1000, { user, system } = process.cpuUsage(cpu);
  console.log(JSON.stringify({ us, cpu_us: user + system, latencies_us: latencies, bad, reasons: [...reasons] }));
});
