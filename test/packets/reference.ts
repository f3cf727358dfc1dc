import { type Address, addressToBytes } from '../../src/model/address.ts';
import {
  nextSctpState,
  nextTcpState,
  type SctpEvent,
  sctpActive,
  sctpEvent,
  sctpStateNames,
  tcpActive,
  tcpStateNames,
} from '../../src/model/connection-states.ts';
import { type Scheduling, startScheduler } from '../../src/model/schedulers/by-name.ts';
import type { DestinationView } from '../../src/model/schedulers/scheduler.ts';
import { protocolNumbers, serviceFamily } from '../../src/model/service-id.ts';
import type { AddressServiceId, Destination, VirtualService } from '../../src/model/virtual-service.ts';
import { type Decoded, decode, sum16 } from './frame.ts';
import { adjustChecksum, rewriteIp, rewriteTransport } from './rewrite.ts';
import type { ServicePlan } from './services.ts';
import { type DeviceName, macs, virtualAddresses, type Way, wayTo } from './world.ts';

/*
 * What IPVS would do with one packet, written from the rules alone (net/netfilter/ipvs/ip_vs_core.c, ip_vs_xmit.c):
 * a second program to hold the first one against. Nothing expires here.
 */

export type Report = {
  readonly kind: 'port-unreachable' | 'time-exceeded' | 'too-big' | 'fragmentation';
  readonly mtu: number;
};

/** What must become of a frame. */
export type Expected =
  | { readonly verdict: 'pass' | 'drop'; readonly packet: Buffer }
  | { readonly verdict: 'redirect'; readonly packet: Buffer; readonly way: Way }
  /** An ICMP error is due, to be made from the unchanged packet; or its fragments are. */
  | { readonly verdict: 'report'; readonly packet: Buffer; readonly report: Report };

export type ReferenceDestination = Destination & { available: boolean; active: number; inactive: number };

export type ReferenceConnection = {
  readonly protocol: number;
  readonly client: Address;
  readonly clientPort: number;
  readonly virtual: Address;
  readonly virtualPort: number;
  readonly real: Address;
  readonly realPort: number;
  readonly destination: ReferenceDestination;
  /** The kernel's number of the TCP or SCTP state; -1: UDP. */
  state: number;
  active: boolean;
  noOutput: boolean;
};

type Service = {
  readonly service: VirtualService & { readonly id: AddressServiceId };
  /** Newest first. */
  readonly destinations: ReferenceDestination[];
  readonly scheduling: Scheduling;
};

/** A packet of TCP, UDP or SCTP as far as it matters. */
type Segment = {
  readonly bytes: Buffer;
  readonly ip: Decoded;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** TCP flags. */
  readonly flags: number;
  /** SCTP. */
  readonly event?: SctpEvent;
};

const ipv4Header = 20;
const tcpHeader = 20;
const udpHeader = 8;
/** With that of its first chunk. */
const sctpHeader = 16;
const icmpHeader = 8;
const { tcp, udp, sctp } = protocolNumbers;
const withPorts: readonly number[] = [tcp, udp, sctp];
const [syn, rst] = [2, 4];
const ftpData = 20;
const destinationOptions = 60;
const udpState = -1;

export type Reference = ReturnType<typeof createReference>;

