/**
 * How long after a real server has died nobody is sent to it any more, and how long after it is well it is back:
 * keepalived, ldirectord, and Headgate on the same files, on a real kernel with IPVS, whose clock counts instructions.
 *
 * Usage: npm run bench:removal [-- --rounds N --only peer,ipvs,ebpf --files tcp.conf,http.conf,connect.cf,negotiate.cf]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';
import { nanosecondsPerInstruction, runInGuest } from '../../test/kernel/guest.ts';
import { readArguments } from '../arguments.ts';
import { machine, printTable, takePrecedence } from '../machine.ts';
import { headings, roundsIn, rowsOf } from './figures.ts';
import { contestants, sheets } from './plan.ts';

const options = readArguments(import.meta.filename, {
  rounds: 5,
  only: contestants.join(','),
  files: sheets.map(({ file }) => file).join(','),
});

takePrecedence();
const project = resolve(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'headgate-bench-removal-'));
try {
  const program = join(folder, 'inside.mjs');
  // There is no time in a guest to translate sources.
  await build({
    entryPoints: [join(import.meta.dirname, 'inside.ts')],
    outfile: program,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    logLevel: 'warning',
  });
  const launcher = join(project, 'bin/headgate.js');
  const words = [String(options.rounds), import.meta.dirname, launcher, options.only, options.files];
  const { status, output, console, kernelRelease } = await runInGuest([process.execPath, program, ...words], {
    cwd: project,
    countInstructions: true,
    timeoutMs: 3_600_000,
  });
  const rounds = roundsIn(output.toString());
  const perSecond = 1000 / nanosecondsPerInstruction;
  process.stdout.write(
    `${machine()}\nLinux ${kernelRelease}, one emulated processor of ${perSecond} million instructions a second; ${options.rounds} rounds\n\n`,
  );
  printTable(headings, rowsOf(rounds));
  if (status !== 0) throw new Error(`the guest ended with ${status}; it said:\n${output}\n${console}`);
} finally {
  rmSync(folder, { recursive: true });
}
