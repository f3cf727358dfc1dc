import type { ForwardingMethod } from '../../model/virtual-service.ts';
/** The numbers of the generic netlink family "IPVS" (include/uapi/linux/ip_vs.h). */

export const familyName = 'IPVS';
export const familyVersion = 1;

export const commands = {
  newService: 1,
  setService: 2,
  deleteService: 3,
  getService: 4,
  newDestination: 5,
  setDestination: 6,
  deleteDestination: 7,
  getDestination: 8,
  newDaemon: 9,
  deleteDaemon: 10,
  getDaemon: 11,
  setConfig: 12,
  getConfig: 13,
  getInfo: 15,
  zero: 16,
  flush: 17,
} as const;

/** Attributes of every command: nests of the following, and timeouts. */
export const topAttribute = {
  service: 1,
  destination: 2,
  daemon: 3,
  timeoutTcp: 4,
  timeoutTcpFin: 5,
  timeoutUdp: 6,
} as const;

export const serviceAttribute = {
  family: 1,
  protocol: 2,
  address: 3,
  port: 4,
  mark: 5,
  scheduler: 6,
  flags: 7,
  timeout: 8,
  netmask: 9,
  stats: 10,
  engine: 11,
  stats64: 12,
} as const;

export const destinationAttribute = {
  address: 1,
  port: 2,
  method: 3,
  weight: 4,
  upperThreshold: 5,
  lowerThreshold: 6,
  activeConnections: 7,
  inactiveConnections: 8,
  persistentConnections: 9,
  stats: 10,
  family: 11,
  stats64: 12,
  tunnelType: 13,
  tunnelPort: 14,
  tunnelFlags: 15,
} as const;

/** Five counters and five rates in this order, each connections, packets in and out, bytes in and out. */
export const firstCounter = 1;
export const firstRate = 6;

/** Attributes of an answer to getInfo. */
export const infoAttribute = { version: 1, tableSize: 2 } as const;

export const serviceFlag = {
  persistent: 0x1,
  onePacket: 0x4,
  scheduler1: 0x8,
  scheduler2: 0x10,
  scheduler3: 0x20,
} as const;

export const daemonAttribute = {
  state: 1,
  interface: 2,
  syncId: 3,
  maxLength: 4,
  group: 5,
  group6: 6,
  port: 7,
  ttl: 8,
} as const;

/** IP_VS_STATE_MASTER, _BACKUP. */
export const daemonState = { master: 1, backup: 2 } as const;

/** AF_INET, AF_INET6. */
export const addressFamily = { 4: 2, 6: 10 } as const;

/** IP_VS_CONN_F_MASQ, _TUNNEL, _DROUTE; 1 is "local", which kernels since 2.6.37 neither take nor list. */
export const methodNumber = { masquerade: 0, tunnel: 2, 'direct-routing': 3 } as const;

/** Throws for full NAT, which the plane refuses before it gets here. */
export function numberOfMethod(method: ForwardingMethod): number {
  if (method === 'full-nat') throw new RangeError('encode a destination: IPVS has no method full-nat');
  return methodNumber[method];
}
export const methodMask = 0x7;

/** By their numbers. */
export const tunnelTypes = ['ipip', 'gue', 'gre'] as const;
export const tunnelChecksums = ['none', 'checksum', 'remote'] as const;
