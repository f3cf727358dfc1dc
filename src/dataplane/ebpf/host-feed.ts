import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { ConnectionFeed } from '../../model/connection-feed.ts';
import type { SyncSysctls } from '../../model/sysctls.ts';
import { ensureBpffs } from '../../sys/mount.ts';
import { netnsCookie } from '../../sys/netns.ts';
import { planeDirectory } from '../instance-folder.ts';
import { openConnectionFeed } from './connection-feed.ts';
import { openInstance } from './instance.ts';
import { layoutId } from './layout.generated.ts';
import { readSyncSysctls } from './sync-sysctls.ts';

/**
 * The connections of this network namespace's plane, without its lock: nothing of its table is written but by its own
 * program. Undefined where there is no plane, or one of another layout.
 */
export function openHostFeed():
  | (ConnectionFeed & { slots(): number; isThere(): boolean; sysctls(): SyncSysctls })
  | undefined {
  const cookie = String(netnsCookie());
  const directory = join(ensureBpffs(), cookie);
  const instance = openInstance(directory);
  if (!instance) return undefined;
  if (instance.settings.get(0, 'layout') !== layoutId) {
    instance.close();
    return undefined;
  }
  const feed = openConnectionFeed(instance);
  return {
    ...feed,
    slots: () => instance.runtime.get(0, 'fresh'),
    isThere: () => existsSync(directory),
    sysctls: () => readSyncSysctls(planeDirectory(cookie)),
    close() {
      feed.close();
      instance.close();
    },
  };
}
