import { families, setSocketOption } from './socket.ts';

/** What sockets of IPv4 and of IPv6 have in common: ip(7), ipv6(7). Addresses are 4 or 16 bytes in network byte order. */

const ipLevel = 0;
const addMembership = 35;
const ipv6Level = 41;
const joinIpv6Group = 20;

const isIpv4 = (address: Uint8Array): boolean => address.length === 4;

/** Multicast, and what is an address of one link only (RFC 4291, 2.5.6 and 2.7): these need the device beside them. */
const needsDevice = (address: Uint8Array): boolean =>
  address[0] === 0xff || (address[0] === 0xfe && (address[1]! & 0xc0) === 0x80);

/** A sockaddr_in or sockaddr_in6, with the index of the device as scope where the address needs one. */
export function socketAddress(address: Uint8Array, port = 0, device = 0): Buffer {
  const out = Buffer.alloc(isIpv4(address) ? 16 : 28);
  out.writeUInt16LE(isIpv4(address) ? families.inet : families.inet6);
  out.writeUInt16BE(port, 2);
  out.set(address, isIpv4(address) ? 4 : 8);
  if (!isIpv4(address) && needsDevice(address)) out.writeUInt32LE(device, 24);
  return out;
}

/** The address in a sockaddr that the kernel has filled in. */
export const addressIn = (from: Buffer): Buffer =>
  from.readUInt16LE(0) === families.inet ? from.subarray(4, 8) : from.subarray(8, 24);

/** Has a socket hear a multicast group by one device: ip_mreqn, ipv6_mreq. Throws SystemError. */
export function joinGroup(fd: number, group: Uint8Array, device: number): void {
  const request = Buffer.alloc(isIpv4(group) ? 12 : 20);
  request.set(group);
  request.writeInt32LE(device, request.length - 4);
  if (isIpv4(group)) setSocketOption(fd, ipLevel, addMembership, request);
  else setSocketOption(fd, ipv6Level, joinIpv6Group, request);
}
