import { agentText, isSilent, type MemberAgent } from '../model/agent-state.ts';
import type { CheckResult } from '../model/check-result.ts';
import { count } from '../model/count.ts';
import type { MemberHealth } from '../model/health.ts';
import { healthWord, heldText, lastResultText } from '../model/health.ts';
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
  /** It comes and goes, and does not come back before, whatever its checks say; absent where nobody holds it. */
  readonly heldUntil?: string;
  /** In two words: `ok 3 ms`, `failing 1/3`, `down 3/3`, `held`. */
  readonly word: string;
  /** All of it: `down 3/3  http expect: got 503, want 200-299 (4 ms, 12s ago), down for 41s, next try in 3s`. */
  readonly says: string;
  readonly last?: { readonly at: string; readonly result: CheckResult };
  /** When it is checked next; absent where nobody does. */
  readonly next?: string;
};

/** How the agent of a real server stands; times in ISO 8601. */
export type AgentReport = {
  /** What follows from what it said: `agent says 40%: cpu 83%`; empty where nothing does. */
  readonly says: string;
  /** What the weight is multiplied by. */
  readonly factor: number;
  /** With weights from load: the smoothed load, 1 is full. */
  readonly load?: number;
  /** When it answered last; absent: never. */
  readonly answered?: string;
  /** Why it could not be asked the last time. */
  readonly failure?: string;
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
  /** Of several the one that speaks for it. Absent where it is not checked. */
  readonly check?: CheckReport;
  /** Absent where no agent is asked. */
  readonly agent?: AgentReport;
};

/** What the real servers of a service are judged by, beside what the data plane says of them. */
export type Surroundings = {
  /** Absent where the plane does not say where packets go. */
  readonly outlook: Outlook | undefined;
  /** What was changed at runtime in the service. */
  readonly changes: readonly Operation[];
  /** What people call it. */
  readonly service: string;
  /** Whether somebody goes on checking. */
  readonly isChecking: boolean;
  readonly nowMs: number;
  /** It is without its quorum. */
  readonly isLost: boolean;
};

/** What is known of one of them. */
export type Circumstances = {
  /** What a person has decided about it. */
  readonly decision: Override | undefined;
  /** How its check stands; undefined where it is not checked. */
  readonly health: MemberHealth | undefined;
  /** How its agent stands; undefined where none is asked. */
  readonly agent: MemberAgent | undefined;
  /** Its weight without what checks, agents and people make of it. */
  readonly weightUnder: number;
  /** It stands in for the real servers. */
  readonly isStandIn: boolean;
};

