import type { Capabilities } from '../dataplane/data-plane.ts';
import type { Address } from '../model/address.ts';
import type { MemberAgent } from '../model/agent-state.ts';
import { type Disagreement, pageDisagreements } from '../model/agreement.ts';
import { operationKey } from '../model/apply-operation.ts';
import type { RunningSync } from '../model/connection-sync.ts';
import { count } from '../model/count.ts';
import { type Health as Checked, type MemberHealth, worstByMember } from '../model/health.ts';
import type { Outlook } from '../model/outlook.ts';
import { memberKey, type Override } from '../model/override.ts';
import type { PeerStatus } from '../model/peer.ts';
import { serviceKey } from '../model/service-id.ts';
import type { Observed, Operation, ServiceState } from '../model/table.ts';
import type { SchedulerName, ServiceId } from '../model/virtual-service.ts';
import type { VrrpStatus } from '../model/vrrp.ts';
import type { Applied } from './applied.ts';
import { type ConfigurationReport, configurationOf, type Source } from './configuration-report.ts';
import type { Controller } from './controller.ts';
import { healthOf } from './health-store.ts';
import { ignoredProblem, ignoredSettings } from './ignored.ts';
import { overridesOf, readCovers } from './override-store.ts';
import { aloneProblems, peerProblems } from './peer-problems.ts';
import { nobodyProblem, oddProblems, type Problem, warningsIn } from './problems.ts';
import { judgeRealServer, notServing, type RealServerReport } from './real-server-report.ts';
import { currentRuntimeChanges, type Intention, intend, type Seen, see } from './reconcile.ts';
import { standIns, weightsUnder, withAbsent } from './shown.ts';
import { type Reach, reachOf } from './standby.ts';
import { vrrpProblems } from './vrrp-problems.ts';
import { plainNames } from './wanted.ts';

export type DaemonReport = { readonly pid: number; readonly version: string; readonly startedAt: string };

/** `down`: no new client is served. `degraded`: not all is as it was meant: a real server, a setting, or it is not in force. */
export type Health = 'ok' | 'degraded' | 'down';

export type ServiceReport = {
  readonly name: string;
  /** Protocol, address and port, or the mark. */
  readonly address: string;
  readonly scheduler: SchedulerName | 'none';
  readonly health: Health;
  /**
   * What became of what the configuration says: `accepted` as it says; `changed` at runtime since; `differs`: it says
   * otherwise by now; `missing`: not in force; `undescribed`: it says nothing; `unknown`: it cannot be read.
   */
  readonly configuration: 'accepted' | 'changed' | 'differs' | 'missing' | 'undescribed' | 'unknown';
  readonly configurationReason: string;
  /**
   * What new clients meet. `carrying`: there are active connections or packets; `idle`: there could be; `standby`: they go to
   * another director.
   */
  readonly traffic: 'carrying' | 'idle' | 'standby' | 'down';
  readonly trafficReason: string;
  /** Real servers that new clients may get. */
  readonly usable: number;
  readonly active: number;
  readonly inactive: number;
  readonly connectionsPerSecond: number;
  readonly realServers: readonly RealServerReport[];
};

/** What is wrong, of which services, real servers or files, and what to do. */
export type About = Problem & { readonly about: readonly string[] };

export type StatusReport = {
  /** Of all services and of the configuration together: the worst. */
  readonly health: Health;
  readonly host: string;
  /** Absent where none runs. */
  readonly daemon?: DaemonReport;
  /** How the VRRP instances of this director stand; absent where it stands alone. */
  readonly vrrp?: readonly VrrpStatus[];
  /** How the processes that tell and hear of connections fare; absent where none runs. */
  readonly sync?: readonly RunningSync[];
  /** The other directors, as they spoke of themselves last; absent where none has spoken. */
  readonly peers?: readonly PeerStatus[];
  /** How long one that would have the key has been listened for and none has ever spoken; absent where nobody is listened for. */
  readonly aloneMs?: number;
  readonly dataPlane: Capabilities;
  /** Connections and persistence templates of the real servers that are there, and how many the table can hold. */
  readonly connectionTable: { readonly used: number; readonly size: number };
  /** Virtual addresses that this host has, of those that services are for; absent where the plane does not say. */
  readonly virtualAddresses?: { readonly held: number; readonly of: number };
  readonly configuration: ConfigurationReport;
  readonly services: readonly ServiceReport[];
  /** The worst first. */
  readonly problems: readonly About[];
};

