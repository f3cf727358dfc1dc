import type { AgentAnswer } from './agent-answer.ts';
import type { Member } from './override.ts';
import { span } from './span.ts';

/** What the configuration says of what an agent's answers do. */
export type AgentRules = {
  /** `said`: the percentage an agent says counts at once; `load`: weights come from the loads of all that serve. */
  readonly weights: 'said' | 'load';
  /** What becomes of a real server whose agent says that it is down. */
  readonly whenDown: 'remove' | 'quiesce';
};

/** What an agent has made of a real server: what it said last of each kind. */
export type AgentState = {
  /** Of the configured weight; absent: it never said one. */
  readonly percent?: number;
  /** Absent: it serves. */
  readonly down?: 'down' | 'stopped' | 'fail';
  /** Absent: ready. */
  readonly admission?: 'drain' | 'maint';
  readonly maxConnections?: number;
  /** What stood after the sharp in the last answer. */
  readonly description?: string;
  /** When it answered last, milliseconds since 1970; absent: never. */
  readonly answeredMs?: number;
  /** Times in a row that it could not be asked, and why the last time. */
  readonly missed: number;
  readonly failure?: string;
};

/** An agent nobody has asked yet. */
export const startAgent: AgentState = { missed: 0 };

/**
 * The state after an answer. What an agent does not say stays as it was; only an agent takes back what it has said (HAProxy's
 * configuration manual, "agent-check").
 */
export function hearAgent(state: AgentState, answer: AgentAnswer, nowMs: number): AgentState {
  const down = answer.serves ?? state.down;
  const admission = answer.admission ?? state.admission;
  const percent = answer.percent ?? state.percent;
  const maxConnections = answer.maxConnections ?? state.maxConnections;
  return {
    ...{ missed: 0, answeredMs: nowMs },
    ...(percent !== undefined && { percent }),
    ...(maxConnections !== undefined && { maxConnections }),
    ...(down !== undefined && down !== 'up' && { down }),
    ...(admission !== undefined && admission !== 'ready' && { admission }),
    ...(answer.description !== undefined && { description: answer.description }),
  };
}

/** The state after it could not be asked: that alone is no word about the real server. */
export const missAgent = (state: AgentState, failure: string): AgentState => ({
  ...state,
  missed: state.missed + 1,
  failure,
});

/** Answers that may be missing before a percentage fades, and what is left of it after each further one. */
const patience = 3;
const decay = 0.8;

/** What the configured weight is multiplied by: the percentage, which fades to all of it where the agent falls silent. */
export function saidFactor({ percent, missed }: AgentState): number {
  const said = (percent ?? 100) / 100;
  return missed <= patience ? said : 1 + (said - 1) * decay ** (missed - patience);
}

/** Whether an agent has been silent for so long that people should know. */
export const isSilent = ({ missed }: AgentState): boolean => missed >= patience;

/** An entry with how its agent stands: what travels, is kept and is shown. */
export type MemberAgent = Member &
  AgentState &
  AgentRules & {
    /** What the configured weight is multiplied by now. */
    readonly factor: number;
    /** With `weights: load`: the smoothed load; absent: none is known. */
    readonly load?: number;
  };

/** `agent says 40%: cpu 83%`; `agent says drain`; `weight from load 0.83`; empty where it changes nothing. */
export function agentText(agent: Omit<MemberAgent, keyof Member>, nowMs: number): string {
  const { weights, percent, down, admission, description, missed, answeredMs, load, factor } = agent;
  const out = [down, admission].filter((word) => word !== undefined);
  const isShared = weights === 'said' && percent !== undefined && percent !== 100;
  const words = out.length === 0 && isShared ? [`${percent}%`] : out;
  const why = description === undefined ? '' : `: ${description}`;
  const said = words.length > 0 ? `agent says ${words.join(' ')}${why}` : '';
  const moved =
    weights === 'load' && load !== undefined && Math.round(factor * 100) !== 100
      ? `${Math.round(factor * 100)}% by its load of ${load.toFixed(2)}${said === '' ? why : ''}`
      : '';
  const silent = isSilent(agent)
    ? `its agent does not answer${answeredMs === undefined ? '' : ` since ${span(nowMs - answeredMs)}`}: ${agent.failure ?? 'nothing came'}`
    : '';
  return [said, moved, missed > 0 ? silent : ''].filter((text) => text !== '').join('; ');
}