/** `filterBit`: addresses with equal bits are one to the plane as long as no connection is known. */
export function createReference(
  plans: readonly ServicePlan[],
  filterBit: (address: Address) => unknown = (address) => address,
) {
  const services: Service[] = plans.map(({ service, destinations }) => {
    const listed = [...destinations]
      .reverse()
      .map((one) => ({ ...one, available: true, active: 0, inactive: 0 }));
    return {
      service: service as Service['service'],
      destinations: listed,
      scheduling: startScheduler(service.scheduler, listed.map(view), serviceFamily(service.id)),
    };
  });
  /** Oldest first. */
  const connections: ReferenceConnection[] = [];
  const datagrams = new Map<string, { connection: ReferenceConnection; reply: boolean } | 'not ours'>();
  const virtuals = services.map(({ service }) => service.id.address);
  const repliers = [
    ...virtuals,
    ...services.flatMap(({ destinations }) => destinations.map((one) => one.address)),
  ];
  const virtualBits = new Set(virtuals.map(filterBit));
  const replyBits = new Set(repliers.map(filterBit));
  const mayBeOurs = (ip: Decoded) =>
    virtualBits.has(filterBit(ip.destination)) || replyBits.has(filterBit(ip.source));
  const localAddresses = new Set<string>(
    Object.values(virtualAddresses).filter((one) => wayTo(one).kind === 'local'),
  );

  const pass = (packet: Buffer): Expected => ({ verdict: 'pass', packet });
  const drop = (packet: Buffer): Expected => ({ verdict: 'drop', packet });

  return { services, connections, receiveFrame, receive, forgetFragments: () => datagrams.clear() };

  /** A frame that comes in at a device. */
  function receiveFrame(device: DeviceName, frame: Buffer): Expected {
    const packet = frame.subarray(14);
    const forUs = frame.subarray(0, 6).toString('hex') === macs[device].own.replaceAll(':', '');
    const family = { 2048: 4, 34525: 6 }[frame.readUInt16BE(12)];
    if (!forUs || packet[0] === undefined || packet[0] >> 4 !== family) return pass(packet);
    return receive(packet);
  }

  /** An IP packet for this host. */
  function receive(packet: Buffer): Expected {
    const ip = decode(packet);
    // What ip_rcv and ipv6_rcv throw away, so that IPVS never sees it; bytes behind the packet are padding.
    if (!ip || ip.length > packet.length || ip.length < ip.transport) return pass(packet);
    if (ip.protocol === (ip.family === 4 ? 1 : 58)) return receiveIcmp(packet, ip);
    const laterFragment = ip.fragment !== undefined && ip.fragment.offset > 0;
    const optionsFirst = laterFragment && ip.family === 6 && ip.protocol === destinationOptions;
    if (!withPorts.includes(ip.protocol) && !optionsFirst) return pass(packet);
    if (laterFragment) return receiveLaterFragment(packet, ip);
    const segment = readSegment(packet, ip);
    if (!segment) return pass(packet);
    const outcome = receiveSegment(segment);
    if (ip.fragment && outcome === 'not ours') datagrams.set(datagramKey(ip), 'not ours');
    return outcome === 'not ours' ? pass(packet) : outcome;
  }

  function receiveSegment(segment: Segment): Expected | 'not ours' {
    const reply = connections.findLast((one) => isReply(one, segment));
    if (reply) return forwardReply(segment, reply);
    const request = connections.findLast((one) => isRequest(one, segment));
    if (request && !isReuse(request, segment)) return forwardRequest(segment, request);
    if (request) end(request);
    return schedule(segment);
  }

  function receiveLaterFragment(packet: Buffer, ip: Decoded): Expected {
    const first = datagrams.get(datagramKey(ip));
    if (first === 'not ours') return pass(packet);
    if (!first || !connections.includes(first.connection)) return mayBeOurs(ip) ? drop(packet) : pass(packet);
    const segment = { bytes: packet, ip, sourcePort: 0, destinationPort: 0, flags: 0 };
    return first.reply ? forwardReply(segment, first.connection) : forwardRequest(segment, first.connection);
  }

  function schedule(segment: Segment): Expected | 'not ours' {
    const { ip } = segment;
    if (ip.protocol === tcp && (!(segment.flags & syn) || segment.flags & rst)) return 'not ours';
    if (ip.protocol === sctp && segment.event !== 'init') return 'not ours';
    if (segment.sourcePort === ftpData) return 'not ours';
    const found = services.find(
      ({ service: { id } }) =>
        protocolNumbers[id.protocol] === ip.protocol &&
        id.address === ip.destination &&
        id.port === segment.destinationPort,
    );
    if (!found || !localAddresses.has(ip.destination) || !isSound(segment)) return 'not ours';
    const choice = found.scheduling.choose(found.destinations.map(view), {
      packet: {
        source: ip.source,
        sourcePort: segment.sourcePort,
        destination: ip.destination,
        destinationPort: segment.destinationPort,
        inverse: false,
      },
      flags: found.service.schedulerFlags,
      nowMs: 0,
      random: () => 0,
    });
    if (choice === undefined) return report(segment, 'port-unreachable');
    const destination = found.destinations[choice]!;
    const connection: ReferenceConnection = {
      protocol: ip.protocol,
      client: ip.source,
      clientPort: segment.sourcePort,
      virtual: ip.destination,
      virtualPort: segment.destinationPort,
      real: destination.address,
      realPort: destination.port || segment.destinationPort,
      destination,
      state: ip.protocol === udp ? udpState : 0,
      active: false,
      noOutput: destination.method !== 'masquerade',
    };
    destination.inactive++;
    connections.push(connection);
    return forwardRequest(segment, connection);
  }

  function forwardRequest(segment: Segment, connection: ReferenceConnection): Expected {
    const { ip, bytes } = segment;
    const { destination } = connection;
    if (!destination.available) return drop(bytes);
    advance(segment, connection, 'input');
    remember(segment, connection, false);
    const way = wayTo(destination.address);
    const target =
      destination.method === 'masquerade'
        ? { side: 'destination' as const, address: connection.real, port: connection.realPort }
        : undefined;
    const rewritten = (hops: number) => rewrite(segment, hops, target);
    if (way.kind === 'local') return pass(target ? rewritten(0) : bytes);
    if (ip.ttl <= 1) return report(segment, 'time-exceeded');
    return send(segment, way, rewritten);
  }

  function forwardReply(segment: Segment, connection: ReferenceConnection): Expected {
    const { ip, bytes } = segment;
    const masquerade = connection.destination.method === 'masquerade';
    const way = wayTo(ip.destination);
    const seen = () => {
      advance(segment, connection, 'output');
      remember(segment, connection, true);
    };
    const target = masquerade
      ? { side: 'source' as const, address: connection.virtual, port: connection.virtualPort }
      : undefined;
    const rewritten = (hops: number) => rewrite(segment, hops, target);
    if (!masquerade || way.kind === 'local') {
      seen();
      return way.kind === 'local' ? { verdict: 'redirect', packet: rewritten(0), way } : pass(bytes);
    }
    // ip_forward looks at these before IPVS sees the reply.
    if (ip.ttl <= 1) return report(segment, 'time-exceeded');
    const sent = send(segment, way, rewritten);
    const isCut = sent.verdict === 'report' && sent.report.kind === 'fragmentation';
    if (sent.verdict === 'redirect' || isCut) seen();
    return sent;
  }

  /** On to a neighbour, unless there is none or the packet is too big for it. */
  function send(segment: Segment, way: Way, rewritten: (hops: number) => Buffer): Expected {
    const { ip, bytes } = segment;
    if (way.kind !== 'neighbour') return drop(bytes);
    if (ip.length > way.mtu) {
      if (ip.doNotFragment) return report(segment, 'too-big', way.mtu);
      if (ip.transport > ipv4Header) return drop(bytes);
      return { verdict: 'report', packet: bytes, report: { kind: 'fragmentation', mtu: 0 } };
    }
    return { verdict: 'redirect', packet: rewritten(1), way };
  }

  function report({ bytes, ip }: Segment, kind: Report['kind'], mtu = 0): Expected {
    // RFC 1122, 3.2.2: no error about any but the first fragment.
    if (ip.fragment && ip.fragment.offset > 0) return drop(bytes);
    return { verdict: 'report', packet: bytes, report: { kind, mtu } };
  }

  function receiveIcmp(packet: Buffer, ip: Decoded): Expected {
    if (ip.fragment || ip.length < ip.transport + icmpHeader) return pass(packet);
    const type = packet[ip.transport]!;
    if (ip.family === 4 ? ![3, 4, 11].includes(type) : type >= 128) return pass(packet);
    const quotedAt = ip.transport + icmpHeader;
    const quote = packet.subarray(quotedAt, ip.length);
    const quoted = decode(quote);
    if (!quoted || quoted.family !== ip.family) return pass(packet);
    if (!withPorts.includes(quoted.protocol)) return pass(packet);
    if (quoted.fragment && quoted.fragment.offset > 0) return pass(packet);
    if (quote.length < quoted.transport + 4) return pass(packet);
    const turned: Segment = {
      bytes: packet,
      ip: { ...quoted, source: quoted.destination, destination: quoted.source },
      sourcePort: quote.readUInt16BE(quoted.transport + 2),
      destinationPort: quote.readUInt16BE(quoted.transport),
      flags: 0,
    };
    const request = connections.findLast((one) => isRequest(one, turned));
    const connection = request ?? connections.findLast((one) => isReply(one, turned));
    if (!connection) return pass(packet);
    const masquerade = connection.destination.method === 'masquerade';
    if (!request && !masquerade) return pass(packet);
    if (request && !connection.destination.available) return drop(packet);
    // From a multicast source the kernel knows no way but to itself, where ip6_rcv_core throws it away.
    const isFromGroup = ip.family === 6 && ip.source.startsWith('ff');
    const way: Way =
      request && isFromGroup
        ? { kind: 'local' }
        : wayTo(request ? connection.destination.address : ip.destination);
    if (way.kind === 'none') return drop(packet);
    if (way.kind === 'neighbour' && ip.ttl <= 1) return drop(packet);
    let out = packet;
    if (masquerade) {
      const address = request ? connection.real : connection.virtual;
      const port = request ? connection.realPort : connection.virtualPort;
      out = rewriteQuote(packet, ip, quotedAt, quoted, request ? 'source' : 'destination', address, port);
    }
    const hops = way.kind === 'neighbour' ? 1 : 0;
    out = rewriteIp(
      out,
      ip,
      hops,
      masquerade
        ? request
          ? { side: 'destination', address: connection.real }
          : { side: 'source', address: connection.virtual }
        : undefined,
    );
    if (way.kind === 'local' && request) return pass(out);
    return { verdict: 'redirect', packet: out, way };
  }

  function advance(segment: Segment, connection: ReferenceConnection, direction: 'input' | 'output'): void {
    if (segment.ip.fragment && segment.ip.fragment.offset > 0) return;
    if (connection.state === udpState) return;
    let seenBy: 'input' | 'output' | 'input-only' = direction;
    if (connection.noOutput) {
      if (direction === 'output') connection.noOutput = false;
      else seenBy = 'input-only';
    }
    if (segment.event) {
      connection.state = nextSctpState(connection.state, seenBy, segment.event);
      setActive(connection, sctpActive[connection.state]!);
      return;
    }
    connection.state = nextTcpState(connection.state, seenBy, segment.flags);
    setActive(connection, tcpActive[connection.state]!);
  }

  function setActive(connection: ReferenceConnection, active: boolean): void {
    if (connection.active === active) return;
    connection.active = active;
    connection.destination.active += active ? 1 : -1;
    connection.destination.inactive += active ? -1 : 1;
  }

  function end(connection: ReferenceConnection): void {
    connections.splice(connections.indexOf(connection), 1);
    connection.destination[connection.active ? 'active' : 'inactive']--;
  }

  function remember({ ip }: Segment, connection: ReferenceConnection, reply: boolean): void {
    if (ip.fragment?.offset === 0) datagrams.set(datagramKey(ip), { connection, reply });
  }
}

