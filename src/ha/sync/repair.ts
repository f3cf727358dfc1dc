import { type AgainMessage, mostSpans, type Span, spansOf } from './again.ts';

/** Messages of which it is known what they told of. */
const remembered = 4096;
/** What was lost is told again this many connections at a time: no faster than the whole table would be. */
const placesAtOnce = 250;
const stepMs = 5;
/** After the last message its number is said, so that it is missed where it is lost; and then as long as nothing else is said. */
const quietMs = 20;
const stillQuietMs = 1000;

/** Tells again what another director says it has not heard. Times are monotonic milliseconds. */
export type Repair = {
  /** A message of this number was sent, with connections at these places of the table. */
  sent(number: number, places: readonly number[], nowMs: number): void;
  /** Another director lacks these messages. False: not all of them are remembered, and only the whole table has it all. */
  lost(spans: readonly Span[]): boolean;
  /** Does what is due. */
  turn(nowMs: number): void;
  /** Milliseconds until something is. */
  dueInMs(nowMs: number): number;
  /** Messages told again so far. */
  toldAgain(): number;
};

/** `tell` tells of connections as they are now, at once; `say` sends another message. */
export function openRepair(
  tell: (places: readonly number[]) => void,
  say: (message: AgainMessage) => void,
): Repair {
  const log: { number: number; places: readonly number[] }[] = [];
  /** Messages to be told again, and those of their connections that have not been. */
  const wanted = new Set<number>();
  const places = new Set<number>();
  let stepAtMs = 0;
  let quietAtMs = Number.POSITIVE_INFINITY;
  let toldAgain = 0;

  /** False where the message is not remembered. */
  function want(number: number): boolean {
    if (wanted.has(number)) return true;
    wanted.add(number);
    const found = log[number % remembered];
    if (found?.number !== number) return false;
    for (const place of found.places) places.add(place);
    toldAgain++;
    return true;
  }

  /** The next of what is wanted; after the last of it that it has been told. */
  function step(nowMs: number): void {
    const next: number[] = [];
    for (const place of places) {
      if (next.length === placesAtOnce) break;
      next.push(place);
      places.delete(place);
    }
    if (next.length > 0) tell(next);
    stepAtMs = nowMs + stepMs;
    if (places.size > 0) return;
    const spans = spansOf([...wanted]);
    wanted.clear();
    for (let i = 0; i < spans.length; i += mostSpans)
      say({ kind: 'told-again', spans: spans.slice(i, i + mostSpans) });
  }

  return {
    sent(number, told, nowMs) {
      log[number % remembered] = { number, places: told };
      quietAtMs = nowMs + quietMs;
    },
    lost(spans) {
      let known = true;
      for (const { first, count } of spans)
        for (let i = 0; i < Math.min(count, remembered); i++) known = want(first + i) && known;
      return known;
    },
    turn(nowMs) {
      if (wanted.size > 0 && nowMs >= stepAtMs) step(nowMs);
      if (nowMs < quietAtMs) return;
      say({ kind: 'number' });
      quietAtMs = nowMs + stillQuietMs;
    },
    dueInMs: (nowMs) => Math.max(0, (wanted.size > 0 ? Math.min(stepAtMs, quietAtMs) : quietAtMs) - nowMs),
    toldAgain: () => toldAgain,
  };
}
