import type { Span } from '../../../model/problem.ts';
import { formatDurationMs } from '../../quantities.ts';
import type { Statement } from './blocks.ts';
import type { Scope } from './scope.ts';
import { timeMs, unsignedMax, wholeNumber, yesOrNo } from './values.ts';

/** When checks are made, as a virtual server, a real server or a checker says it. */
export type Timing = {
  delayLoopMs?: number;
  connectTimeoutMs?: number;
  retry?: number;
  delayBeforeRetryMs?: number;
  warmupMs?: number;
  alpha?: boolean;
  inhibit?: boolean;
};

/** Takes a keyword about timing; false where it is none. `leastRetry`: a virtual or real server cannot say 0. */
export function takeTiming(
  timing: Timing,
  statement: Statement,
  scope: Scope,
  leastRetry: 0 | 1 = 0,
): boolean {
  const { notes } = scope;
  const set = <Key extends keyof Timing>(key: Key, value: Timing[Key] | undefined) => {
    if (value !== undefined) timing[key] = value;
  };
  switch (statement.keyword) {
    case 'delay_loop':
      set('delayLoopMs', timeMs(statement, 1, scope));
      break;
    case 'connect_timeout':
      set('connectTimeoutMs', timeMs(statement, 1, scope));
      break;
    case 'nb_get_retry':
      notes.wrong('changed', statement.span, '"nb_get_retry" is "retry"');
      set('retry', wholeNumber(statement, [0, unsignedMax], scope));
      break;
    case 'retry':
      set('retry', wholeNumber(statement, [leastRetry, unsignedMax], scope));
      break;
    case 'delay_before_retry':
      set('delayBeforeRetryMs', timeMs(statement, 0, scope));
      break;
    case 'warmup':
      set('warmupMs', timeMs(statement, 0, scope));
      break;
    case 'alpha':
      set('alpha', yesOrNo(statement, scope));
      break;
    case 'inhibit_on_failure':
      set('inhibit', yesOrNo(statement, scope));
      break;
    default:
      return false;
  }
  notes.kept(statement.span, `"${statement.keyword}" is said by "check"`);
  return true;
}

/** What keepalived has where nothing is said, in milliseconds; `delayBeforeRetry` undefined: that of `delay_loop`. */
export type TimingDefaults = { readonly retry: number; readonly delayBeforeRetryMs: number | undefined };

/** Of most checkers. */
export const usualDefaults: TimingDefaults = { retry: 1, delayBeforeRetryMs: 1000 };

const hourMs = 3_600_000;
const defaults = { delayLoopMs: 60_000, connectTimeoutMs: 5000 };
const ours = { interval: 10_000, timeout: 5000, fall: 3 };

/**
 * The keys of a check about its timing. What is said nearest to the checker counts: its own, that of the real server, that of
 * the virtual server. Left out is what our own default says. `timeoutMs` is that of checkers which have one of their own.
 */
export function timingKeys(
  chain: readonly Timing[],
  { retry: usualRetry, delayBeforeRetryMs: usualDelay }: TimingDefaults,
  span: Span,
  scope: Scope,
  timeoutMs?: number,
): Record<string, string | number | undefined> {
  const said = <Key extends keyof Timing>(key: Key) => chain.find((one) => one[key] !== undefined)?.[key];
  const within = (value: number, [least, most]: readonly [number, number], what: string) => {
    const bounded = Math.min(Math.max(value, least), most);
    if (bounded !== value)
      scope.notes.changed(
        span,
        `${what} of ${formatDurationMs(value)} is ${formatDurationMs(bounded)}, the ${bounded < value ? 'longest' : 'shortest'}`,
      );
    return bounded;
  };
  const interval = within(said('delayLoopMs') ?? defaults.delayLoopMs, [10, 24 * hourMs], 'delay_loop');
  const timeout = within(
    timeoutMs ?? said('connectTimeoutMs') ?? defaults.connectTimeoutMs,
    [1, hourMs],
    'a timeout',
  );
  const again = within(
    said('delayBeforeRetryMs') ?? usualDelay ?? interval,
    [0, 24 * hourMs],
    'delay_before_retry',
  );
  const warmup = said('warmupMs');
  const retry = said('retry') ?? usualRetry;
  const fall = Math.min(retry + 1, 1000);
  if (fall < retry + 1) scope.notes.changed(span, `${retry} retries are 999, the most`);
  return {
    interval: interval === ours.interval ? undefined : formatDurationMs(interval),
    timeout: timeout === ours.timeout ? undefined : formatDurationMs(timeout),
    retryInterval: again === interval || fall === 1 ? undefined : formatDurationMs(again),
    fall: fall === ours.fall ? undefined : fall,
    initial: said('alpha') === true ? 'down' : undefined,
    warmup:
      warmup === undefined || warmup === interval
        ? undefined
        : formatDurationMs(within(warmup, [0, hourMs], 'warmup')),
    whenDown: said('inhibit') === true ? 'quiesce' : undefined,
  };
}
