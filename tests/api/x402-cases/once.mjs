// One authorization buys one answer: repeated, raced, spelt otherwise, spent or withdrawn on chain. Each is [name, work()] and checks
// for itself; they run at the same time, each with wallets of its own.
import assert from 'node:assert/strict';
import { parseAbi, toHex } from 'viem';
import { contractsCompile } from '../../../script/contracts.mjs';
import { EXACT_PROXY, PERMIT2 } from '../../../script/deploy.mjs';
import { base64, envelope, highTwin, offersOf } from '../payer.mjs';
import { dev, OPG, token, tokenBalance } from '../stack.mjs';
import { yParity } from './authorizations.mjs';
import { buyersMake, cancelled, CHAT, chatBody, COMPLETIONS, completionBody, INFER, inferBody, KINDS, makerOf, post, receiptIn, send, settledOf, termsIn, vrs, workOf } from './kit.mjs';

const USED = { eip3009: 'invalid_exact_evm_nonce_already_used', permit2: 'permit2_simulation_failed', upto: 'permit2_simulation_failed' };
const NO_MATCH = 'No matching payment requirements';
const pay = (path, body, sent, headers = {}) => post(path, body, { 'PAYMENT-SIGNATURE': base64(sent), ...headers });

/// A buyer, a request to a chat model (or `place`), and one good payment for it.
async function ready(kind, { place = [CHAT, chatBody], opg = OPG, over } = {}) {
  const [wallet] = await buyersMake(1, { opg, approve: true });
  const [path, bodyMake] = place;
  const body = bodyMake();
  const { terms, ...offers } = await offersOf(path, body);
  const made = await makerOf(kind)(wallet, offers[kind], over);
  return { kind, wallet, path, body, bodyMake, terms, offer: offers[kind], offers, made, sent: envelope(offers[kind], made), amount: BigInt(offers[kind].amount) };
}
const withPayload = (r, change) => {
  const { payload } = structuredClone({ payload: r.made.payload });
  return envelope(r.offer, { payload: change(payload) ?? payload });
};
function assertRefused(answer, reason, status = 402) {
  assert.deepEqual([answer.status, termsIn(answer)?.error], [status, reason], answer.bytes.toString().slice(0, 300));
  assert.equal(answer.headers.get('PAYMENT-RESPONSE'), null);
}
/// Served once, and what left the wallet is what the payment says.
async function assertOnce(r, answer) {
  assert.equal(answer.status, 200, answer.bytes.toString().slice(0, 300));
  const { amount } = await settledOf(answer.headers.get('Opgate-Payment'));
  assert.deepEqual(workOf(r.wallet.address), [1, 1, 1], 'one payment, one job, one node asked');
  assert.equal(OPG - (await tokenBalance(r.wallet.address)), BigInt(amount));
  if (r.kind !== 'upto') assert.equal(BigInt(amount), r.amount);
}
async function assertNothing(r, left = OPG) {
  assert.deepEqual(workOf(r.wallet.address), [0, 0, 0]);
  assert.equal(await tokenBalance(r.wallet.address), left);
}

/// First the good payment; then each of these is refused, and the good one still gets its answer.
const afterwards = (kind, name, reason, tries) => [`${kind}: ${name}`, async () => {
  const r = await ready(kind);
  const first = await pay(r.path, r.body, r.sent);
  await assertOnce(r, first);
  for (const answer of await Promise.all(await tries(r))) assertRefused(answer, reason);
  const again = await pay(r.path, r.body, r.sent);
  assert.deepEqual([again.status, again.headers.get('Idempotent-Replayed'), again.bytes], [200, 'true', first.bytes]);
  assert.deepEqual(receiptIn(again), receiptIn(first));
  await assertOnce(r, again);
}];

