// The development token and Permit2 on a real anvil, spoken to by viem.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, describe, it } from 'node:test';
import { domainSeparator, hashTypedData, keccak256, parseAbi, parseSignature, toHex } from 'viem';
import { contractsCompile } from '../../script/contracts.mjs';
import { contractsDeploy, PERMIT2 } from '../../script/deploy.mjs';
import { chainAccount } from '../../script/lib/chain.mjs';
import { inRoot } from '../../script/lib/paths.mjs';
import { anvilStart } from './helpers.mjs';

const AUTHORIZATION = [
  { name: 'from', type: 'address' }, { name: 'to', type: 'address' }, { name: 'value', type: 'uint256' },
  { name: 'validAfter', type: 'uint256' }, { name: 'validBefore', type: 'uint256' }, { name: 'nonce', type: 'bytes32' },
];
const TYPES = {
  TransferWithAuthorization: AUTHORIZATION,
  ReceiveWithAuthorization: AUTHORIZATION,
  CancelAuthorization: [{ name: 'authorizer', type: 'address' }, { name: 'nonce', type: 'bytes32' }],
  Permit: [
    { name: 'owner', type: 'address' }, { name: 'spender', type: 'address' }, { name: 'value', type: 'uint256' },
    { name: 'nonce', type: 'uint256' }, { name: 'deadline', type: 'uint256' },
  ],
};
const FAR = 4_000_000_000n;

