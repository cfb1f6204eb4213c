// Payers with code: their code decides, whoever signed. What they refuse, or cannot say in the form of ERC-1271, is refused. Rows as
// refuse() in kit.mjs takes them.
import { checksumAddress, concat, pad } from 'viem';
import { contractsCompile } from '../../../script/contracts.mjs';
import { envelope, eip3009, permit2 } from '../payer.mjs';
import { chain, dev, OPG, rpc, token } from '../stack.mjs';
import { approveAs, send } from './kit.mjs';
import { wrap6492 } from './authorizations.mjs';

const REASON = { eip3009: 'invalid_exact_evm_signature', permit2: 'invalid_permit2_signature', upto: 'invalid_permit2_signature' };
const FAILED = { eip3009: 'invalid_exact_evm_transaction_simulation_failed', permit2: 'permit2_simulation_failed', upto: 'permit2_simulation_failed' };
const MAGIC = '0x1626ba7e';
/// Code that answers every call with these 32 bytes, or the first `size` of them.
const answers = (bytes32, size = 32) => concat(['0x7f', pad(bytes32, { size: 32, dir: 'right' }), '0x60005260', `0x${size.toString(16).padStart(2, '0')}`, '0x6000f3']);

/// A payment by a wallet whose owner, the buyer, signed it; the wallet has money and has approved Permit2.
async function owned(c, wallet, change = (s) => s) {
  const address = checksumAddress(wallet);
  await send(c.wallet, token.address, token.abi, 'mint', address, OPG);
  if (c.kind !== 'eip3009') await approveAs(address);
  c.payers.push(address);
  const made = await (c.kind === 'eip3009' ? eip3009 : permit2)({ account: { ...c.wallet.account, address } }, c.offer);
  return { made, sent: envelope(c.offer, { payload: { ...made.payload, signature: change(made.payload.signature) } }) };
}
const deployed = async (c) => chain.deploy(c.wallet.account, contractsCompile().TestWallet);
let count = 0;
const withCode = (name, reason, code, more) => [name, reason, async (c) => {
  const address = `0xc0de${(Date.now() * 1000 + count++).toString(16).padStart(36, '0')}`;
  await rpc('anvil_setCode', address, code);
  return (await owned(c, address)).sent;
}, more];

export const walletsOf = (kind) => {
  const S = REASON[kind];
  return [
    ['a wallet that approved nothing, signed by its owner', S, async (c) => (await owned(c, await deployed(c))).sent],
    ['a wallet that approved nothing, without a signature', S, async (c) => (await owned(c, await deployed(c), () => '0x')).sent],
    ['a wallet that approved another payment', S, async (c) => {
      const address = await deployed(c);
      const { sent } = await owned(c, address);
      await send(c.wallet, address, contractsCompile().TestWallet.abi, 'approve', (await c.make()).digest);
      return sent;
    }],
    ['a wallet that approved nothing, ERC-6492 around it', S, async (c) => (await owned(c, await deployed(c), (s) => wrap6492(dev.treasury, '0x1234', s))).sent],
    ['a wallet whose signature is not hex', S, async (c) => (await owned(c, await deployed(c), () => 'approved')).sent, { official: true }],
    ['the token as payer', S, async (c) => (await owned(c, token.address)).sent],
    withCode('code that always reverts', S, '0x60006000fd'),
    withCode('code that stops', S, '0x00'),
    withCode('code that is no code', S, '0xfe'),
    withCode('code that never ends', S, '0x5b600056'),
    withCode('code that says 1', S, answers(pad('0x01', { size: 32 }))),
    withCode('code that says nothing', S, answers('0x')),
    withCode('code that says no', S, answers('0xffffffff')),
    withCode('code that says yes at the wrong end', S, answers(pad(MAGIC, { size: 32 }))),
    withCode('code that says yes in four bytes', S, answers(MAGIC, 4)),
    withCode('code that says almost yes', S, answers('0x1626ba7f')),
    withCode('code that says yes and more', S, answers(`${MAGIC}01`), { official: FAILED[kind] }), // the token refuses it there
    ['a delegated account, signed by its own key', S, async (c) => { // EIP-7702
      const [delegate, [buyer]] = [await deployed(c), await c.buyers(1)];
      await rpc('anvil_setCode', buyer.account.address, concat(['0xef0100', delegate]));
      c.payers.push(buyer.address);
      return envelope(c.offer, await (kind === 'eip3009' ? eip3009 : permit2)(buyer, c.offer));
    }],
    ['a delegated account whose delegate has no code, signed by its own key', S, async (c) => {
      const [buyer] = await c.buyers(1);
      await rpc('anvil_setCode', buyer.account.address, concat(['0xef0100', dev.treasury]));
      c.payers.push(buyer.address);
      return envelope(c.offer, await (kind === 'eip3009' ? eip3009 : permit2)(buyer, c.offer));
    }],
  ];
};
