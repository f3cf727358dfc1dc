import { formatMac, parseMac } from './ip.ts';
import { attribute, decodeAttributes, decodeText, messageFlags, nested, text, u8, u32 } from './message.ts';
import type { Netlink } from './socket.ts';

/** Network devices over rtnetlink (include/uapi/linux/if_link.h). Every function throws NetlinkError. */

const newLink = 16;
const deleteLinkType = 17;
const getLink = 18;
const setLinkType = 19;

const ifla = {
  address: 1,
  name: 3,
  mtu: 4,
  link: 5,
  master: 10,
  operstate: 16,
  info: 18,
  netnsPid: 19,
  alias: 20,
  afSpec: 26,
  netnsFd: 28,
  extMask: 29,
  linkNetnsId: 37,
  gsoMaxSize: 41,
  xdp: 43,
} as const;
const xdpAttached = 2;
const infoKind = 1;
const infoData = 2;
const infoSlaveKind = 4;
const vethPeer = 1;
const macvlanMode = 1;
const inet6AddrGenMode = 8;
const skipStatistics = 8;

/** Interface flags (include/uapi/linux/if.h). */
export const interfaceFlags = {
  up: 0x1,
  broadcast: 0x2,
  loopback: 0x8,
  pointToPoint: 0x10,
  running: 0x40,
  noArp: 0x80,
  promiscuous: 0x100,
  lowerUp: 0x10000,
} as const;

/** ARPHRD numbers that matter to a director (include/uapi/linux/if_arp.h). */
export const arpTypes = {
  ether: 1,
  tunnel: 768,
  tunnel6: 769,
  loopback: 772,
  sit: 776,
  ipgre: 778,
  none: 65534,
} as const;

const operstates = ['unknown', 'notpresent', 'down', 'lowerlayerdown', 'testing', 'dormant', 'up'];

/** A network device as the kernel reports it. */
export type Link = {
  readonly index: number;
  readonly name: string;
  /** ARPHRD number; see `arpTypes`. */
  readonly arpType: number;
  /** rtnl kind (`veth`, `bridge`, ...); absent for physical devices and loopback. */
  readonly kind?: string;
  /** Kind of the master this device is a port of (`bridge`, `bond`, ...). */
  readonly slaveKind?: string;
  /** IFF_ bits; see `interfaceFlags`. */
  readonly flags: number;
  readonly up: boolean;
  readonly mtu: number;
  readonly mac: string;
  /** ifindex of the bridge or bond this device is enslaved to. */
  readonly master?: number;
  /** ifindex of the peer (veth) or lower device (macvlan), possibly in another namespace. */
  readonly lowerIndex?: number;
  /** Present when `lowerIndex` is in another namespace: the kernel's id of it. */
  readonly lowerNetnsId?: number;
  readonly operstate: string;
  readonly gsoMaxSize?: number;
  /** An XDP program is attached, in whatever mode. */
  readonly xdp: boolean;
  /** What somebody has noted about it (`ip link set dev NAME alias TEXT`). */
  readonly alias?: string;
};

/** A namespace to put a device into: an open file descriptor of it, or a process that lives there. */
export type NetnsTarget = { readonly fd: number } | { readonly pid: number };

function ifinfo(index = 0, flags = 0, change = 0): Buffer {
  const buffer = Buffer.alloc(16);
  buffer.writeInt32LE(index, 4);
  buffer.writeUInt32LE(flags >>> 0, 8);
  buffer.writeUInt32LE(change >>> 0, 12);
  return buffer;
}

/** Throws RangeError unless the kernel would take the name (dev_valid_name: 1 to 15 bytes, no slash, space or colon). */
function interfaceName(name: string): string {
  if (!/^[^\s/:]{1,15}$/.test(name) || Buffer.byteLength(name) > 15 || name === '.' || name === '..')
    throw new RangeError(`interface name "${name}": wanted 1 to 15 characters without "/", ":" or blanks`);
  return name;
}

