// The local chain: starting anvil, the published accounts, and viem clients for them. Used by the stack and the tests.
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createPublicClient, createWalletClient, defineChain, formatTransactionReceipt, http } from 'viem';
import { mnemonicToAccount } from 'viem/accounts';
import { toHex } from 'viem';
import { root } from './paths.mjs';

export const CHAIN_ID = 84532;
export const ANVIL = path.join(root, 'node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil');

// Published with anvil, known to everybody: worthless on purpose.
const MNEMONIC = 'test test test test test test test test test test test junk';

export const anvilArguments = (port, { blockTime = 1 } = {}) => [
  '--host', '127.0.0.1', '--port', String(port), '--chain-id', String(CHAIN_ID), '--silent', '--mnemonic', MNEMONIC,
  '--prune-history', '500', // states are kept in memory: from the disk, where anvil puts those of a long chain, they come back without contracts
  ...(blockTime ? ['--block-time', String(blockTime)] : []),
];

/// The i-th published account: {address, private_key, account}.
export function chainAccount(index) {
  const account = mnemonicToAccount(MNEMONIC, { addressIndex: index });
  return { address: account.address.toLowerCase(), private_key: toHex(account.getHdKey().privateKey), account };
}

/// viem clients on the chain at `rpc_url`; `write` sends as `account` and waits until the transaction succeeded.
export function chainOpen(rpc_url) {
  const chain = defineChain({
    id: CHAIN_ID,
    name: 'local',
    nativeCurrency: { name: 'Ether', symbol: 'ETH', decimals: 18 },
    rpcUrls: { default: { http: [rpc_url] } },
  });
  const transport = http(rpc_url, { retryCount: 0 });
  const client = createPublicClient({ chain, transport, pollingInterval: 50, cacheTime: 0 });
  const wallet = (account) => createWalletClient({ chain, transport, account });
  /// The receipt of a transaction that was sent. viem's own waiting asks once a block, and anvil can say "no receipt" just
  /// after it mined: where each transaction is a block of its own, there is no next block to ask at.
  const receiptOf = async (hash) => {
    for (const deadline = Date.now() + 30_000; ; await pause(10)) {
      const receipt = await client.request({ method: 'eth_getTransactionReceipt', params: [hash] });
      if (receipt) return formatTransactionReceipt(receipt);
      if (Date.now() > deadline) {
        const sent = await client.request({ method: 'eth_getTransactionByHash', params: [hash] });
        throw new Error(`transaction ${hash} has no receipt after 30 s: ${sent ? 'it is still waiting' : 'the chain does not know it'}`);
      }
    }
  };
  const confirm = async (hash) => {
    const receipt = await receiptOf(hash);
    if (receipt.status !== 'success') throw new Error(`transaction ${hash} was reverted`);
    return receipt;
  };
  return {
    client,
    wallet,
    receiptOf,
    read: (call) => client.readContract(call),
    write: async (account, call) => {
      await client.simulateContract({ ...call, account }); // gives the reason in words when it would revert
      return confirm(await wallet(account).writeContract(call));
    },
    deploy: async (account, artifact, args = []) =>
      (await confirm(await wallet(account).deployContract({ ...artifact, args }))).contractAddress.toLowerCase(),
  };
}
