// Puts the development contracts on a running anvil: the OPG token, the Settler, and at their canonical addresses Permit2,
// the x402 proxies (our stand-ins) and Multicall3. Called by the stack and the tests; as a command it prints what it did as
// JSON, or writes it to a file:
//     script/node script/deploy.mjs RPC_URL [FILE]
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { domainSeparator, parseAbi } from 'viem';
import { multicall3Bytecode } from '../node_modules/viem/_esm/constants/contracts.js'; // viem exports it under no name
import { contractsCompile } from './contracts.mjs';
import { CHAIN_ID, chainAccount, chainOpen } from './lib/chain.mjs';
import { inRoot } from './lib/paths.mjs';

export const PERMIT2 = '0x000000000022D473030F116dDEE9F6B43aC78BA3';
export const EXACT_PROXY = '0x402085c248EeA27D92E8b30b2C58ed07f9E20001';
export const UPTO_PROXY = '0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002';
export const MULTICALL3 = '0xcA11bde05977b3631167028862bE2a173976CA11';
/// Who deploys and owns the Settler, and the settling keys it knows from the start, as numbers of published accounts.
export const SETTLER_OWNER = 9;
export const SETTLER_CALLERS = [7, 8];
/// The key that pays out; and whose tokens, and whose deposits the Depositor makes: the development treasury, which allows Payouts everything.
export const PAYOUT_CALLER = 10;
export const TREASURY = 6;
const PERMIT2_SOURCE = 'node_modules/@uniswap/v4-periphery/lib/permit2/test/utils/DeployPermit2.sol';
const PERMIT2_ABI = parseAbi(['function DOMAIN_SEPARATOR() view returns (bytes32)']);
const PROXY_ABI = parseAbi(['function PERMIT2() view returns (address)']);
const MULTICALL3_ABI = parseAbi(['function getChainId() view returns (uint256)']);

/// The canonical runtime code, as Uniswap publishes it for test chains: compiling it again gives other bytes.
function permit2Code() {
  const match = /hex"([0-9a-f]+)"/.exec(fs.readFileSync(inRoot(PERMIT2_SOURCE), 'utf8'));
  if (!match) throw new Error(`no bytecode found in ${PERMIT2_SOURCE}`);
  return `0x${match[1]}`;
}

const codeInstall = (client, address, code) => client.request({ method: 'anvil_setCode', params: [address, code] });

/// Installs it and asks for its EIP-712 domain: a right answer shows that the code is whole, here, and on our chain.
async function permit2Install({ client, read }) {
  await codeInstall(client, PERMIT2, permit2Code());
  const domain = await read({ address: PERMIT2, abi: PERMIT2_ABI, functionName: 'DOMAIN_SEPARATOR' });
  const right = domainSeparator({ domain: { name: 'Permit2', chainId: CHAIN_ID, verifyingContract: PERMIT2 } });
  if (domain !== right) throw new Error(`Permit2 answers with the domain ${domain}, not ${right}`);
}

async function proxyInstall({ client, read }, address, artifact) {
  await codeInstall(client, address, artifact.code);
  const spends_by = await read({ address, abi: PROXY_ABI, functionName: 'PERMIT2' });
  if (spends_by !== PERMIT2) throw new Error(`the proxy at ${address} uses ${spends_by}, not Permit2`);
}

/// viem carries what creates it: running that in a call returns what stays.
async function multicall3Install({ client, read }) {
  const { data } = await client.call({ data: multicall3Bytecode });
  await codeInstall(client, MULTICALL3, data);
  const id = await read({ address: MULTICALL3, abi: MULTICALL3_ABI, functionName: 'getChainId' });
  if (id !== BigInt(CHAIN_ID)) throw new Error(`Multicall3 answers with the chain id ${id}`);
}

/// Payouts, paying from the treasury, which allows it to; its caller gets ether, because anvil gives it none.
async function payoutsDeploy(chain, Payouts, opg_token) {
  const [{ account, address }, caller, treasury] = [SETTLER_OWNER, PAYOUT_CALLER, TREASURY].map(chainAccount);
  await chain.client.request({ method: 'anvil_setBalance', params: [caller.address, '0x56bc75e2d63100000'] });
  const payouts = await chain.deploy(account, Payouts, [address, [caller.address], opg_token, treasury.address]);
  const approve = { address: opg_token, abi: parseAbi(['function approve(address, uint256) returns (bool)']), functionName: 'approve' };
  await chain.write(treasury.account, { ...approve, args: [payouts, 2n ** 256n - 1n] });
  return payouts;
}

/// Returns {opg_token, permit2, settler, depositor, data_settlement, payouts, exact_proxy, upto_proxy, multicall3, first_block, genesis_hash, chain_id}. `callers` are the
/// addresses that may settle by the Settler; its owner, account SETTLER_OWNER, can add others later. Refuses anything that is
/// not an anvil of our chain id: the published key it deploys with must never meet another chain.
export async function contractsDeploy(rpc_url, { callers = SETTLER_CALLERS.map((i) => chainAccount(i).address), treasury = chainAccount(TREASURY).address } = {}) {
  const chain = chainOpen(rpc_url);
  const software = await chain.client.request({ method: 'web3_clientVersion' });
  if (!software.startsWith('anvil/')) throw new Error(`${rpc_url} is ${software}, not anvil`);
  const chain_id = await chain.client.getChainId();
  if (chain_id !== CHAIN_ID) throw new Error(`${rpc_url} has chain id ${chain_id}, not ${CHAIN_ID}`);
  const { DataSettlement, Depositor, OPG, Payouts, Settler, X402ExactPermit2Proxy, X402UptoPermit2Proxy } = contractsCompile();
  const { account, address } = chainAccount(SETTLER_OWNER);
  const opg_token = await chain.deploy(account, OPG);
  const first_block = Number(await chain.client.getBlockNumber()); // no deposit can be older than its token
  await permit2Install(chain);
  await proxyInstall(chain, EXACT_PROXY, X402ExactPermit2Proxy);
  await proxyInstall(chain, UPTO_PROXY, X402UptoPermit2Proxy);
  await multicall3Install(chain);
  const settler = await chain.deploy(account, Settler, [address, callers]);
  const depositor = await chain.deploy(account, Depositor, [opg_token, treasury]);
  const data_settlement = await chain.deploy(account, DataSettlement, [address, callers]);
  const payouts = await payoutsDeploy(chain, Payouts, opg_token);
  const genesis = await chain.client.getBlock({ blockNumber: 0n });
  const [permit2, exact_proxy, upto_proxy, multicall3] = [PERMIT2, EXACT_PROXY, UPTO_PROXY, MULTICALL3].map((it) =>
    it.toLowerCase());
  return { opg_token, permit2, settler, depositor, data_settlement, payouts, exact_proxy, upto_proxy, multicall3, first_block, genesis_hash: genesis.hash, chain_id };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [rpc_url, file] = process.argv.slice(2);
  if (!rpc_url) {
    console.error('usage: script/node script/deploy.mjs RPC_URL [FILE]');
    process.exit(2);
  }
  const made = `${JSON.stringify(await contractsDeploy(rpc_url), null, 1)}\n`;
  if (file) fs.writeFileSync(file, made);
  else process.stdout.write(made);
}
