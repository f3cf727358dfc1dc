import { type CheckResult, checkResultText } from './check-result.ts';
import { type Member, memberKey } from './override.ts';
import { span } from './span.ts';

/** What decides when a real server is down and when it is back. Durations in milliseconds. */
export type HealthSettings = {
  readonly type: string;
  /** Good results in a row that bring it back; bad ones that take it out. */
  readonly rise: number;
  readonly fall: number;
  /** What it counts as before its first result. */
  readonly initial: 'up' | 'down';
  /** After its return its share of the weight grows to the whole within this time. */
  readonly slowStart: number;
};

/** What the results so far have made of a real server. Times in milliseconds since 1970. */
export type HealthState = {
  readonly isUp: boolean;
  /** When it came to that. */
  readonly sinceMs: number;
  /** Results in a row that speak against it. */
  readonly against: number;
  /** When it came back; absent where it was never down. */
  readonly backMs?: number;
  /** The weight that the last good result asked for; absent where it asked for none. */
  readonly weight?: number;
  readonly last?: { readonly result: CheckResult; readonly atMs: number };
};

/** A real server nobody has checked yet. */
export function startHealth({ initial }: Pick<HealthSettings, 'initial'>, nowMs: number): HealthState {
  return { isUp: initial === 'up', sinceMs: nowMs, against: 0 };
}

/**
 * The state after one more result: it turns when `rise` good or `fall` bad results have come in a row, and a result that
 * agrees with it starts the count anew. How many results are wanted is read each time: a reload may change it halfway.
 */
export function stepHealth(
  state: HealthState,
  result: CheckResult,
  { rise, fall }: Pick<HealthSettings, 'rise' | 'fall'>,
  nowMs: number,
): HealthState {
  const { weight: _, ...rest } = state;
  const weight = result.isGood ? result.weight : state.weight;
  const next = { ...rest, ...(weight !== undefined && { weight }), last: { result, atMs: nowMs } };
  if (result.isGood === state.isUp) return { ...next, against: 0 };
  const against = state.against + 1;
  if (against < (state.isUp ? fall : rise)) return { ...next, against };
  return {
    ...next,
    isUp: result.isGood,
    sinceMs: nowMs,
    against: 0,
    ...(result.isGood && { backMs: nowMs }),
  };
}

/** Weight is given back in so many steps. */
const slowSteps = 10;

/** The share of its weight that a real server has now, and when it has more; absent: it has all of it. */
export function shareOf(
  { isUp, backMs }: HealthState,
  { slowStart }: Pick<HealthSettings, 'slowStart'>,
  nowMs: number,
): { readonly share: number; readonly moreAtMs: number } | undefined {
  if (!isUp || backMs === undefined || slowStart === 0) return undefined;
  const stepMs = slowStart / slowSteps;
  // A clock that was set back starts it anew rather than holding it for ever.
  const step = Math.max(0, Math.floor((nowMs - backMs) / stepMs)) + 1;
  return step < slowSteps ? { share: step / slowSteps, moreAtMs: backMs + step * stepMs } : undefined;
}

/** How the check of a real server stands: what travels, is kept and is shown. */
export type HealthReport = HealthState &
  Pick<HealthSettings, 'type' | 'rise' | 'fall'> & {
    /** When it is checked next; absent where nobody does. */
    readonly nextMs?: number;
  };

/** An entry with how one of its checks stands. */
export type MemberHealth = Member &
  HealthReport & {
    /** Which of its checks, counted from 0 in the order of the configuration. */
    readonly check: number;
    /** Of its weight, while it starts slowly; absent: all of it. */
    readonly share?: number;
  };

/** What is known of everybody who is checked. */
export type Health = {
  readonly members: readonly MemberHealth[];
  /** Services, by serviceKey, that have lost their quorum. */
  readonly lost: readonly string[];
  /** Whether somebody goes on checking. */
  readonly isChecking: boolean;
};

/** Of the checks of each entry the one that speaks for it: the first that is down, else that is failing, else the first. */
export function worstByMember(members: readonly MemberHealth[]): ReadonlyMap<string, MemberHealth> {
  const worst = new Map<string, MemberHealth>();
  const rankOf = ({ isUp, against, last }: MemberHealth) =>
    isUp ? (against > 0 ? 2 : last ? 4 : 3) : last?.result.isGood ? 1 : 0;
  for (const one of members) {
    const key = memberKey(one.service, one.destination);
    const before = worst.get(key);
    const isWorse = !before || rankOf(one) < rankOf(before);
    if (isWorse || (rankOf(one) === rankOf(before) && one.check < before.check)) worst.set(key, one);
  }
  return worst;
}

/** `ok 3 ms`, `failing 1/3`, `down 3/3`, `rising 1/2`, `up, not checked yet`. */
export function healthWord({ isUp, against, rise, fall, last }: HealthReport): string {
  if (isUp && against > 0) return `failing ${against}/${fall}`;
  if (!isUp && against > 0) return `rising ${against}/${rise}`;
  if (!last) return `${isUp ? 'up' : 'down'}, not checked yet`;
  if (!isUp) return `down ${fall}/${fall}`;
  return last.result.isGood ? `ok ${Math.round(last.result.durationMs)} ms` : 'up';
}

/** `http expect: got 503, want 200-299 (4 ms, 12 s ago)`; empty where there was no result. */
export function lastResultText({ type, last }: HealthReport, nowMs: number): string {
  if (!last) return '';
  const ago = span(nowMs - last.atMs);
  return checkResultText(type, last.result).replace(/ ms\)$/, ` ms, ${ago} ago)`);
}
