// The stand-ins for the x402 proxies and Multicall3 on a real anvil: that they are called and answer as those of public
// chains do.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeErrorResult, keccak256, parseEventLogs, toFunctionSelector, toHex } from 'viem';
import { multicall } from 'viem/actions';
import { contractsCompile } from '../../script/contracts.mjs';
import { contractsDeploy, EXACT_PROXY, MULTICALL3, PERMIT2, UPTO_PROXY } from '../../script/deploy.mjs';
import { chainAccount } from '../../script/lib/chain.mjs';
import { anvilStart } from './helpers.mjs';
import { FAR, paymentsOpen } from './payments.mjs';

const { X402ExactPermit2Proxy: EXACT, X402UptoPermit2Proxy: UPTO } = contractsCompile();
const signatureOf = (abi, name) => toFunctionSelector(abi.find((one) => one.type === 'function' && one.name === name));

describe('x402 proxies', () => {
  const [payer, gasless, facilitator, other] = [1, 2, 7, 5].map((index) => chainAccount(index).account);
  const payee = '0x00000000000000000000000000000000000000AA';
  let chain, deployed, pay;
  const stops = [];

  const send = (payment, account = facilitator) =>
    chain.write(account, { address: payment.to, abi: payment.abi, functionName: payment.functionName, args: payment.args });
  const events = (payment, receipt) =>
    parseEventLogs({ abi: payment.abi, logs: receipt.logs.filter((log) => log.address === payment.to.toLowerCase()) });
  /// Why a transaction was refused: the name of the proxy's error, the words, or Permit2's bytes.
  const error = async (promise) => {
    const thrown = await promise.then(() => assert.fail('it was not refused'), (it) => it);
    const at = thrown.walk((it) => it.data?.errorName || it.raw || it.signature);
    if (!at) assert.fail(thrown.message);
    return at.data?.errorName === 'Error' ? at.reason : at.data?.errorName ?? at.raw ?? at.signature;
  };
  const [InvalidSigner, InvalidNonce, SignatureExpired] =
    ['InvalidSigner()', 'InvalidNonce()', 'SignatureExpired(uint256)'].map((text) => toFunctionSelector(text));
  const optional = { exact: {}, upto: { facilitator: facilitator.address } };

  before(async () => {
    chain = await anvilStart({ after: (end) => stops.push(end) });
    deployed = await contractsDeploy(chain.rpc_url);
    pay = paymentsOpen(chain, deployed);
    for (const { address } of [payer, gasless]) await pay.mint(address, 1000n);
    await pay.approvePermit2(payer.address);
  });
  after(async () => { for (const stop of stops) await stop(); });

  it('stand at the canonical addresses and take the canonical calls', async () => {
    assert.equal(deployed.exact_proxy, EXACT_PROXY.toLowerCase());
    assert.equal(deployed.upto_proxy, UPTO_PROXY.toLowerCase());
    assert.equal(signatureOf(EXACT.abi, 'settle'), '0x13cd3b53');
    assert.equal(signatureOf(EXACT.abi, 'settleWithPermit'), '0xfa340378');
    assert.equal(signatureOf(UPTO.abi, 'settle'), '0xff11e7b4');
    assert.equal(signatureOf(UPTO.abi, 'settleWithPermit'), '0x016c1748');
    for (const [address, { abi, code }, type] of [
      [EXACT_PROXY, EXACT, 'Witness(address to,uint256 validAfter)'],
      [UPTO_PROXY, UPTO, 'Witness(address to,address facilitator,uint256 validAfter)'],
    ]) {
      assert.equal(await chain.client.getCode({ address }), code);
      assert.equal(await chain.read({ address, abi, functionName: 'PERMIT2' }), PERMIT2);
      assert.equal(await chain.read({ address, abi, functionName: 'WITNESS_TYPEHASH' }), keccak256(toHex(type)));
      assert.equal(await chain.read({ address, abi, functionName: 'WITNESS_TYPE_STRING' }),
        `Witness witness)TokenPermissions(address token,uint256 amount)${type}`);
    }
  });
  for (const scheme of ['exact', 'upto']) {
    const make = (more = {}, from = payer) => pay[scheme](from, { to: payee, ...optional[scheme], ...more });

    it(`${scheme}: settles once`, async () => {
      const payment = await make();
      const held = await pay.read('balanceOf', payee);
      const receipt = await send(payment);
      assert.deepEqual(events(payment, receipt).map((event) => event.eventName), ['Settled']);
      assert.equal(await pay.read('balanceOf', payee), held + 5n);
      assert.equal(await error(send(payment)), InvalidNonce);
    });
    it(`${scheme}: settles with a permit where there is no allowance`, async () => {
      await pay.approvePermit2(gasless.address, 0n);
      assert.match(await error(send(await make({}, gasless))), /TRANSFER_FROM_FAILED/);
      const payment = await make({ permit: await pay.permit2612(gasless, 5n) }, gasless);
      const held = await pay.read('balanceOf', gasless.address);
      const receipt = await send(payment);
      assert.deepEqual(events(payment, receipt).map((event) => event.eventName), ['SettledWithPermit']);
      assert.equal(await pay.read('balanceOf', gasless.address), held - 5n);
      assert.equal(await pay.read('allowance', gasless.address, PERMIT2), 0n);
    });
    it(`${scheme}: a useless permit does not matter where the allowance is there`, async () => {
      const payment = await make({ permit: await pay.permit2612(payer, 5n, { signer: other }) });
      const seen = events(payment, await send(payment));
      assert.deepEqual(seen.map((event) => event.eventName), ['EIP2612PermitFailedWithData', 'SettledWithPermit']);
      assert.deepEqual(decodeErrorResult({ data: seen[0].args.data }).args, ['EIP2612: invalid signature']);
      const wrong = await make({ permit: await pay.permit2612(payer, 6n) });
      assert.equal(await error(send(wrong)), 'Permit2612AmountMismatch');
    });
    it(`${scheme}: refuses what was not signed, and what is out of time`, async () => {
      const unsigned = [
        { sent: { witness: { to: other.address } } },
        { sent: { witness: { validAfter: 1n } } },
        { sent: { permit: { deadline: FAR + 1n } } },
        { sent: { permit: { permitted: { token: pay.token.address, amount: 6n } } }, ...(scheme === 'upto' && { amount: 5n }) },
        { signer: other },
      ];
      for (const more of unsigned) assert.equal(await error(send(await make(more))), InvalidSigner);
      assert.equal((await error(send(await make({ deadline: 1n })))).slice(0, 10), SignatureExpired);
      assert.equal(await error(send(await make({ validAfter: FAR }))), 'PaymentTooEarly');
      const nowhere = '0x0000000000000000000000000000000000000000';
      assert.equal(await error(send(await make({ to: nowhere }))), 'InvalidDestination');
      assert.equal(await error(send(await make({ from: nowhere }))), 'InvalidOwner');
      assert.equal(await error(send(await make({ max: 0n }))), 'InvalidAmount');
    });
  }
  it('one scheme does not take the other\'s signature', async () => {
    const exact = await pay.exact(payer, { to: payee });
    const upto = await pay.upto(payer, { to: payee, facilitator: facilitator.address, signature: exact.args.at(-1) });
    assert.equal(await error(send(upto)), InvalidSigner);
  });
  it('upto: the facilitator, and nobody else, chooses the amount up to the maximum', async () => {
    const make = (more) => pay.upto(payer, { to: payee, facilitator: facilitator.address, max: 9n, ...more });
    const held = await pay.read('balanceOf', payee);
    assert.equal(await error(send(await make({}), other)), 'UnauthorizedFacilitator');
    const stolen = await make({ sent: { witness: { facilitator: other.address } } });
    assert.equal(await error(send(stolen, other)), InvalidSigner);
    assert.equal(await error(send(await make({ amount: 10n }))), 'AmountExceedsPermitted');
    assert.equal(await error(send(await make({ amount: 0n }))), 'InvalidAmount');
    await send(await make({ amount: 4n }));
    await send(await make({ amount: 9n }));
    assert.equal(await pay.read('balanceOf', payee), held + 13n);
  });
  it('Multicall3 answers several questions at once', async () => {
    assert.equal(deployed.multicall3, MULTICALL3.toLowerCase());
    const answers = await multicall(chain.client, {
      multicallAddress: MULTICALL3,
      contracts: [
        { ...pay.token, functionName: 'name' },
        { ...pay.token, functionName: 'transfer', args: [payee, 1n] }, // it holds nothing, so this fails
        { ...pay.token, functionName: 'decimals' },
      ],
    });
    assert.deepEqual(answers.map(({ status, result }) => [status, result]),
      [['success', 'OPG'], ['failure', undefined], ['success', 18]]);
  });
});
