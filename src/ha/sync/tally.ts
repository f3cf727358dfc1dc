import type { SyncProgress } from '../../model/connection-sync.ts';

/** The counts of a sync process. */
export type Tally = {
  messages: number;
  connections: number;
  refused: number;
  lastRefusal?: string;
};

export const newTally = (): Tally => ({ messages: 0, connections: 0, refused: 0 });

export function refuse(tally: Tally, why: string): void {
  tally.refused++;
  tally.lastRefusal = why;
}

export const progressOf = (tally: Tally, rest: Omit<SyncProgress, 'pid' | keyof Tally>): SyncProgress => ({
  pid: process.pid,
  ...tally,
  ...rest,
});
