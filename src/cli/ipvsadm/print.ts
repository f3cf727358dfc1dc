import type { ListFormat, ListOptions } from '../../config/ipvsadm/command.ts';
import { familyOf } from '../../model/address.ts';
import type { ConnectionBatches } from '../../model/connection-batches.ts';
import { compareDestinations, compareServices, sortLikeIpvsadm } from '../../model/service-id.ts';
import type { Connection, Counters, DestinationState, Observed, ServiceState } from '../../model/table.ts';
import type { ForwardingMethod, Timeouts, Tunnel, VirtualService } from '../../model/virtual-service.ts';
import { flagWords, type Label, labels, maskText, portProtocol } from './labels.ts';
import type { Names } from './names.ts';

const longestService = 33;
const longestDestination = 28;

/** The first line of a listing; the size is that of this data plane's connection table. */
export const versionTitle = (observed: Observed): string =>
  `IP Virtual Server version 1.2.1 (size=${observed.connectionTableSize})\n`;

/** Services and destinations with their column titles, in ipvsadm's order unless `options.sorted` is off. */
export async function printServices(
  services: readonly ServiceState[],
  options: ListOptions,
  names: Names,
): Promise<string> {
  const label = labels(options.numeric, names);
  if (!options.numeric) await lookUpAll(services, names);
  const lines = [titles[options.format]];
  for (const state of inOrder(services, options.sorted))
    lines.push(await printService(state, options, label));
  return lines.join('');
}

/** Asks for all host names at once; the answers are remembered, so that slow name servers cost one wait and not many. */
export async function lookUpAll(services: readonly ServiceState[], names: Names): Promise<void> {
  const addresses = services.flatMap(({ service: { id }, destinations }) => [
    ...(id.kind === 'address' ? [id.address] : []),
    ...destinations.map(({ destination }) => destination.address),
  ]);
  await Promise.all([...new Set(addresses)].map((address) => names.hostOf(address)));
}

/** Services in ipvsadm's order, or as the data plane lists them. */
export function inOrder(services: readonly ServiceState[], sorted: boolean): readonly ServiceState[] {
  return sorted ? sortLikeIpvsadm(services, (a, b) => compareServices(a.service.id, b.service.id)) : services;
}

/**
 * A service's destinations in ipvsadm's order, or in the kernel's: newest first. Sorting starts from the kernel's
 * order, which shows where ipvsadm's comparison is not transitive.
 */
export function destinationsInOrder(state: ServiceState, sorted: boolean): readonly DestinationState[] {
  const newestFirst = state.destinations.toReversed();
  return sorted
    ? sortLikeIpvsadm(newestFirst, (a, b) => compareDestinations(a.destination, b.destination))
    : newestFirst;
}

/** `--timeout`. */
export const printTimeouts = ({ tcp, tcpFin, udp }: Timeouts): string =>
  `Timeout (tcp tcpfin udp): ${tcp} ${tcpFin} ${udp}\n`;

/** `-c`: the connection table in the order given, piece by piece. */
export async function* printConnections(
  batches: ConnectionBatches,
  options: ListOptions,
  names: Names,
): AsyncGenerator<string> {
  const label = labels(options.numeric, names);
  const head = options.engines
    ? columns([
        ['pro', 3],
        ['expire', 6],
        ['state', 11],
        ['source', 18],
        ['virtual', 18],
        ['destination', 18],
        ['pe name', 16],
        ['pe_data', 0],
      ])
    : columns([
        ['pro', 3],
        ['expire', 6],
        ['state', 11],
        ['source', 18],
        ['virtual', 18],
        ['destination', 0],
      ]);
  yield `IPVS connection entries\n${head}`;
  for await (const batch of batches) {
    const lines: string[] = [];
    for (const connection of batch) lines.push(await printConnection(connection, options, label));
    yield lines.join('');
  }
}

async function printConnection(connection: Connection, options: ListOptions, label: Label): Promise<string> {
  const { protocol, engine } = connection;
  const source = await label(connection.client, protocol);
  const virtual = await label(connection.virtual, protocol);
  const destination = await label(connection.destination, protocol);
  const left = [
    [protocol.toUpperCase(), 3],
    [duration(connection.expiresInMs), 6],
    [connection.state, 11],
    [source, 18],
    [virtual, 18],
  ] as const;
  const right =
    options.engines && engine
      ? ([
          [destination, 16],
          [engine.name, 18],
          [engine.data, 0],
        ] as const)
      : ([[destination, 0]] as const);
  return columns([...left, ...right]);
}

