import { type Address, addressFromBytes, type Family } from '../../model/address.ts';
import { type SyncDaemon, syncDefaults } from '../../model/connection-sync.ts';
import { protocolNumbers } from '../../model/service-id.ts';
import type { Counters, DestinationState } from '../../model/table.ts';
import type {
  Destination,
  KernelMethod,
  Protocol,
  SchedulerName,
  ServiceId,
  Timeouts,
  Tunnel,
  VirtualService,
} from '../../model/virtual-service.ts';
import { decodeGeneric } from '../../sys/netlink/generic.ts';
import {
  decodeAttributes,
  decodeText,
  MalformedMessageError,
  type Message,
} from '../../sys/netlink/message.ts';
import {
  addressFamily,
  daemonAttribute,
  daemonState,
  destinationAttribute,
  firstCounter,
  firstRate,
  infoAttribute,
  methodMask,
  methodNumber,
  serviceAttribute,
  serviceFlag,
  topAttribute,
  tunnelChecksums,
  tunnelTypes,
} from './protocol.ts';

/*
 * Answers of the kernel. Whatever the bytes are, each function returns what they say or throws MalformedMessageError; a
 * kernel that says more than is known here is understood.
 */

/** A service as the kernel lists it; undefined where it is for a protocol this program has no word for. */
export function decodeService(
  message: Message,
): { readonly service: VirtualService; readonly counters: Counters; readonly rates: Counters } | undefined {
  const fields = nest(message, topAttribute.service, 'service');
  const family = familyIn(fields, serviceAttribute.family);
  const id = serviceId(fields, family);
  if (!id) return undefined;
  const flags = fields.u32(serviceAttribute.flags);
  const has = (bit: number) => (flags & bit) !== 0;
  const engine = fields.textIfThere(serviceAttribute.engine);
  return {
    service: {
      id,
      // One that is not known here is shown by the name it has.
      scheduler: fields.text(serviceAttribute.scheduler) as SchedulerName | 'none',
      schedulerFlags: {
        flag1: has(serviceFlag.scheduler1),
        flag2: has(serviceFlag.scheduler2),
        flag3: has(serviceFlag.scheduler3),
      },
      onePacket: has(serviceFlag.onePacket),
      ...(has(serviceFlag.persistent) && {
        persistence: {
          timeoutSeconds: fields.u32(serviceAttribute.timeout),
          netmask:
            family === 6
              ? fields.u32(serviceAttribute.netmask)
              : fields.bytes(serviceAttribute.netmask, 4).readUInt32BE(0),
          ...(engine !== undefined && { engine }),
        },
      }),
    },
    ...statistics(fields, serviceAttribute),
  };
}

/** A destination as the kernel lists it in a service of this family. */
export function decodeDestination(message: Message, serviceFamily: Family): DestinationState {
  const fields = nest(message, topAttribute.destination, 'destination');
  const family = fields.has(destinationAttribute.family)
    ? familyIn(fields, destinationAttribute.family)
    : serviceFamily;
  const method = methodIn(fields);
  const destination: Destination = {
    address: addressIn(fields, destinationAttribute.address, family),
    port: fields.bytes(destinationAttribute.port, 2).readUInt16BE(0),
    method,
    weight: fields.u32(destinationAttribute.weight) | 0,
    upperThreshold: fields.u32(destinationAttribute.upperThreshold),
    lowerThreshold: fields.u32(destinationAttribute.lowerThreshold),
    ...(method === 'tunnel' && { tunnel: tunnelIn(fields) }),
  };
  const activeConnections = fields.u32(destinationAttribute.activeConnections);
  const inactiveConnections = fields.u32(destinationAttribute.inactiveConnections);
  // The kernel does not list its flag. From the upper threshold on it is set; below, nobody outside can know.
  const { upperThreshold } = destination;
  const overloaded = upperThreshold > 0 && activeConnections + inactiveConnections >= upperThreshold;
  return {
    destination,
    activeConnections,
    inactiveConnections,
    persistentConnections: fields.u32(destinationAttribute.persistentConnections),
    ...(overloaded && { overloaded }),
    ...statistics(fields, destinationAttribute),
  };
}

/** What getConfig answers. */
export function decodeTimeouts(message: Message): Timeouts {
  const fields = fieldsOf(decodeGeneric(message).attributes, 'timeouts');
  return {
    tcp: fields.u32(topAttribute.timeoutTcp),
    tcpFin: fields.u32(topAttribute.timeoutTcpFin),
    udp: fields.u32(topAttribute.timeoutUdp),
  };
}

/** What getInfo answers: the version as the kernel writes it (1.2.1) and the number of buckets of its connection table. */
export function decodeInfo(message: Message): { readonly version: string; readonly tableSize: number } {
  const fields = fieldsOf(decodeGeneric(message).attributes, 'information');
  const version = fields.u32(infoAttribute.version);
  return {
    version: [16, 8, 0].map((shift) => (version >>> shift) & 0xff).join('.'),
    tableSize: fields.u32(infoAttribute.tableSize),
  };
}

