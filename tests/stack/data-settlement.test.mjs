// contracts/DataSettlement.sol on a real anvil: OpenGradient's selectors and topics, who may call, and what a proof proves.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { concat, keccak256, parseEventLogs, toEventSelector, toFunctionSelector, toHex, zeroAddress } from 'viem';
import { contractsCompile } from '../../script/contracts.mjs';
import { contractsDeploy } from '../../script/deploy.mjs';
import { chainAccount } from '../../script/lib/chain.mjs';
import { anvilStart } from './helpers.mjs';

const { DataSettlement } = contractsCompile();
const ROOT = keccak256('0x01');
const named = (kind, name) => DataSettlement.abi.find((one) => one.type === kind && one.name === name);

describe('data settlement', () => {
  const [caller, stranger, owner] = [7, 5, 9].map((index) => chainAccount(index).account);
  const stops = [];
  let chain, address;
  const write = (account, functionName, args) => chain.write(account, { address, abi: DataSettlement.abi, functionName, args });
  const refused = (promise, reason) => assert.rejects(promise, (error) => error.message.includes(reason) || assert.fail(error.message));
  const single = (payer = stranger.address) => [keccak256('0x02'), keccak256('0x03'), keccak256('0x04'), 1_700_000_000n, payer, toHex('blob'), '0xabab'];

  before(async () => {
    chain = await anvilStart({ after: (end) => stops.push(end) });
    ({ data_settlement: address } = await contractsDeploy(chain.rpc_url));
  });
  after(async () => {
    for (const stop of stops) await stop();
  });

  it('speaks the words of OpenGradient\'s relay', () => {
    assert.deepEqual(['batchSettle', 'settleIndividual', 'verifyProof'].map((name) => toFunctionSelector(named('function', name))), ['0x1b243ae6', '0x90480ad1', '0x4bc935d7']);
    assert.deepEqual(['BatchSettlement', 'IndividualSettlement'].map((name) => toEventSelector(named('event', name))),
      ['0xc2aff8d8a10a4543baabf39bd9ff45e7fc3881d19098df350a3b7f339e911127', '0x74e71a1981c03bd0c36f3b1227f3ee2a34dca5d6fef25c4b2787e033ab60b782']);
  });

  it('writes what its callers say, and nobody else\'s word', async () => {
    const [batch] = parseEventLogs({ abi: DataSettlement.abi, logs: (await write(caller, 'batchSettle', [ROOT, 3n, toHex('tree')])).logs });
    assert.deepEqual(batch.args, { merkleRoot: ROOT, batchSize: 3n, blobId: toHex('tree') });
    const [one] = parseEventLogs({ abi: DataSettlement.abi, logs: (await write(caller, 'settleIndividual', single())).logs });
    assert.deepEqual([one.eventName, one.args.payer, one.args.timestamp, one.args.signature], ['IndividualSettlement', stranger.address, 1_700_000_000n, '0xabab']);
    for (const account of [stranger, owner]) {
      await refused(write(account, 'batchSettle', [ROOT, 3n, '0x']), 'NotCaller');
      await refused(write(account, 'settleIndividual', single()), 'NotCaller');
    }
  });

  it('lets only its owner choose the callers', async () => {
    await refused(write(stranger, 'setCaller', [stranger.address, true]), 'NotOwner');
    await refused(write(caller, 'setCaller', [stranger.address, true]), 'NotOwner');
    await write(owner, 'setCaller', [stranger.address, true]);
    await write(stranger, 'batchSettle', [ROOT, 1n, '0x']);
    await write(owner, 'setCaller', [stranger.address, false]);
    await refused(write(stranger, 'batchSettle', [ROOT, 1n, '0x']), 'NotCaller');
    await assert.rejects(chain.deploy(owner, DataSettlement, [zeroAddress, []]));
  });

  it('knows a leaf of a tree from anything else', async () => {
    const [a, b, c] = ['0x0a', '0x0b', '0x0c'].map((one) => keccak256(one));
    const parent = (x, y) => keccak256(concat(BigInt(x) < BigInt(y) ? [x, y] : [y, x]));
    const root = parent(parent(a, b), c);
    const says = (proof, leaf) => chain.read({ address, abi: DataSettlement.abi, functionName: 'verifyProof', args: [proof, root, leaf] });
    assert.deepEqual(await Promise.all([says([b, c], a), says([a, c], b), says([parent(a, b)], c), says([], root)]), [true, true, true, true]);
    assert.deepEqual(await Promise.all([says([c, b], a), says([b], a), says([], a), says([b, c], c)]), [false, false, false, false]);
  });
});
