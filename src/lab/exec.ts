import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { HeadgateError } from '../model/errors.ts';
import { isSystemError } from '../sys/ffi.ts';
import { listNamedNetns, spawnInNetns } from '../sys/netns.ts';
import type { Headgate } from './director.ts';
import { type LabRecord, labDirectory } from './store.ts';

/**
 * Runs a command on a node with this process's own streams; `headgate` and `ipvsadm` are on its PATH. Resolves to how it
 * ended. Throws HeadgateError when the node's namespace is gone or the command does not exist.
 */
export async function spawnInNode(
  record: LabRecord,
  netns: string,
  command: readonly string[],
  headgate: Headgate,
): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
  if (!listNamedNetns().includes(netns))
    throw new HeadgateError('HG_LAB_FAILED', `Cannot run a command in "${netns}": the namespace is gone`, {
      hint: `headgate lab down ${record.name}`,
    });
  const [program, ...args] = command as [string, ...string[]];
  const path = [commandFolder(record.name, headgate), process.env.PATH ?? ''].join(delimiter);
  const child = spawnInNetns(netns, program, args, {
    stdio: 'inherit',
    env: { HEADGATE_CONNECTIONS: '65536', ...process.env, PATH: path },
  });
  // A terminal's Ctrl-C reaches the child as well; it decides, and its end is ours.
  const ignore = (): void => undefined;
  process.on('SIGINT', ignore);
  try {
    const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    return { code, signal };
  } catch (error) {
    if (!isSystemError(error, 'ENOENT', 'EACCES')) throw error;
    throw new HeadgateError('HG_LAB_FAILED', `Cannot run "${program}": ${error.code}, no such program here`, {
      cause: error,
      hint: 'Nodes have the programs of this machine; install it here.',
    });
  } finally {
    process.off('SIGINT', ignore);
  }
}

/** A folder with our own commands by their plain names, wherever this package lies. */
function commandFolder(lab: string, headgate: Headgate): string {
  const folder = join(labDirectory(lab), 'bin');
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const words = headgate.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  const shims = { headgate: '', ipvsadm: ' ipvsadm' };
  for (const [name, verb] of Object.entries(shims))
    writeFileSync(join(folder, name), `#!/bin/sh\nexec ${words}${verb} "$@"\n`, { mode: 0o755 });
  return folder;
}