/** What a report is made from. */
export type Findings = Pick<
  StatusReport,
  'host' | 'daemon' | 'vrrp' | 'sync' | 'peers' | 'aloneMs' | 'dataPlane'
> & {
  readonly source: Source;
  readonly observed: Observed;
  readonly applied?: Applied;
  /** Where packets go; absent where the plane does not say: then nobody is called unreachable. */
  readonly outlook?: Outlook;
  readonly intention?: Intention;
  readonly runtimeChanges: readonly Operation[];
  /** What people have decided about real servers. */
  readonly overrides?: readonly Override[];
  /** What checks have found, and when this is looked at, milliseconds since 1970. */
  readonly health?: Checked;
  readonly nowMs?: number;
  /** Entries, by memberKey, that stand in for real servers. */
  readonly standIns?: ReadonlySet<string>;
  /** Weights under what lies over the table, by memberKey. */
  readonly weightsUnder?: ReadonlyMap<string, number>;
};

/** Whom the report is about. */
export type Place = {
  readonly host: string;
  readonly daemon?: DaemonReport;
  /** Absent where it stands alone. */
  readonly vrrp?: readonly VrrpStatus[];
  /** Absent where no connection sync runs, or nobody asked. */
  readonly sync?: readonly RunningSync[];
  /** Absent where no other director has spoken. */
  readonly peers?: readonly PeerStatus[];
  /** Absent where one has, or nobody is listened for. */
  readonly aloneMs?: number;
};

/** Looks at a data plane and says whether it serves. Changes nothing. Rejects with a HeadgateError. */
export async function statusOf(controller: Controller, source: Source, place: Place): Promise<StatusReport> {
  const seen = await see(controller, { counters: 'rates' });
  return reportOf(await findingsOf(controller, source, place, seen));
}

/** Reads the rest of what a report is made from; paths of these services only, where it is not about all. */
export async function findingsOf(
  controller: Controller,
  source: Source,
  place: Place,
  seen: Seen,
  services: readonly ServiceState[] = seen.observed.services,
): Promise<Findings> {
  const { applied } = seen;
  const covers = readCovers(controller);
  const observed = withAbsent(seen.observed, covers);
  const outlook = await controller.outlook?.(undefined, addressesOf(services));
  const intention = source.wanted && (await intend(controller, source.wanted, {}, seen));
  return {
    ...place,
    ...{ source, observed, dataPlane: controller.capabilities },
    ...{ health: await healthOf(controller), nowMs: Date.now() },
    ...{ standIns: standIns(covers), weightsUnder: weightsUnder(covers) },
    overrides: intention?.overrides ?? (await overridesOf(controller)),
    runtimeChanges: intention
      ? [...intention.kept, ...intention.dropped]
      : await currentRuntimeChanges(controller, seen),
    ...(applied && { applied }),
    ...(outlook && { outlook }),
    ...(intention && { intention }),
  };
}

function addressesOf(services: readonly ServiceState[]): Address[] {
  const addresses = services.flatMap(({ service: { id }, destinations }) => [
    ...(id.kind === 'address' ? [id.address] : []),
    ...destinations.map(({ destination }) => destination.address),
  ]);
  return [...new Set(addresses)];
}

