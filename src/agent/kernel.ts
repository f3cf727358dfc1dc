import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { isSystemError } from '../sys/ffi.ts';
import { addAddress, deleteAddress, listAddresses } from '../sys/netlink/address.ts';
import { findLink, interfaceFlags, linkIndex, listLinks, setLink } from '../sys/netlink/link.ts';
import { addMasqueradeTable, deleteTable, hasTable } from '../sys/netlink/nftables.ts';
import { addRoute, lookupRoute } from '../sys/netlink/route.ts';
import {
  listRouteCopies,
  putRoute,
  type RouteCopy,
  removeRoute,
  routeProtocols,
  withSegmentSize,
} from '../sys/netlink/route-copy.ts';
import { type Netlink, netlinkProtocols, withNetlink } from '../sys/netlink/socket.ts';
import { netnsCookie } from '../sys/netns.ts';
import { readSysctl, sysctlPath, writeSysctl } from '../sys/sysctl.ts';
import { readDecapsulation, seenBpffs, writeDecapsulation } from './decapsulation.ts';
import type { Host, HostRoute } from './facts.ts';
import type { Resource, State } from './resource.ts';

/** Writing one of these writes others too: those of every interface, and for IPv4 whether redirects are taken. */
const forwardingSwitches: Readonly<Record<string, { folder: string; also: readonly string[] }>> = {
  'net.ipv4.ip_forward': { folder: 'net.ipv4.conf', also: ['net.ipv4.conf.all.accept_redirects'] },
  'net.ipv6.conf.all.forwarding': { folder: 'net.ipv6.conf', also: [] },
};

const fromMtu = 'from the MTU';

/** How a resource is; undefined when the interface or route it belongs to is not there. Throws NetlinkError, SystemError. */
export function readResource(netlink: Netlink, resource: Resource): State | undefined {
  switch (resource.kind) {
    case 'sysctl':
      return readParameter(resource.name);
    case 'address':
      return readAddress(netlink, resource);
    case 'link': {
      const link = findLink(netlink, resource.device);
      return link && { text: link.up ? 'up' : 'down' };
    }
    case 'default-route': {
      const route = defaultRoute(netlink, resource);
      return route
        ? { text: nameOf(netlink, route), raw: route.payload.toString('hex') }
        : { text: 'absent' };
    }
    case 'segment-size': {
      const route = routeOf(netlink, resource);
      return route && { text: route.segmentSize === undefined ? fromMtu : String(route.segmentSize) };
    }
    case 'decapsulation':
      return readDecapsulation(netlink);
    case 'masquerading':
      return readMasquerading(resource);
  }
}

/** Changes a resource. Throws NetlinkError, SystemError, and Error for a parameter that cannot be written. */
export function writeResource(netlink: Netlink, resource: Resource, state: State): void {
  switch (resource.kind) {
    case 'sysctl':
      writeSysctl(resource.name, state.text);
      restoreParameters(state.raw);
      return;
    case 'address': {
      const index = linkIndex(netlink, resource.device);
      if (state.text === 'present') addAddress(netlink, index, { prefix: resource.prefix, noDad: true });
      else deleteAddress(netlink, index, resource.prefix);
      return;
    }
    case 'link':
      setLink(netlink, linkIndex(netlink, resource.device), { up: state.text === 'up' });
      return;
    case 'default-route':
      writeDefaultRoute(netlink, resource, state);
      return;
    case 'segment-size': {
      const route = routeOf(netlink, resource);
      const bytes = state.text === fromMtu ? undefined : Number(state.text);
      if (route) putRoute(netlink, withSegmentSize(route.payload, bytes));
      return;
    }
    case 'decapsulation':
      writeDecapsulation(netlink, state.text);
      return;
    case 'masquerading':
      writeMasquerading(resource, state.text);
      return;
  }
}

function readParameter(name: string): State | undefined {
  const text = readSysctl(name);
  if (text === undefined) return undefined;
  const others = forwardingSwitches[name];
  if (others === undefined) return { text };
  const names = [
    ...readdirSync(sysctlPath(others.folder))
      .filter((device) => device !== 'all')
      .map((device) => `${others.folder}.${device.replaceAll('.', '/')}.forwarding`),
    ...others.also,
  ];
  return { text, raw: JSON.stringify(Object.fromEntries(names.map((other) => [other, readSysctl(other)]))) };
}

/**
 * Puts back what writing a parameter has changed beside it, where that is still there. A data plane needs forwarding on
 * lo; one that was set up meanwhile keeps it.
 */
