import { familyInet, familyInet6, formatIp, parsePrefix } from './ip.ts';
import { attribute, decodeAttributes, decodeText, messageFlags, text, u32 } from './message.ts';
import type { Netlink } from './socket.ts';

/** Addresses of devices over rtnetlink (include/uapi/linux/if_addr.h). Every function throws NetlinkError. */

const newAddress = 20;
const deleteAddressType = 21;
const getAddress = 22;

const ifa = { address: 1, local: 2, label: 3, broadcast: 4, cacheInfo: 6, flags: 8 } as const;
const flagBits = {
  noDad: 0x02,
  dadFailed: 0x08,
  deprecated: 0x20,
  tentative: 0x40,
  permanent: 0x80,
  noPrefixRoute: 0x200,
} as const;
const forever = 0xffffffff;

export const scopes = { global: 0, link: 253, host: 254 } as const;

/** An address on a device. */
export type InterfaceAddress = {
  readonly index: number;
  readonly family: 'ipv4' | 'ipv6';
  readonly address: string;
  readonly prefixLength: number;
  /** 0 global, 253 link, 254 host. */
  readonly scope: number;
  readonly label?: string;
  readonly broadcast?: string;
  /** Seconds the kernel still keeps the address; absent: for ever. */
  readonly validSeconds?: number;
  readonly tentative: boolean;
  readonly duplicate: boolean;
  readonly noPrefixRoute: boolean;
};

function ifaddr(family: number, prefixLength: number, scope: number, index: number): Buffer {
  const buffer = Buffer.from([family, prefixLength, 0, scope, 0, 0, 0, 0]);
  buffer.writeUInt32LE(index, 4);
  return buffer;
}

function decodeAddress(payload: Buffer): InterfaceAddress {
  const attributes = decodeAttributes(payload, 8);
  const bytes = attributes.get(ifa.local) ?? attributes.get(ifa.address) ?? Buffer.alloc(4);
  const flags = attributes.get(ifa.flags)?.readUInt32LE(0) ?? payload[2]!;
  const valid = attributes.get(ifa.cacheInfo)?.readUInt32LE(4) ?? forever;
  const label = attributes.get(ifa.label);
  const broadcast = attributes.get(ifa.broadcast);
  return {
    index: payload.readUInt32LE(4),
    family: payload[0] === familyInet ? 'ipv4' : 'ipv6',
    address: formatIp(bytes),
    prefixLength: payload[1]!,
    scope: payload[3]!,
    tentative: (flags & flagBits.tentative) !== 0,
    duplicate: (flags & flagBits.dadFailed) !== 0,
    noPrefixRoute: (flags & flagBits.noPrefixRoute) !== 0,
    ...(label ? { label: decodeText(label) } : {}),
    ...(broadcast ? { broadcast: formatIp(broadcast) } : {}),
    ...(valid === forever ? {} : { validSeconds: valid }),
  };
}

/** The addresses of one device, or of all. */
export function listAddresses(netlink: Netlink, index = 0): InterfaceAddress[] {
  return netlink
    .dump('list addresses', getAddress, [ifaddr(0, 0, 0, index)])
    .filter(({ payload }) => payload[0] === familyInet || payload[0] === familyInet6)
    .map(({ payload }) => decodeAddress(payload))
    .filter((address) => index === 0 || address.index === index);
}

export type NewAddress = {
  /** `192.0.2.1/24`; without a length a host address. */
  readonly prefix: string;
  readonly scope?: keyof typeof scopes;
  /** IPv6: usable at once, no duplicate address detection. */
  readonly noDad?: boolean;
  /** No route to the prefix. */
  readonly noPrefixRoute?: boolean;
  /** Finite lifetime: the kernel removes the address when it is not renewed in time. */
  readonly validSeconds?: number;
  /** IPv6: the host does not choose it as the source of what it sends itself (preferred lifetime 0). */
  readonly deprecated?: boolean;
  /** IPv4: `auto` is the last address of the prefix. */
  readonly broadcast?: string | 'auto';
  readonly label?: string;
};

/** Adds an address, or renews the lifetime of one that is there (`replace`, the default). */
export function addAddress(
  netlink: Netlink,
  index: number,
  address: NewAddress,
  { replace = true }: { replace?: boolean } = {},
): void {
  const { family, bytes, length } = parsePrefix(address.prefix);
  const flags = (address.noDad ? flagBits.noDad : 0) | (address.noPrefixRoute ? flagBits.noPrefixRoute : 0);
  const parts = [
    ifaddr(family, length, scopes[address.scope ?? 'global'], index),
    attribute(ifa.local, bytes),
    attribute(ifa.address, bytes),
    u32(ifa.flags, flags),
  ];
  if (address.label !== undefined) parts.push(text(ifa.label, address.label));
  if (address.broadcast !== undefined) {
    const broadcast =
      address.broadcast === 'auto' ? lastAddress(bytes, length) : parsePrefix(address.broadcast).bytes;
    parts.push(attribute(ifa.broadcast, broadcast));
  }
  if (address.validSeconds !== undefined || address.deprecated) {
    const lifetimes = Buffer.alloc(16);
    const valid = address.validSeconds ?? forever;
    lifetimes.writeUInt32LE(address.deprecated ? 0 : valid, 0);
    lifetimes.writeUInt32LE(valid, 4);
    parts.push(attribute(ifa.cacheInfo, lifetimes));
  }
  const mode = messageFlags.create | (replace ? messageFlags.replace : messageFlags.exclusive);
  netlink.request(`add address ${address.prefix} to interface ${index}`, newAddress, mode, parts);
}

function lastAddress(bytes: Buffer, length: number): Buffer {
  const host = length >= 32 ? 0 : 0xffffffff >>> length;
  const last = Buffer.alloc(4);
  last.writeUInt32BE((bytes.readUInt32BE(0) | host) >>> 0);
  return last;
}

/** Removes an address. */
export function deleteAddress(netlink: Netlink, index: number, prefix: string): void {
  const { family, bytes, length } = parsePrefix(prefix);
  netlink.request(`delete address ${prefix} from interface ${index}`, deleteAddressType, 0, [
    ifaddr(family, length, 0, index),
    attribute(ifa.local, bytes),
    attribute(ifa.address, bytes),
  ]);
}
