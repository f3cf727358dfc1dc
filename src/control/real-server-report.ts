import type { CheckResult } from '../model/check-result.ts';
import { count } from '../model/count.ts';
import type { MemberHealth } from '../model/health.ts';
import { healthWord, lastResultText } from '../model/health.ts';
import type { Outlook, Path } from '../model/outlook.ts';
import { releaseLevel } from '../model/overload.ts';
import { decisionText, type Override, readyCommand } from '../model/override.ts';
import { destinationKey } from '../model/service-id.ts';
import { span } from '../model/span.ts';
import type { DestinationState, Operation } from '../model/table.ts';
import type { Destination, ForwardingMethod } from '../model/virtual-service.ts';
import { type Problem, reachProblems } from './problems.ts';

/** States in which a real server gets no new client, the worst first. */
export const notServing = [
  'down',
  'unreachable',
  'overloaded',
  'maintenance',
  'draining',
  'drained',
] as const;

/**
 * `down`: its check says so. `overloaded`: at its upper threshold, or not yet below its lower one; `unreachable`: no packet
 * gets there. Both are only said of weights above 0. `maintenance`: a person has said so. `sorry`: it stands in for the real
 * servers.
 */
export type RealServerState = 'ready' | 'sorry' | (typeof notServing)[number];

/** How the check of a real server stands; times in ISO 8601. */
export type CheckReport = {
  readonly type: string;
  readonly isUp: boolean;
  /** When it came to that. */
  readonly since: string;
  /** In two words: `ok 3 ms`, `failing 1/3`, `down 3/3`. */
  readonly word: string;
  readonly last?: { readonly at: string; readonly result: CheckResult };
  /** When it is checked next; absent where nobody does. */
  readonly next?: string;
};

export type RealServerReport = {
  readonly name: string;
  /** Address and port. */
  readonly address: string;
  readonly method: ForwardingMethod;
  readonly state: RealServerState;
  /** Why it is in this state. */
  readonly reason: string;
  readonly weight: number;
  readonly active: number;
  readonly inactive: number;
  readonly connectionsPerSecond: number;
  /** Absent where it is not checked. */
  readonly check?: CheckReport;
};

/** What a real server is judged by, beside what the data plane says of it. */
export type Surroundings = {
  /** Absent where the plane does not say where packets go. */
  readonly outlook: Outlook | undefined;
  /** What was changed at runtime in its service. */
  readonly changes: readonly Operation[];
  /** What a person has decided about it. */
  readonly decision: Override | undefined;
  /** SERVICE/REAL. */
  readonly whom: string;
  /** How its check stands; absent where it is not checked. */
  readonly health?: MemberHealth;
  /** Whether somebody goes on checking. */
  readonly isChecking: boolean;
  readonly nowMs: number;
  /** Its service is without its quorum. */
  readonly isLost: boolean;
  /** It stands in for the real servers. */
  readonly isStandIn: boolean;
};