function restoreParameters(raw: string | undefined): void {
  if (raw === undefined) return;
  const hasPlane = existsSync(join(seenBpffs(), String(netnsCookie())));
  for (const [name, value] of Object.entries(JSON.parse(raw) as Record<string, string>)) {
    const current = readSysctl(name);
    const wanted = hasPlane && name.endsWith('.lo.forwarding') ? '1' : value;
    if (current !== undefined && current !== wanted) writeSysctl(name, wanted);
  }
}

function readAddress(
  netlink: Netlink,
  { device, prefix }: Extract<Resource, { kind: 'address' }>,
): State | undefined {
  const link = findLink(netlink, device);
  if (!link) return undefined;
  const found = listAddresses(netlink, link.index).some(
    ({ address, prefixLength }) => `${address}/${prefixLength}` === prefix,
  );
  return { text: found ? 'present' : 'absent' };
}

type DefaultRoute = Extract<Resource, { kind: 'default-route' }>;

function defaultRoute(netlink: Netlink, { family, priority }: DefaultRoute): RouteCopy | undefined {
  return listRouteCopies(netlink, family).find(
    (route) => route.destination === 'default' && route.priority === priority,
  );
}

function nameOf(netlink: Netlink, { index, gateway }: RouteCopy): string {
  if (index === undefined) return 'several next hops';
  const device = `dev ${findLink(netlink, index)?.name ?? index}`;
  return gateway === undefined ? device : `via ${gateway} ${device}`;
}

function writeDefaultRoute(netlink: Netlink, resource: DefaultRoute, state: State): void {
  if (state.raw !== undefined) {
    putRoute(netlink, Buffer.from(state.raw, 'hex'));
    return;
  }
  const wanted = /^via (\S+) dev (\S+)$/.exec(state.text);
  if (wanted) {
    const { family, priority } = resource;
    const route = {
      family,
      destination: 'default',
      gateway: wanted[1]!,
      index: linkIndex(netlink, wanted[2]!),
      ...(priority === 0 ? {} : { priority }),
    };
    addRoute(netlink, route, { replace: true });
    return;
  }
  const there = defaultRoute(netlink, resource);
  if (there) removeRoute(netlink, there.payload);
}

function routeOf(
  netlink: Netlink,
  { family, destination, device, priority }: Extract<Resource, { kind: 'segment-size' }>,
): RouteCopy | undefined {
  const link = findLink(netlink, device);
  return link
    ? listRouteCopies(netlink, family).find(
        (route) =>
          route.destination === destination && route.priority === priority && route.index === link.index,
      )
    : undefined;
}

type Masquerading = Extract<Resource, { kind: 'masquerading' }>;

/** One table for each interface and IP version: made and deleted in one step. */
const tableOf = ({ device }: Masquerading) => `headgate_agent_${device}`;

/** A kernel without nf_tables has no table; that it cannot have one is said when one is wanted. */
function readMasquerading(resource: Masquerading): State {
  try {
    return withNetlink({ protocol: netlinkProtocols.netfilter }, (netfilter) => ({
      text: hasTable(netfilter, resource.family, tableOf(resource)) ? 'present' : 'absent',
    }));
  } catch (error) {
    if (isSystemError(error, 'EPROTONOSUPPORT', 'EINVAL', 'EOPNOTSUPP')) return { text: 'absent' };
    throw error;
  }
}

function writeMasquerading(resource: Masquerading, text: string): void {
  const { family, device } = resource;
  const name = tableOf(resource);
  try {
    withNetlink({ protocol: netlinkProtocols.netfilter }, (netfilter) => {
      if (text === 'present') addMasqueradeTable(netfilter, family, { name, device });
      else deleteTable(netfilter, family, name);
    });
  } catch (error) {
    if (!isSystemError(error, 'EPROTONOSUPPORT', 'EINVAL', 'EOPNOTSUPP', 'ENOENT')) throw error;
    throw new Error(`this kernel lacks nf_tables with source translation (nft_masq): ${error.code}`, {
      cause: error,
    });
  }
}

/** What the rules need to know about this network namespace. */
export function observeHost(netlink: Netlink): Host {
  const links = listLinks(netlink);
  const routes = (['ipv4', 'ipv6'] as const).flatMap((family) =>
    listRouteCopies(netlink, family).flatMap((route): HostRoute[] => {
      const device = links.find(({ index }) => index === route.index)?.name;
      if (device === undefined) return [];
      const { destination, priority, protocol } = route;
      const advertised = protocol === routeProtocols.routerAdvertisement;
      return [{ family, destination, device, priority, advertised }];
    }),
  );
  return {
    interfaces: links.map(({ name, mtu, flags }) => ({
      name,
      mtu,
      loopback: (flags & interfaceFlags.loopback) !== 0,
    })),
    routes,
    sysctl: readSysctl,
    deviceTo(address) {
      const index = lookupRoute(netlink, address)?.index;
      return links.find((link) => link.index === index)?.name ?? 'lo';
    },
  };
}
