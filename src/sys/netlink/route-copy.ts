import { familyInet, familyInet6, formatIp } from './ip.ts';
import { attribute, decodeAttributes, messageFlags, nested, u32 } from './message.ts';
import { tables } from './route.ts';
import type { Netlink } from './socket.ts';

/**
 * Routes as the kernel reported them, byte for byte, so that one can be put back, or changed in one respect, with
 * everything else it says kept (include/uapi/linux/rtnetlink.h). Every function throws NetlinkError.
 */

const newRoute = 24;
const deleteRoute = 25;
const getRoute = 26;
const headerLength = 12;
const rta = {
  destination: 1,
  device: 4,
  gateway: 5,
  priority: 6,
  metrics: 8,
  cacheInfo: 12,
  table: 15,
} as const;
/** RTAX_ADVMSS, in the nest RTA_METRICS. */
const advertisedSegmentMetric = 8;
/** RTNH_F_ONLINK; the other flags of a route tell its state and are refused in a request. */
const onLink = 4;
const unicast = 1;

/** Who made a route (rtm_protocol). */
export const routeProtocols = { kernel: 2, boot: 3, static: 4, routerAdvertisement: 9, dhcp: 16 } as const;

/** A unicast route of the main table. */
export type RouteCopy = {
  readonly family: 'ipv4' | 'ipv6';
  /** `192.0.2.0/24`, or `default`. */
  readonly destination: string;
  readonly priority: number;
  /** rtm_protocol; see `routeProtocols`. */
  readonly protocol: number;
  /** ifindex; absent for a route of several next hops. */
  readonly index?: number;
  readonly gateway?: string;
  /** The TCP segment size the host advertises on this route (advmss); absent: what the MTU gives. */
  readonly segmentSize?: number;
  /** What `putRoute` and `removeRoute` take. */
  readonly payload: Buffer;
};

/** The unicast routes of the main table. */
export function listRouteCopies(netlink: Netlink, family: 'ipv4' | 'ipv6'): RouteCopy[] {
  const header = Buffer.alloc(headerLength);
  header[0] = family === 'ipv6' ? familyInet6 : familyInet;
  return netlink
    .dump('list routes', getRoute, [header])
    .filter(({ payload }) => payload[0] === header[0] && payload[7] === unicast)
    .map(({ payload }) => decode(payload))
    .filter((route): route is RouteCopy => route !== undefined);
}

function decode(payload: Buffer): RouteCopy | undefined {
  const attributes = decodeAttributes(payload, headerLength);
  const number = (type: number) => attributes.get(type)?.readUInt32LE(0);
  if ((number(rta.table) ?? payload[4]) !== tables.main) return undefined;
  const destination = attributes.get(rta.destination);
  const index = number(rta.device);
  const gateway = attributes.get(rta.gateway);
  const metrics = attributes.get(rta.metrics);
  const segmentSize = metrics && decodeAttributes(metrics).get(advertisedSegmentMetric)?.readUInt32LE(0);
  return {
    family: payload[0] === familyInet ? 'ipv4' : 'ipv6',
    destination: destination ? `${formatIp(destination)}/${payload[1]}` : 'default',
    priority: number(rta.priority) ?? 0,
    protocol: payload[5]!,
    ...(index === undefined ? {} : { index }),
    ...(gateway ? { gateway: formatIp(gateway) } : {}),
    ...(segmentSize ? { segmentSize } : {}),
    payload: rebuilt(payload, attributes),
  };
}

/** Without what describes the moment: ages, counters, and whether the link is up. */
function rebuilt(payload: Buffer, attributes: Map<number, Buffer>): Buffer {
  const header = Buffer.from(payload.subarray(0, headerLength));
  header.writeUInt32LE(header.readUInt32LE(8) & onLink, 8);
  const kept = [...attributes].filter(([type]) => type !== rta.cacheInfo);
  return Buffer.concat([header, ...kept.map(([type, value]) => attribute(type, value))]);
}

/** The same route with another advertised segment size in bytes, or with none of its own. */
export function withSegmentSize(payload: Buffer, bytes: number | undefined): Buffer {
  const attributes = decodeAttributes(payload, headerLength);
  const metrics = decodeAttributes(attributes.get(rta.metrics) ?? Buffer.alloc(0));
  metrics.delete(advertisedSegmentMetric);
  attributes.delete(rta.metrics);
  const parts = [...metrics].map(([type, value]) => attribute(type, value));
  if (bytes !== undefined) parts.push(u32(advertisedSegmentMetric, bytes));
  return Buffer.concat([
    payload.subarray(0, headerLength),
    ...[...attributes].map(([type, value]) => attribute(type, value)),
    ...(parts.length > 0 ? [nested(rta.metrics, parts)] : []),
  ]);
}

/** Adds a route, in place of the one with the same destination and priority if there is one. */
export function putRoute(netlink: Netlink, payload: Buffer): void {
  const flags = messageFlags.create | messageFlags.replace;
  netlink.request('put a route in place', newRoute, flags, [payload]);
}

/** Removes exactly this route. */
export function removeRoute(netlink: Netlink, payload: Buffer): void {
  netlink.request('remove a route', deleteRoute, 0, [payload]);
}
