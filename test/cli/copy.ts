import { chmodSync, cpSync, existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const project = fileURLToPath(new URL('../..', import.meta.url));

/** The built product in a new folder where every user can read it. */
export function copyProduct(): string {
  const copy = mkdtempSync(join(tmpdir(), 'headgate-copy-'));
  chmodSync(copy, 0o755);
  const packages = ['commander', 'koffi', '@koromix'].map((name) => `node_modules/${name}`);
  for (const part of ['bin', 'dist', 'bpf', 'package.json', ...packages])
    if (existsSync(join(project, part)))
      cpSync(join(project, part), join(copy, part), { recursive: true, dereference: true });
  return copy;
}

/** Behind these words a command is an ordinary user's. */
export const unprivileged = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];
