// The command behind script/dev: up, down, status, restart NAME. What it does is in lib/stack.mjs.
import fs from 'node:fs';
import { inVar, varFolder } from './lib/paths.mjs';
import { devRead, stackDown, stackLocked, stackRestart, stackStatus, stackUp } from './lib/stack.mjs';

function statusPrint() {
  const all = stackStatus();
  const dev = fs.existsSync(inVar('dev.json')) && all.some(({ alive }) => alive) ? devRead() : null;
  console.log(`${dev ? dev.base_url : 'no stack is up'}  (folder ${varFolder()})`);
  for (const { name, pid, alive, log } of all)
    console.log(`${name.padEnd(9)} ${alive ? `runs, process ${pid}` : 'does not run'}${pid ? `, log ${log}` : ''}`);
  return all.every(({ alive }) => alive);
}

const COMMANDS = {
  up: async () => {
    const { dev, fresh } = await stackLocked(stackUp);
    console.log(`${fresh ? 'up' : 'already up'}: ${dev.base_url}  (everything else: ${varFolder()}/dev.json)`);
  },
  down: () => stackLocked(stackDown),
  restart: (name) => stackLocked(() => stackRestart(name)),
  status: () => {
    if (!statusPrint()) process.exitCode = 1;
  },
};

const [command, ...args] = process.argv.slice(2);
if (!Object.hasOwn(COMMANDS, command ?? '') || args.length !== (command === 'restart' ? 1 : 0)) {
  console.error('usage: script/dev up|down|status|restart NAME');
  process.exit(2);
}
try {
  await COMMANDS[command](...args);
} catch (error) {
  console.error(`script/dev ${command}: ${error.message}`);
  process.exitCode = 1;
}
