// contracts/Settler.sol on a real anvil: that each payment of a group succeeds or fails alone, whatever the others are, and
// what a group saves.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  decodeErrorResult, encodeFunctionData, keccak256, parseEventLogs, size, slice, toEventSelector, toFunctionSelector, toHex,
  zeroAddress,
} from 'viem';
import { contractsCompile } from '../../script/contracts.mjs';
import { contractsDeploy } from '../../script/deploy.mjs';
import { chainAccount } from '../../script/lib/chain.mjs';
import { anvilStart } from './helpers.mjs';
import { KIND, paymentsOpen } from './payments.mjs';

const { Settler, TestWallet, X402UptoPermit2Proxy } = contractsCompile();
const WHY = ['NotEnoughGas', 'NoCode', 'UnknownKind', 'ArgsTooLong'];
const LIMIT = 200_000n;
const PAYERS = 22;

// Contracts that mean harm, as the bytes that run.
const BURNS = '0xfe'; // an invalid instruction: all gas is gone
const LOOPS = '0x5b5f56'; // jumps to itself
const BOMB_FAILS = '0x620200005ffd'; // reverts with 128 KiB
const BOMB_RETURNS = '0x620200005ff3'; // returns 128 KiB
/// Uses what it is given but for some 1,000 gas, then reverts with 256 bytes.
const GREEDY = '0x5b6104005a115f576101005ffd';
/// Succeeds with at least 2,990,000 gas, and reverts with less.
const DEMANDS = '0x622d9fb05a10600a57005b5f5ffd';
/// Calls its caller's settle() with no items, and reverts with what that answered.
const REENTERS = `0x63${toFunctionSelector(Settler.abi.find((one) => one.name === 'settle')).slice(2)}60e01b5f52` +
  '6020600452' + '5f5f60445f5f335af150' + '3d5f5f3e3d5ffd';
/// Emits an event that looks like the Settler's for item 0.
const FORGES = `0x5f5f7f${toEventSelector('Settled(uint256,bytes32,bool,bytes)').slice(2)}5f5fa300`;