function view(one: ReferenceDestination): DestinationView {
  return {
    ...one,
    lastWeight: one.weight,
    total: one.active + one.inactive,
    overloaded: false,
  };
}

function readSegment(bytes: Buffer, ip: Decoded): Segment | undefined {
  const at = ip.transport;
  if (ip.length < at + ({ [tcp]: tcpHeader, [sctp]: sctpHeader }[ip.protocol] ?? udpHeader)) return undefined;
  return {
    bytes,
    ip,
    sourcePort: bytes.readUInt16BE(at),
    destinationPort: bytes.readUInt16BE(at + 2),
    flags: ip.protocol === tcp ? bytes[at + 13]! : 0,
    ...(ip.protocol === sctp && { event: eventOf(bytes.subarray(at, ip.length)) }),
  };
}

/** Of an SCTP packet: by its first chunk, and the one behind that. */
function eventOf(packet: Buffer): SctpEvent {
  const second = 12 + ((packet.readUInt16BE(14) + 3) & ~3);
  const hasSecond = second >= sctpHeader && second + 4 <= packet.length;
  return sctpEvent(packet[12]!, hasSecond ? packet[second] : undefined);
}

/** Whether ip_rcv and ip_route_input, or ipv6_rcv, would take a packet that opens a connection. */
function isSound({ bytes, ip }: Segment): boolean {
  if (ip.source === ip.destination) return false;
  if (ip.family === 6) return !['::', '::1'].includes(ip.source) && !ip.source.startsWith('ff');
  const first = bytes[12]!;
  return first !== 0 && first !== 127 && first < 224 && sum16(bytes.subarray(0, ip.transport)) === 0xffff;
}