describe('contracts', () => {
  const [sender, holder, payee] = [1, 2, 3].map((index) => chainAccount(index).account);
  const { OPG, TestWallet } = contractsCompile();
  let chain, deployed, domain, count = 0;
  const stops = [];

  const read = (functionName, args = []) => chain.read({ address: deployed.opg_token, abi: OPG.abi, functionName, args });
  const write = (functionName, args, account = sender) =>
    chain.write(account, { address: deployed.opg_token, abi: OPG.abi, functionName, args });
  const sign = (primaryType, message, signer = holder) =>
    signer.signTypedData({ domain, types: { [primaryType]: TYPES[primaryType] }, primaryType, message });
  const authorization = (more = {}) => ({
    from: holder.address, to: payee.address, value: 5n, validAfter: 0n, validBefore: FAR,
    nonce: keccak256(toHex(`nonce ${count++}`)), ...more,
  });
  const split = (signature) => {
    const { r, s, v } = parseSignature(signature);
    return [Number(v), r, s];
  };
  const refused = (promise, reason) => assert.rejects(promise, (error) => error.message.includes(reason) || assert.fail(error.message));

  before(async () => {
    chain = await anvilStart({ after: (end) => stops.push(end) });
    deployed = await contractsDeploy(chain.rpc_url);
    domain = { name: 'OPG', version: '1', chainId: deployed.chain_id, verifyingContract: deployed.opg_token };
    await write('mint', [holder.address, 1000n]);
  });
  after(async () => { for (const stop of stops) await stop(); });

  it('deploys and reports', async () => {
    assert.equal(deployed.chain_id, 84532);
    assert.equal(deployed.permit2, PERMIT2.toLowerCase());
    assert.equal(deployed.genesis_hash, (await chain.client.getBlock({ blockNumber: 0n })).hash);
    assert.ok((await chain.client.getCode({ address: PERMIT2 })).length > 10_000);
  });
  it('names itself as OPG does', async () => {
    assert.deepEqual(
      await Promise.all(['name', 'symbol', 'version', 'decimals', 'totalSupply'].map((field) => read(field))),
      ['OPG', 'OPG', '1', 18, 1000n],
    );
    assert.equal(await read('DOMAIN_SEPARATOR'), domainSeparator({ domain }));
  });
  it('moves what is there and no more', async () => {
    const receipt = await write('transfer', [payee.address, 7n], holder);
    assert.equal(receipt.logs.length, 1);
    assert.equal(receipt.logs[0].topics[0], keccak256(toHex('Transfer(address,address,uint256)')));
    await refused(write('transfer', [payee.address, 994n], holder), 'exceeds balance');
    await refused(write('transferFrom', [holder.address, payee.address, 1n]), 'exceeds allowance');
  });
  it('takes a permit once, from its owner only', async () => {
    const message = { owner: holder.address, spender: sender.address, value: 9n, nonce: 0n, deadline: FAR };
    const head = [holder.address, sender.address, 9n, FAR];
    await refused(write('permit', [...head, ...split(await sign('Permit', message, payee))]), 'invalid signature');
    const parts = split(await sign('Permit', message));
    await write('permit', [...head, ...parts]);
    assert.equal(await read('allowance', [holder.address, sender.address]), 9n);
    await refused(write('permit', [...head, ...parts]), 'invalid signature');
    await write('transferFrom', [holder.address, payee.address, 9n]);
    assert.equal(await read('allowance', [holder.address, sender.address]), 0n);
    await refused(write('permit', [holder.address, sender.address, 9n, 1n, ...parts]), 'expired');
  });
  for (const form of ['v, r, s', 'bytes'])
    it(`takes a transfer authorization once (${form})`, async () => {
      const message = authorization();
      const signature = await sign('TransferWithAuthorization', message);
      const args = [...Object.values(message), ...(form === 'bytes' ? [signature] : split(signature))];
      const before = await read('balanceOf', [payee.address]);
      await write('transferWithAuthorization', args);
      assert.equal(await read('balanceOf', [payee.address]), before + 5n);
      assert.equal(await read('authorizationState', [holder.address, message.nonce]), true);
      await refused(write('transferWithAuthorization', args), 'used or canceled');
      assert.equal(await read('balanceOf', [payee.address]), before + 5n);
    });
  it('refuses an authorization out of time, changed, or signed by another', async () => {
    const late = authorization({ validBefore: 1n });
    const early = authorization({ validAfter: FAR });
    const good = authorization();
    const send = async (signed, sent, signer) =>
      write('transferWithAuthorization', [...Object.values(sent), await sign('TransferWithAuthorization', signed, signer)]);
    await refused(send(late, late), 'expired');
    await refused(send(early, early), 'not yet valid');
    await refused(send(good, { ...good, value: 6n }), 'invalid signature');
    await refused(send(good, good, payee), 'invalid signature');
  });
  it('lets only the payee use a receive authorization', async () => {
    const message = authorization();
    const args = [...Object.values(message), await sign('ReceiveWithAuthorization', message)];
    await refused(write('receiveWithAuthorization', args), 'caller must be the payee');
    await refused(write('transferWithAuthorization', args), 'invalid signature');
    await write('receiveWithAuthorization', args, payee);
  });
  it('refuses a cancelled authorization', async () => {
    const message = authorization();
    const cancel = { authorizer: holder.address, nonce: message.nonce };
    await write('cancelAuthorization', [...Object.values(cancel), await sign('CancelAuthorization', cancel)]);
    const args = [...Object.values(message), await sign('TransferWithAuthorization', message)];
    await refused(write('transferWithAuthorization', args), 'used or canceled');
  });
  it('asks a contract wallet whether it signed (ERC-1271)', async () => {
    const wallet = await chain.deploy(holder, TestWallet);
    await write('mint', [wallet, 5n]);
    const message = authorization({ from: wallet });
    const args = [...Object.values(message), '0x1234'];
    await refused(write('transferWithAuthorization', args), 'invalid signature');
    const primaryType = 'TransferWithAuthorization';
    const digest = hashTypedData({ domain, types: { [primaryType]: AUTHORIZATION }, primaryType, message });
    await chain.write(holder, { address: wallet, abi: TestWallet.abi, functionName: 'approve', args: [digest] });
    await write('transferWithAuthorization', args);
    assert.equal(await read('balanceOf', [wallet]), 0n);
  });

  // What server/chain/facts.c sends with a call that creates nothing.
  function factsCode() {
    const input = {
      language: 'Yul', sources: { 'Facts.yul': { content: fs.readFileSync(inRoot('contracts/Facts.yul'), 'utf8') } },
      settings: { evmVersion: 'paris', optimizer: { enabled: true, details: { yul: true } }, outputSelection: { '*': { '*': ['evm.bytecode.object'] } } },
    };
    const { errors = [], contracts } = JSON.parse(createRequire(import.meta.url)('solc').compile(JSON.stringify(input)));
    assert.deepEqual(errors, []);
    return contracts['Facts.yul'].Facts.evm.bytecode.object;
  }
  const word = (value) => (typeof value === 'string' ? value.slice(2).toLowerCase() : value.toString(16)).padStart(64, '0');
  async function facts(asks, token = deployed.opg_token) {
    const { data } = await chain.client.call({ data: `0x${factsCode()}${[token, PERMIT2, ...asks.flat()].map(word).join('')}` });
    const words = data.slice(2).match(/.{64}/g).map((text) => BigInt(`0x${text}`));
    return asks.map((_, i) => words.slice(5 * i, 5 * i + 5));
  }

  it('holds in the gateway what Facts.yul compiles to', () => {
    const [, list] = /CODE\[\] = \{\n([^}]*)\}/.exec(fs.readFileSync(inRoot('server/chain/facts.c'), 'utf8'));
    assert.equal(list.match(/0x[0-9a-f]{2}/g).map((byte) => byte.slice(2)).join(''), factsCode());
  });
  it('tells of many payers in one call what their payments are judged by', async () => {
    const [message, unused] = [authorization(), authorization()];
    await write('transferWithAuthorization', [...Object.values(message), await sign('TransferWithAuthorization', message)]);
    await write('approve', [PERMIT2, 77n], holder);
    const permit2 = { address: PERMIT2, abi: parseAbi(['function invalidateUnorderedNonces(uint256 wordPos, uint256 mask)']) };
    await chain.write(holder, { ...permit2, functionName: 'invalidateUnorderedNonces', args: [3n, 5n] });
    const wallet = await chain.deploy(holder, TestWallet);
    const [holds, size] = [await read('balanceOf', [holder.address]), BigInt((await chain.client.getCode({ address: wallet })).length / 2 - 1)];
    const asks = [[holder.address, 0n, message.nonce], [holder.address, 0n, unused.nonce], [holder.address, 1n, 3n], [holder.address, 1n, 4n], [wallet, 0n, unused.nonce]];
    assert.deepEqual(await facts(asks), [[0n, 3n, 1n, holds, 0n], [0n, 3n, 0n, holds, 0n], [0n, 7n, 5n, holds, 77n], [0n, 7n, 0n, holds, 77n], [size, 3n, 0n, 0n, 0n]]);
    // No token there: nothing is known, and that is not a balance of nothing.
    assert.deepEqual(await facts([[holder.address, 0n, unused.nonce], [holder.address, 1n, 3n]], payee.address), [[0n, 0n, 0n, 0n, 0n], [0n, 1n, 5n, 0n, 0n]]);
    assert.deepEqual((await facts(Array.from({ length: 64 }, () => asks[2]))).map((one) => one[4]), Array.from({ length: 64 }, () => 77n));
  });
});
