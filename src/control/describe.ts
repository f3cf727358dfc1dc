import type { Ignored } from '../dataplane/data-plane.ts';
import { operationKey } from '../model/apply-operation.ts';
import { countEach } from '../model/connection-batches.ts';
import type { Path } from '../model/outlook.ts';
import { memberKey } from '../model/override.ts';
import { destinationKey, serviceKey } from '../model/service-id.ts';
import type { Counters, DestinationState, Observed, Operation, ServiceState } from '../model/table.ts';
import type { Destination, ServiceId, Timeouts, VirtualService } from '../model/virtual-service.ts';
import { bareStep } from './change.ts';
import type { Source } from './configuration-report.ts';
import type { Controller } from './controller.ts';
import { ignoredSettings } from './ignored.ts';
import { type Named, namedObjects, ownersAmong } from './named.ts';
import { readCovers } from './override-store.ts';
import { type Problem, roomFor } from './problems.ts';
import { type CheckReport, checkReport, type RealServerReport } from './real-server-report.ts';
import { see } from './reconcile.ts';
import { withAbsent } from './shown.ts';
import {
  type Findings,
  findingsOf,
  indexOf,
  judge,
  missingService,
  type Place,
  type ServiceReport,
} from './status.ts';
import { plainNames } from './wanted.ts';

/** Counts of traffic; 64-bit numbers as decimal strings. */
export type Amounts = Readonly<Record<keyof Counters, string>>;

type Tally = { readonly states: Readonly<Record<string, number>>; readonly templates: number };

type Traffic = {
  /** Since the start or the last zeroing; absent where it is not in force. */
  readonly counters?: Amounts;
  /** A second. */
  readonly rates?: Amounts;
  /** By the state of the connection; persistence templates are counted apart. */
  readonly connections: Tally;
  /** Where packets to its address go; absent where the plane does not say. */
  readonly path?: Path;
};

type Story = {
  /** SERVICE, or SERVICE/REALSERVER. */
  readonly about: string;
  readonly file: string;
  /** What applying the file would do to it. */
  readonly differences: readonly string[];
  /** What it is set to and the data plane does not act on. */
  readonly ignored: readonly Ignored[];
  /** What was changed since the file was applied. */
  readonly runtimeChanges: readonly string[];
  readonly problems: readonly (Problem & { readonly about: readonly string[] })[];
};

export type ServiceDescription = Story &
  Traffic & {
    readonly kind: 'service';
    readonly report: ServiceReport;
    /** Absent: only the configuration has it. */
    readonly inForce?: VirtualService;
    /** Absent: the configuration does not describe it. */
    readonly configured?: VirtualService;
    /** Of idle connections, seconds; the same for all services. */
    readonly timeouts: Timeouts;
  };

export type RealServerDescription = Story &
  Traffic & {
    readonly kind: 'real server';
    readonly service: Pick<ServiceReport, 'name' | 'address' | 'health' | 'traffic' | 'trafficReason'>;
    readonly report: RealServerReport;
    /** Every check of it, in the order of the configuration. */
    readonly checks: readonly CheckReport[];
    readonly inForce: Destination;
    readonly configured?: Destination;
    /** Bytes a packet may have on the way there, where that is known. */
    readonly room?: number;
  };

export type Description = ServiceDescription | RealServerDescription;

/**
 * Everything about SERVICE or SERVICE/REALSERVER; several where a name stands for several addresses. Changes nothing.
 * Rejects with HG_UNKNOWN_NAME.
 */
export async function describe(
  controller: Controller,
  source: Source,
  place: Place,
  name: string,
): Promise<readonly Description[]> {
  const seen = await see(controller);
  const candidates = candidatesOf(withAbsent(seen.observed, readCovers(controller)).services, source);
  const objects = namedObjects(candidates, name);
  const states = objects.flatMap(({ service: { state } }) => (state ? [state] : []));
  const findings = await findingsOf(controller, source, place, seen, states);
  return descriptionsOf(findings, objects, await tally(objects, seen.observed, source, controller));
}

type Candidate = Named & { readonly id: ServiceId; readonly state?: ServiceState };

/** The services that are there, and those that only the configuration has. */
function candidatesOf(services: readonly ServiceState[], { wanted }: Source): Candidate[] {
  const names = wanted?.names ?? plainNames;
  const candidate = (id: ServiceId, destinations: readonly Destination[], state?: ServiceState) => ({
    ...{ id, name: names.service(id), address: serviceKey(id) },
    realServers: destinations.map((one) => ({
      name: names.realServer(id, one),
      address: destinationKey(one),
    })),
    ...(state && { state }),
  });
  const present = new Set(services.map(({ service }) => serviceKey(service.id)));
  return [
    ...services.map((state) =>
      candidate(
        state.service.id,
        state.destinations.map(({ destination }) => destination),
        state,
      ),
    ),
    ...(wanted?.table.services ?? [])
      .filter(({ service }) => !present.has(serviceKey(service.id)))
      .map(({ service }) => candidate(service.id, [])),
  ];
}

type Subject = { readonly service: Candidate; readonly realServer?: number };

/** Counts the connections of each. */
async function tally(
  objects: readonly Subject[],
  { services }: Observed,
  source: Source,
  controller: Controller,
): Promise<readonly Tally[]> {
  const ownerOf = ownersAmong(candidatesOf(services, source));
  const tallies = objects.map(({ service: { address }, realServer }) => ({
    ...{ address, realServer },
    states: {} as Record<string, number>,
    templates: 0,
  }));
  const counts = controller.connectionCounts
    ? await controller.connectionCounts()
    : countEach(controller.connections());
  for await (const { like, count } of counts) {
    const owner = ownerOf(like);
    for (const one of tallies) {
      if (owner?.service.address !== one.address) continue;
      if (one.realServer !== undefined && one.realServer !== owner.realServer) continue;
      if (like.template) one.templates += count;
      else one.states[like.state] = (one.states[like.state] ?? 0) + count;
    }
  }
  return tallies.map(({ states, templates }) => ({ states, templates }));
}

