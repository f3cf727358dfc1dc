import { familyInet, familyInet6, formatIp, parseIp, parsePrefix } from './ip.ts';
import { attribute, attributeHeaderLength, eachAttribute, messageFlags, nested, u32 } from './message.ts';
import type { Netlink } from './socket.ts';

/** Routes and routing rules over rtnetlink (include/uapi/linux/rtnetlink.h). Every function throws NetlinkError. */

const newRoute = 24;
const deleteRouteType = 25;
const getRouteType = 26;

/** struct rtmsg. */
const routeHeaderLength = 12;

const rta = {
  destination: 1,
  source: 2,
  outInterface: 4,
  gateway: 5,
  priority: 6,
  preferredSource: 7,
  metrics: 8,
  table: 15,
  mark: 16,
};

export const tables = { main: 254, local: 255 } as const;
const routeTypes = {
  unicast: 1,
  local: 2,
  broadcast: 3,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
} as const;
type RouteType = keyof typeof routeTypes;
const staticProtocol = 4;

/** A route as the kernel reports it. */
export type Route = {
  /** `192.0.2.0/24`, or `default`. */
  readonly destination: string;
  readonly type: RouteType | number;
  readonly table: number;
  readonly index?: number;
  readonly gateway?: string;
  readonly source?: string;
  readonly priority?: number;
};

function rtmsg(fields: {
  family: number;
  length?: number;
  table?: number;
  protocol?: number;
  scope?: number;
  type?: number;
  flags?: number;
}): Buffer {
  const table = fields.table ?? 0;
  return Buffer.from([
    fields.family,
    fields.length ?? 0,
    0,
    0,
    table > 255 ? 0 : table,
    fields.protocol ?? 0,
    fields.scope ?? 0,
    fields.type ?? 0,
    fields.flags ?? 0,
    0,
    0,
    0,
  ]);
}

const typeNames = new Map<number, RouteType>(
  Object.entries(routeTypes).map(([name, type]) => [type, name as RouteType]),
);

function decodeRoute(payload: Buffer): Route {
  const route: { -readonly [Key in keyof Route]: Route[Key] } = {
    destination: 'default',
    type: typeNames.get(payload[7]!) ?? payload[7]!,
    table: payload[4]!,
  };
  eachAttribute(payload, routeHeaderLength, (type, start, end) => {
    switch (type) {
      case rta.destination:
        route.destination = `${formatIp(payload.subarray(start, end))}/${payload[1]}`;
        break;
      case rta.gateway:
        route.gateway = formatIp(payload.subarray(start, end));
        break;
      case rta.preferredSource:
        route.source = formatIp(payload.subarray(start, end));
        break;
      case rta.outInterface:
        route.index = payload.readUInt32LE(start);
        break;
      case rta.priority:
        route.priority = payload.readUInt32LE(start);
        break;
      case rta.table:
        route.table = payload.readUInt32LE(start);
        break;
    }
  });
  return route;
}

export type NewRoute = {
  /** Prefix, or `default`; a `default` without gateway needs `family`. */
  readonly destination: string;
  readonly family?: 'ipv4' | 'ipv6';
  readonly gateway?: string;
  /** ifindex of the device; not needed with a gateway on a connected prefix. */
  readonly index?: number;
  readonly type?: RouteType;
  readonly table?: number;
  readonly source?: string;
  readonly priority?: number;
  /** Who made it (rtm_protocol); a deletion finds only such a one. Left out: an administrator, and any. */
  readonly protocol?: number;
  /** The gateway is taken to be on the device's link, whatever addresses that has. */
  readonly onLink?: boolean;
  /** Packets that are longer are not sent this way, bytes. */
  readonly mtu?: number;
};

const onLinkFlag = 4;
const mtuMetric = 2;
const linkScope = 253;
const hostScope = 254;
/** Matches a route of any scope; only for deletion. */
const anyScope = 255;

