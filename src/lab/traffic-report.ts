/** What the traffic generator (`client.ts`) is told, as one JSON argument. */
export type TrafficOrder = {
  readonly protocol: 'tcp' | 'udp';
  readonly address: string;
  readonly port: number;
  /** New connections (TCP) or datagrams from new ports (UDP) a second. */
  readonly perSecond: number;
  /** Ends after so many; without it when standard input ends. */
  readonly total?: number;
  /** How long one may take before it counts as failed. */
  readonly timeoutMs?: number;
  readonly reportEveryMs?: number;
};

/** One line of the generator's output; all counts since its start. */
export type TrafficReport = {
  readonly elapsedMs: number;
  readonly opened: number;
  /** Answers by the name of the server that gave them. */
  readonly answered: Readonly<Record<string, number>>;
  /** Failures by reason (`ECONNREFUSED`, `timeout`, `no answer`). */
  readonly failed: Readonly<Record<string, number>>;
  /** Milliseconds from opening to the answer, of the last reporting interval; absent when there was none. */
  readonly medianMs?: number;
  readonly worstMs?: number;
  /** The last line of all. */
  readonly done: boolean;
};