const netnsAttribute = (target: NetnsTarget): Buffer =>
  'fd' in target ? u32(ifla.netnsFd, target.fd) : u32(ifla.netnsPid, target.pid);

function decodeLink(payload: Buffer): Link {
  const attributes = decodeAttributes(payload, 16);
  const info = attributes.get(ifla.info);
  const infos = info ? decodeAttributes(info) : new Map<number, Buffer>();
  const flags = payload.readUInt32LE(8);
  const number = (type: number) => attributes.get(type)?.readUInt32LE(0);
  const kind = infos.get(infoKind);
  const slaveKind = infos.get(infoSlaveKind);
  const master = number(ifla.master);
  const lower = number(ifla.link);
  const lowerNetns = attributes.get(ifla.linkNetnsId)?.readInt32LE(0);
  const gsoMaxSize = number(ifla.gsoMaxSize);
  const xdp = attributes.get(ifla.xdp);
  const alias = attributes.get(ifla.alias);
  return {
    index: payload.readInt32LE(4),
    name: decodeText(attributes.get(ifla.name) ?? Buffer.alloc(0)),
    arpType: payload.readUInt16LE(2),
    flags,
    up: (flags & interfaceFlags.up) !== 0,
    mtu: number(ifla.mtu) ?? 0,
    mac: formatMac(attributes.get(ifla.address) ?? Buffer.alloc(0)),
    operstate: operstates[attributes.get(ifla.operstate)?.[0] ?? 0] ?? 'unknown',
    xdp: ((xdp && decodeAttributes(xdp).get(xdpAttached)?.[0]) ?? 0) !== 0,
    ...(kind ? { kind: decodeText(kind) } : {}),
    ...(slaveKind ? { slaveKind: decodeText(slaveKind) } : {}),
    ...(master ? { master } : {}),
    ...(lower ? { lowerIndex: lower } : {}),
    ...(lowerNetns !== undefined && lowerNetns >= 0 ? { lowerNetnsId: lowerNetns } : {}),
    ...(gsoMaxSize ? { gsoMaxSize } : {}),
    ...(alias ? { alias: decodeText(alias) } : {}),
  };
}

/** Every device of the socket's namespace, by ifindex. */
export function listLinks(netlink: Netlink): Link[] {
  return netlink
    .dump('list interfaces', getLink, [ifinfo(), u32(ifla.extMask, skipStatistics)])
    .map((message) => decodeLink(message.payload))
    .sort((a, b) => a.index - b.index);
}

/** The device of that name or ifindex; undefined when there is none. */
export function findLink(netlink: Netlink, which: string | number): Link | undefined {
  const byName = typeof which === 'string';
  const parts = [ifinfo(byName ? 0 : which), ...(byName ? [text(ifla.name, interfaceName(which))] : [])];
  const answer = netlink.tryRequest(getLink, 0, [...parts, u32(ifla.extMask, skipStatistics)]);
  return answer[0] ? decodeLink(answer[0].payload) : undefined;
}

/** The ifindex of a device. Throws Error naming the device when there is none. */
export function linkIndex(netlink: Netlink, name: string): number {
  const link = findLink(netlink, name);
  if (!link)
    throw new Error(`interface "${name}": not found in this network namespace; list them with "ip link"`);
  return link.index;
}

export type NewLink = {
  readonly name: string;
  readonly mtu?: number | undefined;
  readonly mac?: string | undefined;
  /** Namespace the device is created in; default: the socket's. */
  readonly netns?: NetnsTarget | undefined;
};

const commonAttributes = (link: NewLink): Buffer[] => [
  text(ifla.name, interfaceName(link.name)),
  ...(link.mtu === undefined ? [] : [u32(ifla.mtu, link.mtu)]),
  ...(link.mac === undefined ? [] : [attribute(ifla.address, parseMac(link.mac))]),
  ...(link.netns === undefined ? [] : [netnsAttribute(link.netns)]),
];

