/** Work on the table, one after the other. */
export type Turns = {
  /** Does work when what was asked for before is done, whatever came of that. */
  readonly inTurn: <T>(work: () => Promise<T>) => Promise<T>;
  /** Resolves when all that was asked for is done. */
  ended(): Promise<unknown>;
};

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
