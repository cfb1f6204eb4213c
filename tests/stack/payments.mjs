// Signed payments of every x402 kind, for the tests of the contracts: what a buyer's wallet makes, without a server.
import { encodeFunctionData, getAddress, hashTypedData, keccak256, maxUint256, parseSignature, toHex } from 'viem';
import { contractsCompile } from '../../script/contracts.mjs';
import { EXACT_PROXY, PERMIT2, UPTO_PROXY } from '../../script/deploy.mjs';
import { chainAccount } from '../../script/lib/chain.mjs';

export const FAR = 4_000_000_000n;
/// Settler.sol's names for what an item is.
export const KIND = { EIP3009_VRS: 0, EIP3009_BYTES: 1, EXACT: 2, EXACT_WITH_PERMIT: 3, UPTO: 4, UPTO_WITH_PERMIT: 5 };

const field = (list) => list.split(',').map((one) => one.split(' ')).map(([type, name]) => ({ type, name }));
const PERMITTED = { TokenPermissions: field('address token,uint256 amount') };
const WITNESS_TRANSFER =
  field('TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,Witness witness');
const TYPES = {
  eip3009: {
    TransferWithAuthorization:
      field('address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce'),
  },
  eip2612: { Permit: field('address owner,address spender,uint256 value,uint256 nonce,uint256 deadline') },
  exact: {
    PermitWitnessTransferFrom: WITNESS_TRANSFER, ...PERMITTED, Witness: field('address to,uint256 validAfter'),
  },
  upto: {
    PermitWitnessTransferFrom: WITNESS_TRANSFER, ...PERMITTED,
    Witness: field('address to,address facilitator,uint256 validAfter'),
  },
};

const split = (signature) => {
  const { r, s, v } = parseSignature(signature);
  return { r, s, v: Number(v) };
};

/// Makes payments on the chain `deployed` tells of. Each maker takes the payer (a viem account) and what differs from a
/// good payment, and returns {kind, to, functionName, args, data}; `signer` is who signs if not the payer, `from` whose
/// money it is, and `signature` replaces the signature.
export function paymentsOpen(chain, deployed) {
  const { OPG, X402ExactPermit2Proxy, X402UptoPermit2Proxy } = contractsCompile();
  const token = { address: getAddress(deployed.opg_token), abi: OPG.abi };
  const domains = {
    token: { name: 'OPG', version: '1', chainId: deployed.chain_id, verifyingContract: token.address },
    permit2: { name: 'Permit2', chainId: deployed.chain_id, verifyingContract: PERMIT2 },
  };
  let count = 0;
  const nonce = () => keccak256(toHex(`payment ${count++}`));

  const read = (functionName, ...args) => chain.read({ ...token, functionName, args });
  const call = (kind, abi, to, functionName, args) =>
    ({ kind, to, abi, functionName, args, data: encodeFunctionData({ abi, functionName, args }) });

  async function eip3009(payer, { form = 'vrs', signer = payer, signature, ...more }) {
    const message = { from: payer.address, value: 5n, validAfter: 0n, validBefore: FAR, nonce: nonce(), ...more };
    const typed = { domain: domains.token, types: TYPES.eip3009, primaryType: 'TransferWithAuthorization', message };
    signature ??= await signer.signTypedData(typed);
    const { from, to, value, validAfter, validBefore } = message;
    const head = [from, to, value, validAfter, validBefore, message.nonce];
    const { v, r, s } = form === 'vrs' ? split(signature) : {};
    const made = form === 'vrs' ? [...head, v, r, s] : [...head, signature];
    const kind = form === 'vrs' ? KIND.EIP3009_VRS : KIND.EIP3009_BYTES;
    const abi = OPG.abi.filter((one) => one.name === 'transferWithAuthorization' && one.inputs.length === made.length);
    return { ...call(kind, abi, token.address, 'transferWithAuthorization', made), message, digest: hashTypedData(typed) };
  }

  /// What settleWithPermit carries besides: the payer's EIP-2612 permit for Permit2.
  async function permit2612(payer, value, { signer = payer } = {}) {
    const message = {
      owner: payer.address, spender: PERMIT2, value, nonce: await read('nonces', payer.address), deadline: FAR,
    };
    const typed = { domain: domains.token, types: TYPES.eip2612, primaryType: 'Permit', message };
    return { value, deadline: FAR, ...split(await signer.signTypedData(typed)) };
  }

  async function permit2(scheme, payer, { signer = payer, signature, from = payer.address, permit, amount, ...more }) {
    const upto = scheme === 'upto';
    const { max = 5n, to, facilitator, validAfter = 0n, deadline = FAR, sent = {} } = more;
    const signed = { permitted: { token: token.address, amount: max }, nonce: BigInt(nonce()), deadline };
    const witness = upto ? { to, facilitator, validAfter } : { to, validAfter };
    const spender = upto ? UPTO_PROXY : EXACT_PROXY;
    const message = { ...signed, spender, witness };
    const typed = { domain: domains.permit2, types: TYPES[scheme], primaryType: 'PermitWitnessTransferFrom', message };
    signature ??= await signer.signTypedData(typed);
    const args = [{ ...signed, ...sent.permit }, ...(upto ? [amount ?? max] : []), from, { ...witness, ...sent.witness }, signature];
    const { abi } = upto ? X402UptoPermit2Proxy : X402ExactPermit2Proxy;
    const plain = upto ? KIND.UPTO : KIND.EXACT;
    const made = permit
      ? call(plain + 1, abi, spender, 'settleWithPermit', [permit, ...args])
      : call(plain, abi, spender, 'settle', args);
    return { ...made, message, digest: hashTypedData(typed) };
  }

  return {
    token,
    read,
    eip3009,
    permit2612,
    exact: (payer, more) => permit2('exact', payer, more),
    upto: (payer, more) => permit2('upto', payer, more),
    mint: (to, value) => chain.write(chainAccount(9).account, { ...token, functionName: 'mint', args: [to, value] }),
    /// Lets Permit2 take `value` from `address`, whoever that is: a contract wallet has no key to sign with.
    approvePermit2: async (address, value = maxUint256) => {
      await chain.client.request({ method: 'anvil_setBalance', params: [address, toHex(10n ** 18n)] });
      await chain.client.request({ method: 'anvil_impersonateAccount', params: [address] });
      await chain.write(address, { ...token, functionName: 'approve', args: [PERMIT2, value] });
      await chain.client.request({ method: 'anvil_stopImpersonatingAccount', params: [address] });
    },
  };
}
