import type { Capabilities } from '../dataplane/data-plane.ts';
import type { Address } from '../model/address.ts';
import type { Outlook } from '../model/outlook.ts';
import { destinationKey, serviceKey } from '../model/service-id.ts';
import type { DestinationState, Observed, Operation, ServiceState } from '../model/table.ts';
import type { ForwardingMethod, SchedulerName, ServiceId } from '../model/virtual-service.ts';
import { count } from './change.ts';
import type { Controller } from './controller.ts';
import { localProblems, nobodyProblem, type Problem, reachProblems } from './explain.ts';
import { currentRuntimeChanges, type Intention, intend } from './reconcile.ts';
import { plainNames, type Wanted } from './wanted.ts';

/** The configuration the data plane is held against. */
export type Source = {
  readonly file: string;
  /** `headgate plan FILE`, or without the file where that is the usual one. */
  readonly plan: string;
  /** Why it says nothing: it cannot be read, or it is for another data plane. */
  readonly problem?: Problem;
  /** What it asks for; absent where it is not there or says nothing. */
  readonly wanted?: Wanted;
};

/** `overloaded`: at its upper threshold; `unreachable`: no packet gets there. Both are only said of weights above 0. */
export type RealServerState = 'ready' | 'draining' | 'drained' | 'overloaded' | 'unreachable';

export type RealServerReport = {
  readonly name: string;
  /** Address and port. */
  readonly address: string;
  readonly method: ForwardingMethod;
  readonly state: RealServerState;
  /** Why it is in this state, where that says more than the word. */
  readonly note?: string;
  readonly weight: number;
  readonly active: number;
  readonly inactive: number;
  readonly connectionsPerSecond: number;
};

export type ServiceReport = {
  readonly name: string;
  /** Protocol, address and port, or the mark. */
  readonly address: string;
  readonly scheduler: SchedulerName | 'none';
  /** `accepted`: in force as it is; `differs`: the configuration says otherwise; `not in force`: only it knows the service. */
  readonly configuration: 'accepted' | 'differs' | 'not in force';
  /** What new clients meet. `carrying`: it has active connections or packets; `idle`: it could. */
  readonly traffic: 'carrying' | 'idle' | 'none can serve';
  /** Real servers that new clients may get. */
  readonly usable: number;
  readonly active: number;
  readonly inactive: number;
  readonly connectionsPerSecond: number;
  readonly realServers: readonly RealServerReport[];
};

/**
 * `down`: a service cannot serve at all. `degraded`: a real server that should serve does not, or a service that the
 * configuration describes is not in force. A weight of 0 is somebody's wish and no fault while others serve.
 */
export type Health = 'ok' | 'degraded' | 'down';

export type StatusReport = {
  readonly health: Health;
  readonly host: string;
  readonly dataPlane: Capabilities;
  /** Connections and persistence templates of the real servers that are there, and how many the table can hold. */
  readonly connectionTable: { readonly used: number; readonly size: number };
  readonly file: string;
  /** Steps from what is in force to what the file says; absent where it says nothing. */
  readonly differences?: number;
  /** What was changed since a configuration was applied. */
  readonly runtimeChanges: number;
  readonly services: readonly ServiceReport[];
  /** What is wrong, the worst first; `about` names services and real servers, or the file. */
  readonly problems: readonly (Problem & { readonly about: string })[];
};

/** What a report is made from. */
export type Findings = {
  readonly host: string;
  readonly source: Source;
  readonly dataPlane: Capabilities;
  readonly observed: Observed;
  /** Where packets go; absent where the plane does not say: then nobody is called unreachable. */
  readonly outlook?: Outlook;
  readonly intention?: Intention;
  readonly runtimeChanges: readonly Operation[];
};

/** Looks at a data plane and says whether it serves. Changes nothing. Rejects with a HeadgateError. */
export async function statusOf(controller: Controller, source: Source, host: string): Promise<StatusReport> {
  const observed = await controller.read();
  const outlook = await controller.outlook?.(undefined, addressesOf(observed));
  const intention = source.wanted && (await intend(controller, source.wanted));
  return reportOf({
    ...{ host, source, observed },
    dataPlane: controller.capabilities,
    runtimeChanges: await currentRuntimeChanges(controller),
    ...(outlook && { outlook }),
    ...(intention && { intention }),
  });
}

function addressesOf({ services }: Observed): Address[] {
  const addresses = services.flatMap(({ service: { id }, destinations }) => [
    ...(id.kind === 'address' ? [id.address] : []),
    ...destinations.map(({ destination }) => destination.address),
  ]);
  return [...new Set(addresses)];
}

/** The same from what was read before. Pure. */
export function reportOf(findings: Findings): StatusReport {
  const { host, source, dataPlane, observed, intention, runtimeChanges } = findings;
  const judged = observed.services.map((state) => judge(state, findings));
  const absent = notInForce(findings);
  const services = [...judged.map(({ report }) => report), ...absent];
  const isDown = judged.some(({ report }) => report.traffic === 'none can serve');
  const isImpaired = ({ realServers }: ServiceReport) =>
    realServers.some(({ state }) => state === 'unreachable' || state === 'overloaded');
  const worstFirst = judged.toSorted((a, b) => Math.min(a.report.usable, 1) - Math.min(b.report.usable, 1));
  return {
    health: isDown ? 'down' : absent.length > 0 || services.some(isImpaired) ? 'degraded' : 'ok',
    host,
    dataPlane,
    connectionTable: { used: connectionsIn(observed), size: observed.connectionTableSize },
    file: source.file,
    ...(intention && { differences: intention.steps.length }),
    runtimeChanges: runtimeChanges.length,
    services,
    problems: merged([
      ...worstFirst.flatMap(({ problems }) => problems),
      ...absent.map(({ name }) => ({
        about: name,
        what: `${source.file} describes it, and it is not in force`,
        remedy: source.plan,
      })),
      ...(source.problem ? [{ about: source.file, ...source.problem }] : []),
    ]),
  };
}

