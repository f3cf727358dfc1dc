import { closeSync, constants, openSync } from 'node:fs';
import { closeFd, ioctl, openPath } from '../../src/sys/ffi.ts';
import { addAddress } from '../../src/sys/netlink/address.ts';
import { createVeth, linkIndex, setLink } from '../../src/sys/netlink/link.ts';
import { setNeighbour } from '../../src/sys/netlink/neighbour.ts';
import { addRoute } from '../../src/sys/netlink/route.ts';
import { type Netlink, withNetlink } from '../../src/sys/netlink/socket.ts';
import { createNamedNetns, deleteNamedNetns, netnsPath, withNetns } from '../../src/sys/netns.ts';
import { writeSysctl } from '../../src/sys/sysctl.ts';

/*
 * The network the packets live in: a director with three interfaces, whose far ends lie in a namespace without any
 * address, so that nothing but the director ever answers. Neighbours are permanent entries.
 *
 *   clients, everything else -- 192.0.2.254 -- c0 |          | r0 -- real servers 10.1.0.0/24, fd10::/64
 *                                                 | director | m0 -- the same with an MTU of 1280: 10.2.0.0/24, fd20::/64
 *   virtual addresses on lo                       |          | 10.66.0.0/16, fd66::/32: unreachable
 *                             clients 8.0.0.0/16 -- t0 | (a TUN device: no Ethernet headers)
 */

const closeOnExec = 0o2000000;

export type DeviceName = 'c0' | 'r0' | 'm0';

/** MAC addresses: of the director's interfaces, and of who is behind them. */
export const macs: Record<DeviceName, { readonly own: string; readonly far: string }> = {
  c0: { own: '02:00:00:00:00:c0', far: '02:00:00:00:01:c0' },
  r0: { own: '02:00:00:00:00:d0', far: '02:00:00:00:01:d0' },
  m0: { own: '02:00:00:00:00:e0', far: '02:00:00:00:01:e0' },
};

export const smallMtu = 1280;
export const virtualAddresses = {
  ipv4: '198.51.100.10',
  otherIpv4: '198.51.100.20',
  ipv6: '2001:db8:100::10',
  /** Not on any interface of the director. */
  elsewhere: '198.51.100.99',
  elsewhereIpv6: '2001:db8:100::99',
} as const;

/** Last part of the first real server's addresses: 10.1.0.11 and fd10::11; the others' follow. */
export const firstRealServer = 11;

export type Way =
  | { readonly kind: 'local' }
  | { readonly kind: 'none' }
  | { readonly kind: 'neighbour'; readonly device: DeviceName; readonly mac: string; readonly mtu: number };

/** Where a packet to an address must go, by the drawing above. */
export function wayTo(address: string): Way {
  const on = (device: DeviceName, mtu: number): Way => {
    const last = address.replace(/.*[.:]/, '');
    return { kind: 'neighbour', device, mac: realServerMac(device, Number(last)), mtu };
  };
  // What the routing tables call local, broadcast or multicast is the stack's to deal with.
  const toStack = /^(127\.|(192\.0\.2|10\.[12]\.0)\.255$|ff|::1$)/;
  if (localAddresses.has(address) || toStack.test(address)) return { kind: 'local' };
  if (/^(10\.66\.|fd66:)/.test(address)) return { kind: 'none' };
  if (/^(10\.1\.0\.|fd10:)/.test(address)) return on('r0', 1500);
  if (/^(10\.2\.0\.|fd20:)/.test(address)) return on('m0', smallMtu);
  return { kind: 'neighbour', device: 'c0', mac: macs.c0.far, mtu: 1500 };
}

const realServerMac = (device: DeviceName, last: number): string =>
  `02:00:00:00:${device === 'r0' ? 'd1' : 'e1'}:${last.toString().padStart(2, '0')}`;

const localAddresses = new Set<string>([
  '192.0.2.1',
  '10.1.0.1',
  '10.2.0.1',
  '2001:db8:2::1',
  'fd10::1',
  'fd20::1',
  virtualAddresses.ipv4,
  virtualAddresses.otherIpv4,
  virtualAddresses.ipv6,
]);

export type World = {
  /** Path of the director's namespace, and of the one behind its interfaces. */
  readonly director: string;
  readonly outside: string;
  /** Index of an interface of the director, and of its far end. */
  readonly index: Readonly<Record<DeviceName, number>>;
  readonly farIndex: Readonly<Record<DeviceName, number>>;
  /** The device without Ethernet headers: what is written to it comes in there. Reading never waits. */
  readonly tun: { readonly fd: number; readonly index: number };
  remove(): void;
};

