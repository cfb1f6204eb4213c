// Compiles the contracts in contracts/ with the pinned solc. Called by script/deploy.mjs, the stack and the tests; as a
// command it writes one JSON artifact a contract into the folder given (default build/contracts):
//     script/node script/contracts.mjs [FOLDER]
// The result is kept in that folder with the hash of what it was made from, because loading solc takes a second.
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const SETTINGS = {
  optimizer: { enabled: true, runs: 200 },
  viaIR: true, // transferWithAuthorization has more arguments than the stack reaches
  evmVersion: 'cancun',
  outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object', 'evm.deployedBytecode.object'] } },
};

function readSources() {
  const folder = path.join(root, 'contracts');
  const names = fs.readdirSync(folder).filter((name) => name.endsWith('.sol')).sort();
  return Object.fromEntries(names.map((name) => [name, { content: fs.readFileSync(path.join(folder, name), 'utf8') }]));
}

function compile(sources) {
  const solc = createRequire(import.meta.url)('solc');
  const output = JSON.parse(solc.compile(JSON.stringify({ language: 'Solidity', sources, settings: SETTINGS })));
  const problems = output.errors ?? [];
  if (problems.length > 0) throw new Error(problems.map((problem) => problem.formattedMessage).join('\n'));
  const artifacts = {};
  for (const file of Object.values(output.contracts))
    for (const [name, made] of Object.entries(file)) {
      if (made.evm.bytecode.object === '') continue; // an interface or an abstract contract
      const code = `0x${made.evm.deployedBytecode.object}`; // what is at the address afterwards, when nothing is immutable
      artifacts[name] = { abi: made.abi, bytecode: `0x${made.evm.bytecode.object}`, code };
    }
  return artifacts;
}

/// Returns {OPG: {abi, bytecode, code}, …}, from `folder` when it holds the result for exactly these sources.
export function contractsCompile(folder = path.join(root, 'build', 'contracts')) {
  const sources = readSources();
  const made_from = createHash('sha256').update(JSON.stringify([sources, SETTINGS])).digest('hex');
  const stamp = path.join(folder, 'made_from.json');
  try {
    const kept = JSON.parse(fs.readFileSync(stamp, 'utf8'));
    if (kept.made_from === made_from) return kept.artifacts;
  } catch (error) {
    if (error.code !== 'ENOENT' && !(error instanceof SyntaxError)) throw error;
  }
  const artifacts = compile(sources);
  fs.mkdirSync(folder, { recursive: true });
  for (const [name, artifact] of Object.entries(artifacts))
    fs.writeFileSync(path.join(folder, `${name}.json`), `${JSON.stringify(artifact, null, 1)}\n`);
  fs.writeFileSync(`${stamp}.${process.pid}`, JSON.stringify({ made_from, artifacts }));
  fs.renameSync(`${stamp}.${process.pid}`, stamp);
  return artifacts;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const artifacts = contractsCompile(process.argv[2]);
  for (const [name, { bytecode }] of Object.entries(artifacts)) console.log(`${name} ${bytecode.length / 2 - 1} bytes`);
}
