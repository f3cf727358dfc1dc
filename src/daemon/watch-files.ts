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
 * How long files have to be left alone before they are read, in ms. One that was moved into its place is whole at once, and only
 * its neighbours may still be on their way: where it is the only file there is nothing to wait for. One that is written in
 * place is whole when nobody has it open for writing any more, and may be opened once more; but some programs keep open what
 * they have written. Where the kernel cannot tell, several writes of an editor are to be one change.
 */
const settleMs = { neighbours: 10, closed: 10, unknown: 100, open: 1000 } as const;

type FileState = Exclude<keyof typeof settleMs, 'neighbours'>;

/** Calls `changed` when a file has changed and was left alone for a moment. */
export function watchFiles(changed: () => void): FileWatch {
  let followed: readonly string[] = [];
  let watchers: readonly FSWatcher[] = [];
  let settling: NodeJS.Timeout | undefined;

  /** `path` was written to and left alone for `quietMs` since: waits until that is over. */
  function awaitEnd(path: string, quietMs = 0, before?: FileState): void {
    settling = setTimeout(() => {
      const state = stateOf(path);
      // Who has just closed or filled it has written until then, which the kernel is about to tell.
      const isNews = before !== undefined && before !== state;
      const quietNowMs = isNews ? 0 : quietMs + settleMs.closed;
      if (quietNowMs >= settleMs[state]) changed();
      else awaitEnd(path, quietNowMs, state);
    }, settleMs.closed);
  }

  /** `path` came to its place: by another name, or as a new file, which somebody may be writing. */
  function awaitNeighbours(path: string): void {
    const state = stateOf(path);
    const isAllThereIs = state === 'closed' && followed.length === 1;
    if (state === 'open') awaitEnd(path);
    else settling = setTimeout(changed, isAllThereIs ? 0 : settleMs.neighbours);
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
          if (name === null) settling = setTimeout(changed, settleMs.unknown);
          else if (event === 'rename' && isFilled(join(folder, name))) awaitNeighbours(join(folder, name));
          else awaitEnd(join(folder, name));
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

function stateOf(path: string): FileState {
  const isWritten = hasWriter(path);
  if (isWritten) return 'open';
  return isWritten === undefined || !isFilled(path) ? 'unknown' : 'closed';
}
