import { mostSpans, type Span, spansOf } from './again.ts';
import { type NumberedMessage, replayWindow } from './wire.ts';

/** A message may come this much later than one that was sent after it. */
const reorderMs = 20;
/** What was asked for is asked for again after this time, so often in all. */
const answerMs = 200;
const mostTimes = 10;
/** A session that begins with one of its first messages has begun while it was listened to. */
const firstOnes = 64;
/** Sessions remembered: more than directors that run. */
const mostSessions = 64;

/** Which messages of other directors' sessions have not come, and what is to be asked for. Pure; times are monotonic milliseconds. */
export type Gaps = {
  /** A message came. */
  heard(message: NumberedMessage, nowMs: number): void;
  /** Messages of a session whose connections have been told again. */
  answered(session: string, spans: readonly Span[]): void;
  /** What is to be asked for now; said once, until it is time again. */
  due(nowMs: number): readonly { readonly session: string; readonly spans: readonly Span[] }[];
  /** Whether more was lost since the last call than is asked for piece by piece, or nobody answered. */
  beyond(): boolean;
  /** Messages asked for so far, and those of which nobody has told again. */
  counts(): { readonly missed: number; readonly missing: number };
};

type Missing = { atMs: number; times: number };
type Session = { highest: number; readonly missing: Map<number, Missing> };

export function openGaps(): Gaps {
  const sessions = new Map<string, Session>();
  let beyond = false;
  let missed = 0;

  function begin(name: string, number: number): Session {
    const early = number <= firstOnes;
    // Whoever has just come asks for the whole table anyway.
    if (!early && sessions.size > 0) beyond = true;
    const session = { highest: early ? 0 : number - 1, missing: new Map<number, Missing>() };
    sessions.set(name, session);
    if (sessions.size > mostSessions) sessions.delete(sessions.keys().next().value!);
    return session;
  }

  function ask(session: Session, nowMs: number): readonly Span[] {
    const wanted: number[] = [];
    for (const [number, one] of session.missing) {
      if (one.atMs > nowMs) continue;
      if (one.times === mostTimes) {
        session.missing.delete(number);
        beyond = true;
      } else wanted.push(number);
    }
    const spans = spansOf(wanted).slice(0, mostSpans);
    for (const { first, count } of spans)
      for (let number = first; number < first + count; number++) {
        const one = session.missing.get(number)!;
        if (one.times === 0) missed++;
        one.times++;
        one.atMs = nowMs + answerMs;
      }
    return spans;
  }

  return {
    heard({ session: name, number }, nowMs) {
      const session = sessions.get(name) ?? begin(name, number);
      const { highest, missing } = session;
      if (number <= highest) {
        missing.delete(number);
        return;
      }
      session.highest = number;
      if (number - highest - 1 + missing.size > replayWindow) {
        missing.clear();
        beyond = true;
        return;
      }
      for (let one = highest + 1; one < number; one++)
        missing.set(one, { atMs: nowMs + reorderMs, times: 0 });
    },
    answered(name, spans) {
      const missing = sessions.get(name)?.missing;
      for (const number of missing?.keys() ?? [])
        if (spans.some(({ first, count }) => number >= first && number < first + count))
          missing!.delete(number);
    },
    due: (nowMs) =>
      [...sessions].flatMap(([session, state]) => {
        const spans = state.missing.size > 0 ? ask(state, nowMs) : [];
        return spans.length > 0 ? [{ session, spans }] : [];
      }),
    beyond() {
      const was = beyond;
      beyond = false;
      return was;
    },
    counts: () => ({
      missed,
      missing: [...sessions.values()].reduce((sum, { missing }) => sum + missing.size, 0),
    }),
  };
}
