// A long table of payments, good ones and every kind of bad one, sent to the paid routes by hand. The official server is asked about
// the same payments beside (x402-cases/official.mjs): where opgate's answer is another one the row says so. What needs a chain that
// stands still or a gateway that dies is in x402.test.mjs.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { assertBooks, sql, waitFor } from './stack.mjs';
import { assertCustody } from './payer.mjs';
import { refusalsOf } from './x402-cases/authorizations.mjs';
import { each, KINDS, refuse, serve } from './x402-cases/kit.mjs';
import { ONCE } from './x402-cases/once.mjs';
import { FRAMING, KEYS, QUOTES } from './x402-cases/quotes.mjs';
import { SERVED } from './x402-cases/served.mjs';
import { V1_REFUSED } from './x402-cases/v1.mjs';
import { walletsOf } from './x402-cases/wallets.mjs';
import { SETTLING, settlingEnd } from './x402-cases/settling.mjs';
import { TERMS, TERMS_EXACT, TERMS_UPTO, UNREADABLE } from './x402-cases/malformed.mjs';

let count = 0;

after(async () => {
  await waitFor('nothing is open', () => sql("SELECT 1 FROM payment WHERE state IN ('claimed', 'settling', 'failed')").length === 0, { seconds: 60 });
  await settlingEnd();
  await assertCustody();
  await assertBooks();
});

test('what cannot be read', async (t) => {
  count += await refuse(t, 'eip3009', UNREADABLE);
});

test('version 1, refused', async (t) => {
  count += await refuse(t, 'eip3009', V1_REFUSED);
});

for (const kind of KINDS) {
  test(`served: ${kind}`, async (t) => {
    count += await serve(t, kind, SERVED[kind]);
  });
  test(`other terms than were offered: ${kind}`, async (t) => {
    count += await refuse(t, kind, [...TERMS, ...(kind === 'upto' ? TERMS_UPTO : TERMS_EXACT)]);
  });
  for (const [group, cases] of Object.entries({ ...refusalsOf(kind), 'wallets with code': walletsOf(kind) }))
    test(`authorizations that are wrong: ${kind}, ${group}`, async (t) => {
      count += await refuse(t, kind, cases);
    });
}

for (const [group, cases] of Object.entries({ 'one authorization, one answer': ONCE, 'quotes': QUOTES, 'a key beside the payment': KEYS, 'around the payment': FRAMING, 'the chain changes its mind': SETTLING }))
  test(group, async (t) => {
    count += await each(t, cases);
  });

test('the cases are counted', (t) => {
  t.diagnostic(`${count} x402 cases`);
  assert.ok(count >= 250, `${count} cases`);
});
