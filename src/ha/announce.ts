import { type Address, addressToBytes, familyOf } from '../model/address.ts';

/** Frames that tell a network who has an address now: neighbours forget where it was before. Pure. */

const broadcast = Buffer.alloc(6, 0xff);
const etherTypes = { arp: 0x0806, ipv6: 0x86dd } as const;
const icmpv6 = 58;
const neighbourAdvertisement = 136;
/** Router and override, not solicited (RFC 4861, 4.4): a director forwards. */
const flags = 0xa0;

/** A gratuitous ARP request (RFC 5227, 3), or an unsolicited neighbour advertisement (RFC 4861, 7.2.6). */
export function announcement(mac: Buffer, address: Address): Buffer {
  return familyOf(address) === 4 ? gratuitousArp(mac, address) : unsolicited(mac, address);
}

function ethernet(destination: Buffer, source: Buffer, type: number): Buffer {
  const header = Buffer.concat([destination, source, Buffer.alloc(2)]);
  header.writeUInt16BE(type, 12);
  return header;
}

/** RFC 826: Ethernet, IPv4, six and four bytes, a request. Sender and target are the address itself. */
function gratuitousArp(mac: Buffer, address: Address): Buffer {
  const ip = addressToBytes(address);
  const head = Buffer.from([0, 1, 8, 0, 6, 4, 0, 1]);
  return Buffer.concat([ethernet(broadcast, mac, etherTypes.arp), head, mac, ip, Buffer.alloc(6), ip]);
}

function unsolicited(mac: Buffer, address: Address): Buffer {
  const allNodes = Buffer.from('ff020000000000000000000000000001', 'hex');
  const source = addressToBytes(address);
  const message = Buffer.alloc(32);
  message[0] = neighbourAdvertisement;
  message[4] = flags;
  message.set(source, 8);
  // Option: target link-layer address, one unit of eight bytes.
  message.set([2, 1], 24);
  message.set(mac, 26);
  const header = Buffer.alloc(8);
  header[0] = 0x60;
  header.writeUInt16BE(message.length, 4);
  header[6] = icmpv6;
  header[7] = 255;
  message.writeUInt16BE(checksum(source, allNodes, message), 2);
  // RFC 2464, 7: the group's last four bytes behind 33:33.
  const groupMac = Buffer.from([0x33, 0x33, 0, 0, 0, 1]);
  return Buffer.concat([ethernet(groupMac, mac, etherTypes.ipv6), header, source, allNodes, message]);
}

/** RFC 8200, 8.1. */
function checksum(source: Uint8Array, destination: Uint8Array, message: Buffer): number {
  const tail = Buffer.from([0, 0, 0, message.length, 0, 0, 0, icmpv6]);
  const all = Buffer.concat([source, destination, tail, message]);
  let sum = 0;
  for (let i = 0; i < all.length; i += 2) sum += all.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
