// make month [JOBS=100000] [DAYS=30] [SEED=1]: simulates a month and counts it; exit 0 when everything adds up.
import { Month } from './month.mjs';
import { monthCount } from './count.mjs';

const JOBS = Number(process.env.JOBS || 100_000), DAYS = Number(process.env.DAYS || 30);
const seed = Number(process.env.SEED || Date.now() % 2 ** 31);
const say = (text) => console.log(text);

say(`month: ${JOBS} jobs in ${DAYS} days, SEED=${seed}`);
const month = await Month.start({ seed, say });
let failed;
try {
  for (let day = 1; day <= DAYS; day++) await month.day(day, Math.ceil(JOBS / DAYS));
  await month.quiet();
  say(`the month adds up: ${JSON.stringify(await monthCount(month))}`);
} catch (error) {
  failed = error;
  console.error(error);
  console.error(month.rig.logTail('gateway', 20));
} finally {
  await month.stop();
}
process.exit(failed ? 1 : 0);
