import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { ConnectionFeed } from '../../model/connection-feed.ts';
import { ensureBpffs } from '../../sys/mount.ts';
import { netnsCookie } from '../../sys/netns.ts';
import { openConnectionFeed } from './connection-feed.ts';
import { openInstance } from './instance.ts';
import { layoutId } from './layout.generated.ts';

/**
 * The connections of this network namespace's plane, without its lock: nothing of its table is written but by its own
 * program. Undefined where there is no plane, or one of another layout.
 */
export function openHostFeed(
  refreshSeconds?: number,
): (ConnectionFeed & { slots(): number; isThere(): boolean }) | undefined {
  const directory = join(ensureBpffs(), String(netnsCookie()));
  const instance = openInstance(directory);
  if (!instance) return undefined;
  if (instance.settings.get(0, 'layout') !== layoutId) {
    instance.close();
    return undefined;
  }
  const feed = openConnectionFeed(instance, refreshSeconds);
  return {
    ...feed,
    slots: () => instance.runtime.get(0, 'fresh'),
    isThere: () => existsSync(directory),
    close() {
      feed.close();
      instance.close();
    },
  };
}
