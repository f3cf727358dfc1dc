import { type Address, addressToBytes, familyOf } from './address.ts';
import type {
  Destination,
  DestinationId,
  FullNat,
  Protocol,
  ServiceId,
  Tunnel,
  VirtualService,
} from './virtual-service.ts';
import { whenGoneOf } from './when-gone.ts';

/** IANA protocol numbers. */
export const protocolNumbers: Record<Protocol, number> = { tcp: 6, udp: 17, sctp: 132 };

/** The protocol of a number; undefined for any other. */
export const protocolName = (number: number): Protocol | undefined =>
  protocolNames.find((name) => protocolNumbers[name] === number);
const protocolNames = Object.keys(protocolNumbers) as Protocol[];

/** A Map key, and readable: `tcp 192.0.2.1:80`, `udp [2001:db8::1]:53`, `fwmark 7`, `fwmark 7 ipv6`. */
export function serviceKey(id: ServiceId): string {
  if (id.kind === 'address') return `${id.protocol} ${destinationKey(id)}`;
  return id.family === 6 ? `fwmark ${id.mark} ipv6` : `fwmark ${id.mark}`;
}

/** `serviceKey` for who asks for the destinations of a service one after the other: the key of the last name is kept. */
export function lastKeyKept(): (id: ServiceId) => string {
  let last: { readonly id: ServiceId; readonly key: string } | undefined;
  return (id) => {
    if (last?.id !== id) last = { id, key: serviceKey(id) };
    return last.key;
  };
}

/** A Map key, and readable: `192.0.2.1:80`, `[2001:db8::1]:80`. */
export function destinationKey(id: DestinationId): string {
  return familyOf(id.address) === 6 ? `[${id.address}]:${id.port}` : `${id.address}:${id.port}`;
}

/** The address family of the packets a virtual service takes. */
export function serviceFamily(id: ServiceId): 4 | 6 {
  return id.kind === 'address' ? familyOf(id.address) : id.family;
}

/** Whether two names are of the same virtual service. */
export function equalServiceId(a: ServiceId, b: ServiceId): boolean {
  if (a === b) return true;
  if (a.kind === 'fwmark') return b.kind === 'fwmark' && a.mark === b.mark && a.family === b.family;
  if (b.kind === 'fwmark') return false;
  return a.address === b.address && a.port === b.port && a.protocol === b.protocol;
}

/** Whether two virtual services have the same name and the same settings. */
export function equalService(a: VirtualService, b: VirtualService): boolean {
  if (a === b) return true;
  return (
    equalServiceId(a.id, b.id) &&
    a.scheduler === b.scheduler &&
    a.onePacket === b.onePacket &&
    whenGoneOf(a) === whenGoneOf(b) &&
    a.schedulerFlags.flag1 === b.schedulerFlags.flag1 &&
    a.schedulerFlags.flag2 === b.schedulerFlags.flag2 &&
    a.schedulerFlags.flag3 === b.schedulerFlags.flag3 &&
    a.persistence?.timeoutSeconds === b.persistence?.timeoutSeconds &&
    a.persistence?.netmask === b.persistence?.netmask &&
    a.persistence?.engine === b.persistence?.engine
  );
}

/** Whether two destinations have the same name and the same settings. */
export function equalDestination(a: Destination, b: Destination): boolean {
  if (a === b) return true;
  return (
    a.address === b.address &&
    a.port === b.port &&
    a.method === b.method &&
    a.weight === b.weight &&
    a.upperThreshold === b.upperThreshold &&
    a.lowerThreshold === b.lowerThreshold &&
    a.expiresTemplates === b.expiresTemplates &&
    equalTunnel(a.tunnel, b.tunnel) &&
    equalFullNat(a.fullNat, b.fullNat)
  );
}

function equalFullNat(a: FullNat | undefined, b: FullNat | undefined): boolean {
  return (
    a === b ||
    (a?.clientAddress === b?.clientAddress &&
      a?.localAddresses.length === b?.localAddresses.length &&
      a?.localAddresses.every((address, i) => address === b?.localAddresses[i]) === true)
  );
}

function equalTunnel(a: Tunnel | undefined, b: Tunnel | undefined): boolean {
  return a?.type === b?.type && a?.port === b?.port && a?.checksum === b?.checksum;
}

/**
 * ipvsadm's order of services: fwmark (none first), family, protocol number, address, port. Marks and addresses are
 * compared by a signed 32-bit difference as ipvs_cmp_services (ipvsadm 1.31, libipvs/libipvs.c) does, so
 * 192.168.0.1 comes before 10.0.0.1 and the order is not transitive: sort with sortLikeIpvsadm.
 */
export function compareServices(a: ServiceId, b: ServiceId): number {
  return (
    (markOf(a) - markOf(b)) | 0 ||
    serviceFamily(a) - serviceFamily(b) ||
    protocolOf(a) - protocolOf(b) ||
    (a.kind === 'address' && b.kind === 'address' ? compareDestinations(a, b) : 0)
  );
}

/** ipvsadm's order of destinations: address and port, with the same 32-bit differences (ipvs_cmp_dests). */
export function compareDestinations(a: DestinationId, b: DestinationId): number {
  const x = addressWords(a.address);
  const y = addressWords(b.address);
  const words = familyOf(a.address) === 6 ? 4 : 1;
  for (let i = 0; i < words; i++) {
    const difference = (x[i]! - y[i]!) | 0;
    if (difference !== 0) return difference;
  }
  return a.port - b.port;
}

/**
 * A sorted copy, by the merge sort that qsort(3) of glibc is: with the comparisons above, which are not transitive,
 * another algorithm would give another listing than ipvsadm's.
 */
export function sortLikeIpvsadm<Item>(items: readonly Item[], compare: (a: Item, b: Item) => number): Item[] {
  if (items.length <= 1) return [...items];
  const half = items.length >> 1;
  const left = sortLikeIpvsadm(items.slice(0, half), compare);
  const right = sortLikeIpvsadm(items.slice(half), compare);
  const sorted: Item[] = [];
  let l = 0;
  let r = 0;
  while (l < left.length && r < right.length) {
    sorted.push(compare(left[l]!, right[r]!) <= 0 ? left[l++]! : right[r++]!);
  }
  return [...sorted, ...left.slice(l), ...right.slice(r)];
}

function markOf(id: ServiceId): number {
  return id.kind === 'fwmark' ? id.mark : 0;
}

function protocolOf(id: ServiceId): number {
  return id.kind === 'address' ? protocolNumbers[id.protocol] : protocolNumbers.tcp;
}

/** The address as four 32-bit words the way it lies in the kernel's union: IPv4 in the first, zeros behind it. */
function addressWords(address: Address): number[] {
  const bytes = addressToBytes(address);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return [0, 4, 8, 12].map((offset) => (offset < bytes.length ? view.getUint32(offset) : 0));
}
