import { type FSWatcher, statSync, watch } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { hasWriter } from '../sys/lease.ts';

/** A watch over the files a configuration consists of. */
export type FileWatch = {
  /** These and no others, from now on. */
  follow(files: readonly string[]): void;
  stop(): void;
};

/**
 * How long files have to be left alone before they are read. One that was moved into its place is whole at once, and only
 * its neighbours may still be on their way. One that is written in place is whole when nobody has it open for writing any
 * more, and may be opened once more; but some programs keep open what they have written. Where the kernel cannot tell,
 * several writes of an editor are to be one change.
 */
const settleMs = { moved: 10, closed: 20, unknown: 100, open: 1000 } as const;

/** Calls `changed` when a file has changed and was left alone for a moment. */
export function watchFiles(changed: () => void): FileWatch {
  let followed: readonly string[] = [];
  let watchers: readonly FSWatcher[] = [];
  let settling: NodeJS.Timeout | undefined;

  /** `path` was written to at `since`: waits until that is over. */
  function awaitEnd(path: string, since: number): void {
    settling = setTimeout(() => {
      if (performance.now() - since >= settleMs[stateOf(path)]) changed();
      else awaitEnd(path, since);
    }, settleMs.closed);
  }

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
          if (event === 'rename' && name !== null && isFilled(join(folder, name)))
            settling = setTimeout(changed, settleMs.moved);
          else if (name !== null) awaitEnd(join(folder, name), performance.now());
          else settling = setTimeout(changed, settleMs.unknown);
        }),
      );
    },
    stop() {
      clearTimeout(settling);
      for (const watcher of watchers) watcher.close();
    },
  };
}

/** A file that is made in its place, or emptied, is about to be filled. */
function isFilled(path: string): boolean {
  return (statSync(path, { throwIfNoEntry: false })?.size ?? 0) > 0;
}

function stateOf(path: string): keyof typeof settleMs {
  const isWritten = hasWriter(path);
  if (isWritten) return 'open';
  return isWritten === undefined || !isFilled(path) ? 'unknown' : 'closed';
}