/** What is said of a real server, and what keeps it from serving against what was wished. Pure. */
export function judgeRealServer(
  name: string,
  one: DestinationState,
  { outlook, changes, decision, health, isLost, isStandIn, ...rest }: Surroundings,
): { readonly report: RealServerReport; readonly problems: readonly Problem[] } {
  const { destination, activeConnections: active, inactiveConnections: inactive } = one;
  const { weight, upperThreshold, method } = destination;
  const total = active + inactive;
  const found = (state: RealServerState, reason: string, problems: readonly Problem[] = []) => ({
    report: {
      name,
      address: destinationKey(destination),
      method,
      state,
      reason,
      weight,
      active,
      inactive,
      connectionsPerSecond: Number(one.rates.connections),
      ...(health && { check: checkReport(health) }),
    },
    problems,
  });
  if (health && !health.isUp && decision?.state !== 'maintenance') {
    const what = downText(health, rest);
    const drained = decision ? `; ${decisionText(decision)}` : '';
    const problem = { what: downProblem(health), remedy: `headgate check ${rest.whom} --verbose` };
    return found('down', `${what}${drained}`, [problem]);
  }
  if (isStandIn) return found('sorry', 'stands in: too few real servers are usable');
  if (decision) {
    const left = `${total === 0 ? 'no connections' : count(total, 'connection')} left; ${readyCommand(decision)}`;
    const why = `${decisionText(decision)}: ${left}`;
    if (decision.state === 'maintenance') return found('maintenance', why);
    return found(total > 0 ? 'draining' : 'drained', why);
  }
  if (weight === 0) {
    const why = isLost
      ? 'too few real servers are usable, the sorry server has new clients'
      : isChanged(destination, changes)
        ? 'weight 0 by a change at runtime'
        : 'weight 0';
    return total > 0
      ? found('draining', `${why}, ${count(total, 'connection')} left`)
      : found('drained', `${why}, no connections left`);
  }
  const problems = reachProblems(destination, outlook);
  if (problems.length > 0) return found('unreachable', problems[0]!.what, problems);
  if (one.overloaded) {
    const what =
      total >= upperThreshold
        ? `${count(total, 'connection')}, and its upper threshold is ${upperThreshold}`
        : `${count(total, 'connection')}, and it serves again below ${releaseLevel(destination)}`;
    const remedy = 'raise its upper threshold, or add a real server';
    return found('overloaded', what, [{ what, remedy }]);
  }
  if (health && health.against > 0) return found('ready', failingText(health, rest));
  return found('ready', wayText(destination, outlook?.paths.get(destination.address)));
}

type Now = Pick<Surroundings, 'isChecking' | 'nowMs'>;

/** `down 3/3  http expect: got 503, want 200-299 (4 ms, 12s ago), down for 41s, next try in 3s`. */
function downText(health: MemberHealth, now: Now): string {
  const { isChecking, nowMs } = now;
  const word = healthWord(health);
  const last = lastResultText(health, nowMs);
  const next = !isChecking
    ? 'nobody is checking now: no daemon runs'
    : health.nextMs === undefined
      ? 'it is not checked now'
      : `next try in ${span(health.nextMs - nowMs)}`;
  const since = last === '' ? '' : `, down for ${span(nowMs - health.sinceMs)}`;
  return `${word}${last === '' ? '' : `  ${last}`}${since}, ${next}`;
}

const failingText = (health: MemberHealth, { nowMs }: Now): string =>
  `${healthWord(health)}  ${lastResultText(health, nowMs)}`;

function downProblem({ type, last }: MemberHealth): string {
  if (!last) return 'it is down until its first good check';
  return last.result.isGood
    ? 'it is down, and its checks are good again'
    : `it is down: ${type} ${last.result.phase}: ${last.result.reason}`;
}

function checkReport(health: MemberHealth): CheckReport {
  const { type, isUp, sinceMs, last, nextMs } = health;
  const iso = (ms: number) => new Date(ms).toISOString();
  return {
    ...{ type, isUp, since: iso(sinceMs), word: healthWord(health) },
    ...(last && { last: { at: iso(last.atMs), result: last.result } }),
    ...(nextMs !== undefined && { next: iso(nextMs) }),
  };
}

function isChanged(destination: Destination, changes: readonly Operation[]): boolean {
  const key = destinationKey(destination);
  return changes.some(
    (operation) =>
      (operation.kind === 'edit-destination' || operation.kind === 'add-destination') &&
      operation.destination.weight === 0 &&
      destinationKey(operation.destination) === key,
  );
}

/** Why packets are thought to get there. */
function wayText({ address }: Destination, path: Path | undefined): string {
  if (path === undefined) return 'this data plane does not say whether it can be reached';
  if (path.kind === 'local') return 'it is this host itself';
  if (path.kind === 'none') return 'no route';
  const who = path.via === address ? 'it' : `the gateway ${path.via}`;
  return path.mac === undefined
    ? `${who} was not asked for yet on ${path.device}`
    : `${who} answers on ${path.device}`;
}
