import type { AgentRules } from './agent-state.ts';
import { type OverrideState, takenOut } from './override.ts';
import type { Destination } from './virtual-service.ts';

/** What a configuration says of who shall serve where not all are well. */
export type PoolRules<Check extends MemberRules = MemberRules, Agent extends AgentRules = AgentRules> = {
  /** Sum of the weights of usable real servers below which the sorry server takes over. */
  readonly quorum: number;
  /** How far above the quorum that sum must rise, and below it fall, for a change. */
  readonly hysteresis: number;
  readonly sorryServer?: Destination;
  /**
   * How real servers are checked, by destinationKey: each is usable while all of its checks are good. Who is not in it is not
   * checked.
   */
  readonly checks: ReadonlyMap<string, readonly Check[]>;
  /** Who has an agent that is asked, by destinationKey. */
  readonly agents?: ReadonlyMap<string, Agent>;
};

export type MemberRules = {
  readonly initial: 'up' | 'down';
  readonly whenDown: 'remove' | 'quiesce';
};

/** What health says of a real server. */
export type Verdict = {
  readonly isUp: boolean;
  /** Of its weight while it starts slowly, above 0; absent: all of it. */
  readonly share?: number;
  /** The weight its check asks for, in place of the configured one. */
  readonly weight?: number;
};

/** What an agent says of a real server. */
export type AgentVerdict = {
  /** What its weight is multiplied by; 0 is the agent's own word. */
  readonly factor: number;
  readonly isDown: boolean;
  readonly whenDown: AgentRules['whenDown'];
  readonly admission?: OverrideState;
  readonly maxConnections?: number;
};

/** A real server of a service, with all that decides about it. */
export type Candidate = {
  readonly destination: Destination;
  /** None: it is not checked. */
  readonly checks: readonly MemberRules[];
  /** Absent: there was no result yet. */
  readonly verdict?: Verdict;
  /** Absent: no agent is asked, or it has said nothing yet. */
  readonly agent?: AgentVerdict;
  /** What a person has decided. */
  readonly override?: OverrideState;
};

/**
 * The destinations that a service shall have, with the sum of usable weights against its quorum. Keepalived's rule
 * (check/ipwrapper.c, update_quorum_state): a quorum that is held is lost when nobody is usable, or when the sum is below
 * quorum - hysteresis; one that was lost is gained when the sum is quorum + hysteresis or more.
 *
 * While it is lost and there is a sorry server, that one serves new clients: real servers that are well keep the
 * connections they have, and get no new ones.
 */
export function poolOf(
  candidates: readonly Candidate[],
  { quorum, hysteresis, sorryServer }: Pick<PoolRules, 'quorum' | 'hysteresis' | 'sorryServer'>,
  wasLost: boolean,
): { readonly destinations: readonly Destination[]; readonly isLost: boolean; readonly sum: number } {
  const sum = candidates.reduce((total, one) => total + usableWeight(one), 0);
  const isLost = wasLost ? sum < quorum + hysteresis : sum === 0 || sum < quorum - hysteresis;
  const present = candidates.flatMap((one) => inForce(one) ?? []);
  if (!isLost || !sorryServer) return { destinations: present, isLost, sum };
  const others = present
    .filter(({ address, port }) => address !== sorryServer.address || port !== sorryServer.port)
    .map((destination) => ({ ...destination, weight: 0 }));
  return { destinations: [...others, sorryServer], isLost, sum };
}

/** The weight new clients may count on; neither a slow start nor load lessens it. */
function usableWeight(one: Candidate): number {
  return one.override === undefined &&
    one.agent?.admission === undefined &&
    one.agent?.factor !== 0 &&
    isUp(one)
    ? fullWeight(one)
    : 0;
}

function inForce(one: Candidate): Destination | undefined {
  const { destination, verdict, agent, override } = one;
  if (override === 'maintenance') return takenOut(destination, override);
  if (!isUp(one)) return whenDownOf(one) === 'remove' ? undefined : { ...destination, weight: 0 };
  const admission = agent?.admission === 'maintenance' ? agent.admission : (override ?? agent?.admission);
  if (admission !== undefined) return takenOut(destination, admission);
  const weight = scaled(fullWeight(one), agent?.factor ?? 1, verdict?.share ?? 1);
  const limited = withLimit(destination, agent?.maxConnections);
  return weight === limited.weight ? limited : { ...limited, weight };
}

const heaviest = 65_535;

/** A part of a weight is at least 1; only an agent's 0 % makes it 0. */
function scaled(weight: number, factor: number, share: number): number {
  if (factor === 0 || (factor === 1 && share === 1)) return factor * weight;
  return Math.min(
    Math.max(Math.round(weight * factor * share), Math.min(weight, 1)),
    Math.max(weight, heaviest),
  );
}

function withLimit(destination: Destination, most: number | undefined): Destination {
  const { upperThreshold, lowerThreshold } = destination;
  if (most === undefined || (upperThreshold > 0 && upperThreshold <= most)) return destination;
  return { ...destination, upperThreshold: most, lowerThreshold: Math.min(lowerThreshold, most) };
}

const isUp = (one: Candidate): boolean => !one.agent?.isDown && isUpByChecks(one);

const isUpByChecks = ({ checks, verdict }: Candidate): boolean =>
  checks.length === 0 || (verdict ? verdict.isUp : checks.every(({ initial }) => initial === 'up'));

/** Where either of those that say it is down wants it removed, it is. */
function whenDownOf(one: Candidate): AgentRules['whenDown'] {
  const { checks, agent } = one;
  const removed =
    (!isUpByChecks(one) && checks.some(({ whenDown }) => whenDown === 'remove')) ||
    (agent?.isDown === true && agent.whenDown === 'remove');
  return removed ? 'remove' : 'quiesce';
}

/** A weight of 0 is a person's word, which no check lifts. */
function fullWeight({ destination: { weight }, checks, verdict }: Candidate): number {
  return checks.length === 0 || weight === 0 ? weight : (verdict?.weight ?? weight);
}
