/** What the clients of a take-over are told, and what they say. */
export type LoadOrder = {
  readonly address: string;
  /** Streams that stay open all the time. */
  readonly streams: number;
  /** New connections a second. */
  readonly perSecond: number;
};

export type LoadResult = {
  /** For how long nobody answered, milliseconds. */
  readonly silenceMs: number;
  readonly probes: number;
  readonly streams: number;
  /** Streams that ended or fell silent, by how. */
  readonly broken: Readonly<Record<string, number>>;
  /** New connections, those that failed by why, and how long the slowest of the others took. */
  readonly opened: number;
  readonly failed: Readonly<Record<string, number>>;
  readonly slowestMs: number;
};

export const ports = { http: 80, stream: 7, probe: 53 } as const;

/**
 * The longest time from sending a probe that was not answered to sending the next one that was; `sent` is when each was sent. 0: all
 * were answered.
 */
export function silenceOf(sent: readonly number[], answered: ReadonlySet<number>): number {
  let longest = 0;
  let last = -1;
  sent.forEach((at, number) => {
    if (!answered.has(number)) return;
    if (last >= 0 && number > last + 1) longest = Math.max(longest, at - sent[last + 1]!);
    last = number;
  });
  // Nobody answered again.
  if (last >= 0 && last < sent.length - 50) longest = Math.max(longest, sent.at(-1)! - sent[last]!);
  return longest;
}
