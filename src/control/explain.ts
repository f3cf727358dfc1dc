import { type Address, familyOf } from '../model/address.ts';
import { agentText } from '../model/agent-state.ts';
import { gather } from '../model/connection-batches.ts';
import { type Health, healthWord, lastResultText, worstByMember } from '../model/health.ts';
import type { Outlook, Path } from '../model/outlook.ts';
import { decisionOn, memberKey, type Override } from '../model/override.ts';
import { maskAddress } from '../model/persistence.ts';
import type { Question } from '../model/question.ts';
import { startScheduler } from '../model/schedulers/by-name.ts';
import { roundRobin } from '../model/schedulers/rr.ts';
import type { DestinationView, SchedulingRequest } from '../model/schedulers/scheduler.ts';
import { weightedRoundRobin, wrrParameters } from '../model/schedulers/wrr.ts';
import { destinationKey, serviceKey } from '../model/service-id.ts';
import type { Connection, DestinationState, Observed, ServiceState } from '../model/table.ts';
import type {
  AddressServiceId,
  Destination,
  DestinationId,
  SchedulerName,
  VirtualService,
} from '../model/virtual-service.ts';
import { type Candidate, candidateOf, viewOf } from './candidate.ts';
import type { Controller } from './controller.ts';
import { healthOf } from './health-store.ts';
import { type Mark, type Marking, markAddress, markedServices, markingBy, unmarkedText } from './marking.ts';
import { overridesOf, readCovers } from './override-store.ts';
import {
  deletedProblem,
  type IsDown,
  localProblems,
  nobodyProblem,
  type Problem,
  pathProblems,
} from './problems.ts';
import { withAbsent } from './shown.ts';
import { type Names, plainNames } from './wanted.ts';

/** What becomes of a client, and why. */
export type Explanation = {
  readonly question: Question;
  /** Absent: no virtual service takes it. */
  readonly service?: {
    readonly name: string;
    /** What it is in the data plane. */
    readonly address: string;
    readonly scheduler: SchedulerName | 'none';
  };
  /** Connections the client has with this service now, each with its real server's name; with a port at most one. */
  readonly connections: readonly (Connection & { readonly realServer?: string })[];
  readonly candidates: readonly Candidate[];
  /** The packet's firewall mark, where a service goes by it. */
  readonly mark?: Mark;
  /** Who gets the packet; absent: nobody. */
  readonly destination?: Destination;
  /** What the configuration calls that one. */
  readonly realServer?: string;
  /** Where it arrives there. */
  readonly arrives?: DestinationId;
  /** Why that one, or why nobody, in a sentence. */
  readonly because: string;
  /** The scheduler may decide otherwise when the packet comes. */
  readonly uncertain?: string;
  readonly path?: Path;
  readonly problems: readonly Problem[];
};

/**
 * Explains what becomes of a client's packet, by the names of a configuration. Changes nothing. Rejects with a HeadgateError.
 */
export async function explain(
  controller: Controller,
  question: Question,
  names: Names = plainNames,
): Promise<Explanation> {
  const observed = await controller.read();
  const marking = await markingOf(observed, question);
  const state = findService(observed, question, marking.mark?.value);
  const connections = await gather(controller.connections({ clients: clientsOf(question, state) }));
  const addresses = [
    question.virtual.address,
    question.client.address,
    ...(state?.destinations ?? []).map(({ destination }) => destination.address),
  ];
  const outlook = await controller.outlook?.(state?.service.id, [...new Set(addresses)]);
  const [overrides, health] = [await overridesOf(controller), await healthOf(controller)];
  const all = withAbsent(observed, readCovers(controller)).services.find(
    ({ service }) => service === state?.service,
  );
  const absent = (all?.destinations ?? []).slice(state?.destinations.length);
  const takenOut = { absent, isDown: downIn(health, Date.now()) };
  return explanationOf(question, state, {
    ...{ observed, connections, outlook, overrides, takenOut, marking, names },
  });
}

/** Who the client is in the connection table: itself, and in templates its network. */
function clientsOf({ client: { address } }: Question, state: ServiceState | undefined): readonly Address[] {
  const persistence = state?.service.persistence;
  return persistence ? [address, maskAddress(address, persistence.netmask)] : [address];
}