/** The same from what was read before. Pure. */
function reportOf(findings: Findings): StatusReport {
  const { host, daemon, source, dataPlane, observed, outlook } = findings;
  const index = indexOf(findings);
  const judged = observed.services.map((state) => judge(state, findings, index));
  const absent = notInForce(findings);
  const between = [
    ...(findings.vrrp ?? []).flatMap((one) =>
      vrrpProblems(one).map((problem) => ({ about: [one.name], ...problem })),
    ),
    ...(findings.peers ?? []).flatMap((one) =>
      peerProblems(one).map((problem) => ({ about: [one.host], ...problem })),
    ),
    ...aloneProblems(findings.aloneMs).map((problem) => ({ about: ['failover'], ...problem })),
  ];
  const services = [...judged.map(({ report }) => report), ...absent];
  // Through the API a plane that does not say has an outlook without paths.
  const held = outlook && outlook.paths.size > 0 ? virtualAddresses(observed, outlook) : undefined;
  const worstFirst = judged.toSorted((a, b) => rank[a.report.health] - rank[b.report.health]);
  return {
    health: worstOf([
      ...services.map(({ health }) => health),
      source.problem || between.length > 0 ? 'degraded' : 'ok',
    ]),
    host,
    ...(daemon && { daemon }),
    ...(findings.vrrp && { vrrp: findings.vrrp }),
    // Made from the key, too: nobody else's business.
    ...(findings.sync && { sync: findings.sync.map(({ digest, ...one }) => one) }),
    ...(findings.peers && { peers: findings.peers }),
    ...(findings.aloneMs !== undefined && { aloneMs: findings.aloneMs }),
    dataPlane,
    connectionTable: { used: connectionsIn(observed), size: observed.connectionTableSize },
    ...(held && { virtualAddresses: held }),
    configuration: configurationOf({
      ...findings,
      runtimeChanges: findings.runtimeChanges.length,
      served: findings.daemon !== undefined,
    }),
    services,
    problems: merged([
      ...between,
      ...worstFirst.flatMap(({ problems }) => problems),
      ...absent.map(({ name }) => ({
        about: [name],
        what: `${source.file} describes it, and it is not in force`,
        remedy: `headgate plan ${source.file}`,
      })),
      ...(source.problem ? [{ about: [source.file], ...source.problem }] : []),
    ]),
  };
}

const rank: Record<Health, number> = { down: 0, degraded: 1, ok: 2 };

const worstOf = (all: readonly Health[]): Health =>
  all.reduce((worst, one) => (rank[one] < rank[worst] ? one : worst), 'ok');

/** What concerns each service, by its key. */
export type Index = {
  readonly steps: ReadonlyMap<string, Intention['steps']>;
  readonly changes: ReadonlyMap<string, readonly Operation[]>;
  readonly described?: ReadonlySet<string>;
  /** How the check of an entry stands, by memberKey; of several the one that is worst. */
  readonly health: ReadonlyMap<string, MemberHealth>;
  /** Whose page is not that of most others, by memberKey. */
  readonly odd: ReadonlyMap<string, Disagreement>;
  /** What good checks warn of, by memberKey. */
  readonly warnings: ReadonlyMap<string, readonly Problem[]>;
  /** How the agent of an entry stands, by memberKey. */
  readonly agents: ReadonlyMap<string, MemberAgent>;
  /** Services without their quorum, by serviceKey. */
  readonly lost: ReadonlySet<string>;
  /** What people have decided, by memberKey. */
  readonly decisions: ReadonlyMap<string, Override>;
};

export function indexOf({ intention, runtimeChanges, source, health, overrides = [] }: Findings): Index {
  const { wanted } = source;
  const members = health?.members ?? [];
  return {
    health: worstByMember(members),
    odd: pageDisagreements(members),
    warnings: warningsIn(members),
    agents: new Map(health?.agents?.map((one) => [memberKey(one.service, one.destination), one])),
    lost: new Set(health?.lost),
    decisions: new Map(
      overrides.flatMap((one) =>
        one.members.map(({ service, destination }) => [memberKey(service, destination), one] as const),
      ),
    ),
    steps: grouped(intention?.steps ?? [], ({ operation }) => operationKey(operation)),
    changes: grouped(runtimeChanges, operationKey),
    ...(wanted && {
      described: new Set(wanted.table.services.map(({ service }) => serviceKey(service.id))),
    }),
  };
}