/** A sync daemon as the kernel lists it. Kernels before 4.3 list neither group, port nor length: they know the usual ones alone. */
export function decodeDaemon(message: Message): SyncDaemon {
  const fields = nest(message, topAttribute.daemon, 'sync daemon');
  const state = fields.u32(daemonAttribute.state);
  if (state !== daemonState.master && state !== daemonState.backup)
    throw new MalformedMessageError(`IPVS sync daemon: state ${state}, wanted 1 or 2`);
  const short = (type: number) => fields.bytes(type, 2).readUInt16LE(0);
  const maxLength = fields.has(daemonAttribute.maxLength) ? short(daemonAttribute.maxLength) : 0;
  const { group, group6, port, ttl } = daemonAttribute;
  return {
    role: state === daemonState.master ? 'master' : 'backup',
    interface: fields.text(daemonAttribute.interface),
    id: fields.u32(daemonAttribute.syncId),
    ...(maxLength > 0 && { maxLength }),
    group: fields.has(group6)
      ? addressIn(fields, group6, 6)
      : fields.has(group)
        ? addressIn(fields, group, 4)
        : syncDefaults.group,
    port: fields.has(port) ? short(port) : syncDefaults.port,
    ttl: fields.has(ttl) ? fields.bytes(ttl, 1)[0]! : syncDefaults.ttl,
  };
}

/** Attributes that must be there, each at least as long as its type. */
type Fields = {
  has(type: number): boolean;
  bytes(type: number, length: number): Buffer;
  u32(type: number): number;
  text(type: number): string;
  textIfThere(type: number): string | undefined;
  /** The attributes within one. */
  nest(type: number): Fields;
};

function fieldsOf(attributes: ReadonlyMap<number, Buffer>, what: string): Fields {
  const bytes = (type: number, length: number): Buffer => {
    const found = attributes.get(type);
    if (!found || found.length < length)
      throw new MalformedMessageError(
        `IPVS ${what}: attribute ${type} has ${found ? `${found.length} bytes` : 'no place in it'}, wanted ${length} bytes`,
      );
    return found;
  };
  const text = (type: number) => decodeText(bytes(type, 1));
  return {
    bytes,
    text,
    has: (type) => attributes.has(type),
    u32: (type) => bytes(type, 4).readUInt32LE(0),
    textIfThere: (type) => (attributes.has(type) ? text(type) : undefined),
    nest: (type) => fieldsOf(decodeAttributes(bytes(type, 0)), what),
  };
}

const nest = (message: Message, type: number, what: string): Fields =>
  fieldsOf(decodeGeneric(message).attributes, what).nest(type);

function serviceId(fields: Fields, family: Family): ServiceId | undefined {
  if (fields.has(serviceAttribute.mark))
    return { kind: 'fwmark', mark: fields.u32(serviceAttribute.mark), family };
  const protocol = protocolOf(fields.bytes(serviceAttribute.protocol, 2).readUInt16LE(0));
  if (!protocol) return undefined;
  return {
    kind: 'address',
    protocol,
    address: addressIn(fields, serviceAttribute.address, family),
    port: fields.bytes(serviceAttribute.port, 2).readUInt16BE(0),
  };
}

function protocolOf(number: number): Protocol | undefined {
  const names = Object.keys(protocolNumbers) as Protocol[];
  return names.find((name) => protocolNumbers[name] === number);
}

function familyIn(fields: Fields, type: number): Family {
  const number = fields.bytes(type, 2).readUInt16LE(0);
  if (number === addressFamily[4]) return 4;
  if (number === addressFamily[6]) return 6;
  throw new MalformedMessageError(`IPVS entry: address family ${number}, wanted 2 or 10`);
}

const addressIn = (fields: Fields, type: number, family: Family): Address => {
  const length = family === 6 ? 16 : 4;
  return addressFromBytes(fields.bytes(type, length).subarray(0, length));
};

function methodIn(fields: Fields): KernelMethod {
  const number = fields.u32(destinationAttribute.method) & methodMask;
  const methods = Object.keys(methodNumber) as KernelMethod[];
  return methods.find((name) => methodNumber[name] === number) ?? 'direct-routing';
}

/** Kernels before 5.3 know ipip alone and do not list it. */
function tunnelIn(fields: Fields): Tunnel {
  const type = fields.has(destinationAttribute.tunnelType)
    ? tunnelTypes[fields.bytes(destinationAttribute.tunnelType, 1)[0]!]
    : 'ipip';
  if (!type) throw new MalformedMessageError('IPVS destination: a tunnel of a type that is not known');
  const port = fields.has(destinationAttribute.tunnelPort)
    ? fields.bytes(destinationAttribute.tunnelPort, 2).readUInt16BE(0)
    : 0;
  const flags = fields.has(destinationAttribute.tunnelFlags)
    ? fields.bytes(destinationAttribute.tunnelFlags, 2).readUInt16LE(0)
    : 0;
  return { type, port, checksum: tunnelChecksums[flags] ?? 'none' };
}

/** Counters and rates, of 64 bits where the kernel has those (from 4.0 on). */
function statistics(
  fields: Fields,
  { stats, stats64 }: { readonly stats: number; readonly stats64: number },
): { readonly counters: Counters; readonly rates: Counters } {
  const wide = fields.has(stats64);
  const within = fields.nest(wide ? stats64 : stats);
  const five = (first: number): Counters => {
    const [connections, packetsIn, packetsOut, bytesIn, bytesOut] = [0, 1, 2, 3, 4].map((offset) => {
      const type = first + offset;
      // In the older form only the byte counters have 64 bits.
      const isWide = wide || (first === firstCounter && offset >= 3);
      return isWide ? within.bytes(type, 8).readBigUInt64LE(0) : BigInt(within.u32(type));
    }) as [bigint, bigint, bigint, bigint, bigint];
    return { connections, packetsIn, packetsOut, bytesIn, bytesOut };
  };
  return { counters: five(firstCounter), rates: five(firstRate) };
}