function duration(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${two(Math.floor(seconds / 60))}:${two(seconds % 60)}`;
}

function columns(cells: readonly (readonly [text: string, width: number])[]): string {
  return `${cells.map(([text, width]) => text.padEnd(width)).join(' ')}\n`;
}

const remoteTitle = '  -> RemoteAddress:Port\n';
const local = 'Prot LocalAddress:Port';

function countTitle(...names: string[]): string {
  return `${local.padEnd(longestService)}${names.map((name) => ` ${name.padStart(8)}`).join('')}\n${remoteTitle}`;
}

const titles: Readonly<Record<ListFormat, string>> = {
  stats: countTitle('Conns', 'InPkts', 'OutPkts', 'InBytes', 'OutBytes'),
  rate: countTitle('CPS', 'InPPS', 'OutPPS', 'InBPS', 'OutBPS'),
  thresholds: `${columns([
    [local, 33],
    ['Uthreshold', 10],
    ['Lthreshold', 10],
    ['ActiveConn', 10],
    ['InActConn', 10],
  ])}${remoteTitle}`,
  'persistent-conn': `${columns([
    [local, 33],
    ['Weight', 9],
    ['PersistConn', 11],
    ['ActiveConn', 10],
    ['InActConn', 10],
  ])}${remoteTitle}`,
  'tun-info': `${local} Scheduler Flags\n  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn\n`,
  default: `${local} Scheduler Flags\n  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n`,
};

async function printService(state: ServiceState, options: ListOptions, label: Label): Promise<string> {
  const { service } = state;
  const name = await serviceName(service, label);
  const lines = [`${serviceLine(name, state, options)}\n`];
  for (const destination of destinationsInOrder(state, options.sorted)) {
    const shown = await label(destination.destination, portProtocol(service));
    const v6 = familyOf(destination.destination.address) === 6;
    lines.push(destinationLine(v6 ? shown : shown.slice(0, longestDestination), destination, options));
  }
  return lines.join('');
}

async function serviceName({ id }: VirtualService, label: Label): Promise<string> {
  // ipvsadm prints marks as signed numbers.
  if (id.kind === 'fwmark') return `FWM  ${id.mark | 0}${id.family === 6 ? ' IPv6' : ''}`;
  const name = `${id.protocol.toUpperCase().padEnd(4)} ${await label(id, id.protocol)}`;
  return familyOf(id.address) === 6 ? name : name.slice(0, longestService);
}

function serviceLine(name: string, { service, counters, rates }: ServiceState, options: ListOptions): string {
  if (options.format === 'stats') return name.padEnd(longestService) + counts(counters, options.exact);
  if (options.format === 'rate') return name.padEnd(longestService) + counts(rates, options.exact);
  const { persistence } = service;
  const mask = maskText(service);
  const persistent = persistence
    ? ` persistent ${persistence.timeoutSeconds}${mask ? ` mask ${mask}` : ''}${persistence.engine ? ` pe ${persistence.engine}` : ''}`
    : '';
  const words = flagWords(service);
  // ipvsadm has no word for the third flag of sh and mh: it shows that flags are set, but not this one.
  const shown =
    service.scheduler === 'sh' || service.scheduler === 'mh'
      ? words.filter((word) => word !== 'flag-3')
      : words;
  const flags = words.length > 0 ? ` (${shown.join(',')})` : '';
  return `${name} ${service.scheduler}${flags}${persistent}${service.onePacket ? ' ops' : ''}`;
}

const forwardWords: Readonly<Record<ForwardingMethod, string>> = {
  masquerade: 'Masq',
  'direct-routing': 'Route',
  tunnel: 'Tunnel',
  'full-nat': 'FullNat',
};

function destinationLine(name: string, state: DestinationState, options: ListOptions): string {
  const { destination, activeConnections: active, inactiveConnections: inactive } = state;
  const cells = (...rest: (readonly [value: string | number, width: number])[]): string =>
    `  -> ${columns([[name, longestDestination], ...rest.map(([value, width]) => [String(value), width] as const)])}`;
  switch (options.format) {
    case 'stats':
      return `  -> ${name.padEnd(longestDestination)}${counts(state.counters, options.exact)}\n`;
    case 'rate':
      return `  -> ${name.padEnd(longestDestination)}${destinationRates(state.rates, options.exact)}\n`;
    case 'thresholds':
      return cells(
        [destination.upperThreshold, 10],
        [destination.lowerThreshold, 10],
        [active, 10],
        [inactive, 10],
      );
    case 'persistent-conn':
      return cells([destination.weight, 9], [state.persistentConnections, 11], [active, 10], [inactive, 10]);
    case 'tun-info':
      return cells(
        [forwardWords[destination.method], 7],
        [tunnelInfo(destination.tunnel), 13],
        [destination.weight, 6],
        [active, 10],
        [inactive, 10],
      );
    case 'default':
      return cells(
        [forwardWords[destination.method], 7],
        [destination.weight, 6],
        [active, 10],
        [inactive, 10],
      );
  }
}

const checksumMarks: Readonly<Record<Tunnel['checksum'], string>> = {
  none: '-c',
  checksum: '+c',
  remote: 'r+c',
};

function tunnelInfo(tunnel: Tunnel | undefined): string {
  if (!tunnel) return 'n/a';
  if (tunnel.type === 'ipip') return 'ipip';
  const mark = checksumMarks[tunnel.checksum];
  return (tunnel.type === 'gue' ? `gue:${tunnel.port}:${mark}` : `gre:${mark}`).slice(0, 15);
}

function counts(counters: Counters, exact: boolean): string {
  const { connections, packetsIn, packetsOut, bytesIn, bytesOut } = counters;
  return [connections, packetsIn, packetsOut, bytesIn, bytesOut]
    .map((value) => largeNumber(value, exact))
    .join('');
}

function destinationRates(
  { connections, packetsIn, packetsOut, bytesIn, bytesOut }: Counters,
  exact: boolean,
): string {
  const plain = [connections, packetsIn, packetsOut].map((value) => ` ${String(value).padStart(8)}`).join('');
  return plain + largeNumber(bytesIn, exact) + largeNumber(bytesOut, exact);
}

/** A counter in nine columns, rounded down to thousands (K), millions (M), ... where it would not fit; or exact. */
export function largeNumber(value: bigint, exact: boolean): string {
  if (exact) return ` ${String(value).padStart(8)}`;
  if (value < 100_000_000n) return String(value).padStart(9);
  const [divisor, unit] =
    value < 1_000_000_000n
      ? [1_000n, 'K']
      : value < 100_000_000_000n
        ? [1_000_000n, 'M']
        : value < 100_000_000_000_000n
          ? [1_000_000_000n, 'G']
          : [1_000_000_000_000n, 'T'];
  return String(value / divisor).padStart(8) + unit;
}