/** One service: what is said of it, and what is wrong with it. */
export function judge(
  state: ServiceState,
  findings: Findings,
  index: Index,
): { readonly report: ServiceReport; readonly problems: readonly About[] } {
  const { source, outlook } = findings;
  const { service, destinations } = state;
  const { id, scheduler } = service;
  const names = source.wanted?.names ?? plainNames;
  const name = names.service(id);
  const key = serviceKey(id);
  const changes = index.changes.get(key) ?? [];
  const ignored = ignoredSettings(state, findings.dataPlane, findings.observed.sysctls);
  const isLost = index.lost.has(key);
  const surroundings = {
    ...{ outlook, changes, isLost, service: names.serviceName(id) },
    ...{ nowMs: findings.nowMs ?? 0, isChecking: findings.health?.isChecking === true },
  };
  const members = destinations.map((one) => {
    const member = memberKey(id, one.destination);
    return judgeRealServer(names.realServer(id, one.destination), one, surroundings, {
      decision: index.decisions.get(member),
      health: index.health.get(member),
      agent: index.agents.get(member),
      weightUnder: findings.weightsUnder?.get(member) ?? one.destination.weight,
      isStandIn: findings.standIns?.has(member) === true,
    });
  });
  const realServers = members.map(({ report }) => report);
  const reach: Reach = id.kind === 'address' ? reachOf(id.address, outlook, findings.vrrp) : { problems: [] };
  const { problems: local, standby } = reach;
  const able = realServers.filter((one) => one.state === 'ready').length;
  const usable = local.length > 0 ? 0 : able;
  const about = (whom: string) => (problem: Problem) => ({ about: [whom], ...problem });
  const active = sum(destinations, (one) => one.activeConnections);
  const busy = active > 0 || state.rates.connections > 0n || state.rates.packetsIn > 0n;
  const standIn = realServers.find((one) => one.state === 'sorry');
  const own = realServers.filter((one) => one.state !== 'sorry');
  const odd = members.map(({ report }, i) =>
    report.state === 'ready' ? oddProblems(index.odd.get(memberKey(id, destinations[i]!.destination))) : [],
  );
  const isImpaired =
    isLost ||
    odd.some((found) => found.length > 0) ||
    own.some(({ state }) => ['unreachable', 'overloaded', 'down'].includes(state));
  const traffic = usable === 0 ? 'down' : standby !== undefined ? 'standby' : busy ? 'carrying' : 'idle';
  const shares = `${able} of ${own.length} real servers usable${othersOf(own)}${standIn ? `; the sorry server ${standIn.address} answers` : ''}`;
  return {
    report: {
      name,
      address: key,
      scheduler,
      health: usable === 0 ? 'down' : isImpaired || ignored.length > 0 ? 'degraded' : 'ok',
      ...configurationWords(state, findings, index),
      traffic,
      trafficReason:
        local[0]?.what ??
        (usable > 0 ? standby : undefined) ??
        (realServers.length === 0
          ? 'it has no real server'
          : traffic === 'idle'
            ? `no connection now, ${shares}`
            : shares),
      usable,
      active,
      inactive: sum(destinations, (one) => one.inactiveConnections),
      connectionsPerSecond: Number(state.rates.connections),
      realServers,
    },
    problems: [
      ...local.map(about(name)),
      ...(realServers.some(({ weight, state }) => weight > 0 || state === 'down')
        ? []
        : [about(name)(nobodyProblem(state, findings.overrides))]),
      ...ignored.map((setting) => about(name)(ignoredProblem(setting, service, findings.dataPlane))),
      ...members.flatMap(({ report, problems }, i) => {
        const warnings = index.warnings.get(memberKey(id, destinations[i]!.destination)) ?? [];
        const all = [...problems, ...odd[i]!, ...warnings];
        return all.length === 0 ? [] : all.map(about(`${name}/${report.name}`));
      }),
    ],
  };
}