describe('settler', () => {
  const payers = Array.from({ length: PAYERS }, (_, index) => chainAccount(20 + index).account);
  const [payer, second] = payers;
  const [caller, stranger, owner] = [7, 5, 9].map((index) => chainAccount(index).account);
  const payee = '0x00000000000000000000000000000000000000AA';
  const poor = chainAccount(19).account;
  let chain, deployed, pay, settler, count = 0;
  const stops = [];

  const read = (functionName, args = []) => chain.read({ address: settler, abi: Settler.abi, functionName, args });
  const write = (account, functionName, args) => chain.write(account, { address: settler, abi: Settler.abi, functionName, args });
  const refused = (promise, reason) =>
    assert.rejects(promise, (error) => error.message.includes(reason) || assert.fail(error.message));
  const held = () => pay.read('balanceOf', payee);

  const item = (payment, more = {}) => ({
    kind: payment.kind, token: payment.kind <= KIND.EIP3009_BYTES ? payment.to : zeroAddress, gasLimit: LIMIT,
    ref: keccak256(toHex(`ref ${count++}`)), args: slice(payment.data, 4), ...more,
  });
  /// A good payment's item that calls `code` instead of the token.
  async function hostile(code, more = {}) {
    const token = toHex(0xbad000 + count++, { size: 20 });
    await chain.client.request({ method: 'anvil_setCode', params: [token, code] });
    return item(await pay.eip3009(payer, { to: payee }), { token, ...more });
  }
  const good = async (from = payer) => item(await pay.eip3009(from, { to: payee }));

  const calldata = (items) => encodeFunctionData({ abi: Settler.abi, functionName: 'settle', args: [items] });
  /// What Settler.sol says is always enough.
  const gasFor = (items) => {
    const data = calldata(items);
    return 21_000n + 40n * BigInt(size(data)) + items.reduce((sum, { gasLimit }) => sum + gasLimit * 64n / 63n + 15_000n, 10_000n);
  };
  /// Sends the items as one transaction. `results` has one entry an item: {ok, reason} or {skipped}.
  async function settle(items, { account = caller, gas = gasFor(items) } = {}) {
    const hash = await chain.wallet(account).sendTransaction({ to: settler, data: calldata(items), gas });
    const nudge = setTimeout(() => chain.client.request({ method: 'evm_mine' }).catch(() => {}), 5000); // anvil, just reverted, may miss one
    const receipt = await chain.receiptOf(hash).finally(() => clearTimeout(nudge));
    const logs = receipt.logs.filter((log) => log.address === settler);
    const events = parseEventLogs({ abi: Settler.abi, logs });
    assert.equal(events.length, logs.length);
    const results = events.map(({ eventName, args }, place) => {
      assert.equal(args.index, BigInt(place));
      assert.equal(args.ref, items[place].ref);
      return eventName === 'Skipped' ? { skipped: WHY[args.why] } : { ok: args.ok, reason: args.reason };
    });
    if (receipt.status === 'success') assert.equal(results.length, items.length);
    return { receipt, results };
  }
  const simulate = (items, account) =>
    chain.client.simulateContract({
      address: settler, abi: Settler.abi, functionName: 'settle', args: [items], account, gas: gasFor(items),
    });
  /// The words of a refusal that came as a string.
  const words = (result) => (result.ok === false ? decodeErrorResult({ data: result.reason }).args[0] : result);
  const proxyError = ({ reason }) => decodeErrorResult({ abi: X402UptoPermit2Proxy.abi, data: reason }).errorName;
  const OK = { ok: true, reason: '0x' };

  before(async () => {
    chain = await anvilStart({ after: (end) => stops.push(end) });
    deployed = await contractsDeploy(chain.rpc_url);
    settler = deployed.settler;
    pay = paymentsOpen(chain, deployed);
    for (const { address } of payers) {
      await pay.mint(address, 1_000_000n);
      await pay.approvePermit2(address);
    }
    await pay.mint(payee, 1n);
  });
  after(async () => { for (const stop of stops) await stop(); });

  const MAKERS = {
    EIP3009_VRS: (from, more) => pay.eip3009(from, { to: payee, ...more }),
    EIP3009_BYTES: (from, more) => pay.eip3009(from, { to: payee, form: 'bytes', ...more }),
    EXACT: (from, more) => pay.exact(from, { to: payee, ...more }),
    EXACT_WITH_PERMIT: async (from, more) => pay.exact(from, { to: payee, permit: await pay.permit2612(from, 5n), ...more }),
    UPTO: (from, more) => pay.upto(from, { to: payee, facilitator: settler, max: 9n, amount: 5n, ...more }),
    UPTO_WITH_PERMIT: async (from, more) =>
      pay.upto(from, { to: payee, facilitator: settler, max: 9n, amount: 5n, permit: await pay.permit2612(from, 9n), ...more }),
  };
  for (const [name, make] of Object.entries(MAKERS))
    it(`settles one ${name}, once`, async () => {
      if (name.endsWith('PERMIT')) await pay.approvePermit2(payer.address, 0n);
      const payment = await make(payer);
      assert.equal(payment.kind, await read(name));
      assert.equal(payment.kind, KIND[name]);
      const before = await held();
      assert.deepEqual((await settle([item(payment)])).results, [OK]);
      assert.equal(await held(), before + 5n);
      assert.equal((await settle([item(payment)])).results[0].ok, false);
      assert.equal(await held(), before + 5n);
      await pay.approvePermit2(payer.address);
    });

  it('settles the good ones of twenty, and says why not the others', async () => {
    const used = await MAKERS.EXACT(payers[3]);
    await settle([item(used)]);
    const makers = Object.values(MAKERS);
    const payments = await Promise.all(payers.slice(0, 20).map((from, index) => makers[index % makers.length](from)));
    payments[4] = used;
    payments[9] = await MAKERS.EIP3009_VRS(payers[9], { validBefore: 1n });
    payments[15] = await MAKERS.EIP3009_BYTES(poor);
    const items = payments.map((payment) => item(payment));
    const bad = {
      4: toFunctionSelector('InvalidNonce()'),
      9: 'EIP3009: authorization is expired',
      15: 'ERC20: transfer amount exceeds balance',
    };

    const before = await held();
    const { result } = await simulate(items, caller);
    const { results } = await settle(items);
    results.forEach((one, index) => {
      if (index in bad) assert.equal(one.ok, false, `item ${index}`);
      else assert.deepEqual(one, OK, `item ${index}`);
      assert.equal(Boolean(result >> BigInt(index) & 1n), one.ok, 'the simulation said so');
    });
    assert.deepEqual([results[4].reason, words(results[9]), words(results[15])], Object.values(bad));
    assert.equal(await held(), before + 17n * 5n);
  });
  it('settles the first of two copies', async () => {
    const payment = await MAKERS.EIP3009_VRS(payer);
    const { results } = await settle([item(payment), item(payment), await good(second)]);
    assert.deepEqual(results.map(words), [OK, 'EIP3009: authorization is used or canceled', OK]);
  });
  it('does nothing with nothing', async () => {
    const { receipt, results } = await settle([]);
    assert.deepEqual([receipt.status, results], ['success', []]);
  });

  it('is called by registered keys only', async () => {
    const items = [await good()];
    const before = await held();
    for (const account of [stranger, owner]) {
      const { receipt } = await settle(items, { account });
      assert.deepEqual([receipt.status, receipt.logs], ['reverted', []]);
      await refused(simulate(items, account), 'NotCaller');
    }
    await refused(write(stranger, 'setCaller', [stranger.address, true]), 'NotOwner');
    await refused(write(caller, 'setCaller', [stranger.address, true]), 'NotOwner');
    assert.equal(await held(), before);
    await write(owner, 'setCaller', [stranger.address, true]);
    assert.deepEqual((await settle(items, { account: stranger })).results, [OK]);
    await write(owner, 'setCaller', [stranger.address, false]);
    assert.equal((await settle([await good()], { account: stranger })).receipt.status, 'reverted');
  });
  it('changes owner in two steps', async () => {
    await refused(write(stranger, 'transferOwnership', [stranger.address]), 'NotOwner');
    await refused(write(stranger, 'acceptOwnership', []), 'NotPendingOwner');
    await write(owner, 'transferOwnership', [stranger.address]);
    assert.equal(await read('owner'), owner.address);
    await refused(write(stranger, 'setCaller', [stranger.address, true]), 'NotOwner');
    await write(owner, 'transferOwnership', [zeroAddress]);
    await refused(write(stranger, 'acceptOwnership', []), 'NotPendingOwner');
    await write(owner, 'transferOwnership', [stranger.address]);
    await write(stranger, 'acceptOwnership', []);
    assert.deepEqual([await read('owner'), await read('pendingOwner')], [stranger.address, zeroAddress]);
    await refused(write(owner, 'setCaller', [owner.address, true]), 'NotOwner');
    await refused(write(stranger, 'acceptOwnership', []), 'NotPendingOwner');
    await write(stranger, 'transferOwnership', [owner.address]);
    await write(owner, 'acceptOwnership', []);
    await refused(chain.deploy(owner, Settler, [zeroAddress, []]), toFunctionSelector('NoOwner()'));
  });
  it('takes no value, and has no way to run foreign code in its place', async () => {
    for (const data of ['0x', calldata([])])
      await refused(chain.client.call({ account: caller.address, to: settler, data, value: 1n }), 'revert');
    assert.ok(Settler.abi.every((one) => one.stateMutability !== 'payable' && !['receive', 'fallback'].includes(one.type)));
    const code = Buffer.from(Settler.code.slice(2), 'hex');
    const end = code.length - 2 - code.readUInt16BE(code.length - 2); // the compiler's note about itself follows
    for (let at = 0; at < end; at++) {
      const op = code[at];
      assert.ok(![0xf0, 0xf2, 0xf4, 0xf5, 0xff].includes(op), `instruction ${op.toString(16)} at ${at}`);
      if (op >= 0x60 && op <= 0x7f) at += op - 0x5f;
    }
  });

  it('upto: pays the amount the gateway says, up to the maximum', async () => {
    const before = await held();
    const payments = [];
    for (const amount of [1n, 9n, 10n, 0n]) payments.push(await MAKERS.UPTO(payer, { amount }));
    const { results } = await settle(payments.map((payment) => item(payment)));
    assert.deepEqual(results.slice(0, 2), [OK, OK]);
    assert.deepEqual(results.slice(2).map(proxyError), ['AmountExceedsPermitted', 'InvalidAmount']);
    assert.equal(await held(), before + 10n);
  });
  it('upto: only by the facilitator that the payer named', async () => {
    const foreign = await MAKERS.UPTO(payer, { facilitator: stranger.address });
    const { results } = await settle([item(foreign)]);
    assert.equal(proxyError(results[0]), 'UnauthorizedFacilitator');
    const ours = await MAKERS.UPTO(payer);
    const call = { account: caller.address, to: ours.to, data: ours.data };
    await refused(chain.client.call(call), toFunctionSelector('UnauthorizedFacilitator()'));
  });
  it('settles for contract wallets (ERC-1271)', async () => {
    const wallet = await chain.deploy(owner, TestWallet);
    await pay.mint(wallet, 100n);
    await pay.approvePermit2(wallet);
    const before = await held();
    const more = { signature: '0x1234' };
    const payments = [
      await MAKERS.EIP3009_BYTES({ address: wallet }, more),
      await MAKERS.EXACT(payer, { from: wallet, ...more }),
      await MAKERS.UPTO(payer, { from: wallet, ...more }),
    ];
    const items = () => payments.map((payment) => item(payment));
    assert.deepEqual((await settle(items())).results.map(({ ok }) => ok), [false, false, false]);
    for (const { digest } of payments)
      await chain.write(owner, { address: wallet, abi: TestWallet.abi, functionName: 'approve', args: [digest] });
    assert.deepEqual((await settle(items())).results, [OK, OK, OK]);
    assert.equal(await held(), before + 15n);
  });

  for (const [what, code] of Object.entries({ BURNS, LOOPS }))
    it(`a token that ${what.toLowerCase()} all gas costs its limit and stops nobody`, async () => {
      const limit = 300_000n;
      const items = [await good(), await hostile(code, { gasLimit: limit }), await good(second)];
      const { receipt, results } = await settle(items);
      assert.deepEqual(results, [OK, { ok: false, reason: '0x' }, OK]);
      assert.ok(receipt.gasUsed > limit && receipt.gasUsed < limit + 200_000n, `${receipt.gasUsed} gas`);
    });
  it('a wallet that burns all gas stops nobody', async () => {
    const wallet = toHex(0xbad111, { size: 20 });
    await chain.client.request({ method: 'anvil_setCode', params: [wallet, LOOPS] });
    await pay.mint(wallet, 100n);
    const { results } = await settle([item(await MAKERS.EIP3009_BYTES({ address: wallet }, { signature: '0x12' })), await good()]);
    assert.equal(results[0].ok, false);
    assert.deepEqual(results[1], OK);
  });
  it('copies no more than 256 bytes of what a token returns', async () => {
    const items = [await hostile(BOMB_FAILS), await hostile(BOMB_RETURNS), await good()];
    const { receipt, results } = await settle(items);
    assert.deepEqual(results, [{ ok: false, reason: `0x${'00'.repeat(256)}` }, OK, OK]);
    const bombs = 2n * 45_100n; // what the tokens themselves use; copying once would cost as much again
    const plain = (await settle([await good(), await good(), await good()])).receipt.gasUsed;
    assert.ok(receipt.gasUsed < plain + bombs, `${receipt.gasUsed} gas, ${plain} without bombs`);
  });
  it('a token that calls back is refused, and nothing else is harmed', async () => {
    const { results } = await settle([await hostile(REENTERS), await good()]);
    assert.deepEqual(results, [{ ok: false, reason: toFunctionSelector('NotCaller()') }, OK]);
  });
  it('an event forged by a token has the token\'s address', async () => {
    const forger = await hostile(FORGES);
    const { receipt, results } = await settle([forger, await good()]);
    assert.deepEqual(results, [OK, OK]);
    const alike = receipt.logs.filter((log) => log.topics[0] === toEventSelector('Settled(uint256,bytes32,bool,bytes)'));
    assert.deepEqual(alike.map((log) => log.address), [forger.token, settler, settler]);
  });
  it('does not try what cannot be tried', async () => {
    const payment = await MAKERS.EIP3009_VRS(payer);
    const items = [
      item(payment, { kind: 6 }), item(payment, { kind: 255 }), item(payment, { token: stranger.address }),
      item(payment, { token: zeroAddress }), item(payment, { args: toHex(1, { size: 8193 }) }),
      item(payment, { gasLimit: 2n ** 64n - 1n }), item(payment),
    ];
    const { results } = await settle(items, { gas: 1_000_000n });
    const why = ['UnknownKind', 'UnknownKind', 'NoCode', 'NoCode', 'ArgsTooLong', 'NotEnoughGas'];
    assert.deepEqual(results, [...why.map((skipped) => ({ skipped })), OK]);
  });
  it('takes 256 items and no more', async () => {
    const nothing = { kind: 6, token: zeroAddress, gasLimit: 0n, ref: toHex(1, { size: 32 }), args: '0x' };
    const { receipt } = await settle(Array(256).fill(nothing));
    assert.equal(receipt.logs.length, 256);
    const { receipt: refusal } = await settle(Array(257).fill(nothing));
    assert.deepEqual([refusal.status, refusal.logs], ['reverted', []]);
  });
  /// Sends the items with this much gas and takes it back.
  async function probe(items, gas) {
    const snapshot = await chain.client.request({ method: 'evm_snapshot' });
    const { receipt, results } = await settle(items, { gas });
    const states = []; // whether the authorization of each item that asks for it was used
    for (const { args, checked } of results.length > 0 ? items : [])
      states.push(checked && (await pay.read('authorizationState', slice(args, 12, 32), slice(args, 160, 192))));
    await chain.client.request({ method: 'evm_revert', params: [snapshot] });
    return { results, states, status: receipt.status };
  }
  /// The least gas with which the first item is tried.
  async function edge(items) {
    let [low, high] = [leastGas(items), gasFor(items.slice(0, 1)) + 100_000n];
    while (high - low > 1n) {
      const middle = (low + high) / 2n;
      if ((await probe(items, middle)).results[0]?.ok === undefined) low = middle;
      else high = middle;
    }
    return high;
  }
  /// The least that a node takes for this calldata (EIP-7623).
  const leastGas = (items) => {
    const bytes = Buffer.from(calldata(items).slice(2), 'hex');
    const zeros = BigInt(bytes.filter((byte) => byte === 0).length);
    return 21_000n + 10n * zeros + 40n * (BigInt(bytes.length) - zeros);
  };
  /// An item that no transaction has the gas for.
  const endless = () =>
    ({ kind: 0, token: pay.token.address, gasLimit: 2n ** 64n - 1n, ref: toHex(1, { size: 32 }), args: '0x' });

  it('with any gas at all: everything is reported, and what is tried has its whole limit', async () => {
    const checked = { checked: true };
    const bad = [1, 2];
    const items = [
      { ...await good(), ...checked }, await hostile(BURNS, { gasLimit: 60_000n }), await hostile(BOMB_FAILS),
      { ...await good(second), ...checked }, item(await MAKERS.UPTO(second)), { ...await good(), ...checked },
    ];
    let gas = leastGas(items), most = 0;
    for (let runs = 0; most < items.length - bad.length; runs++, gas += 9_001n) {
      assert.ok(runs < 150, 'it never is enough');
      const { status, results, states } = await probe(items, gas);
      assert.equal(status, 'success');
      for (const [index, one] of results.entries()) {
        if (bad.includes(index)) continue;
        assert.ok(one.ok === true || one.skipped === 'NotEnoughGas', `${gas} gas, item ${index}: ${JSON.stringify(one)}`);
        if (items[index].checked) assert.equal(states[index], one.ok === true);
      }
      most = results.filter(({ ok }) => ok).length;
    }
  });
  for (const [what, gasLimit, others, args] of [
    ['a long item', 500_000n, 20, toHex(1, { size: 8192 })], ['a small item', 60_000n, 1],
  ])
    it(`keeps enough to report the others when ${what} uses all it may`, async () => {
      const greedy = await hostile(GREEDY, { gasLimit, ...(args && { args }) });
      const items = [greedy, ...Array(others).fill(endless())];
      const least = await edge(items);
      for (let gas = least - 2_000n; gas < least + 6_000n; gas += 199n) {
        const { status, results } = await probe(items, gas);
        assert.equal(status, 'success', `with ${gas - least} gas more than the least`);
        assert.deepEqual(results[0], gas < least ? { skipped: 'NotEnoughGas' } : { ok: false, reason: `0x${'00'.repeat(256)}` });
      }
    });
  it('tries a large item only when its whole limit is left, 63 of 64 parts being what a call gets', async () => {
    const items = [await hostile(DEMANDS, { gasLimit: 3_000_000n })];
    const least = await edge(items);
    assert.deepEqual((await probe(items, least)).results, [OK]);
    assert.deepEqual((await probe([{ ...items[0], gasLimit: 2_900_000n }], least)).results, [{ ok: false, reason: '0x' }]);
  });
  it('reverts at once when it cannot even report', async () => {
    const items = Array(60).fill(endless());
    const statuses = [];
    for (let gas = leastGas(items); statuses.at(-1) !== 'success' && statuses.length < 100; gas += 5_001n)
      statuses.push((await probe(items, gas)).status);
    assert.equal(statuses[0], 'reverted');
    assert.equal(statuses.at(-1), 'success');
  });

  it('a group costs less than its payments one by one', async (t) => {
    for (const { address } of payers) await pay.approvePermit2(address);
    for (const name of ['EIP3009_VRS', 'EIP3009_BYTES', 'EXACT', 'UPTO']) {
      const make = MAKERS[name];
      // On its own the gateway's key is the facilitator; a group goes through the Settler, so the two differ in that word.
      const alone = name === 'UPTO' ? { facilitator: caller.address } : {};
      const single = await make(payers[20], alone);
      // The first of its kind, so that the payee, the token and the nonce word of the next are not new.
      await chain.receiptOf(await chain.wallet(caller).sendTransaction({ to: single.to, data: single.data }));
      const again = await make(payers[21], alone);
      const { gasUsed, status } = await chain.receiptOf(
        await chain.wallet(caller).sendTransaction({ to: again.to, data: again.data }),
      );
      assert.equal(status, 'success');
      const per = [];
      for (const many of [1, 5, 20]) {
        const items = await Promise.all(payers.slice(0, many).map(async (from) => item(await make(from))));
        const { receipt, results } = await settle(items);
        assert.ok(results.every(({ ok }) => ok));
        per.push(Number(receipt.gasUsed) / many);
      }
      t.diagnostic(`${name}: alone ${gasUsed}; in a group of 1, 5, 20: ${per.map(Math.round).join(', ')} gas each`);
      assert.ok(per[2] < Number(gasUsed) * 0.85, `${per[2]} in a group, ${gasUsed} alone`);
    }
  });
});
