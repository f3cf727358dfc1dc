import { type Address, addressToBytes, familyOf } from '../model/address.ts';
import type { Connection, Counters, DestinationState, Observed, ServiceState } from '../model/table.ts';
import type { Totals } from '../model/totals.ts';
import type { DestinationId, ForwardingMethod } from '../model/virtual-service.ts';

/*
 * The texts that IPVS has under /proc/net, in the layout of Linux 6.12 (net/netfilter/ipvs/ip_vs_ctl.c and ip_vs_conn.c,
 * the functions named below). Services stand in the order they were added, where the kernel has that of a hash.
 */

/** /proc/net/ip_vs (ip_vs_info_seq_show). */
export function ipVsText(observed: Observed, ticksPerSecond: number): string {
  const { services, connectionTableSize } = observed;
  const isMark = ({ service: { id } }: ServiceState) => id.kind === 'fwmark';
  return [
    `IP Virtual Server version 1.2.1 (size=${connectionTableSize})\n`,
    'Prot LocalAddress:Port Scheduler Flags\n',
    '  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n',
    ...[...services.filter((one) => !isMark(one)), ...services.filter(isMark)].flatMap((state) => [
      serviceLine(state, ticksPerSecond),
      // A new destination stands first.
      ...state.destinations.toReversed().map(destinationLine),
    ]),
  ].join('');
}

function serviceLine({ service }: ServiceState, ticksPerSecond: number): string {
  const { id, scheduler, persistence } = service;
  const ops = service.onePacket ? 'ops ' : '';
  const persistent = persistence
    ? `persistent ${persistence.timeoutSeconds * ticksPerSecond} ${hex(maskShown(persistence.netmask, id), 8)}`
    : '';
  if (id.kind === 'fwmark') return `FWM  ${hex(id.mark >>> 0, 8)} ${scheduler} ${ops}${persistent}\n`;
  const name = `${id.protocol.toUpperCase()}  ${place(id)} ${scheduler} `;
  // IPv6 services are not shown to be one-packet.
  return familyOf(id.address) === 6 ? `${name}${persistent}\n` : `${name}${ops} ${persistent}\n`;
}

/** The kernel keeps an IPv4 mask in network order and an IPv6 prefix length in its own, and turns both round. */
function maskShown(netmask: number, id: ServiceState['service']['id']): number {
  const family = id.kind === 'fwmark' ? id.family : familyOf(id.address);
  if (family === 4) return netmask;
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(netmask);
  return bytes.readUInt32BE();
}

const forwardWords: Readonly<Record<ForwardingMethod, string>> = {
  masquerade: 'Masq',
  'direct-routing': 'Route',
  tunnel: 'Tunnel',
  'full-nat': 'FullNat',
};

function destinationLine({ destination, activeConnections, inactiveConnections }: DestinationState): string {
  const cells = [
    forwardWords[destination.method].padEnd(7),
    String(destination.weight).padEnd(6),
    String(activeConnections).padEnd(10),
    String(inactiveConnections).padEnd(10),
  ];
  return `  -> ${place(destination)}      ${cells.join(' ')}\n`;
}

/** /proc/net/ip_vs_conn (ip_vs_conn_seq_show). */
export function ipVsConnText(connections: readonly Connection[]): string {
  const head = 'Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n';
  return head + connections.map((one) => `${beginning(one)} ${expires(one)}${engineOf(one)}\n`).join('');
}

/** /proc/net/ip_vs_conn_sync (ip_vs_conn_sync_seq_show). */
export function ipVsConnSyncText(connections: readonly Connection[]): string {
  const head = 'Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires\n';
  const origin = (one: Connection) => (one.synced ? 'SYNC' : 'LOCAL').padEnd(6);
  return head + connections.map((one) => `${beginning(one)} ${origin(one)} ${expires(one)}\n`).join('');
}

function beginning({ protocol, client, virtual, destination, state }: Connection): string {
  const ends = [client, virtual, destination].map((end) => `${hexAddress(end.address)} ${hex(end.port, 4)}`);
  return `${protocol.toUpperCase().padEnd(3)} ${ends.join(' ')} ${state.padEnd(11)}`;
}

const expires = ({ expiresInMs }: Connection): string => String(Math.floor(expiresInMs / 1000)).padStart(7);

const engineOf = ({ engine }: Connection): string => (engine ? ` ${engine.name} ${engine.data}` : '');

/** /proc/net/ip_vs_stats (ip_vs_stats_show). */
export function ipVsStatsText({ counters, rates }: Totals): string {
  return [
    '   Total Incoming Outgoing         Incoming         Outgoing\n',
    '   Conns  Packets  Packets            Bytes            Bytes\n',
    `${counts(counters)}\n\n`,
    ' Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n',
    `${counts(rates)}\n`,
  ].join('');
}

/** /proc/net/ip_vs_stats_percpu (ip_vs_stats_percpu_show): a line for every processor there may ever be. */
export function ipVsStatsPerCpuText({ counters, rates, perCpu }: Totals): string {
  return [
    '       Total Incoming Outgoing         Incoming         Outgoing\n',
    'CPU    Conns  Packets  Packets            Bytes            Bytes\n',
    ...perCpu.map((one, cpu) => `${hex(cpu, 3, ' ')} ${counts(one)}\n`),
    `  ~ ${counts(counters)}\n\n`,
    '     Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n',
    `    ${counts(rates)}\n`,
  ].join('');
}

function counts({ connections, packetsIn, packetsOut, bytesIn, bytesOut }: Counters): string {
  const narrow = [connections, packetsIn, packetsOut].map((value) => hex(value, 8, ' '));
  return [...narrow, ...[bytesIn, bytesOut].map((value) => hex(value, 16, ' '))].join(' ');
}

function place({ address, port }: DestinationId): string {
  const shown = familyOf(address) === 6 ? `[${hexAddress(address)}]` : hexAddress(address);
  return `${shown}:${hex(port, 4)}`;
}

/** %08X of an IPv4 address, %pI6 of an IPv6 one: all its digits. */
function hexAddress(address: Address): string {
  const digits = Buffer.from(addressToBytes(address)).toString('hex');
  return familyOf(address) === 4 ? digits.toUpperCase() : digits.match(/.{4}/g)!.join(':');
}

const hex = (value: number | bigint, width: number, pad = '0'): string =>
  value.toString(16).toUpperCase().padStart(width, pad);