type About = StatusReport['problems'][number];

/** One service: what is said of it, and what is wrong with it. */
function judge(
  state: ServiceState,
  { source, outlook, intention }: Findings,
): { readonly report: ServiceReport; readonly problems: readonly About[] } {
  const { service, destinations } = state;
  const { id, scheduler } = service;
  const names = source.wanted?.names ?? plainNames;
  const name = names.service(id);
  const members = destinations.map((one) => judgeMember(one, outlook));
  const realServers = members.map(({ report }, i) => ({
    name: names.realServer(id, destinations[i]!.destination),
    ...report,
  }));
  const local = id.kind === 'address' ? localProblems(id.address, outlook) : [];
  const usable = local.length > 0 ? 0 : realServers.filter((one) => one.state === 'ready').length;
  const about = (whom: string) => (problem: Problem) => ({ about: whom, ...problem });
  const active = sum(destinations, (one) => one.activeConnections);
  const busy = active > 0 || state.rates.connections > 0n || state.rates.packetsIn > 0n;
  return {
    report: {
      name,
      address: serviceKey(id),
      scheduler,
      configuration: intention && isTouched(id, intention) ? 'differs' : 'accepted',
      traffic: usable === 0 ? 'none can serve' : busy ? 'carrying' : 'idle',
      usable,
      active,
      inactive: sum(destinations, (one) => one.inactiveConnections),
      connectionsPerSecond: Number(state.rates.connections),
      realServers,
    },
    problems: [
      ...local.map(about(name)),
      ...(destinations.some(({ destination }) => destination.weight > 0)
        ? []
        : [about(name)(nobodyProblem(state))]),
      ...members.flatMap(({ problems }, i) => problems.map(about(`${name}/${realServers[i]!.name}`))),
    ],
  };
}

type Member = { readonly report: Omit<RealServerReport, 'name'>; readonly problems: readonly Problem[] };

function judgeMember(one: DestinationState, outlook: Outlook | undefined): Member {
  const { destination, activeConnections: active, inactiveConnections: inactive } = one;
  const { weight, upperThreshold, method } = destination;
  const total = active + inactive;
  const rest = {
    ...{ address: destinationKey(destination), method, weight, active, inactive },
    connectionsPerSecond: Number(one.rates.connections),
  };
  const found = (state: RealServerState, note?: string, problems: readonly Problem[] = []): Member => ({
    report: { ...rest, state, ...(note !== undefined && { note }) },
    problems,
  });
  if (weight === 0)
    return total > 0 ? found('draining', `${count(total, 'connection')} left`) : found('drained');
  const problems = reachProblems(destination, outlook);
  if (problems.length > 0) return found('unreachable', problems[0]!.what, problems);
  // Between the thresholds it depends on which of the two it met last; that, nobody outside the plane knows.
  if (upperThreshold > 0 && total >= upperThreshold) {
    const what = `${count(total, 'connection')}, and its upper threshold is ${upperThreshold}`;
    const remedy = 'raise its upper threshold, or add a real server';
    return found('overloaded', what, [{ what, remedy }]);
  }
  return found('ready');
}

function isTouched(id: ServiceId, { steps }: Intention): boolean {
  const key = serviceKey(id);
  return steps.some(({ operation }) => keyOf(operation) === key);
}

function keyOf(operation: Operation): string | undefined {
  if ('service' in operation) return serviceKey(operation.service.id);
  return 'id' in operation && operation.id ? serviceKey(operation.id) : undefined;
}

/** Services that the configuration adds. */
function notInForce({ intention, source }: Findings): ServiceReport[] {
  const { names } = source.wanted ?? { names: plainNames };
  return (intention?.steps ?? []).flatMap(({ operation }) =>
    operation.kind === 'add-service'
      ? [
          {
            name: names.service(operation.service.id),
            address: serviceKey(operation.service.id),
            scheduler: operation.service.scheduler,
            configuration: 'not in force' as const,
            traffic: 'none can serve' as const,
            ...{ usable: 0, active: 0, inactive: 0, connectionsPerSecond: 0, realServers: [] },
          },
        ]
      : [],
  );
}

function connectionsIn({ services }: Observed): number {
  return sum(
    services.flatMap(({ destinations }) => destinations),
    (one) => one.activeConnections + one.inactiveConnections + one.persistentConnections,
  );
}

const sum = <Item>(items: readonly Item[], of: (item: Item) => number): number =>
  items.reduce((total, item) => total + of(item), 0);

/** One problem for all it is the same for. */
function merged(problems: readonly About[]): About[] {
  const by = new Map<string, About>();
  for (const problem of problems) {
    const key = `${problem.what}\n${problem.remedy}`;
    const before = by.get(key);
    by.set(key, before ? { ...before, about: `${before.about}, ${problem.about}` } : problem);
  }
  return [...by.values()];
}
