import type { Activity } from '../model/activity.ts';
import type { RunningSync, SyncProgress } from '../model/connection-sync.ts';
import type { PeerStatus } from '../model/peer.ts';
import { destinationKey } from '../model/service-id.ts';
import type { Counters, DestinationState, Observed, ServiceState } from '../model/table.ts';
import type { DestinationId, ServiceId } from '../model/virtual-service.ts';
import type { VrrpStatus } from '../model/vrrp.ts';

/** What the metrics are made of. */
export type Measured = {
  readonly version: string;
  readonly dataPlane: string;
  /** Seconds since 1970. */
  readonly startedAt: number;
  readonly configuration: {
    readonly generation: number;
    /** When the file was last put in force or found in force, in seconds since 1970. */
    readonly succeededAt: number;
    /** The file as it is now is not in force. */
    readonly failed: boolean;
  };
  /** Absent: the data plane cannot be read. */
  readonly plane?: {
    readonly observed: Observed;
    readonly activity?: Activity | undefined;
    /** What people call a service, without its address. */
    readonly serviceName: (id: ServiceId) => string;
    readonly realServerName: (id: ServiceId, destination: DestinationId) => string;
    /** Of real servers that are checked, whether they are in the table or not. */
    readonly checks?: readonly CheckMeasured[];
    /** Of real servers whose agents are asked. */
    readonly agents?: readonly AgentMeasured[];
  };
  /** How the VRRP instances of this director stand. */
  readonly vrrp: readonly VrrpStatus[];
  /** The processes that tell and hear of connections. */
  readonly sync?: readonly RunningSync[];
  /** The other directors. */
  readonly peers?: readonly PeerStatus[];
  readonly process: { readonly cpuSeconds: number; readonly residentBytes: number };
};

/** What checks of one real server have found. */
export type CheckMeasured = {
  readonly service: ServiceId;
  readonly destination: DestinationId;
  readonly isUp: boolean;
  /** Since the daemon was started. */
  readonly results: number;
  readonly failures: number;
  /** How long the last one took; absent where there was none. */
  readonly seconds?: number;
};

/** What the agent of one real server says. */
export type AgentMeasured = {
  readonly service: ServiceId;
  readonly destination: DestinationId;
  /** What its weight is multiplied by. */
  readonly factor: number;
  /** Absent: nothing is known, or its weight does not come from it. */
  readonly load?: number;
  /** Whether it answered the last time. */
  readonly answers: boolean;
};

/** The media type of what `metricsText` returns. */
export const metricsType = 'text/plain; version=0.0.4; charset=utf-8';

type Kind = 'counter' | 'gauge';
type Value = number | bigint;

/** The text format of Prometheus, version 0.0.4. */
export function metricsText(measured: Measured): string {
  const { configuration, plane, process } = measured;
  const build = labels({ version: measured.version, data_plane: measured.dataPlane });
  const planeEvents = Object.entries(plane?.activity?.events ?? {});
  return [
    single('headgate_build_info', 'gauge', 'The build that runs, and its data plane.', 1, build),
    single('headgate_up', 'gauge', 'Whether the data plane can be read.', plane ? 1 : 0),
    single(
      'headgate_configuration_generation',
      'gauge',
      'The configuration in force, counted from 1.',
      configuration.generation,
    ),
    single(
      'headgate_configuration_last_load_successful',
      'gauge',
      'Whether the file as it is now is in force.',
      configuration.failed ? 0 : 1,
    ),
    single(
      'headgate_configuration_last_load_success_timestamp_seconds',
      'gauge',
      'When the file was last in force as it was then.',
      configuration.succeededAt,
    ),
    ...(plane
      ? [
          single(
            'headgate_connection_table_size',
            'gauge',
            'Connections the table can hold.',
            plane.observed.connectionTableSize,
          ),
        ]
      : []),
    ...(plane?.activity
      ? [
          single(
            'headgate_connection_table_entries',
            'gauge',
            'Connections in the table.',
            plane.activity.entries,
          ),
        ]
      : []),
    family(
      'headgate_data_plane_events_total',
      'counter',
      'Packets and connections that did not go the usual way.',
      planeEvents.map(([event, count]) => [labels({ event }), count]),
    ),
    ...(plane ? tableMetrics(plane) : []),
    ...(plane?.checks ? checkMetrics(plane.checks, plane) : []),
    ...(plane?.agents ? agentMetrics(plane.agents, plane) : []),
    ...vrrpMetrics(measured.vrrp),
    ...syncMetrics(measured.sync ?? []),
    ...peerMetrics(measured.peers ?? []),
    single('process_start_time_seconds', 'gauge', 'When the daemon was started.', measured.startedAt),
    single('process_cpu_seconds_total', 'counter', 'Processor time of the daemon.', process.cpuSeconds),
    single('process_resident_memory_bytes', 'gauge', 'Memory of the daemon.', process.residentBytes),
  ].join('');
}

