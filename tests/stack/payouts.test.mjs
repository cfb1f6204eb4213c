// contracts/Payouts.sol on a real anvil: each item is paid or not alone, an id ends once for ever, and nobody else may call.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { encodeFunctionData, keccak256, maxUint256, parseEventLogs, toHex } from 'viem';
import { contractsCompile } from '../../script/contracts.mjs';
import { contractsDeploy, PAYOUT_CALLER, SETTLER_OWNER, TREASURY } from '../../script/deploy.mjs';
import { chainAccount } from '../../script/lib/chain.mjs';
import { anvilStart } from './helpers.mjs';

const { OPG, Payouts, TestRefusal } = contractsCompile();
const WHY = ['Ended', 'Short', 'NotEnoughGas'];
const END = ['None', 'Paid', 'Refused'];

describe('payouts', () => {
  const [caller, owner, treasury, stranger] = [PAYOUT_CALLER, SETTLER_OWNER, TREASURY, 5].map((index) => chainAccount(index).account);
  const [alice, bob] = [0xa11ce, 0xb0b].map((n) => toHex(n, { size: 20 }));
  const refused = '0x000000000000000000000000000000000000bad1', moved = '0x000000000000000000000000000000000000c0de';
  let chain, token, payouts, count = 0;
  const stops = [];

  const id = () => keccak256(toHex(`payout ${count++}`));
  const item = (to = alice, amount = 5n) => ({ id: id(), to, amount });
  const read = (functionName, args = []) => chain.read({ address: payouts, abi: Payouts.abi, functionName, args });
  const held = (address) => chain.read({ address: token, abi: OPG.abi, functionName: 'balanceOf', args: [address] });
  const write = (account, functionName, args, address = token, abi = OPG.abi) => chain.write(account, { address, abi, functionName, args });
  const calldata = (items) => encodeFunctionData({ abi: Payouts.abi, functionName: 'pay', args: [items] });
  /// What Payouts.sol says is always enough.
  const gasFor = (items) => 21_000n + 40n * BigInt(calldata(items).length / 2) + 10_000n + 225_000n * BigInt(items.length);

  /// Sends the items as one transaction: a word for each, 'paid', 'refused' or why it was skipped.
  async function pay(items, { account = caller, gas = gasFor(items) } = {}) {
    const hash = await chain.wallet(account).sendTransaction({ to: payouts, data: calldata(items), gas });
    const receipt = await chain.receiptOf(hash);
    const events = parseEventLogs({ abi: Payouts.abi, logs: receipt.logs.filter(({ address }) => address === payouts) });
    if (receipt.status === 'success') assert.deepEqual(events.map(({ args }) => args.id), items.map((one) => one.id));
    return { receipt, ends: events.map(({ eventName, args }) => (eventName === 'Skipped' ? WHY[args.why] : args.ok ? 'paid' : 'refused')) };
  }

  before(async () => {
    const { rpc_url, ...rest } = await anvilStart({ after: (stop) => stops.push(stop) });
    chain = rest;
    ({ opg_token: token, payouts } = await contractsDeploy(rpc_url));
    await write(owner, 'mint', [treasury.address, 1000n]);
  });
  after(() => Promise.all(stops.map((stop) => stop())));

  it('pays each item from the treasury, and counts', async () => {
    const items = [item(alice, 5n), item(bob, 7n), item(alice, 11n)];
    const { ends, receipt } = await pay(items);
    assert.deepEqual(ends, ['paid', 'paid', 'paid']);
    assert.deepEqual([await held(alice), await held(bob), await held(treasury.address), await held(payouts)], [16n, 7n, 977n, 0n]);
    assert.equal(await read('totalPaid'), 23n);
    const [end, number] = await read('endOf', [items[1].id]);
    assert.deepEqual([END[end], number], ['Paid', receipt.blockNumber]);
  });

  it('pays an id once, in one transaction and ever after, whatever else it says', async () => {
    const one = item();
    const before = await held(alice);
    assert.deepEqual((await pay([one, one, { ...one, amount: 6n }])).ends, ['paid', 'Ended', 'Ended']);
    assert.deepEqual((await pay([{ ...one, to: bob }])).ends, ['Ended']);
    assert.equal(await held(alice), before + 5n);
  });

  it('skips what the treasury, or what it allows, does not cover, and pays it later under the same id', async () => {
    const total = await held(treasury.address);
    const large = item(bob, total - 3n);
    assert.deepEqual((await pay([item(alice, 5n), large])).ends, ['paid', 'Short']);
    assert.equal(END[(await read('endOf', [large.id]))[0]], 'None');
    await write(owner, 'mint', [treasury.address, 2n]);
    assert.deepEqual((await pay([large])).ends, ['paid']);
    await write(owner, 'mint', [treasury.address, 1000n]);
    await write(treasury, 'approve', [payouts, 9n]);
    assert.deepEqual((await pay([item(alice, 5n), item(alice, 5n), item(alice, 4n)])).ends, ['paid', 'Short', 'paid']);
    await write(treasury, 'approve', [payouts, maxUint256]);
  });

  it('remembers a receiver that the token refuses, and pays the others', async () => {
    const code = await chain.client.getCode({ address: token });
    const set = (address, bytes) => chain.client.request({ method: 'anvil_setCode', params: [address, bytes] });
    await set(moved, code);
    await set(token, TestRefusal.code);
    const bad = item(refused);
    assert.deepEqual((await pay([item(), bad, item(bob)])).ends, ['paid', 'refused', 'paid']);
    await set(token, code);
    assert.equal(END[(await read('endOf', [bad.id]))[0]], 'Refused');
    assert.deepEqual((await pay([bad])).ends, ['Ended'], 'the money went back: it must not be paid as well');
    assert.equal(await held(refused), 0n);
  });

  it('tries an item only with all the gas it may need', async () => {
    const items = [item(), item(), item(), item()];
    for (let gas = 40_000n; gas < gasFor(items); gas += 35_000n) {
      const fresh = items.map((one) => ({ ...one, id: id() }));
      const { receipt, ends } = await pay(fresh, { gas: gas + 20_000n });
      if (receipt.status === 'success') assert.ok(ends.every((end) => ['paid', 'NotEnoughGas'].includes(end)), ends.join());
    }
    assert.deepEqual((await pay(Array.from({ length: 50 }, () => item()))).ends, Array(50).fill('paid'));
  });

  it('takes calls from its callers only, whom its owner chooses', async () => {
    const refuses = async (account) => assert.equal((await pay([item()], { account })).receipt.status, 'reverted');
    await refuses(stranger);
    await refuses(treasury);
    await assert.rejects(write(stranger, 'setCaller', [stranger.address, true], payouts, Payouts.abi));
    await write(owner, 'setCaller', [caller.address, false], payouts, Payouts.abi);
    await refuses(caller);
    await write(owner, 'setCaller', [caller.address, true], payouts, Payouts.abi);
    assert.deepEqual((await pay([item()])).ends, ['paid']);
    await assert.rejects(chain.deploy(owner, Payouts, [owner.address, [], alice, treasury.address]), 'no token there');
  });
});
