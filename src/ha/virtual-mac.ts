import { familyOf } from '../model/address.ts';
import { createMacvlan, deleteLink, findLink, type Link, listLinks, setLink } from '../sys/netlink/link.ts';
import { type Netlink, withNetlink } from '../sys/netlink/socket.ts';
import { readSysctl, writeSysctl } from '../sys/sysctl.ts';
import type { InstanceSettings } from './settings.ts';

/** The device that has virtual addresses; `virtual`: it is up while they are held, and at no other time. */
export type Holder = {
  readonly name: string;
  readonly index: number;
  readonly mac: string;
  readonly virtual?: true;
};

/** The MAC address of a virtual router (RFC 9568, 7.3). */
export function virtualMacOf({ routerId, addresses }: InstanceSettings): string {
  const family = familyOf(addresses[0]!.address);
  return `00:00:5e:00:0${family === 4 ? 1 : 2}:${routerId.toString(16).padStart(2, '0')}`;
}

/** What its device on another one is called. */
export const virtualDeviceOf = ({ routerId, addresses }: InstanceSettings, base: number): string =>
  `hgm${familyOf(addresses[0]!.address)}-${routerId}-${base}`;

const isOurs = ({ name, kind }: Link): boolean => kind === 'macvlan' && /^hgm[46]-\d+-\d+$/.test(name);

/** The devices with the MAC addresses of virtual routers. */
export type VirtualDevices = {
  /** That of an instance on `base`: it is made, down, where it is not there. Throws NetlinkError. */
  on(settings: InstanceSettings, base: Link, devices: readonly Link[]): Holder;
  /** Takes away all but those of these names, on these devices, and what was set on devices for their sake. */
  keep(names: ReadonlySet<string>, bases: ReadonlySet<string>, devices: readonly Link[]): void;
};

/**
 * The device below answers ARP for its own addresses only, and never speaks from those above it: else neighbours learnt its
 * MAC address for them (Documentation/networking/ip-sysctl.rst).
 */
const belowSettings = { arp_ignore: 1, arp_announce: 2 } as const;
/** Packets arrive above and leave below: the reverse path is another device. */
const aboveSettings = { arp_ignore: 1, arp_announce: 2, rp_filter: 2 } as const;

export function openVirtualDevices(): VirtualDevices {
  const known = new Set<number>();
  const changed = new Map<string, readonly (readonly [sysctl: string, before: string])[]>();

  /** Those of a killed process may be up, and another director has the MAC address by now. */
  function settle(netlink: Netlink, link: Link): void {
    if (known.has(link.index)) return;
    setLink(netlink, link.index, { up: false });
    setLink(netlink, link.index, { addrGenMode: 'none' });
    set(link.name, aboveSettings);
    writeIf(`net/ipv6/conf/${link.name}/accept_ra`, '0');
    known.add(link.index);
  }

  function prepare(base: string): void {
    if (changed.has(base)) return;
    changed.set(base, set(base, belowSettings));
  }

  return {
    on(settings, base, devices) {
      const name = virtualDeviceOf(settings, base.index);
      const mac = virtualMacOf(settings);
      prepare(base.name);
      return withNetlink({}, (netlink) => {
        const found = devices.find((one) => one.name === name);
        if (found && (found.mac !== mac || found.lowerIndex !== base.index)) deleteLink(netlink, found.index);
        else if (found) {
          settle(netlink, found);
          return { name, index: found.index, mac, virtual: true };
        }
        // Bridge: what another director says from this MAC address goes on to the device below as well.
        createMacvlan(netlink, { name, mac, lower: base.index, mode: 'bridge' });
        const made = findLink(netlink, name)!;
        settle(netlink, made);
        return { name, index: made.index, mac, virtual: true };
      });
    },
    keep(names, bases, devices) {
      const left = devices.filter((one) => isOurs(one) && !names.has(one.name));
      if (left.length > 0)
        withNetlink({}, (netlink) => {
          for (const { name, index } of left) {
            if (findLink(netlink, name)?.index === index) deleteLink(netlink, index);
            known.delete(index);
          }
        });
      for (const [base, before] of changed)
        if (!bases.has(base)) {
          for (const [sysctl, value] of before) writeIf(sysctl, value);
          changed.delete(base);
        }
    },
  };
}

/** All of ours that are there. */
export const virtualDevices = (): readonly Link[] => withNetlink({}, listLinks).filter(isOurs);

/** Takes all of ours away, for who knows that no failover process is there any more. Returns their names. */
export function removeVirtualDevices(): readonly string[] {
  const left = virtualDevices();
  if (left.length > 0)
    withNetlink({}, (netlink) => {
      for (const { index } of left) if (findLink(netlink, index)) deleteLink(netlink, index);
    });
  return left.map(({ name }) => name);
}

/** Raises parameters of a device that are lower, and says what they were. */
function set(
  device: string,
  wanted: Readonly<Record<string, number>>,
): readonly (readonly [sysctl: string, before: string])[] {
  return Object.entries(wanted).flatMap(([parameter, value]) => {
    const sysctl = `net/ipv4/conf/${device}/${parameter}`;
    const before = readSysctl(sysctl);
    if (before === undefined || Number(before) >= value) return [];
    writeSysctl(sysctl, value);
    return [[sysctl, before] as const];
  });
}

/** Not where there is no such parameter, or no such device any more. */
function writeIf(sysctl: string, value: string): void {
  if (readSysctl(sysctl) !== undefined) writeSysctl(sysctl, value);
}
