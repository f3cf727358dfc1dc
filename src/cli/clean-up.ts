import { dirname, join } from 'node:path';
import { removeLeftOfAgents } from '../agent/left.ts';
import { removeLeftFolders, removePlane } from '../control/embedded.ts';
import { removeLeftOfFailover } from '../daemon/failover.ts';
import { socketPath } from './connect.ts';

/** `clean-up`: the data plane of this network namespace goes, and what processes that were killed have left. */
export async function cleanUp(): Promise<void> {
  await removePlane();
  await removeLeftOfFailover(join(dirname(await socketPath()), 'failover.sock'));
  await removeLeftFolders();
  removeLeftOfAgents();
}
