import { familyInet, familyInet6, formatIp, formatMac, parseIp, parseMac } from './ip.ts';
import { attribute, decodeAttributes, messageFlags } from './message.ts';
import type { Netlink } from './socket.ts';

/** The ARP and NDP tables over rtnetlink (include/uapi/linux/neighbour.h). Every function throws NetlinkError. */

const newNeighbour = 28;
const deleteNeighbourType = 29;
const getNeighbour = 30;
const nda = { destination: 1, linkAddress: 2 } as const;
const useFlag = 1;

const neighbourStates = {
  none: 0,
  incomplete: 0x01,
  reachable: 0x02,
  stale: 0x04,
  delay: 0x08,
  probe: 0x10,
  failed: 0x20,
  noarp: 0x40,
  permanent: 0x80,
} as const;
export type NeighbourState = keyof typeof neighbourStates;

export type Neighbour = {
  readonly index: number;
  readonly address: string;
  /** Absent while the kernel does not know it. */
  readonly mac?: string;
  readonly state: NeighbourState;
};

function ndmsg(family: number, index: number, state: number): Buffer {
  const buffer = Buffer.alloc(12);
  buffer[0] = family;
  buffer.writeInt32LE(index, 4);
  buffer.writeUInt16LE(state, 8);
  return buffer;
}

/** The neighbours of one device, or of all. */
export function listNeighbours(netlink: Netlink, index = 0): Neighbour[] {
  const neighbours: Neighbour[] = [];
  for (const { payload } of netlink.dump('list neighbours', getNeighbour, [ndmsg(0, 0, 0)])) {
    if (payload[0] !== familyInet && payload[0] !== familyInet6) continue;
    const attributes = decodeAttributes(payload, 12);
    const address = attributes.get(nda.destination);
    const at = payload.readInt32LE(4);
    if (!address || (index !== 0 && at !== index)) continue;
    const bits = payload.readUInt16LE(8);
    const mac = attributes.get(nda.linkAddress);
    const state = Object.entries(neighbourStates).find(([, value]) => value === bits)?.[0] as
      | NeighbourState
      | undefined;
    neighbours.push({
      index: at,
      address: formatIp(address),
      state: state ?? 'none',
      ...(mac ? { mac: formatMac(mac) } : {}),
    });
  }
  return neighbours;
}

/** Has the kernel ask for a neighbour it does not know, as a packet to it would (NTF_USE); returns before the answer. */
export function askForNeighbour(netlink: Netlink, index: number, address: string): void {
  const { family, bytes } = parseIp(address);
  const message = ndmsg(family, index, neighbourStates.none);
  message[10] = useFlag;
  netlink.request(`ask for neighbour ${address} on interface ${index}`, newNeighbour, messageFlags.create, [
    message,
    attribute(nda.destination, bytes),
  ]);
}

/** Sets a neighbour's link address, by default for good (`permanent`). */
export function setNeighbour(
  netlink: Netlink,
  index: number,
  neighbour: { readonly address: string; readonly mac: string; readonly state?: NeighbourState },
): void {
  const { family, bytes } = parseIp(neighbour.address);
  const flags = messageFlags.create | messageFlags.replace;
  netlink.request(`set neighbour ${neighbour.address} on interface ${index}`, newNeighbour, flags, [
    ndmsg(family, index, neighbourStates[neighbour.state ?? 'permanent']),
    attribute(nda.destination, bytes),
    attribute(nda.linkAddress, parseMac(neighbour.mac)),
  ]);
}

/** Forgets the neighbour of an address on an interface. Throws NetlinkError, ENOENT where there is none. */
export function deleteNeighbour(netlink: Netlink, index: number, address: string): void {
  const { family, bytes } = parseIp(address);
  netlink.request(`delete neighbour ${address} on interface ${index}`, deleteNeighbourType, 0, [
    ndmsg(family, index, 0),
    attribute(nda.destination, bytes),
  ]);
}