/** Builds it; `name` is a prefix for the two namespaces. There are at most 88 real servers. */
export function buildWorld(name: string, realServers = 6): World {
  const names = { director: `${name}-d`, outside: `${name}-o` };
  const director = netnsPath(names.director);
  const outside = netnsPath(names.outside);
  let tunFd: number | undefined;
  const remove = () => {
    if (tunFd !== undefined) closeFd(tunFd);
    tunFd = undefined;
    deleteNamedNetns(names.director);
    deleteNamedNetns(names.outside);
  };
  remove();
  createNamedNetns(names.director);
  createNamedNetns(names.outside);
  try {
    withNetns(outside, () => {
      writeSysctl('net.ipv6.conf.default.disable_ipv6', 1);
      writeSysctl('net.ipv6.conf.all.disable_ipv6', 1);
    });
    const { index, tun } = withNetns(director, () => {
      for (const family of ['ipv4', 'ipv6']) writeSysctl(`net.${family}.conf.all.forwarding`, 0);
      writeSysctl('net.ipv4.conf.all.rp_filter', 0);
      writeSysctl('net.ipv4.conf.default.rp_filter', 0);
      writeSysctl('net.ipv6.conf.default.accept_ra', 0);
      tunFd = openTun('t0');
      return withNetlink({}, (netlink) => {
        const found = furnish(netlink, outside, realServers);
        const tunIndex = linkIndex(netlink, 't0');
        setLink(netlink, tunIndex, { up: true });
        addRoute(netlink, { destination: '8.0.0.0/16', index: tunIndex });
        return { index: found, tun: { fd: tunFd!, index: tunIndex } };
      });
    });
    const farIndex = withNetlink({ netns: outside }, (netlink) => {
      const of = (device: DeviceName) => {
        const found = linkIndex(netlink, `far-${device}`);
        setLink(netlink, found, { up: true, arp: false });
        return found;
      };
      return { c0: of('c0'), r0: of('r0'), m0: of('m0') };
    });
    return { director, outside, index, farIndex, tun, remove };
  } catch (error) {
    remove();
    throw error;
  }
}

function furnish(netlink: Netlink, outside: string, realServers: number): World['index'] {
  const fd = openSync(outside, 'r');
  const device = (name: DeviceName, mtu: number, addresses: readonly string[]): number => {
    createVeth(netlink, {
      name,
      mtu,
      mac: macs[name].own,
      peer: { name: `far-${name}`, mtu, mac: macs[name].far, netns: { fd } },
    });
    const index = linkIndex(netlink, name);
    setLink(netlink, index, { up: true });
    for (const prefix of addresses) addAddress(netlink, index, { prefix, noDad: true });
    return index;
  };
  try {
    const loopback = linkIndex(netlink, 'lo');
    setLink(netlink, loopback, { up: true });
    const { ipv4, otherIpv4, ipv6 } = virtualAddresses;
    for (const prefix of [`${ipv4}/32`, `${otherIpv4}/32`, `${ipv6}/128`]) {
      addAddress(netlink, loopback, { prefix, noDad: true });
    }
    const c0 = device('c0', 1500, ['192.0.2.1/24', '2001:db8:2::1/64']);
    const r0 = device('r0', 1500, ['10.1.0.1/24', 'fd10::1/64']);
    const m0 = device('m0', smallMtu, ['10.2.0.1/24', 'fd20::1/64']);
    for (const gateway of ['192.0.2.254', '2001:db8:2::fe']) {
      setNeighbour(netlink, c0, { address: gateway, mac: macs.c0.far, state: 'permanent' });
      addRoute(netlink, {
        destination: 'default',
        gateway,
        index: c0,
        family: gateway.includes(':') ? 'ipv6' : 'ipv4',
      });
    }
    for (const destination of ['10.66.0.0/16', 'fd66::/32']) {
      addRoute(netlink, { destination, type: 'unreachable' });
    }
    for (let last = firstRealServer; last < firstRealServer + realServers; last++) {
      for (const [name, index, networks] of [
        ['r0', r0, ['10.1.0.', 'fd10::']],
        ['m0', m0, ['10.2.0.', 'fd20::']],
      ] as const) {
        for (const network of networks) {
          setNeighbour(netlink, index, {
            address: `${network}${last}`,
            mac: realServerMac(name, last),
            state: 'permanent',
          });
        }
      }
    }
    return { c0, r0, m0 };
  } finally {
    closeSync(fd);
  }
}

/** Makes a TUN device (linux/if_tun.h: TUNSETIFF; IFF_TUN, IFF_NO_PI), which lives as long as the descriptor. */
function openTun(name: string): number {
  const fd = openPath('/dev/net/tun', constants.O_RDWR | constants.O_NONBLOCK | closeOnExec);
  const request = Buffer.alloc(40);
  request.write(name);
  request.writeUInt16LE(0x1001, 16);
  try {
    ioctl(fd, 0x400454ca, request, `"${name}"`);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  return fd;
}