/** The mark of a packet, where there are services of marks. */
async function markingOf(observed: Observed, question: Question): Promise<Marking> {
  if (question.mark !== undefined) return { mark: { value: question.mark, because: 'as was said' } };
  const ids = markedServices(observed, question);
  if (ids.length === 0) return {};
  const { readFirewall } = await import('../dataplane/firewall.ts');
  return markingBy(question, ids, readFirewall());
}

/** What health has taken away. */
export type TakenOut = {
  /** Who is down and out of the table. */
  readonly absent: readonly DestinationState[];
  readonly isDown: IsDown;
};

function downIn({ members, agents = [] }: Health, nowMs: number): IsDown {
  const said = new Map(
    agents
      .filter(({ down, admission, factor }) => down ?? admission ?? factor === 0)
      .map((one) => [memberKey(one.service, one.destination), agentText(one, nowMs)]),
  );
  const down = worstByMember(members.filter(({ isUp }) => !isUp));
  return (service, destination) => {
    const found = down.get(memberKey(service, destination));
    return found
      ? `${healthWord(found)}  ${lastResultText(found, nowMs)}`.trimEnd()
      : said.get(memberKey(service, destination));
  };
}

const ftpPort = 21;

/**
 * The service that takes a packet: that of its mark, else the one with its port, else FTP's for its data, else one for every
 * port (ip_vs_service_find).
 */
function findService(
  observed: Observed,
  { protocol, virtual }: Question,
  mark: number | undefined,
): ServiceState | undefined {
  const isFtpData = protocol === 'tcp' && (virtual.port === 20 || virtual.port >= 1024);
  const keys = [virtual.port, ...(isFtpData ? [ftpPort] : []), 0].map((port) =>
    serviceKey({ kind: 'address', protocol, ...virtual, port }),
  );
  if (mark) keys.unshift(serviceKey({ kind: 'fwmark', mark, family: familyOf(virtual.address) }));
  return keys
    .map((key) => observed.services.find(({ service }) => serviceKey(service.id) === key))
    .find((state) => state !== undefined);
}

/** What an explanation goes by. */
type Read = {
  readonly observed: Observed;
  readonly connections: readonly Connection[];
  readonly outlook: Outlook | undefined;
  readonly overrides: readonly Override[];
  readonly takenOut: TakenOut;
  readonly marking: Marking;
  readonly names: Names;
};

function explanationOf(
  question: Question,
  state: ServiceState | undefined,
  {
    observed,
    connections,
    outlook,
    overrides,
    takenOut: { absent, isDown },
    marking: { mark, unknown },
    names,
  }: Read,
): Explanation {
  const own = connections.filter((row) => isOf(row, question));
  const base = { question, ...(mark && { mark }) };
  if (!state)
    return {
      ...base,
      connections: own,
      candidates: [],
      because: 'no virtual service has this protocol, address and port',
      problems: noServiceProblems(question, observed, outlook, {
        ...(mark && { mark }),
        ...(unknown && { unknown }),
      }),
    };
  const { service } = state;
  const nameOf = (destination: DestinationId) => names.realServer(service.id, destination);
  // Packets with a mark come by the routing, wherever their address is.
  const addressProblems =
    service.id.kind === 'address' ? localProblems(question.virtual.address, outlook) : [];
  const views = state.destinations.map((one, i) => viewOf(one, outlook?.lastWeights?.[i])).reverse();
  const whole = { ...state, destinations: [...state.destinations, ...absent] };
  const candidates = whole.destinations.map((one) =>
    candidateOf(nameOf(one.destination), one, service.scheduler, {
      decision: decisionOn(overrides, service.id, one.destination),
      down: isDown(service.id, one.destination),
      isAbsent: absent.includes(one),
    }),
  );
  const present = question.client.port === undefined ? undefined : own.find(({ template }) => !template);
  const found = present
    ? keep(present, state)
    : (recall(question, observed, state, connections) ??
      choose(question, state, views, outlook, observed.sysctls?.mh_tab_index));
  const path = found.destination && outlook?.paths.get(found.destination.address);
  return {
    ...base,
    service: {
      ...{ name: names.service(service.id), address: serviceKey(service.id) },
      scheduler: service.scheduler,
    },
    connections: own.map((row) => {
      const end = whole.destinations.find(({ destination }) => takes(destination, row.destination));
      return { ...row, ...(end && { realServer: nameOf(end.destination) }) };
    }),
    candidates,
    ...found,
    ...(service.persistence?.engine !== undefined && !present && { uncertain: callsUncertain }),
    ...(unknown !== undefined && { uncertain: `${unknown}: --mark says which mark the packet has` }),
    ...(found.destination && {
      realServer: nameOf(found.destination),
      arrives: present?.destination ?? endOf(service, found.destination, question),
    }),
    ...(path && { path }),
    problems: [
      ...addressProblems,
      ...[present && !found.destination ? deletedProblem(present, service) : undefined].filter(
        (one) => one !== undefined,
      ),
      ...(found.destination || present ? [] : [nobodyProblem(whole, overrides, isDown, names)]),
      ...(found.destination ? pathProblems(question.client, found.destination, outlook) : []),
    ],
  };
}

