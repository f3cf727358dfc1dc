import type { Member } from './override.ts';

/** What became of TCP connections that clients opened. */
export type Outcomes = {
  /** The client has heard the real server, and went on. */
  readonly answered: number;
  /** The real server ended it before anything was said. */
  readonly refused: number;
  /** The client had to ask again, or nobody took it within the time. */
  readonly unanswered: number;
};

/** What became of those of one destination, since its data plane was asked first. */
export type MemberOutcomes = Member & Outcomes;

export const noOutcomes: Outcomes = { answered: 0, refused: 0, unanswered: 0 };

/** What was counted between two looks; one that counts less than before has begun anew. */
export function outcomesBetween(before: Outcomes, now: Outcomes): Outcomes {
  const since = (name: keyof Outcomes) => (now[name] < before[name] ? now[name] : now[name] - before[name]);
  return { answered: since('answered'), refused: since('refused'), unanswered: since('unanswered') };
}
