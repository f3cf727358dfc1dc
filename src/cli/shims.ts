import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HeadgateError } from '../model/errors.ts';
import { verbs } from './verbs.ts';

/** What happened to one name. `absent`: there was nothing of ours to remove. */
export type ShimChange = { readonly path: string; readonly change: 'installed' | 'removed' | 'absent' };

const names = verbs.map((verb) => verb.name).filter((name) => name.startsWith('ipvsadm'));

/** The line by which a shim is known as ours; nothing without it is ever overwritten or removed. */
const marker = '# Headgate shim; "headgate shims remove" takes it away.';

/**
 * Installs or removes the ipvsadm names in `directory`. All names are looked at before the first is touched, so a
 * refusal changes nothing. Throws HG_USAGE when a file of another program stands there or the directory cannot be
 * written.
 */
export function changeShims(action: 'install' | 'remove', directory: string): readonly ShimChange[] {
  const paths = names.map((name) => ({ name, path: join(directory, name) }));
  for (const { path } of paths) refuseForeign(path);
  try {
    readdirSync(directory);
    accessSync(directory, constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw new HeadgateError(
      'HG_USAGE',
      `Cannot ${action} shims in "${directory}": it is no writable directory`,
      {
        hint: 'run it with sudo, or choose another with --dir DIRECTORY',
        cause,
      },
    );
  }
  return paths.map(({ name, path }): ShimChange => {
    if (action === 'install') {
      writeFileSync(path, shimText(name));
      chmodSync(path, 0o755);
      return { path, change: 'installed' };
    }
    const present = existsSync(path);
    rmSync(path, { force: true });
    return { path, change: present ? 'removed' : 'absent' };
  });
}

/** The answer as text, with the one thing to know when the shell will not find the names. */
export function shimsText(changes: readonly ShimChange[], directory: string, path: string): string {
  const lines = changes.map(({ path: file, change }) => `${change.padEnd(9)}  ${file}\n`).join('');
  const installed = changes.some(({ change }) => change === 'installed');
  return installed && !path.split(delimiter).includes(directory)
    ? `${lines}${directory} is not on the PATH of this shell.\n`
    : lines;
}

function shimText(name: string): string {
  const launcher = fileURLToPath(new URL('../../bin/headgate.js', import.meta.url));
  return `#!/bin/sh\n${marker}\nexec ${quoted(process.execPath)} ${quoted(launcher)} ${name} "$@"\n`;
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

function refuseForeign(path: string): void {
  if (!existsSync(path) || readFileSync(path, 'utf8').includes(marker)) return;
  throw new HeadgateError(
    'HG_USAGE',
    `Cannot use the name "${path}": a file of another program stands there`,
    {
      hint: 'move it away, or choose another directory with --dir DIRECTORY',
    },
  );
}