/** `: 1 unreachable, 2 draining`, or nothing where all are ready. */
function othersOf(realServers: readonly RealServerReport[]): string {
  const states = notServing.flatMap((state) => {
    const found = realServers.filter((one) => one.state === state).length;
    return found > 0 ? [`${found} ${state}`] : [];
  });
  return states.length > 0 ? `: ${states.join(', ')}` : '';
}

function configurationWords(
  { service }: ServiceState,
  { source }: Findings,
  { steps, changes, described }: Index,
): Pick<ServiceReport, 'configuration' | 'configurationReason'> {
  const { file } = source;
  const words = (configuration: ServiceReport['configuration'], configurationReason: string) => ({
    configuration,
    configurationReason,
  });
  const key = serviceKey(service.id);
  if (!described)
    return source.problem
      ? words('unknown', `${file}: ${source.problem.what}`)
      : words('undescribed', `there is no ${file}`);
  const [first, ...more] = steps.get(key) ?? [];
  if (first)
    return words(
      'differs',
      `${file} says otherwise: ${first.sign} ${first.what} ${first.detail}${more.length > 0 ? ` and ${more.length} more` : ''}`,
    );
  const own = changes.get(key) ?? [];
  if (own.length > 0)
    return words('changed', `${count(own.length, 'change')} at runtime over what ${file} says`);
  return described.has(key)
    ? words('accepted', source.problem ? `as ${file} said when it was taken last` : `as ${file} says`)
    : words('undescribed', `${file} does not describe it`);
}

/** Services that the configuration adds. */
function notInForce({ intention, source }: Findings): ServiceReport[] {
  const { names } = source.wanted ?? { names: plainNames };
  return (intention?.steps ?? []).flatMap(({ operation }) =>
    operation.kind === 'add-service'
      ? [missingService(names.service(operation.service.id), operation.service, source.file)]
      : [],
  );
}

/** What is said of a service that only the configuration knows. */
export function missingService(
  name: string,
  { id, scheduler }: { readonly id: ServiceId; readonly scheduler: SchedulerName | 'none' },
  file: string,
): ServiceReport {
  return {
    ...{ name, address: serviceKey(id), scheduler, health: 'degraded' },
    configuration: 'missing',
    configurationReason: `${file} describes it, and it is not in force`,
    traffic: 'down',
    trafficReason: 'it is not in force',
    ...{ usable: 0, active: 0, inactive: 0, connectionsPerSecond: 0, realServers: [] },
  };
}

function virtualAddresses(
  { services }: Observed,
  { paths }: Outlook,
): { readonly held: number; readonly of: number } {
  const addresses = new Set(
    services.flatMap(({ service: { id } }) => (id.kind === 'address' ? [id.address] : [])),
  );
  const held = [...addresses].filter((address) => paths.get(address)?.kind === 'local').length;
  return { held, of: addresses.size };
}

function connectionsIn({ services }: Observed): number {
  return sum(
    services.flatMap(({ destinations }) => destinations),
    (one) => one.activeConnections + one.inactiveConnections + one.persistentConnections,
  );
}

const sum = <Item>(items: readonly Item[], of: (item: Item) => number): number =>
  items.reduce((total, item) => total + of(item), 0);

function grouped<Item>(items: readonly Item[], keyOf: (item: Item) => string | undefined) {
  const groups = new Map<string, Item[]>();
  for (const item of items) {
    const key = keyOf(item);
    if (key === undefined) continue;
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return groups;
}

/** One problem for all it is the same for. */
function merged(problems: readonly About[]): About[] {
  const by = new Map<string, Problem & { readonly about: string[] }>();
  for (const { about, ...problem } of problems) {
    const key = `${problem.what}\n${problem.remedy}`;
    const before = by.get(key);
    if (before) before.about.push(...about);
    else by.set(key, { about: [...about], ...problem });
  }
  return [...by.values()];
}