/** ip_vs_conn_in_get. */
function isRequest(one: ReferenceConnection, { ip, sourcePort, destinationPort }: Segment): boolean {
  return (
    one.protocol === ip.protocol &&
    one.client === ip.source &&
    one.clientPort === sourcePort &&
    one.virtual === ip.destination &&
    one.virtualPort === destinationPort
  );
}

/** ip_vs_conn_out_get. */
function isReply(one: ReferenceConnection, { ip, sourcePort, destinationPort }: Segment): boolean {
  const masquerade = one.destination.method === 'masquerade';
  return (
    one.protocol === ip.protocol &&
    one.client === ip.destination &&
    one.clientPort === destinationPort &&
    (masquerade ? one.real : one.virtual) === ip.source &&
    (masquerade ? one.realPort : one.virtualPort) === sourcePort
  );
}

/** conn_reuse_mode 1. */
function isReuse({ state }: ReferenceConnection, { ip, flags, event }: Segment): boolean {
  if (ip.protocol === sctp) return event === 'init' && state === sctpStateNames.indexOf('CLOSED');
  const ended = [tcpStateNames.indexOf('TIME_WAIT'), tcpStateNames.indexOf('CLOSE')].includes(state);
  return ip.protocol === tcp && (flags & (syn | rst)) === syn && ended;
}

