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
function virtualMacOf({ routerId, addresses }: InstanceSettings): string {
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
  /** What devices below had before, by name. */
  const changed = new Map<string, readonly Before[]>();

  /** Those of a killed process may be up, and another director has the MAC address by now. */
  function settle(netlink: Netlink, link: Link): void {
    if (known.has(link.index)) return;
    setLink(netlink, link.index, { up: false });
    setLink(netlink, link.index, { addrGenMode: 'none' });
    raise(link.name, lowerOn(link.name, aboveSettings));
    writeIf(`net/ipv6/conf/${link.name}/accept_ra`, '0');
    known.add(link.index);
  }

  /** Sets what the device below needs, after it was noted on the one above, which stays where this process is killed. */
  function prepare(netlink: Netlink, base: Link, above: Link, devices: readonly Link[]): void {
    const before =
      changed.get(base.name) ?? notedOver(base, devices) ?? lowerOn(base.name, belowSettings).map(beforeOf);
    const alias = noteOf(before);
    if (above.alias !== alias) setLink(netlink, above.index, { alias });
    if (!changed.has(base.name)) raise(base.name, lowerOn(base.name, belowSettings));
    changed.set(base.name, before);
  }

  return {
    on(settings, base, devices) {
      const name = virtualDeviceOf(settings, base.index);
      const mac = virtualMacOf(settings);
      return withNetlink({}, (netlink) => {
        const found = devices.find((one) => one.name === name);
        if (found && (found.mac !== mac || found.lowerIndex !== base.index)) deleteLink(netlink, found.index);
        else if (found) {
          prepare(netlink, base, found, devices);
          settle(netlink, found);
          return { name, index: found.index, mac, virtual: true };
        }
        // Bridge: what another director says from this MAC address goes on to the device below as well.
        createMacvlan(netlink, { name, mac, lower: base.index, mode: 'bridge' });
        const made = findLink(netlink, name)!;
        prepare(netlink, base, made, devices);
        settle(netlink, made);
        return { name, index: made.index, mac, virtual: true };
      });
    },
    keep(names, bases, devices) {
      const left = devices.filter((one) => isOurs(one) && !names.has(one.name));
      if (left.length > 0) withNetlink({}, (netlink) => takeAway(netlink, left, bases));
      for (const { index } of left) known.delete(index);
      for (const [base, before] of changed)
        if (!bases.has(base)) {
          giveBack(base, before);
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
  if (left.length > 0) withNetlink({}, (netlink) => takeAway(netlink, left, new Set()));
  return left.map(({ name }) => name);
}

/** Takes devices away, and what was set below them, but on devices of these names. */
function takeAway(netlink: Netlink, left: readonly Link[], bases: ReadonlySet<string>): void {
  for (const link of left) {
    const { name, index, lowerIndex, lowerNetnsId } = link;
    if (findLink(netlink, name)?.index !== index) continue;
    deleteLink(netlink, index);
    if (lowerIndex === undefined || lowerNetnsId !== undefined) continue;
    const base = findLink(netlink, lowerIndex)?.name;
    if (base !== undefined && !bases.has(base)) giveBack(base, notedIn(link) ?? []);
  }
}

/** A parameter of a device as it was before. */
type Before = readonly [parameter: keyof typeof belowSettings, value: number];

const noteBegins = 'headgate: below it were ';

/** `headgate: below it were arp_ignore=0 arp_announce=0`: what a device above keeps for whoever takes it away. */
const noteOf = (before: readonly Before[]): string =>
  noteBegins + before.map(([parameter, value]) => `${parameter}=${value}`).join(' ');

/** Undefined where nothing is noted. */
function notedIn({ alias = '' }: Link): readonly Before[] | undefined {
  if (!alias.startsWith(noteBegins)) return undefined;
  return [...alias.matchAll(/(arp_ignore|arp_announce)=(\d)/g)].map(
    ([, parameter, value]) => [parameter as Before[0], Number(value)] as const,
  );
}

/** What any of ours above a device has noted. */
function notedOver({ index }: Link, devices: readonly Link[]): readonly Before[] | undefined {
  for (const one of devices) {
    const noted = isOurs(one) && one.lowerIndex === index ? notedIn(one) : undefined;
    if (noted) return noted;
  }
  return undefined;
}

type Raise<Parameter extends string> = {
  readonly parameter: Parameter;
  readonly before: number;
  readonly value: number;
};

const beforeOf = ({ parameter, before }: Raise<Before[0]>): Before => [parameter, before];

const nameOf = (device: string, parameter: string): string => `net/ipv4/conf/${device}/${parameter}`;

/** The parameters of a device that are lower than wanted. */
function lowerOn<Parameter extends string>(
  device: string,
  wanted: Readonly<Record<Parameter, number>>,
): readonly Raise<Parameter>[] {
  return (Object.entries(wanted) as [Parameter, number][]).flatMap(([parameter, value]) => {
    const before = Number(readSysctl(nameOf(device, parameter)) ?? value);
    return before < value ? [{ parameter, before, value }] : [];
  });
}

function raise(device: string, all: readonly Raise<string>[]): void {
  for (const { parameter, value } of all) writeSysctl(nameOf(device, parameter), value);
}

/** Puts back what is still as we have set it. */
function giveBack(device: string, before: readonly Before[]): void {
  for (const [parameter, value] of before)
    if (readSysctl(nameOf(device, parameter)) === String(belowSettings[parameter]))
      writeSysctl(nameOf(device, parameter), value);
}

/** Not where there is no such parameter, or no such device any more. */
function writeIf(sysctl: string, value: string): void {
  if (readSysctl(sysctl) !== undefined) writeSysctl(sysctl, value);
}