function repeated(kind) {
  const signed = (r, signature) => withPayload(r, (p) => { p.signature = signature(p.signature); });
  return [
    afterwards(kind, 'again for another request', USED[kind], (r) => [pay(r.path, r.bodyMake(), r.sent), pay(r.path, `${r.body} `, r.sent), pay(r.path, r.body, r.sent, { 'Content-Type': 'application/json; charset=utf-8' })]),
    afterwards(kind, 'again by other demands', USED[kind], (r) => [pay(`${r.path}?policy=signed`, r.body, r.sent), pay(r.path, r.body, r.sent, { 'Opgate-Policy': 'none' }), pay(r.path, r.body, r.sent, { 'Opgate-Max-Price': String(OPG) })]),
    afterwards(kind, 'again, streamed', USED[kind], (r) => [pay(r.path, r.body.replace('{', '{"stream":true,'), r.sent)]),
    afterwards(kind, 'again at another route', NO_MATCH, (r) => [pay(COMPLETIONS, completionBody(), r.sent), pay(INFER, inferBody(), r.sent)]),
    afterwards(kind, 'again by new terms for another request', USED[kind], async (r) => {
      const body = r.bodyMake();
      const offer = (await offersOf(r.path, body))[kind];
      return [pay(r.path, body, envelope(offer, r.made)), pay(r.path, r.body, envelope(offer, { payload: { ...r.made.payload, signature: (await makerOf(kind)(r.wallet, offer)).payload.signature } })).then((answer) => {
        assertRefused(answer, kind === 'eip3009' ? 'invalid_exact_evm_signature' : 'invalid_permit2_signature');
        return pay(r.path, r.bodyMake(), r.sent);
      })];
    }),
    afterwards(kind, 'twins of its signature', USED[kind], (r) => [pay(r.path, r.bodyMake(), signed(r, highTwin)), pay(r.path, r.body, signed(r, highTwin)), pay(r.path, r.body, signed(r, yParity))]),
    afterwards(kind, 'without a right signature, for its answer', kind === 'eip3009' ? 'invalid_exact_evm_signature' : 'invalid_permit2_signature',
      (r) => [pay(r.path, r.body, signed(r, () => `0x${'0'.repeat(130)}`)), pay(r.path, r.body, signed(r, () => '0x')), pay(r.path, r.body, signed(r, (s) => s.slice(0, -2))), pay(r.path, r.body, signed(r, (s) => toHex(BigInt(s) ^ (1n << 99n), { size: 65 })))]),
    afterwards(kind, 'by somebody else, for its answer', kind === 'eip3009' ? 'invalid_exact_evm_signature' : 'invalid_permit2_signature', async (r) => {
      const [stranger] = await buyersMake(1, { opg: 0n });
      return [pay(r.path, r.body, withPayload(r, (p) => { (p.authorization ?? p.permit2Authorization).from = stranger.account.address; }))];
    }),
    [`${kind}: twelve at once`, () => race(kind, (r) => Array(12).fill(r.sent))],
    [`${kind}: twelve at once, twins among them`, () => race(kind, (r) => Array.from({ length: 12 }, (_, i) => (i % 3 ? r.sent : signed(r, i % 2 ? highTwin : yParity))))],
    [`${kind}: twelve at once, for twelve requests`, () => race(kind, (r) => Array(12).fill(r.sent), true)],
  ];
}

/// Whoever gets 200 gets the same; the model ran once.
async function race(kind, copies, other_bodies) {
  const r = await ready(kind);
  const sent = copies(r);
  const answers = await Promise.all(sent.map((one) => pay(r.path, other_bodies ? r.bodyMake() : r.body, one)));
  const served = answers.filter(({ status }) => status === 200);
  assert.ok(served.length >= 1 && (!other_bodies || served.length === 1), `${served.length} served`);
  assert.equal(new Set(served.map(({ bytes }) => bytes.toString())).size, 1);
  // Nobody who sends what was paid for is told to pay again. (Of twins Permit2 takes the one that comes first.)
  const may_be_refused = other_bodies || sent.some((one) => one !== r.sent);
  for (const answer of answers) {
    assert.ok([200, 202, ...(may_be_refused ? [402] : [])].includes(answer.status), `${answer.status} ${termsIn(answer)?.error}`);
    if (answer.status === 402) assert.ok([USED[kind], 'invalid_exact_evm_transaction_simulation_failed', 'permit2_simulation_failed'].includes(termsIn(answer).error), termsIn(answer).error);
    if (answer.status === 202) assert.ok(answer.headers.get('Location') && answer.headers.get('Retry-After') && answer.json.state === 'pending');
  }
  await assertOnce(r, served[0]);
}