function tableMetrics({ observed, serviceName, realServerName }: NonNullable<Measured['plane']>): string[] {
  const services = observed.services.map((state): [string, ServiceState] => [
    labels({ service: serviceName(state.service.id), ...placeOf(state.service.id) }),
    state,
  ]);
  const realServers = services.flatMap(([outer, { service, destinations }]) => {
    const taken = new Set<string>();
    return destinations.map((state): [string, DestinationState] => {
      const given = realServerName(service.id, state.destination);
      const name = taken.has(given) ? destinationKey(state.destination) : given;
      taken.add(name);
      return [`${outer},${labels({ real_server: name })}`, state];
    });
  });
  const each = (name: string, kind: Kind, help: string, value: (state: DestinationState) => Value) =>
    family(
      name,
      kind,
      help,
      realServers.map(([label, state]) => [label, value(state)]),
    );
  return [
    ...traffic('headgate_service', 'of a virtual service', services),
    family(
      'headgate_service_real_servers',
      'gauge',
      'Real servers of a virtual service.',
      services.map(([label, { destinations }]) => [label, destinations.length]),
    ),
    ...traffic('headgate_real_server', 'of a real server', realServers),
    each(
      'headgate_real_server_active_connections',
      'gauge',
      'Established connections.',
      (state) => state.activeConnections,
    ),
    each(
      'headgate_real_server_inactive_connections',
      'gauge',
      'Connections in another state, such as waiting for their end.',
      (state) => state.inactiveConnections,
    ),
    each(
      'headgate_real_server_weight',
      'gauge',
      'Weight in force; 0 takes no new clients.',
      ({ destination }) => destination.weight,
    ),
  ];
}

function checkMetrics(checks: readonly CheckMeasured[], plane: NonNullable<Measured['plane']>): string[] {
  const each = samplesOf(checks, plane);
  return [
    each('up', 'gauge', 'Whether its checks say that it serves.', ({ isUp }) => (isUp ? 1 : 0)),
    each('checks_total', 'counter', 'Checks that gave a result.', ({ results }) => results),
    each('check_failures_total', 'counter', 'Checks that were not good.', ({ failures }) => failures),
    each('check_duration_seconds', 'gauge', 'How long the last check took.', ({ seconds }) => seconds),
  ];
}

function agentMetrics(agents: readonly AgentMeasured[], plane: NonNullable<Measured['plane']>): string[] {
  const each = samplesOf(agents, plane);
  return [
    each('agent_answers', 'gauge', 'Whether its agent answered the last time.', ({ answers }) =>
      answers ? 1 : 0,
    ),
    each(
      'agent_factor',
      'gauge',
      'What its agent makes its weight be multiplied by.',
      ({ factor }) => factor,
    ),
    each('load', 'gauge', 'Its load as its agent reports it, smoothed; 1 is full.', ({ load }) => load),
  ];
}

/** Metrics of real servers, each with the labels of its entry. */
function samplesOf<One extends { readonly service: ServiceId; readonly destination: DestinationId }>(
  all: readonly One[],
  { serviceName, realServerName }: NonNullable<Measured['plane']>,
) {
  const taken = new Set<string>();
  const labelled = all.map((one): [string, One] => {
    const outer = labels({ service: serviceName(one.service), ...placeOf(one.service) });
    const named = `${outer},${labels({ real_server: realServerName(one.service, one.destination) })}`;
    const label = taken.has(named)
      ? `${outer},${labels({ real_server: destinationKey(one.destination) })}`
      : named;
    taken.add(label);
    return [label, one];
  });
  return (name: string, kind: Kind, help: string, value: (one: One) => Value | undefined) =>
    family(
      `headgate_real_server_${name}`,
      kind,
      help,
      labelled.flatMap(([label, one]) => {
        const found = value(one);
        return found === undefined ? [] : [[label, found] as const];
      }),
    );
}

function vrrpMetrics(vrrp: readonly VrrpStatus[]): string[] {
  const each = (name: string, kind: Kind, help: string, value: (one: VrrpStatus) => Value) =>
    family(
      `headgate_vrrp_${name}`,
      kind,
      help,
      vrrp.map((one) => [labels({ instance: one.name }), value(one)]),
    );
  return [
    each('master', 'gauge', 'Whether the instance holds its addresses.', ({ state }) =>
      state === 'master' ? 1 : 0,
    ),
    each('fault', 'gauge', 'Whether the instance takes no part.', ({ state }) => (state === 'fault' ? 1 : 0)),
    each('priority', 'gauge', 'Priority with what tracking adds.', ({ priority }) => priority),
    each('advertisements_sent_total', 'counter', 'Advertisements sent.', ({ sent }) => sent),
    each('advertisements_received_total', 'counter', 'Advertisements taken.', ({ received }) => received),
    family(
      'headgate_vrrp_advertisements_rejected_total',
      'counter',
      'Advertisements that did not count, or that another configuration made.',
      vrrp.flatMap(({ name, rejected }) =>
        Object.entries(rejected).map(
          ([reason, times]) => [labels({ instance: name, reason }), times] as const,
        ),
      ),
    ),
  ];
}

