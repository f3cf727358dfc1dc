import { type FSWatcher, statSync, watch } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

/** A watch over the files a configuration consists of. */
export type FileWatch = {
  /** These and no others, from now on. */
  follow(files: readonly string[]): void;
  stop(): void;
};

/**
 * How long a file has to be left alone before it is read: several writes of an editor are one change. A file that was
 * moved into its place is whole at once, and only its neighbours may still be on their way.
 */
const settleMs = { change: 100, rename: 10 } as const;

/** Calls `changed` when a file has changed and was left alone for a moment. */
export function watchFiles(changed: () => void): FileWatch {
  let followed: readonly string[] = [];
  let watchers: readonly FSWatcher[] = [];
  let settling: NodeJS.Timeout | undefined;

  return {
    follow(files) {
      if (files.join('\n') === followed.join('\n')) return;
      followed = files;
      for (const watcher of watchers) watcher.close();
      const folders = new Map<string, Set<string>>();
      for (const name of files.map((one) => resolve(one)))
        folders.set(dirname(name), (folders.get(dirname(name)) ?? new Set()).add(basename(name)));
      // The folder, not the file: editors put a new one in its place.
      watchers = [...folders].map(([folder, names]) =>
        watch(folder, (event, name) => {
          if (name !== null && !names.has(name)) return;
          clearTimeout(settling);
          settling = setTimeout(changed, settleMs[isWhole(event, folder, name) ? 'rename' : 'change']);
        }),
      );
    },
    stop() {
      clearTimeout(settling);
      for (const watcher of watchers) watcher.close();
    },
  };
}

/** A file that is made in its place is empty at first. */
function isWhole(event: string, folder: string, name: string | null): boolean {
  if (event !== 'rename' || name === null) return false;
  return (statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0) > 0;
}
