import type { Check } from '../config/schema/check.ts';
import type { CheckResult } from '../model/check-result.ts';
import type { CheckTarget } from './check.ts';

/** A check that is run again and again. */
export type Job = { readonly check: Check; readonly target: CheckTarget };

/** Anything that is asked again and again: what it is told of, and whom it goes to. */
type Timed = {
  readonly check: { readonly interval: number; readonly warmup?: number | undefined };
  readonly target: unknown;
};

/** Runs checks at their times. Jobs are known by a key of whoever starts them. */
export type Runner<One extends Timed = Job> = {
  /** Runs a job from now on: the first time within its warm-up, or within `firstMs`. */
  start(key: string, job: One, firstMs?: number): void;
  /** Ends a job; a check that is on its way ends without a result. */
  stop(key: string): void;
  /** When a job runs next, milliseconds since 1970; undefined where it is not one, now where it is running. */
  nextMs(key: string): number | undefined;
  /** Ends all of them. */
  close(): void;
};

export type RunnerOptions<One extends Timed = Job, Result = CheckResult> = {
  /** Told of each result; says in how many milliseconds the next one shall begin, counted from the beginning of this. */
  readonly onResult: (key: string, result: Result) => number;
  readonly nowMs: () => number;
  /** A number from 0 to 1. */
  readonly random: () => number;
  /** Runs one once; never rejects, and ends soon after the signal is aborted. */
  readonly run: (
    check: One['check'],
    target: One['target'],
    options: { readonly signal: AbortSignal },
  ) => Promise<Result>;
  /** Checks on their way at one time; the others wait for their turn, in the order in which they were due. */
  readonly most?: number;
};

/** Half of the descriptors that a process has by default under systemd leave enough for everything else. */
const mostRunning = 4096;
/** Of an interval: so much earlier a check may come, so that checks that began together do not stay together. */
const jitter = 0.05;

type Running<One extends Timed> = One & {
  readonly key: string;
  readonly ending: AbortController;
  dueMs: number;
  timer: NodeJS.Timeout | undefined;
};

export function openRunner<One extends Timed = Job, Result = CheckResult>({
  onResult,
  nowMs,
  random,
  run,
  most = mostRunning,
}: RunnerOptions<One, Result>): Runner<One> {
  const jobs = new Map<string, Running<One>>();
  /** Due, and not begun because too many are on their way. */
  const waiting = new Set<Running<One>>();
  let underWay = 0;

  function wait(job: Running<One>, ms: number): void {
    job.dueMs = nowMs() + ms;
    job.timer = setTimeout(() => {
      waiting.add(job);
      beginNext();
    }, ms);
  }

  function beginNext(): void {
    for (const job of waiting) {
      if (underWay >= most) return;
      waiting.delete(job);
      void begin(job);
    }
  }

  async function begin(job: Running<One>): Promise<void> {
    const beganMs = performance.now();
    underWay++;
    const result = await run(job.check, job.target, { signal: job.ending.signal });
    underWay--;
    if (!job.ending.signal.aborted) {
      const intervalMs = onResult(job.key, result) * (1 - jitter * random());
      // `onResult` may have ended it.
      if (!job.ending.signal.aborted) wait(job, Math.max(0, intervalMs - (performance.now() - beganMs)));
    }
    beginNext();
  }

  function stop(key: string): void {
    const job = jobs.get(key);
    if (!job) return;
    jobs.delete(key);
    waiting.delete(job);
    clearTimeout(job.timer);
    job.ending.abort();
  }

  return {
    start(key, one, firstMs) {
      stop(key);
      const { check } = one;
      const job = { ...one, key, ending: new AbortController(), dueMs: 0, timer: undefined };
      jobs.set(key, job);
      wait(job, random() * (firstMs ?? check.warmup ?? check.interval));
    },
    stop,
    nextMs: (key) => {
      const job = jobs.get(key);
      return job && Math.max(job.dueMs, nowMs());
    },
    close() {
      for (const key of [...jobs.keys()]) stop(key);
    },
  };
}
