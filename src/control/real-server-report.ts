import { count } from '../model/count.ts';
import type { Outlook, Path } from '../model/outlook.ts';
import { releaseLevel } from '../model/overload.ts';
import { decisionText, type Override, readyCommand } from '../model/override.ts';
import { destinationKey } from '../model/service-id.ts';
import type { DestinationState, Operation } from '../model/table.ts';
import type { Destination, ForwardingMethod } from '../model/virtual-service.ts';
import { type Problem, reachProblems } from './explain.ts';

/**
 * `overloaded`: at its upper threshold, or not yet below its lower one; `unreachable`: no packet gets there. Both are only said of weights above 0.
 * `maintenance`: a person has said so.
 */
export type RealServerState = 'ready' | 'draining' | 'drained' | 'maintenance' | 'overloaded' | 'unreachable';

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
};

/** What a real server is judged by, beside what the data plane says of it. */
export type Surroundings = {
  /** Absent where the plane does not say where packets go. */
  readonly outlook: Outlook | undefined;
  /** What was changed at runtime in its service. */
  readonly changes: readonly Operation[];
  /** What a person has decided about it. */
  readonly decision: Override | undefined;
};

/** What is said of a real server, and what keeps it from serving against what was wished. Pure. */
export function judgeRealServer(
  name: string,
  one: DestinationState,
  { outlook, changes, decision }: Surroundings,
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
    },
    problems,
  });
  if (decision) {
    const left = `${total === 0 ? 'no connections' : count(total, 'connection')} left; ${readyCommand(decision)}`;
    const why = `${decisionText(decision)}: ${left}`;
    if (decision.state === 'maintenance') return found('maintenance', why);
    return found(total > 0 ? 'draining' : 'drained', why);
  }
  if (weight === 0) {
    const why = isChanged(destination, changes) ? 'weight 0 by a change at runtime' : 'weight 0';
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
  return found('ready', wayText(destination, outlook?.paths.get(destination.address)));
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