function routeParts(route: NewRoute, purpose: 'add' | 'delete'): Buffer[] {
  const gateway = route.gateway === undefined ? undefined : parseIp(route.gateway);
  const prefix = route.destination === 'default' ? undefined : parsePrefix(route.destination);
  const family = prefix?.family ?? gateway?.family ?? (route.family === 'ipv6' ? familyInet6 : familyInet);
  const type = route.type ?? 'unicast';
  const table = route.table ?? (type === 'local' ? tables.local : tables.main);
  // The kernel refuses a gateway in link scope and a local route in global scope.
  const direct = type === 'unicast' && !gateway && family === familyInet;
  const scope = type === 'local' ? hostScope : direct ? linkScope : 0;
  const header = { family, length: prefix?.length ?? 0, table };
  const { protocol } = route;
  const message =
    purpose === 'add'
      ? rtmsg({ ...header, protocol: protocol ?? staticProtocol, scope, type: routeTypes[type] })
      : rtmsg({
          ...header,
          protocol: protocol ?? 0,
          scope: anyScope,
          type: route.type ? routeTypes[route.type] : 0,
        });
  if (route.onLink && purpose === 'add') message.writeUInt32LE(onLinkFlag, 8);
  return [
    message,
    ...(route.mtu === undefined ? [] : [nested(rta.metrics, [u32(mtuMetric, route.mtu)])]),
    u32(rta.table, table),
    ...(prefix ? [attribute(rta.destination, prefix.bytes)] : []),
    ...(gateway ? [attribute(rta.gateway, gateway.bytes)] : []),
    ...(route.index === undefined ? [] : [u32(rta.outInterface, route.index)]),
    ...(route.source === undefined ? [] : [attribute(rta.preferredSource, parseIp(route.source).bytes)]),
    ...(route.priority === undefined ? [] : [u32(rta.priority, route.priority)]),
  ];
}

/**
 * Adds a route. `replace` takes over one to the same destination; `prepend` comes before those that are there, and throws EEXIST
 * only where the very same one is.
 */
export function addRoute(
  netlink: Netlink,
  route: NewRoute,
  { replace = false, prepend = false }: { replace?: boolean; prepend?: boolean } = {},
): void {
  const { create, exclusive } = messageFlags;
  const mode = create | (replace ? messageFlags.replace : prepend ? 0 : exclusive);
  netlink.request(`add route to ${route.destination}`, newRoute, mode, routeParts(route, 'add'));
}

/** Deletes the first route that matches; what is not given matches anything. */
export function deleteRoute(netlink: Netlink, route: NewRoute): void {
  netlink.request(`delete route to ${route.destination}`, deleteRouteType, 0, routeParts(route, 'delete'));
}

/** Every route of the namespace, of one family if given, in every table. */
export function listRoutes(netlink: Netlink, family?: 'ipv4' | 'ipv6'): Route[] {
  const number = family === undefined ? 0 : family === 'ipv4' ? familyInet : familyInet6;
  return netlink
    .dump('list routes', getRouteType, [rtmsg({ family: number })])
    .filter(({ payload }) => payload[0] === familyInet || payload[0] === familyInet6)
    .map(({ payload }) => decodeRoute(payload));
}

/** The route the kernel would take to `destination`; undefined when it has none (ENETUNREACH and its kin). */
export function lookupRoute(
  netlink: Netlink,
  destination: string,
  options: { mark?: number } = {},
): Route | undefined {
  return lookupRoutes(netlink, [destination], options)[0];
}

/** The same for several destinations, in their order. */
export function lookupRoutes(
  netlink: Netlink,
  destinations: readonly string[],
  { mark }: { mark?: number } = {},
): (Route | undefined)[] {
  const asked = mark === undefined ? Buffer.alloc(0) : u32(rta.mark, mark);
  const requests = destinations.map((destination) => {
    const { family, bytes } = parseIp(destination);
    const place = routeHeaderLength + attributeHeaderLength;
    const body = Buffer.alloc(place + bytes.length + asked.length);
    body[0] = family;
    body[1] = bytes.length * 8;
    body.writeUInt16LE(attributeHeaderLength + bytes.length, routeHeaderLength);
    body.writeUInt16LE(rta.destination, routeHeaderLength + 2);
    bytes.copy(body, place);
    asked.copy(body, place + bytes.length);
    return body;
  });
  return netlink.lookUp(getRouteType, requests, decodeRoute);
}
