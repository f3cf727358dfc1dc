import { type FSWatcher, readFileSync, watch } from 'node:fs';
import { dirname } from 'node:path';
import { numberIn } from '../model/vrrp-tracking.ts';
import type { FailoverWanted } from './failover-orders.ts';

type File = FailoverWanted['files'][number];

/** Numbers in files that count for the priority. */
export type NumberFiles = {
  /** Looks at these from now on. */
  take(files: readonly File[]): void;
  /** The number in a file; 0 where there is none. */
  number(name: string): number;
};

/** The kernel tells of most changes; a folder that came later, or a file on a network, is looked at as often as this. */
const lookMs = 1_000;
/** As much of a file as counts. */
const most = 64;

/** Looks at nothing yet. `changed` is called whenever a number has changed. */
export function openNumberFiles(changed: () => void): NumberFiles {
  let followed: readonly File[] = [];
  let numbers: ReadonlyMap<string, number> = new Map();
  let watchers: readonly FSWatcher[] = [];
  let timer: NodeJS.Timeout | undefined;

  function look(): void {
    const next = new Map(followed.map(({ name, path }) => [name, read(path)]));
    const same =
      next.size === numbers.size && [...next].every(([name, number]) => numbers.get(name) === number);
    numbers = next;
    if (!same) changed();
  }

  return {
    take(files) {
      if (JSON.stringify(files) === JSON.stringify(followed)) return;
      followed = files;
      for (const watcher of watchers) watcher.close();
      clearInterval(timer);
      watchers = [...new Set(files.map(({ path }) => dirname(path)))].flatMap((folder) => {
        try {
          return [
            watch(folder, look)
              .on('error', () => undefined)
              .unref(),
          ];
        } catch {
          return [];
        }
      });
      numbers = new Map(files.map(({ name, path }) => [name, read(path)]));
      if (files.length > 0) timer = setInterval(look, lookMs).unref();
    },
    number: (name) => numbers.get(name) ?? 0,
  };
}

function read(path: string): number {
  try {
    return numberIn(readFileSync(path, { encoding: 'latin1' }).slice(0, most));
  } catch {
    return 0;
  }
}
