// Takes down the stack that stack.mjs brought up, when the run that used it is over, however it ended:
//     node keeper.mjs FOLDER PID START
// FOLDER holds the stack in var/; PID and START are the runner's process. Started by stack.mjs, detached; it says nothing.
import fs from 'node:fs';
import path from 'node:path';
import { procAlive } from '../../script/lib/procs.mjs';
import { stackDown, stackLocked } from '../../script/lib/stack.mjs';
import { progressQuiet, waitFor } from '../../script/lib/wait.mjs';

const [folder, pid, start] = process.argv.slice(2);
process.env.OPGATE_VAR = path.join(folder, 'var');
progressQuiet(true);
await waitFor('the run is over', () => !procAlive({ pid: Number(pid), start }), { seconds: 24 * 3600, every: 100 });
// The file that was bringing the stack up may have died with the run: its lock is stale then.
await waitFor('the stack is down', async () => {
  await stackLocked(stackDown);
  return true;
}, { seconds: 120, every: 200 });
fs.rmSync(folder, { recursive: true, force: true });