const linkInfo = (kind: string, data: readonly Buffer[] = []): Buffer =>
  nested(ifla.info, [text(infoKind, kind), ...(data.length > 0 ? [nested(infoData, data)] : [])]);

function create(netlink: Netlink, link: NewLink, parts: readonly Buffer[]): void {
  const flags = messageFlags.create | messageFlags.exclusive;
  netlink.request(`create interface "${link.name}"`, newLink, flags, [
    ifinfo(),
    ...commonAttributes(link),
    ...parts,
  ]);
}

/** Creates a veth pair in one step, each end in its own namespace. */
export function createVeth(netlink: Netlink, link: NewLink & { readonly peer: NewLink }): void {
  create(netlink, link, [
    linkInfo('veth', [attribute(vethPeer, Buffer.concat([ifinfo(), ...commonAttributes(link.peer)]))]),
  ]);
}

/** Creates a bridge without ports. Throws NetlinkError, EEXIST where the name is taken. */
export function createBridge(netlink: Netlink, link: NewLink): void {
  create(netlink, link, [linkInfo('bridge')]);
}

/** Modes of a macvlan (IFLA_MACVLAN_MODE). */
const macvlanModes = { private: 1, vepa: 2, bridge: 4, passthru: 8 } as const;

/** Creates a macvlan on the device with ifindex `lower` (an index of the socket's namespace). */
export function createMacvlan(
  netlink: Netlink,
  link: NewLink & { readonly lower: number; readonly mode: keyof typeof macvlanModes },
): void {
  create(netlink, link, [
    u32(ifla.link, link.lower),
    linkInfo('macvlan', [u32(macvlanMode, macvlanModes[link.mode])]),
  ]);
}

export type LinkChange = {
  readonly up?: boolean;
  readonly mtu?: number;
  readonly mac?: string;
  /** ifindex of the new master; 0 releases the device. */
  readonly master?: number;
  readonly netns?: NetnsTarget;
  /** New name; the kernel renames only devices that are down. */
  readonly name?: string;
  readonly arp?: boolean;
  /** `none` stops the kernel from making a link-local address when the device comes up. */
  readonly addrGenMode?: 'eui64' | 'none';
  /** Up to 255 bytes; see `Link`. */
  readonly alias?: string;
};

/** Changes a device; only what is given changes. */
export function setLink(netlink: Netlink, index: number, change: LinkChange): void {
  let flags = 0;
  let mask = 0;
  const flag = (bit: number, value: boolean | undefined) => {
    if (value === undefined) return;
    mask |= bit;
    if (value) flags |= bit;
  };
  flag(interfaceFlags.up, change.up);
  flag(interfaceFlags.noArp, change.arp === undefined ? undefined : !change.arp);
  netlink.request(`change interface ${index}`, setLinkType, 0, [
    ifinfo(index, flags, mask),
    ...(change.mtu === undefined ? [] : [u32(ifla.mtu, change.mtu)]),
    ...(change.mac === undefined ? [] : [attribute(ifla.address, parseMac(change.mac))]),
    ...(change.master === undefined ? [] : [u32(ifla.master, change.master)]),
    ...(change.netns === undefined ? [] : [netnsAttribute(change.netns)]),
    ...(change.name === undefined ? [] : [text(ifla.name, interfaceName(change.name))]),
    ...(change.alias === undefined ? [] : [text(ifla.alias, change.alias)]),
    ...(change.addrGenMode === undefined
      ? []
      : [nested(ifla.afSpec, [nested(10, [u8(inet6AddrGenMode, change.addrGenMode === 'none' ? 1 : 0)])])]),
  ]);
}

/** Deletes a device; the other end of a veth pair goes with it. */
export function deleteLink(netlink: Netlink, index: number): void {
  netlink.request(`delete interface ${index}`, deleteLinkType, 0, [ifinfo(index)]);
}