function syncMetrics(running: readonly RunningSync[]): string[] {
  const found = running.flatMap(({ role, progress }) =>
    progress ? [[labels({ role }), progress] as const] : [],
  );
  if (found.length === 0) return [];
  const each = (name: string, kind: Kind, help: string, value: (one: SyncProgress) => Value | undefined) =>
    family(
      `headgate_sync_${name}`,
      kind,
      help,
      found.flatMap(([label, progress]) => {
        const now = value(progress);
        return now === undefined ? [] : [[label, now] as const];
      }),
    );
  return [
    each('messages_total', 'counter', 'Messages about connections sent or received.', (one) => one.messages),
    each('connections_total', 'counter', 'Connections told or entered.', (one) => one.connections),
    each('refused_total', 'counter', 'Messages and connections not sent or not taken.', (one) => one.refused),
    each('unbound', 'gauge', 'Connections told to us whose real server is not here.', (one) => one.unbound),
    each('missed_total', 'counter', 'Messages that did not come and were asked for.', (one) => one.missed),
    each('missing', 'gauge', 'Messages that did not come and were not told again yet.', (one) => one.missing),
    each(
      'told_again_total',
      'counter',
      'Messages told again because a director lacked them.',
      (one) => one.toldAgain,
    ),
    each('waiting', 'gauge', 'Messages that wait for a socket that takes no more.', (one) => one.waiting),
    each('lag_seconds', 'gauge', 'From an event to its message, the longest of ten seconds.', ({ lagMs }) =>
      lagMs === undefined ? undefined : lagMs / 1000,
    ),
    each('silence_seconds', 'gauge', 'Since the last message was received.', ({ silentMs }) =>
      silentMs === undefined ? undefined : silentMs / 1000,
    ),
  ];
}

function peerMetrics(peers: readonly PeerStatus[]): string[] {
  return [
    family(
      'headgate_peer_silence_seconds',
      'gauge',
      'Since another director spoke of itself last.',
      peers.map(({ source, agoMs }) => [labels({ peer: source }), agoMs / 1000]),
    ),
    family(
      'headgate_peer_same_services',
      'gauge',
      'Whether its configuration has the same virtual services and real servers.',
      peers.flatMap(({ source, sameServices }) =>
        sameServices === undefined ? [] : [[labels({ peer: source }), sameServices ? 1 : 0] as const],
      ),
    ),
  ];
}

function traffic(
  prefix: string,
  whose: string,
  of: readonly (readonly [string, { readonly counters: Counters }])[],
): string[] {
  const bothWays = (incoming: (counters: Counters) => Value, outgoing: (counters: Counters) => Value) =>
    of.flatMap(([label, { counters }]): [string, Value][] => [
      [`${label},direction="in"`, incoming(counters)],
      [`${label},direction="out"`, outgoing(counters)],
    ]);
  return [
    family(
      `${prefix}_connections_total`,
      'counter',
      `Connections ${whose}.`,
      of.map(([label, { counters }]) => [label, counters.connections]),
    ),
    family(
      `${prefix}_packets_total`,
      'counter',
      `Packets ${whose}, from clients (in) and to them (out).`,
      bothWays(
        (counters) => counters.packetsIn,
        (counters) => counters.packetsOut,
      ),
    ),
    family(
      `${prefix}_bytes_total`,
      'counter',
      `Bytes ${whose} with their IP headers, from clients (in) and to them (out).`,
      bothWays(
        (counters) => counters.bytesIn,
        (counters) => counters.bytesOut,
      ),
    ),
  ];
}

/** What clients call, in two labels. */
function placeOf(id: ServiceId): { readonly protocol: string; readonly address: string } {
  if (id.kind === 'address') return { protocol: id.protocol, address: destinationKey(id) };
  return { protocol: id.family === 6 ? 'fwmark-ipv6' : 'fwmark', address: String(id.mark) };
}

const single = (name: string, kind: Kind, help: string, value: Value, label = ''): string =>
  family(name, kind, help, [[label, value]]);

function family(name: string, kind: Kind, help: string, samples: readonly (readonly [string, Value])[]) {
  if (samples.length === 0) return '';
  let text = `# HELP ${name} ${help}\n# TYPE ${name} ${kind}\n`;
  for (const [label, value] of samples)
    text += label === '' ? `${name} ${value}\n` : `${name}{${label}} ${value}\n`;
  return text;
}

function labels(values: Readonly<Record<string, string>>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name}="${escaped(value)}"`)
    .join(',');
}

const escaped = (value: string): string =>
  value.replaceAll(/[\\"\n]/g, (sign) => (sign === '\n' ? '\\n' : `\\${sign}`));