/** The same from what was read before. Pure. */
function descriptionsOf(
  findings: Findings,
  objects: readonly Subject[],
  tallies: readonly Tally[],
): readonly Description[] {
  const index = indexOf(findings);
  return objects.map(({ service: candidate, realServer }, i) => {
    const { state, id } = candidate;
    if (!state) return describeMissing(candidate, findings);
    const judged = judge(state, findings, index);
    const key = serviceKey(id);
    const whole = { state, findings, own: tallies[i]!, ...judged };
    const steps = index.steps.get(key) ?? [];
    const changes = index.changes.get(key) ?? [];
    if (realServer === undefined)
      return describeService(whole, {
        differences: steps.map(stepText),
        runtimeChanges: changes.map(changeText),
      });
    const destination = destinationKey(state.destinations[realServer]!.destination);
    const isOwn = (operation: Operation) =>
      'destination' in operation && destinationKey(operation.destination) === destination;
    return describeRealServer(whole, realServer, {
      differences: steps.filter(({ operation }) => isOwn(operation)).map(stepText),
      runtimeChanges: changes.filter(isOwn).map(changeText),
    });
  });
}

type Whole = ReturnType<typeof judge> & {
  readonly state: ServiceState;
  readonly findings: Findings;
  readonly own: Tally;
};

function describeService(
  { state, findings, own, report, problems }: Whole,
  story: Pick<Story, 'differences' | 'runtimeChanges'>,
): ServiceDescription {
  const { id } = state.service;
  const { source, observed, outlook } = findings;
  const configured = configuredService(findings, id);
  return {
    kind: 'service',
    about: report.name,
    file: source.file,
    report,
    inForce: state.service,
    ...(configured && { configured }),
    timeouts: observed.timeouts,
    ...trafficOf(state, own, id.kind === 'address' ? outlook?.paths.get(id.address) : undefined),
    ignored: ignoredSettings(state, findings.dataPlane, findings.observed.sysctls),
    ...story,
    problems,
  };
}

function describeRealServer(
  { state, findings, own, report: service, problems }: Whole,
  place: number,
  story: Pick<Story, 'differences' | 'runtimeChanges'>,
): RealServerDescription {
  const report = service.realServers[place]!;
  const one = state.destinations[place]!;
  const { name, address, health, traffic, trafficReason } = service;
  const about = `${name}/${report.name}`;
  const path = findings.outlook?.paths.get(one.destination.address);
  const room = path && roomFor(one.destination, path);
  const configured = configuredEntry(findings, state.service.id)?.destinations.find(
    (each) => destinationKey(each) === report.address,
  );
  return {
    kind: 'real server',
    about,
    file: findings.source.file,
    service: { name, address, health, traffic, trafficReason },
    report,
    checks: checksOf(findings, memberKey(state.service.id, one.destination)),
    inForce: one.destination,
    ...(configured && { configured }),
    ...trafficOf(one, own, path),
    ...(room !== undefined && { room }),
    ignored: [],
    ...story,
    problems: problems.filter((problem) => problem.about.some((whom) => whom === about || whom === name)),
  };
}

function checksOf({ health, nowMs = 0 }: Findings, member: string): CheckReport[] {
  if (!health) return [];
  return health.members
    .filter(({ service, destination }) => memberKey(service, destination) === member)
    .toSorted((a, b) => a.check - b.check)
    .map((one) => checkReport(one, { isChecking: health.isChecking, nowMs }));
}

function describeMissing({ id, name }: Candidate, findings: Findings): ServiceDescription {
  const { source, observed } = findings;
  const configured = configuredService(findings, id)!;
  const report = missingService(name, configured, source.file);
  return {
    kind: 'service',
    about: name,
    file: source.file,
    report,
    configured,
    timeouts: observed.timeouts,
    connections: { states: {}, templates: 0 },
    differences: (findings.intention?.steps ?? [])
      .filter(({ operation }) => operationKey(operation) === serviceKey(id))
      .map(stepText),
    runtimeChanges: [],
    ignored: [],
    problems: [{ about: [name], what: report.configurationReason, remedy: `headgate plan ${source.file}` }],
  };
}

const configuredEntry = ({ source }: Findings, id: ServiceId) =>
  source.wanted?.table.services.find(({ service }) => serviceKey(service.id) === serviceKey(id));

const configuredService = (findings: Findings, id: ServiceId): VirtualService | undefined =>
  configuredEntry(findings, id)?.service;

function trafficOf(
  { counters, rates }: Pick<DestinationState, 'counters' | 'rates'>,
  own: Tally,
  path: Path | undefined,
): Traffic {
  return {
    counters: amountsOf(counters),
    rates: amountsOf(rates),
    connections: own,
    ...(path && { path }),
  };
}

const amountsOf = (counters: Counters): Amounts => ({
  connections: String(counters.connections),
  packetsIn: String(counters.packetsIn),
  packetsOut: String(counters.packetsOut),
  bytesIn: String(counters.bytesIn),
  bytesOut: String(counters.bytesOut),
});

const stepText = ({ sign, what, detail }: { sign: string; what: string; detail: string }): string =>
  `${sign} ${what} ${detail}`.trimEnd();

const changeText = (operation: Operation): string => stepText(bareStep(operation));
