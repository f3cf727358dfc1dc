import { type Address, addressToBytes, familyOf } from '../model/address.ts';

/** Frames that tell a network who has an address now: neighbours forget where it was before. Pure. */

const broadcast = Buffer.alloc(6, 0xff);
const etherTypes = { arp: 0x0806, ipv6: 0x86dd } as const;
const icmpv6 = 58;
const [neighbourSolicitation, neighbourAdvertisement] = [135, 136];
const [sourceLinkAddress, targetLinkAddress] = [1, 2];
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
  const message = neighbourMessage(neighbourAdvertisement, address, targetLinkAddress, mac);
  message[4] = flags;
  return neighbourFrame(mac, addressToBytes(address), allNodes, message);
}

/** Asks who has an address: whoever has it answers `source` alone, so nobody else learns anything (RFC 4861, 4.3 and 7.2.4). */
export function solicitation(mac: Buffer, source: Address, target: Address): Buffer {
  const solicited = Buffer.from('ff0200000000000000000001ff000000', 'hex');
  solicited.set(addressToBytes(target).subarray(13), 13);
  const message = neighbourMessage(neighbourSolicitation, target, sourceLinkAddress, mac);
  return neighbourFrame(mac, addressToBytes(source), solicited, message);
}

function neighbourMessage(type: number, target: Address, option: number, mac: Buffer): Buffer {
  const message = Buffer.alloc(32);
  message[0] = type;
  message.set(addressToBytes(target), 8);
  // One unit of eight bytes.
  message.set([option, 1], 24);
  message.set(mac, 26);
  return message;
}

function neighbourFrame(mac: Buffer, source: Uint8Array, group: Buffer, message: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header[0] = 0x60;
  header.writeUInt16BE(message.length, 4);
  header[6] = icmpv6;
  header[7] = 255;
  message.writeUInt16BE(checksum(source, group, message), 2);
  // RFC 2464, 7: the group's last four bytes behind 33:33.
  const groupMac = Buffer.concat([Buffer.from([0x33, 0x33]), group.subarray(12)]);
  return Buffer.concat([ethernet(groupMac, mac, etherTypes.ipv6), header, source, group, message]);
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
