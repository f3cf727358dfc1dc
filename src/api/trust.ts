import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { HeadgateError } from '../model/errors.ts';

const writableByOthers = 0o022;
/** Only the owner of a file may take it away. */
const restrictedDeletion = 0o1000;

/**
 * Throws HG_SOCKET where somebody else than root or this user could have put a socket there: he would get what is meant
 * for the daemon, and answer what he likes. A file that is not there is no error.
 */
export function refuseStrangers(socketPath: string): void {
  const own = process.geteuid?.() ?? 0;
  const folder = dirname(socketPath);
  for (const [what, path] of [
    ['folder', folder],
    ['socket', socketPath],
  ] as const) {
    const found = statSync(path, { throwIfNoEntry: false });
    if (!found) return;
    if (found.uid !== 0 && found.uid !== own)
      throw refusal(socketPath, `a ${what} of root or of user ${own}`, `one of user ${found.uid}`);
    if (what === 'folder' && found.mode & writableByOthers && !(found.mode & restrictedDeletion))
      throw refusal(socketPath, 'a folder that only its owner may write', 'one that others may write');
  }
}

function refusal(socketPath: string, wanted: string, found: string): HeadgateError {
  return new HeadgateError(
    'HG_SOCKET',
    `Cannot trust the control socket "${socketPath}": wanted ${wanted}, found ${found}`,
    { hint: `look at who owns it: ls -ld ${dirname(socketPath)} ${socketPath}; or unset HEADGATE_SOCKET` },
  );
}
