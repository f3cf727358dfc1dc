import { setMaxListeners } from 'node:events';
import { formatDurationMs } from '../config/quantities.ts';
import type { Check } from '../config/schema/check.ts';
import type { CheckResult } from '../model/check-result.ts';
import {
  type CheckContext,
  CheckFailure,
  type CheckTarget,
  type DialogueLine,
  type EndSignal,
  type OutcomesOf,
  type RunCheck,
} from './check.ts';
import { CheckEnd, endedBy } from './failure-words.ts';
import { runnerOf } from './registry.ts';

/** How long a check may take to clean up after its time is over, before its result is given without it. */
const graceMs = 100;

export type RunOptions = {
  /** Aborted when nobody waits for the result any more: the check ends at once, with the reason `stopped`. */
  readonly signal?: AbortSignal;
  /** Hears the dialogue as it goes. */
  readonly tell?: (line: DialogueLine) => void;
  /** What became of the connections of clients, for checks that ask nobody else. */
  readonly outcomes?: OutcomesOf | undefined;
};

/**
 * Runs a check once. It never rejects, and ends `check.timeout` after its beginning whatever the other side does: one
 * deadline for connecting, shaking hands, sending and waiting together.
 */
export async function runCheck(
  check: Check,
  target: CheckTarget,
  { signal, tell = silence, outcomes }: RunOptions = {},
): Promise<CheckResult> {
  try {
    // Before its time begins: that its code is loaded is not the real server's doing.
    const runner = await runnerOf(check.type);
    return await runWithin(runner, check, { target, tell, outcomes }, signal);
  } catch (error) {
    return { ...failureOf(error), durationMs: 0 };
  }
}

function runWithin(
  runner: RunCheck<Check['type']>,
  check: Check,
  context: Omit<CheckContext, 'signal'>,
  signal: AbortSignal | undefined,
): Promise<CheckResult> {
  return new Promise((resolve) => {
    const startedMs = performance.now();
    const ending = openEnding();
    let grace: NodeJS.Timeout | undefined;

    const finish = (outcome: Outcome): void => {
      clearTimeout(timer);
      clearImmediate(last);
      clearTimeout(grace);
      signal?.removeEventListener('abort', stop);
      resolve({ ...outcome, durationMs: performance.now() - startedMs });
    };
    const end = (reason: string): void => {
      ending.abort(new CheckEnd(reason));
      // The check itself says where it was; one that does not hear the signal is not waited for.
      grace = setTimeout(() => finish({ isGood: false, phase: 'run', reason }), graceMs);
    };
    const stop = (): void => end('stopped');
    const timeOver = (): void => end(`no answer within ${formatDurationMs(check.timeout)}`);
    // After what came in the meantime: where this process was held up, that is not the real server's fault.
    let last: NodeJS.Immediate | undefined;
    const timer = setTimeout(() => {
      last = setImmediate(timeOver);
    }, check.timeout);
    if (signal?.aborted) stop();
    else if (signal) {
      shareable(signal);
      signal.addEventListener('abort', stop, { once: true });
    }
    runner(check, { ...context, signal: ending.signal }).then(
      (passed) => finish({ isGood: true, ...passed }),
      (error: unknown) => finish(failureOf(error, ending.signal)),
    );
  });
}

const shared = new WeakSet<AbortSignal>();

/** Thousands of checks may wait for one signal, which Node would take for a leak. */
function shareable(signal: AbortSignal): void {
  if (shared.has(signal)) return;
  shared.add(signal);
  setMaxListeners(0, signal);
}

/** The end of one check: told once to everybody who listens by then. */
function openEnding(): { readonly signal: EndSignal; abort(reason: CheckEnd): void } {
  const listeners = new Set<() => void>();
  const signal = {
    aborted: false,
    reason: undefined as unknown,
    addEventListener: (_type: 'abort', listener: () => void) => void listeners.add(listener),
    removeEventListener: (_type: 'abort', listener: () => void) => void listeners.delete(listener),
  };
  return {
    signal,
    abort(reason) {
      if (signal.aborted) return;
      signal.aborted = true;
      signal.reason = reason;
      for (const listener of [...listeners]) listener();
      listeners.clear();
    },
  };
}

type Outcome = DistributiveOmit<CheckResult, 'durationMs'>;
type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

function failureOf(error: unknown, signal?: EndSignal): Outcome {
  if (error instanceof CheckFailure) return { isGood: false, phase: error.phase, reason: error.message };
  if (signal?.aborted) return { isGood: false, phase: 'run', reason: endedBy(signal, 'run').message };
  return { isGood: false, phase: 'run', reason: `this is a fault of ours: ${String(error)}` };
}

function silence(): void {}
