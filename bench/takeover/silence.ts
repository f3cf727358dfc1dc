/** What the clients of a take-over are told, and what they say. */
export type LoadOrder = {
  readonly address: string;
  /** Streams that stay open all the time. */
  readonly streams: number;
  /** New connections a second. */
  readonly perSecond: number;
};

/** What became of a datagram each millisecond. */
export type Probed = {
  /** For how long nobody answered, milliseconds, and when that began (Date.now()). */
  readonly silenceMs: number;
  readonly silentAt?: number;
  readonly probes: number;
  readonly answered: number;
  /** The longest time in which none was sent though nothing has precedence: the machine itself stood still. */
  readonly stalledMs: number;
};

export type LoadResult = Probed & {
  readonly streams: number;
  /** Streams that ended or fell silent, by how. */
  readonly broken: Readonly<Record<string, number>>;
  /** New connections, those that failed by why, and how long the slowest of the others took. */
  readonly opened: number;
  readonly failed: Readonly<Record<string, number>>;
  readonly slowestMs: number;
  /** The same of requests over connections that are kept. */
  readonly requests: {
    readonly asked: number;
    readonly failed: Readonly<Record<string, number>>;
    readonly slowestMs: number;
  };
};

export const ports = { http: 80, stream: 7, probe: 53 } as const;

/**
 * The longest time from sending a probe that was not answered to sending the next one that was; `sent` is when each was sent,
 * since `origin`.
 */
export function probedOf(sent: readonly number[], answered: ReadonlySet<number>, origin: number): Probed {
  let [silenceMs, stalledMs, silentAt] = [0, 0, Number.NaN];
  let last = -1;
  const note = (ms: number, at: number) => {
    if (ms > silenceMs) [silenceMs, silentAt] = [ms, origin + at];
  };
  sent.forEach((at, number) => {
    if (number > 0) stalledMs = Math.max(stalledMs, at - sent[number - 1]!);
    if (!answered.has(number)) return;
    if (number > last + 1) note(at - sent[last + 1]!, sent[last + 1]!);
    last = number;
  });
  // Nobody answered again, or ever.
  if (last < sent.length - 50) note(sent.at(-1)! - sent[last + 1]!, sent[last + 1]!);
  return {
    ...{ silenceMs, stalledMs, probes: sent.length, answered: answered.size },
    ...(silenceMs > 0 && { silentAt }),
  };
}
