import type { MemberAgent } from './agent-state.ts';
import { type CheckResult, checkResultText } from './check-result.ts';
import { count } from './count.ts';
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
  /** When one that comes and goes is held down; absent: never. */
  readonly damping?: Damping | undefined;
};

/**
 * A real server that has gone down `falls` times within `within` is held down for `hold`, however good its checks are
 * meanwhile. Each time it goes down again within `within` after it was let go it is held twice as long as before, up to
 * `longest`; when it has stayed up for so long, what was before is forgotten. The purpose is that of RFC 2439 (damping of
 * routes that flap), without its figure of merit: how long somebody is held can be counted on the fingers.
 */
export type Damping = {
  readonly falls: number;
  readonly within: number;
  readonly hold: number;
  readonly longest: number;
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
  /** When it went down, with damping: those that still count, the latest last. */
  readonly falls?: readonly number[];
  /** It does not come back before; of one that is up, when it was let go. */
  readonly heldUntilMs?: number;
  readonly last?: { readonly result: CheckResult; readonly atMs: number };
};

/** A real server nobody has checked yet. */
export function startHealth({ initial }: Pick<HealthSettings, 'initial'>, nowMs: number): HealthState {
  return { isUp: initial === 'up', sinceMs: nowMs, against: 0 };
}

/** Falls that are remembered at most: more would not hold anybody longer. */
const mostFalls = 100;

/** The state without what damping has made of it: it comes back with its next good results. */
export function letGo({ falls: _, heldUntilMs: __, ...state }: HealthState): HealthState {
  return state;
}

/** Whether it is held down now. A clock that was set back holds nobody longer than `longest`. */
export function isHeld(
  { isUp, heldUntilMs }: Pick<HealthState, 'isUp' | 'heldUntilMs'>,
  { damping }: Pick<HealthSettings, 'damping'>,
  nowMs: number,
): boolean {
  if (isUp || heldUntilMs === undefined || !damping) return false;
  return nowMs < heldUntilMs && heldUntilMs - nowMs <= damping.longest;
}

function fallOf(
  { falls = [], heldUntilMs }: HealthState,
  damping: Damping | undefined,
  nowMs: number,
): Pick<HealthState, 'falls' | 'heldUntilMs'> {
  if (!damping) return {};
  const goesOn = heldUntilMs !== undefined && nowMs - heldUntilMs < damping.within;
  const counting = goesOn ? falls : falls.filter((atMs) => nowMs - atMs < damping.within);
  const all = [...counting.filter((atMs) => atMs <= nowMs), nowMs].slice(-mostFalls);
  const beyond = all.length - damping.falls;
  if (beyond < 0) return { falls: all };
  return { falls: all, heldUntilMs: nowMs + Math.min(damping.longest, damping.hold * 2 ** beyond) };
}

/**
 * The state after one more result: it turns when `rise` good or `fall` bad results have come in a row, and a result that
 * agrees with it starts the count anew. How many results are wanted is read each time: a reload may change it halfway.
 * One that is held down by damping counts its results, and comes back with a good one after that; `isNeeded`: at once,
 * because nobody else serves.
 */
export function stepHealth(
  state: HealthState,
  result: CheckResult,
  { rise, fall, damping }: Pick<HealthSettings, 'rise' | 'fall' | 'damping'>,
  nowMs: number,
  isNeeded = false,
): HealthState {
  const { weight: _, ...rest } = state;
  const weight = result.isGood ? result.weight : state.weight;
  const next = { ...rest, ...(weight !== undefined && { weight }), last: { result, atMs: nowMs } };
  if (result.isGood === state.isUp) return { ...next, against: 0 };
  const against = state.against + 1;
  if (against < (state.isUp ? fall : rise)) return { ...next, against };
  if (result.isGood && !isNeeded && isHeld(state, { damping }, nowMs)) return { ...next, against: rise };
  return {
    ...next,
    ...(state.isUp && fallOf(state, damping, nowMs)),
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
  // A clock that was set, forth or back, ends it: nobody knows how long it has been.
  if (nowMs < backMs) return undefined;
  const step = Math.floor((nowMs - backMs) / stepMs) + 1;
  return step < slowSteps ? { share: step / slowSteps, moreAtMs: backMs + step * stepMs } : undefined;
}

/** How the check of a real server stands: what travels, is kept and is shown. */
export type HealthReport = HealthState &
  Pick<HealthSettings, 'type' | 'rise' | 'fall'> & {
    /** Whether damping holds it down, whatever its checks say. */
    readonly isHeld?: true;
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
  /** How the agents of real servers stand; absent where none is asked. */
  readonly agents?: readonly MemberAgent[];
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

/** `ok 3 ms`, `failing 1/3`, `down 3/3`, `rising 1/2`, `held`, `up, not checked yet`. */
export function healthWord({ isUp, isHeld, against, rise, fall, last }: HealthReport): string {
  if (isHeld && against >= rise) return 'held';
  if (isUp && against > 0) return `failing ${against}/${fall}`;
  if (!isUp && against > 0) return `rising ${against}/${rise}`;
  if (!last) return `${isUp ? 'up' : 'down'}, not checked yet`;
  if (!isUp) return `down ${fall}/${fall}`;
  return last.result.isGood ? `ok ${Math.round(last.result.durationMs)} ms` : 'up';
}

/** `held until 2026-03-01T12:04:00Z: it went down 4 times since 2026-03-01T11:51:40Z`; empty where nobody holds it. */
export function heldText({ isHeld, heldUntilMs, falls }: HealthReport): string {
  if (!isHeld || heldUntilMs === undefined || !falls?.length) return '';
  const at = (ms: number) => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
  return `held until ${at(heldUntilMs)}: it went down ${count(falls.length, 'time')} since ${at(falls[0]!)}`;
}

/** `http expect: got 503, want 200-299 (4 ms, 12 s ago)`; empty where there was no result. */
export function lastResultText({ type, last }: HealthReport, nowMs: number): string {
  if (!last) return '';
  const ago = span(nowMs - last.atMs);
  return checkResultText(type, last.result).replace(/ ms\)$/, ` ms, ${ago} ago)`);
}