/** RFC 791, 2.3 and RFC 8200, 4.5: what the pieces of one datagram have in common. */
function datagramKey({ family, source, destination, protocol, fragment }: Decoded): string {
  return `${source} ${destination} ${fragment!.id} ${family === 4 ? protocol : ''}`;
}

type Target = { readonly side: 'source' | 'destination'; readonly address: Address; readonly port: number };

function rewrite(segment: Segment, hops: number, target: Target | undefined): Buffer {
  const { ip, bytes } = segment;
  const out = rewriteIp(bytes, ip, hops, target);
  const later = ip.fragment !== undefined && ip.fragment.offset > 0;
  return target && !later ? rewriteTransport(out, ip, target) : out;
}

/** ip_vs_nat_icmp: the quoted packet gets the address and port that the other side knows it by. */
function rewriteQuote(
  packet: Buffer,
  ip: Decoded,
  quotedAt: number,
  quoted: Decoded,
  side: 'source' | 'destination',
  address: Address,
  port: number,
): Buffer {
  const quote = rewriteIp(packet.subarray(quotedAt), quoted, 0, { side, address });
  quote.writeUInt16BE(port, quoted.transport + (side === 'source' ? 0 : 2));
  const out = Buffer.concat([packet.subarray(0, quotedAt), quote]);
  const outerSide = side === 'source' ? 'destination' : 'source';
  const changes: [Uint8Array, Uint8Array][] = [[packet.subarray(quotedAt), quote]];
  if (ip.family === 6) changes.push([addressToBytes(ip[outerSide]), addressToBytes(address)]);
  adjustChecksum(out, ip.transport + 2, changes);
  return out;
}
