import type { Address } from './address.ts';
import type { Connection } from './table.ts';

/** Which entries of the connection table are asked for; all of them where nothing is named. */
export type ConnectionFilter = {
  /** Those of these clients, as the table has them: the client of a persistence template is the address of its network. */
  readonly clients?: readonly Address[];
};

/**
 * Entries of the connection table, in no order, some thousand at a time: a table of a million is never in one piece, and between two
 * batches the process goes on with its other work. What comes about or ends meanwhile may be among them or not.
 */
export type ConnectionBatches = AsyncIterable<readonly Connection[]>;

/** The entries that are asked for. */
export function among(
  rows: readonly Connection[],
  { clients }: ConnectionFilter = {},
): readonly Connection[] {
  return clients === undefined ? rows : rows.filter(({ client }) => clients.includes(client.address));
}

/** What is at hand, as one batch. */
export async function* oneBatch(rows: readonly Connection[]): ConnectionBatches {
  if (rows.length > 0) yield rows;
}

/** All batches in one piece, for who has few or needs them all at a time. */
export async function gather(batches: ConnectionBatches): Promise<Connection[]> {
  const all: Connection[] = [];
  for await (const batch of batches) for (const one of batch) all.push(one);
  return all;
}

/** The same rows in batches of at least so many, but for the last one. */
export async function* inBatchesOf(least: number, batches: ConnectionBatches): ConnectionBatches {
  let rows: Connection[] = [];
  for await (const batch of batches) {
    for (const one of batch) rows.push(one);
    if (rows.length < least) continue;
    yield rows;
    rows = [];
  }
  yield* oneBatch(rows);
}

/** How many entries have the same virtual address, destination and state; `like` is one of them. */
export type ConnectionCount = { readonly like: Connection; readonly count: number };

/** The same for who tells of connections one by one. */
export async function* countEach(batches: ConnectionBatches): AsyncIterable<ConnectionCount> {
  for await (const batch of batches) for (const like of batch) yield { like, count: 1 };
}
