/** Work on the table, one after the other. */
export type Turns = {
  /** Does work when what was asked for before is done, whatever came of that. */
  readonly inTurn: <T>(work: () => Promise<T>) => Promise<T>;
  /** Resolves when all that was asked for is done. */
  ended(): Promise<unknown>;
};

/** Each batch in a turn of its own, so that a client that reads slowly keeps nobody from the table. */
export async function* batchInTurn<Batch>(
  batches: AsyncIterable<Batch>,
  inTurn: Turns['inTurn'],
): AsyncGenerator<Batch> {
  const iterator = batches[Symbol.asyncIterator]();
  try {
    for (;;) {
      const { done, value } = await inTurn(() => iterator.next());
      if (done) return;
      yield value;
    }
  } finally {
    await iterator.return?.();
  }
}

export function openTurns(): Turns {
  let last: Promise<unknown> = Promise.resolve();
  return {
    inTurn(work) {
      const result = last.then(work);
      last = result.catch(() => undefined);
      return result;
    },
    ended: () => last,
  };
}