function isOf(row: Connection, { protocol, client, virtual }: Question): boolean {
  return (
    row.protocol === protocol &&
    row.client.address === client.address &&
    (client.port === undefined || row.client.port === client.port) &&
    row.virtual.address === virtual.address &&
    row.virtual.port === virtual.port
  );
}

/** What each scheduler goes by (net/netfilter/ipvs/ip_vs_*.c), as a sentence about its choice. */
const reasons: Record<SchedulerName | 'none', string> = {
  rr: 'its turn is next',
  wrr: 'its turn is next by weight',
  lc: 'it has the least load',
  wlc: 'it has the least load for its weight',
  lblc: 'it has the least load for its weight, and new addresses go by that',
  lblcr: 'it has the least load for its weight, and new addresses go by that',
  dh: 'the virtual address hashes to it',
  sh: "the client's address hashes to it",
  sed: 'it has the shortest expected delay',
  nq: 'it is idle, or has the shortest expected delay where none is',
  fo: 'it has the highest weight',
  ovf: 'it has the highest weight of those with room',
  mh: "the client's address hashes to it",
  twos: 'it is one of two drawn by weight, the one with less load',
  none: '',
};

const uncertainties: Partial<Record<SchedulerName, string>> = {
  lblc: 'an address that was served before stays where it was',
  lblcr: 'an address that was served before stays in its set',
  twos: 'each connection draws anew',
};

const callsUncertain = 'a message of a call that is there goes where the call does, by its Call-ID';

type Found = Pick<Explanation, 'because' | 'uncertain'> & { readonly destination?: Destination };

function keep({ state, destination: id }: Connection, { destinations }: ServiceState): Found {
  const because = `the connection is there, ${state}: it stays with its real server`;
  const found = destinations.find(({ destination }) => destinationKey(destination) === destinationKey(id));
  return found ? { because, destination: found.destination } : { because };
}

/** Where persistence brings the client back to; undefined when it does not (ip_vs_sched_persist, ip_vs_check_template). */
function recall(
  { protocol, client, virtual }: Question,
  { sysctls }: Observed,
  { service, destinations }: ServiceState,
  connections: readonly Connection[],
): Found | undefined {
  const { id, persistence } = service;
  // Which call a message is of is not asked.
  if (!persistence || persistence.engine !== undefined) return undefined;
  const network = maskAddress(client.address, persistence.netmask);
  const isOwn = id.kind === 'address' && id.port === virtual.port && id.port !== ftpPort;
  const key =
    id.kind === 'address'
      ? { protocol, address: virtual.address, port: isOwn ? id.port : 0 }
      : { protocol: 'ip', address: markAddress(id), port: 0 };
  const row = connections.find(
    ({ template, ...one }) =>
      template &&
      one.protocol === key.protocol &&
      one.client.address === network &&
      one.virtual.address === key.address &&
      one.virtual.port === key.port,
  );
  const found = row && destinations.find(({ destination }) => isEnd(destination, row.destination));
  if (!found) return undefined;
  const { weight, expiresTemplates } = found.destination;
  if (weight === 0 && (expiresTemplates || sysctls?.expire_quiescent_template)) return undefined;
  return { destination: found.destination, because: 'persistence: it has served this client before' };
}

/**
 * Where a packet arrives: at the destination's port where that stands for the one asked for; without a port, and with
 * persistence at any other than the service's, at its own (ip_vs_schedule, ip_vs_sched_persist).
 */