const v1 = (r) => ({ 'X-PAYMENT': base64({ x402Version: 1, scheme: 'exact', network: 'base-sepolia', payload: r.made.payload }) });
const others = [
  ['one Permit2 nonce, by exact and by upto', async () => {
    const r = await ready('permit2');
    await assertOnce(r, await pay(r.path, r.body, r.sent));
    const upto = envelope(r.offers.upto, await makerOf('upto')(r.wallet, r.offers.upto, { nonce: r.made.message.nonce }));
    assertRefused(await pay(r.path, r.body, upto), USED.upto);
    assertRefused(await pay(r.path, r.bodyMake(), upto), USED.upto);
    await assertOnce(r, await pay(r.path, r.body, r.sent));
  }],
  ['one number as the nonce of EIP-3009 and of Permit2: two payments', async () => {
    const r = await ready('eip3009');
    const other = await makerOf('permit2')(r.wallet, r.offers.permit2, { nonce: BigInt(r.made.message.nonce) });
    for (const sent of [r.sent, envelope(r.offers.permit2, other)]) assert.equal((await pay(r.path, r.bodyMake(), sent)).status, 200);
    assert.deepEqual(workOf(r.wallet.address), [2, 2, 2]);
    assert.equal(await tokenBalance(r.wallet.address), OPG - r.amount - BigInt(r.offers.permit2.amount));
  }],
  ['one nonce of two payers: two payments', async () => {
    const [one, two] = [await ready('eip3009'), await ready('eip3009')];
    const made = await makerOf('eip3009')(two.wallet, two.offer, { nonce: one.made.message.nonce });
    await assertOnce(one, await pay(one.path, one.body, one.sent));
    await assertOnce(two, await pay(two.path, two.body, envelope(two.offer, made)));
  }],
  ['the same authorization by version 2 and by version 1: one payment', async () => {
    const r = await ready('eip3009', { place: [INFER, inferBody] });
    const first = await pay(r.path, r.body, r.sent);
    const second = await post(r.path, r.body, v1(r));
    assert.deepEqual([second.status, second.bytes, second.headers.get('Idempotent-Replayed')], [200, first.bytes, 'true']);
    assert.ok(second.headers.get('X-PAYMENT-RESPONSE'));
    assert.equal((await post(r.path, r.bodyMake(), v1(r))).status, 402);
    await assertOnce(r, first);
  }],
  ['the same authorization by version 1 and by version 2: one payment', async () => {
    const r = await ready('eip3009', { place: [INFER, inferBody] });
    const first = await post(r.path, r.body, v1(r));
    assertRefused(await pay(r.path, r.bodyMake(), r.sent), USED.eip3009);
    assert.deepEqual((await pay(r.path, r.body, r.sent)).bytes, first.bytes);
    await assertOnce(r, first);
  }],
  ['version 1 and version 2 at once: one payment', async () => {
    const r = await ready('eip3009', { place: [INFER, inferBody] });
    const answers = await Promise.all(Array.from({ length: 8 }, (_, i) => (i % 2 ? post(r.path, r.body, v1(r)) : pay(r.path, r.body, r.sent))));
    for (const { status } of answers) assert.ok([200, 202].includes(status), String(status));
    await assertOnce(r, answers.find(({ status }) => status === 200));
  }],
  ['two payments for the same request: two answers', async () => {
    const r = await ready('eip3009', { place: [INFER, inferBody] });
    for (const sent of [r.sent, envelope(r.offer, await makerOf('eip3009')(r.wallet, r.offer))]) assert.equal((await pay(r.path, r.body, sent)).status, 200);
    assert.deepEqual([workOf(r.wallet.address), await tokenBalance(r.wallet.address)], [[2, 2, 2], OPG - 2n * r.amount]);
  }],
  ['the payment of one wallet in the name of another', async () => {
    const [r, [other]] = [await ready('eip3009', { place: [INFER, inferBody] }), await buyersMake(1)];
    const made = await makerOf('eip3009')(r.wallet, r.offer, { from: other.account.address });
    assertRefused(await pay(r.path, r.body, envelope(r.offer, made)), 'invalid_exact_evm_signature');
    await assertNothing(r);
    assert.equal(await tokenBalance(other.address), OPG);
  }],
];

/// Permit2 keeps one bit for a nonce, however it is written.
const spelt = (kind, name, write) => afterwards(kind, `its nonce ${name}`, USED[kind], (r) => [pay(r.path, r.bodyMake(), withPayload(r, (p) => { p.permit2Authorization.nonce = write(p.permit2Authorization.nonce); }))]);

// ---- what the chain did meanwhile ----

const PERMIT2_ABI = parseAbi(['function invalidateUnorderedNonces(uint256 wordPos, uint256 mask)']);

