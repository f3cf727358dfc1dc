import { basename } from 'node:path';
import type { Controller } from '../../control/controller.ts';
import { type Io, runIpvsadm } from './run.ts';

const programs = ['ipvsadm', 'ipvsadm-save', 'ipvsadm-restore'];

/**
 * Runs one of the ipvsadm programs on this machine's data plane; `words` starts with the program's name. What the
 * common commands do not need is loaded when it is used, so that a command starts quickly.
 */
export async function runProgram(words: readonly string[], io: Io): Promise<number> {
  const [program = 'ipvsadm', first, ...rest] = words;
  const open = () => openHere(io);
  if (program === 'ipvsadm-save') return (await import('./scripts.ts')).runSave(words, io, open);
  if (program === 'ipvsadm-restore') return (await import('./scripts.ts')).runRestore(words, io, open);
  if (first === 'service') return (await import('./service.ts')).runService([program, ...rest], io, open);
  return runIpvsadm(words, io, open);
}

async function openHere({ stderr }: Pick<Io, 'stderr'>): Promise<Controller> {
  return (await import('../connect.ts')).connectForRuntime('ipvsadm', stderr);
}

/** The entry of bin/ipvsadm.js: the program is the first word if it is one of the three, else the launcher's name. */
export async function main(): Promise<void> {
  const [, launcher = 'ipvsadm', ...words] = process.argv;
  const called = basename(launcher, '.js');
  const named = programs.includes(words[0] ?? '')
    ? words
    : [programs.includes(called) ? called : 'ipvsadm', ...words];
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  process.exitCode = await runProgram(named, process);
}