function endOf({ id, persistence }: VirtualService, to: Destination, { virtual }: Question): DestinationId {
  const stands = id.kind === 'address' ? id.port === virtual.port : !persistence;
  return { address: to.address, port: stands && to.port !== 0 ? to.port : virtual.port };
}

/** A template for every port names none. */
const isEnd = (destination: Destination, end: DestinationId): boolean =>
  destination.address === end.address && (end.port === 0 || destination.port === end.port);

/** Whether a connection's end is this destination's, which may stand for every port. */
const takes = (destination: Destination, end: DestinationId): boolean =>
  isEnd(destination, end) || (destination.address === end.address && destination.port === 0);

function choose(
  { client, virtual }: Question,
  { service, destinations }: ServiceState,
  views: readonly DestinationView[],
  outlook: Outlook | undefined,
  mhTableIndex: number | undefined,
): Found {
  const { scheduler } = service;
  const request: SchedulingRequest = {
    packet: {
      source: client.address,
      sourcePort: client.port ?? 0,
      destination: virtual.address,
      destinationPort: virtual.port,
      inverse: false,
    },
    flags: service.schedulerFlags,
    nowMs: 0,
    random: (bound) => bound >> 1,
  };
  const choice = chooseFrom(scheduler, views, request, outlook, mhTableIndex);
  if (choice === undefined) return { because: 'no real server may have new connections' };
  const chosen = views[choice]!;
  const { destination } = destinations.find(
    (one) => destinationKey(one.destination) === destinationKey(chosen),
  )!;
  const uncertain =
    scheduler === 'none'
      ? undefined
      : (uncertainties[scheduler] ??
        ((scheduler === 'rr' || scheduler === 'wrr') && !outlook?.turn
          ? 'this data plane does not say where its turn stands'
          : (scheduler === 'sh' || scheduler === 'mh') &&
              service.schedulerFlags.flag2 &&
              client.port === undefined
            ? 'the client port counts as well: give it'
            : undefined));
  return { destination, because: reasons[scheduler], ...(uncertain === undefined ? {} : { uncertain }) };
}

function chooseFrom(
  scheduler: SchedulerName | 'none',
  views: readonly DestinationView[],
  request: SchedulingRequest,
  outlook: Outlook | undefined,
  mhTableIndex: number | undefined,
): number | undefined {
  const turn = outlook?.turn;
  if (scheduler === 'rr' && turn)
    return roundRobin.choose({ keys: views.map(destinationKey), last: turn.last }, views, request).choice;
  if (scheduler === 'wrr' && turn) {
    const state = { ...wrrParameters(views), current: turn.last, rung: turn.rung };
    return weightedRoundRobin.choose(state, views, request).choice;
  }
  const family = familyOf(request.packet.destination);
  return startScheduler(scheduler, views, family, mhTableIndex).choose(views, request);
}

function noServiceProblems(
  question: Question,
  observed: Observed,
  outlook: Outlook | undefined,
  { mark, unknown }: Marking,
): Problem[] {
  const marked = markedServices(observed, question);
  const again = (value: number) => ({ remedy: `ask again with --mark ${value}, as far as others mark it` });
  if (unknown !== undefined && marked[0])
    return [{ what: `which mark it gets is not known: ${unknown}`, ...again(marked[0].mark) }];
  if (marked[0]) {
    const what = mark ? `no virtual service has the mark ${mark.value}` : unmarkedText(marked);
    return [noService(question, observed), { what, ...again(marked[0].mark) }];
  }
  return [noService(question, observed), ...localProblems(question.virtual.address, outlook)];
}

function noService({ protocol, virtual }: Question, observed: Observed): Problem {
  const near = observed.services
    .map(({ service }) => service.id)
    .filter((id): id is AddressServiceId => id.kind === 'address')
    .filter(({ address }) => address === virtual.address)
    .map(serviceKey);
  const flag = { tcp: '-t', udp: '-u', sctp: '--sctp-service' }[protocol];
  return near.length > 0
    ? {
        what: `nothing serves it; on this address there is ${near.join(', ')}`,
        remedy: 'ask for one of these',
      }
    : {
        what: `no virtual service has the address ${virtual.address}`,
        remedy: `headgate ipvsadm -A ${flag} ${destinationKey(virtual)} -s wlc`,
      };
}
