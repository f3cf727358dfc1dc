import { readdirSync } from 'node:fs';
import { stateDirectory } from '../control/state-directory.ts';
import { HeadgateError } from '../model/errors.ts';

/**
 * The folder of this network namespace's plane, by which its state directory is found, where no daemon runs. Throws
 * HG_NOT_ROOT where this user may not read that.
 */
export async function readableState(): Promise<string> {
  const { planeDirectory } = await import('../control/embedded.ts');
  const plane = planeDirectory();
  const directory = stateDirectory(plane);
  try {
    if (directory !== undefined) readdirSync(directory);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM')
      throw new HeadgateError('HG_NOT_ROOT', `Cannot read "${directory}": this user may not`);
  }
  return plane;
}
