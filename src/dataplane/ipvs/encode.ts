import { type Address, addressToBytes, familyOf } from '../../model/address.ts';
import type { SyncDaemon, SyncRole } from '../../model/connection-sync.ts';
import { protocolNumbers, serviceFamily } from '../../model/service-id.ts';
import type { Destination, DestinationId, ServiceId, VirtualService } from '../../model/virtual-service.ts';
import { attribute, be16, nested, text, u8, u16, u32 } from '../../sys/netlink/message.ts';
import {
  addressFamily,
  daemonAttribute,
  daemonState,
  destinationAttribute,
  numberOfMethod,
  serviceAttribute,
  serviceFlag,
  topAttribute,
  tunnelChecksums,
  tunnelTypes,
} from './protocol.ts';

/** What names a service in every request (ip_vs_genl_parse_service, net/netfilter/ipvs/ip_vs_ctl.c). */
export const encodeServiceId = (id: ServiceId): Buffer => nested(topAttribute.service, identity(id));

/** A service with its settings. */
export function encodeService(service: VirtualService): Buffer {
  const { id, scheduler, persistence } = service;
  const everybody = serviceFamily(id) === 6 ? 128 : 0xffffffff;
  return nested(topAttribute.service, [
    ...identity(id),
    text(serviceAttribute.scheduler, scheduler),
    ...(persistence?.engine === undefined ? [] : [text(serviceAttribute.engine, persistence.engine)]),
    flagsOf(service),
    u32(serviceAttribute.timeout, persistence?.timeoutSeconds ?? 0),
    netmask(id, persistence?.netmask ?? everybody),
  ]);
}

/** What names a destination beside its service. */
export const encodeDestinationId = (id: DestinationId): Buffer =>
  nested(topAttribute.destination, destinationIdentity(id));

/** A destination with its settings. */
export function encodeDestination(destination: Destination): Buffer {
  const { method, weight, upperThreshold, lowerThreshold, tunnel } = destination;
  return nested(topAttribute.destination, [
    ...destinationIdentity(destination),
    u32(destinationAttribute.method, numberOfMethod(method)),
    u32(destinationAttribute.weight, weight),
    u32(destinationAttribute.upperThreshold, upperThreshold),
    u32(destinationAttribute.lowerThreshold, lowerThreshold),
    ...(tunnel
      ? [
          u8(destinationAttribute.tunnelType, tunnelTypes.indexOf(tunnel.type)),
          be16(destinationAttribute.tunnelPort, tunnel.port),
          u16(destinationAttribute.tunnelFlags, tunnelChecksums.indexOf(tunnel.checksum)),
        ]
      : []),
  ]);
}

/** What a sync daemon is started with; without a length the kernel takes what the MTU allows. */
export function encodeDaemon(daemon: SyncDaemon): Buffer {
  const { role, interface: name, id, maxLength, group, port, ttl } = daemon;
  const isSix = familyOf(group) === 6;
  return nested(topAttribute.daemon, [
    u32(daemonAttribute.state, daemonState[role]),
    text(daemonAttribute.interface, name),
    u32(daemonAttribute.syncId, id),
    ...(maxLength === undefined ? [] : [u16(daemonAttribute.maxLength, maxLength)]),
    attribute(isSix ? daemonAttribute.group6 : daemonAttribute.group, Buffer.from(addressToBytes(group))),
    // In the host's order, as everything of a daemon but its group.
    u16(daemonAttribute.port, port),
    u8(daemonAttribute.ttl, ttl),
  ]);
}

/** Which sync daemon is to end. */
export const encodeDaemonRole = (role: SyncRole): Buffer =>
  nested(topAttribute.daemon, [u32(daemonAttribute.state, daemonState[role])]);

function identity(id: ServiceId): Buffer[] {
  const family = u16(serviceAttribute.family, addressFamily[serviceFamily(id)]);
  if (id.kind === 'fwmark') return [family, u32(serviceAttribute.mark, id.mark)];
  return [
    family,
    u16(serviceAttribute.protocol, protocolNumbers[id.protocol]),
    attribute(serviceAttribute.address, wideAddress(id.address)),
    be16(serviceAttribute.port, id.port),
  ];
}

function destinationIdentity({ address, port }: DestinationId): Buffer[] {
  return [
    u16(destinationAttribute.family, addressFamily[familyOf(address)]),
    attribute(destinationAttribute.address, wideAddress(address)),
    be16(destinationAttribute.port, port),
  ];
}

/** union nf_inet_addr: 16 bytes, IPv4 in the first four. */
function wideAddress(address: Address): Buffer {
  const wide = Buffer.alloc(16);
  wide.set(addressToBytes(address));
  return wide;
}

/** struct ip_vs_flags: the bits, and which of them are said. */
function flagsOf({ persistence, onePacket, schedulerFlags }: VirtualService): Buffer {
  const bits =
    (persistence ? serviceFlag.persistent : 0) |
    (onePacket ? serviceFlag.onePacket : 0) |
    (schedulerFlags.flag1 ? serviceFlag.scheduler1 : 0) |
    (schedulerFlags.flag2 ? serviceFlag.scheduler2 : 0) |
    (schedulerFlags.flag3 ? serviceFlag.scheduler3 : 0);
  const flags = Buffer.alloc(8);
  flags.writeUInt32LE(bits, 0);
  flags.writeUInt32LE(0xffffffff, 4);
  return attribute(serviceAttribute.flags, flags);
}

/** IPv4: a mask in network order. IPv6: a prefix length in the host's. */
function netmask(id: ServiceId, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  if (serviceFamily(id) === 6) bytes.writeUInt32LE(value);
  else bytes.writeUInt32BE(value);
  return attribute(serviceAttribute.netmask, bytes);
}
