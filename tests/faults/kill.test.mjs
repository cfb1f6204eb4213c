// See kill.mjs. ROUNDS (default 6) and SEED come from the environment; the seed is printed, and repeats the plan of a run. KILLS="closed
// postgres" is a plan of its own.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { inRoot } from '../../script/lib/paths.mjs';

process.env.OPGATE_BIN = process.env.OPGATE_FAULTS_BIN || inRoot('build/faults/opgate');
const { Campaign, JOBS_AT_ONCE, plan, POINTS, randomFrom } = await import('./kill.mjs');

const rounds = Number(process.env.ROUNDS || 6);
const seed = Number(process.env.SEED || Date.now() % 2 ** 31);
const kills = process.env.KILLS ? process.env.KILLS.split(' ') : plan(rounds, randomFrom(seed));
let campaign;

before(async () => {
  assert.ok(fs.existsSync(process.env.OPGATE_BIN), `${process.env.OPGATE_BIN} is missing: make FAULTS=1 BUILD=build/faults`);
  console.log(`# seed ${seed}, ${rounds} rounds of ${JOBS_AT_ONCE} jobs`);
  campaign = await Campaign.start({ seed, say: (line) => console.log(`# ${line}`) });
});
after(() => campaign?.stop());

for (const [number, what] of kills.entries())
  test(`round ${number + 1}: kill -9 at ${what}`, { timeout: 120_000 }, async () => {
    try {
      await campaign.round(number + 1, what);
    } catch (error) {
      console.log(`# seed ${seed}, round ${number + 1} (${what}) failed; the gateway's last words:\n${campaign.rig.logTail('gateway', 12).replace(/^/gm, '#   ')}`);
      await campaign.again(what).catch(() => {});
      throw error;
    }
  });

test('what was killed', () => {
  const met = POINTS.filter((point) => kills.includes(point));
  console.log(`# points met: ${met.length} of ${POINTS.length}${met.length < POINTS.length ? `; not: ${POINTS.filter((point) => !kills.includes(point)).join(' ')}` : ''}`);
  if (rounds >= POINTS.length + 3) assert.equal(met.length, POINTS.length);
});