/** What is said of a real server, and what keeps it from serving against what was wished. Pure. */
export function judgeRealServer(
  name: string,
  one: DestinationState,
  surroundings: Surroundings,
  { decision, health, agent, weightUnder, isStandIn }: Circumstances,
): { readonly report: RealServerReport; readonly problems: readonly Problem[] } {
  const { outlook, changes, isLost } = surroundings;
  const { destination, activeConnections: active, inactiveConnections: inactive } = one;
  const { weight, upperThreshold, method } = destination;
  const total = active + inactive;
  const said = agent ? agentText(agent, surroundings.nowMs) : '';
  const silence =
    agent && isSilent(agent)
      ? [
          {
            what: `its agent does not answer: ${agent.failure}`,
            remedy: 'on the real server: headgate agent status',
          },
        ]
      : [];
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
      ...(health && { check: checkReport(health, surroundings) }),
      ...(agent && { agent: agentReport(agent, said) }),
    },
    problems: [...problems, ...silence],
  });
  if (health && !health.isUp && decision?.state !== 'maintenance') {
    const what = checkText(health, surroundings);
    const drained = decision ? `; ${decisionText(decision)}` : '';
    const problem = {
      what: downProblem(health),
      remedy: health.isHeld
        ? 'headgate events; it is let go by headgate maintenance and headgate ready'
        : `headgate check ${surroundings.service}/${name} --verbose`,
    };
    return found('down', `${what}${drained}`, [problem]);
  }
  if (agent?.down && decision?.state !== 'maintenance') {
    const problem = { what: `its ${said}`, remedy: 'on the real server: headgate agent status' };
    return found('down', said, [problem]);
  }
  if (isStandIn) return found('sorry', 'stands in: too few real servers are usable');
  if (decision) {
    const left = `${total === 0 ? 'no connections' : count(total, 'connection')} left; ${readyCommand(decision)}`;
    const why = `${decisionText(decision)}: ${left}`;
    if (decision.state === 'maintenance') return found('maintenance', why);
    return found(total > 0 ? 'draining' : 'drained', why);
  }
  if (agent?.admission === 'maint')
    return found(
      'maintenance',
      `${said}: ${total === 0 ? 'no connections' : count(total, 'connection')} left`,
    );
  if (weight === 0) {
    const why =
      agent?.admission || (agent?.factor === 0 && weightUnder !== 0)
        ? said
        : isLost
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
  const causes = [...(health?.share === undefined ? [] : ['slow start']), ...(said === '' ? [] : [said])];
  const why = causes.join('; ');
  const share = why === '' || weight === weightUnder ? why : `weight ${weight} of ${weightUnder}: ${why}`;
  const ways =
    health && health.against > 0
      ? failingText(health, surroundings)
      : wayText(destination, outlook?.paths.get(destination.address));
  return found('ready', share === '' ? ways : `${ways}; ${share}`);
}

type Now = Pick<Surroundings, 'isChecking' | 'nowMs'>;

/** The check, how far it came, what came and was wanted, how long that took, since when, and when it is tried again. */
function checkText(health: MemberHealth, now: Now): string {
  const { isChecking, nowMs } = now;
  const word = healthWord(health);
  const last = lastResultText(health, nowMs);
  const next = !isChecking
    ? 'nobody is checking now: no daemon runs'
    : health.nextMs === undefined
      ? 'it is not checked now'
      : `next try in ${span(health.nextMs - nowMs)}`;
  const since = last === '' ? '' : `, ${health.isUp ? 'up' : 'down'} for ${span(nowMs - health.sinceMs)}`;
  const held = health.isHeld ? `, ${heldText(health)}` : '';
  return `${word}${last === '' ? '' : `  ${last}`}${since}${held}, ${next}`;
}

const failingText = (health: MemberHealth, { nowMs }: Now): string =>
  `${healthWord(health)}  ${lastResultText(health, nowMs)}`;

function downProblem(health: MemberHealth): string {
  const { type, last, isHeld } = health;
  if (isHeld) return `it is down, ${heldText(health)}`;
  if (!last) return 'it is down until its first good check';
  return last.result.isGood
    ? 'it is down, and its checks are good again'
    : `it is down: ${type} ${last.result.phase}: ${last.result.reason}`;
}

/** How one check of a real server stands. */
export function checkReport(health: MemberHealth, now: Now): CheckReport {
  const { type, isUp, isHeld, sinceMs, heldUntilMs, last, nextMs } = health;
  const iso = (ms: number) => new Date(ms).toISOString();
  return {
    ...{ type, isUp, since: iso(sinceMs), word: healthWord(health), says: checkText(health, now) },
    ...(isHeld && heldUntilMs !== undefined && { heldUntil: iso(heldUntilMs) }),
    ...(last && { last: { at: iso(last.atMs), result: last.result } }),
    ...(nextMs !== undefined && { next: iso(nextMs) }),
  };
}

function agentReport({ factor, load, answeredMs, failure }: MemberAgent, says: string): AgentReport {
  return {
    ...{ says, factor },
    ...(load !== undefined && { load }),
    ...(answeredMs !== undefined && { answered: new Date(answeredMs).toISOString() }),
    ...(failure !== undefined && { failure }),
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
