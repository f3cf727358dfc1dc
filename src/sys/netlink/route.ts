import { familyInet, familyInet6, formatIp, parseIp, parsePrefix } from './ip.ts';
import { attribute, decodeAttributes, messageFlags, u32 } from './message.ts';
import type { Netlink } from './socket.ts';

/** Routes and routing rules over rtnetlink (include/uapi/linux/rtnetlink.h). Every function throws NetlinkError. */

const newRoute = 24;
const deleteRouteType = 25;
const getRouteType = 26;

const rta = {
  destination: 1,
  source: 2,
  outInterface: 4,
  gateway: 5,
  priority: 6,
  preferredSource: 7,
  table: 15,
  mark: 16,
};

export const tables = { main: 254, local: 255 } as const;
export const routeTypes = {
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
    0,
    0,
    0,
    0,
  ]);
}

function decodeRoute(payload: Buffer): Route {
  const attributes = decodeAttributes(payload, 12);
  const destination = attributes.get(rta.destination);
  const number = (type: number) => attributes.get(type)?.readUInt32LE(0);
  const type = payload[7]!;
  const gateway = attributes.get(rta.gateway);
  const source = attributes.get(rta.preferredSource);
  const index = number(rta.outInterface);
  const priority = number(rta.priority);
  const known = Object.entries(routeTypes).find(([, value]) => value === type)?.[0] as RouteType | undefined;
  return {
    destination: destination ? `${formatIp(destination)}/${payload[1]}` : 'default',
    type: known ?? type,
    table: number(rta.table) ?? payload[4]!,
    ...(index === undefined ? {} : { index }),
    ...(gateway ? { gateway: formatIp(gateway) } : {}),
    ...(source ? { source: formatIp(source) } : {}),
    ...(priority === undefined ? {} : { priority }),
  };
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
};

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
  return [
    purpose === 'add'
      ? rtmsg({ ...header, protocol: staticProtocol, scope, type: routeTypes[type] })
      : rtmsg({ ...header, scope: anyScope, type: route.type ? routeTypes[route.type] : 0 }),
    u32(rta.table, table),
    ...(prefix ? [attribute(rta.destination, prefix.bytes)] : []),
    ...(gateway ? [attribute(rta.gateway, gateway.bytes)] : []),
    ...(route.index === undefined ? [] : [u32(rta.outInterface, route.index)]),
    ...(route.source === undefined ? [] : [attribute(rta.preferredSource, parseIp(route.source).bytes)]),
    ...(route.priority === undefined ? [] : [u32(rta.priority, route.priority)]),
  ];
}

/** Adds a route; `replace` takes over one to the same destination. */
export function addRoute(
  netlink: Netlink,
  route: NewRoute,
  { replace = false }: { replace?: boolean } = {},
): void {
  const mode = messageFlags.create | (replace ? messageFlags.replace : messageFlags.exclusive);
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
  const requests = destinations.map((destination) => {
    const { family, bytes } = parseIp(destination);
    return [
      rtmsg({ family, length: bytes.length * 8 }),
      attribute(rta.destination, bytes),
      ...(mark === undefined ? [] : [u32(rta.mark, mark)]),
    ];
  });
  return netlink.lookUp(getRouteType, requests).map((answer) => answer && decodeRoute(answer.payload));
}