const onChain = [
  ['eip3009: used by a third party before it came', async () => {
    const [r, [stranger]] = [await ready('eip3009', { place: [INFER, inferBody] }), await buyersMake(1, { opg: 0n })];
    const { from, to, value, validAfter, validBefore, nonce } = r.made.message;
    await send(stranger, token.address, token.abi, 'transferWithAuthorization', from, to, value, validAfter, validBefore, nonce, ...vrs(r.made.payload.signature));
    assertRefused(await pay(r.path, r.body, r.sent), USED.eip3009);
    await assertNothing(r, OPG - r.amount);
  }],
  ['permit2: used by a third party before it came', async () => {
    const [r, [stranger]] = [await ready('permit2'), await buyersMake(1, { opg: 0n })];
    const { permitted, nonce, deadline, witness } = r.made.message;
    await send(stranger, EXACT_PROXY, contractsCompile().X402ExactPermit2Proxy.abi, 'settle', { permitted, nonce, deadline }, r.wallet.account.address, witness, r.made.payload.signature);
    assertRefused(await pay(r.path, r.body, r.sent), USED.permit2);
    await assertNothing(r, OPG - r.amount);
  }],
  ['eip3009: cancelled', async () => {
    const r = await ready('eip3009', { place: [INFER, inferBody] });
    await cancelled(r.wallet, r.offer, r.made.message);
    assertRefused(await pay(r.path, r.body, r.sent), USED.eip3009);
    await assertNothing(r);
  }],
  ...['permit2', 'upto'].flatMap((kind) => [
    [`${kind}: its nonce invalidated`, async () => {
      const r = await ready(kind);
      await send(r.wallet, PERMIT2, PERMIT2_ABI, 'invalidateUnorderedNonces', r.made.message.nonce >> 8n, 1n << (r.made.message.nonce & 255n));
      assertRefused(await pay(r.path, r.body, r.sent), USED[kind]);
      await assertNothing(r);
    }],
    [`${kind}: its neighbour's nonce invalidated`, async () => {
      const r = await ready(kind);
      await send(r.wallet, PERMIT2, PERMIT2_ABI, 'invalidateUnorderedNonces', r.made.message.nonce >> 8n, 1n << ((r.made.message.nonce + 1n) & 255n));
      await assertOnce(r, await pay(r.path, r.body, r.sent));
    }],
    [`${kind}: two nonces of one word`, async () => {
      const r = await ready(kind, { over: { nonce: 512n } });
      const other = await makerOf(kind)(r.wallet, r.offer, { nonce: 513n });
      for (const made of [r.made, other]) assert.equal((await pay(r.path, r.bodyMake(), envelope(r.offer, made))).status, 200);
      assert.deepEqual(workOf(r.wallet.address), [2, 2, 2]);
    }],
    [`${kind}: no allowance`, async () => {
      const r = await ready(kind);
      await send(r.wallet, token.address, token.abi, 'approve', PERMIT2, 0n);
      assertRefused(await pay(r.path, r.body, r.sent), 'permit2_allowance_required', 412);
      await assertNothing(r);
    }],
    [`${kind}: an allowance one short`, async () => {
      const r = await ready(kind);
      await send(r.wallet, token.address, token.abi, 'approve', PERMIT2, r.amount - 1n);
      assertRefused(await pay(r.path, r.body, r.sent), 'permit2_allowance_required', 412);
      await assertNothing(r);
    }],
    [`${kind}: an allowance of the price`, async () => {
      const r = await ready(kind);
      await send(r.wallet, token.address, token.abi, 'approve', PERMIT2, r.amount);
      await assertOnce(r, await pay(r.path, r.body, r.sent));
    }],
  ]),
  ...KINDS.flatMap((kind) => [
    [`${kind}: nothing in the wallet`, async () => {
      const r = await ready(kind, { opg: 0n });
      assertRefused(await pay(r.path, r.body, r.sent), kind === 'eip3009' ? 'invalid_exact_evm_insufficient_balance' : 'permit2_insufficient_balance');
      await assertNothing(r, 0n);
    }],
    [`${kind}: one too little in the wallet`, async () => {
      const r = await ready(kind);
      await send(r.wallet, token.address, token.abi, 'transfer', dev.treasury, OPG - r.amount + 1n);
      assertRefused(await pay(r.path, r.body, r.sent), kind === 'eip3009' ? 'invalid_exact_evm_insufficient_balance' : 'permit2_insufficient_balance');
      await assertNothing(r, r.amount - 1n);
    }],
    [`${kind}: the wallet covers one of two`, async () => {
      const r = await ready(kind);
      await send(r.wallet, token.address, token.abi, 'transfer', dev.treasury, OPG - r.amount);
      const other = await makerOf(kind)(r.wallet, r.offer);
      const answers = await Promise.all([pay(r.path, r.body, r.sent), pay(r.path, r.bodyMake(), envelope(r.offer, other))]);
      const served = answers.filter(({ status }) => status === 200), refused = answers.filter(({ status }) => status === 402);
      assert.ok(served.length >= 1 && served.length + refused.length === 2, answers.map(({ status }) => status).join());
      if (kind !== 'upto') assert.equal(served.length, 1); // of upto less is taken than was signed: both may be covered
      for (const answer of refused) assert.ok(receiptIn(answer) ? receiptIn(answer).success === false && !termsIn(answer) : termsIn(answer));
      let taken = 0n;
      for (const answer of served) taken += BigInt((await settledOf(answer.headers.get('Opgate-Payment'))).amount);
      assert.equal(await tokenBalance(r.wallet.address), r.amount - taken);
    }],
  ]),
];

export const ONCE = [
  ...KINDS.flatMap(repeated), ...others, ...onChain,
  ...['permit2', 'upto'].flatMap((kind) => [
    spelt(kind, 'in hex', (n) => `0x${BigInt(n).toString(16)}`), spelt(kind, 'with leading zeros', (n) => `000${n}`), spelt(kind, 'with blanks around', (n) => ` ${n} `),
  ]),
];
