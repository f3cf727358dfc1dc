/**
 * `npm run check`: every gate that needs neither privilege nor the network, each with its time. All gates run even
 * when one fails; the output of a failed gate is shown in full, that of a good one is not. `--without-tests`: for who runs all
 * tests anyway.
 */
import { spawnSync } from 'node:child_process';

const gates = [
  { name: 'style and lint', command: ['biome', 'check', '--error-on-warnings', '.'] },
  { name: 'types', command: ['tsc', '--noEmit'] },
  { name: 'unit tests', command: ['vitest', 'run', '--project', 'unit'] },
];

const isWanted = (name: string) => name !== 'unit tests' || !process.argv.includes('--without-tests');

let failed = 0;
const rows: string[] = [];
for (const { name, command } of gates.filter((gate) => isWanted(gate.name))) {
  const started = performance.now();
  const run = spawnSync('npx', ['--no-install', ...command], {
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const totals = run.stdout.trimEnd().split('\n').at(-1) ?? '';
  const detail = /^\d+ passed, \d+ failed, \d+ skipped$/.test(totals) ? `  ${totals}` : '';
  if (run.status !== 0) {
    failed += 1;
    process.stdout.write(`${run.stdout}${run.stderr}\n`);
  }
  const verdict = run.status === 0 ? 'ok    ' : 'FAILED';
  rows.push(`${verdict}  ${name.padEnd(15)} ${seconds.padStart(5)} s  ${command.join(' ')}${detail}\n`);
}
process.stdout.write(rows.join(''));
process.exitCode = failed === 0 ? 0 : 1;
