// Puts the development contracts on a running anvil: the OPG token, and Permit2 at its canonical address. Called by the
// stack and the tests; as a command it prints what it did as JSON, or writes it to a file:
//     script/node script/deploy.mjs RPC_URL [FILE]
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { domainSeparator } from 'viem';
import { contractsCompile } from './contracts.mjs';
import { CHAIN_ID, chainAccount, chainOpen } from './lib/chain.mjs';
import { inRoot } from './lib/paths.mjs';

export const PERMIT2 = '0x000000000022D473030F116dDEE9F6B43aC78BA3';
const PERMIT2_SOURCE = 'node_modules/@uniswap/v4-periphery/lib/permit2/test/utils/DeployPermit2.sol';
const PERMIT2_ABI = [
  { type: 'function', name: 'DOMAIN_SEPARATOR', stateMutability: 'view', inputs: [], outputs: [{ type: 'bytes32' }] },
];

/// The canonical runtime code, as Uniswap publishes it for test chains: compiling it again gives other bytes.
function permit2Code() {
  const match = /hex"([0-9a-f]+)"/.exec(fs.readFileSync(inRoot(PERMIT2_SOURCE), 'utf8'));
  if (!match) throw new Error(`no bytecode found in ${PERMIT2_SOURCE}`);
  return `0x${match[1]}`;
}

/// Installs it and asks for its EIP-712 domain: a right answer shows that the code is whole, here, and on our chain.
async function permit2Install({ client, read }) {
  await client.request({ method: 'anvil_setCode', params: [PERMIT2, permit2Code()] });
  const domain = await read({ address: PERMIT2, abi: PERMIT2_ABI, functionName: 'DOMAIN_SEPARATOR' });
  const right = domainSeparator({ domain: { name: 'Permit2', chainId: CHAIN_ID, verifyingContract: PERMIT2 } });
  if (domain !== right) throw new Error(`Permit2 answers with the domain ${domain}, not ${right}`);
}

/// Returns {opg_token, permit2, genesis_hash, chain_id}. Refuses anything that is not an anvil of our chain id: the
/// published key it deploys with must never meet another chain.
export async function contractsDeploy(rpc_url) {
  const chain = chainOpen(rpc_url);
  const software = await chain.client.request({ method: 'web3_clientVersion' });
  if (!software.startsWith('anvil/')) throw new Error(`${rpc_url} is ${software}, not anvil`);
  const chain_id = await chain.client.getChainId();
  if (chain_id !== CHAIN_ID) throw new Error(`${rpc_url} has chain id ${chain_id}, not ${CHAIN_ID}`);
  const { OPG } = contractsCompile();
  const opg_token = await chain.deploy(chainAccount(9).account, OPG);
  await permit2Install(chain);
  const genesis = await chain.client.getBlock({ blockNumber: 0n });
  return { opg_token, permit2: PERMIT2.toLowerCase(), genesis_hash: genesis.hash, chain_id };
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
