import { isIP, SocketAddress } from 'node:net';

/**
 * Addresses as the kernel interface takes them: 4 or 16 bytes in network order. The kernel door speaks in text
 * (`192.0.2.1`, `2001:db8::1`, `192.0.2.0/24`) so that it needs no other room's types.
 */
export type IpBytes = { readonly family: 2 | 10; readonly bytes: Buffer };

export const familyInet = 2;
export const familyInet6 = 10;

/** Parses an address. Throws RangeError when the text is neither IPv4 nor IPv6. */
export function parseIp(address: string): IpBytes {
  const version = isIP(address);
  if (version === 4) return { family: familyInet, bytes: parseIpv4(address) };
  if (version === 6 && !address.includes('%')) return { family: familyInet6, bytes: parseIpv6(address) };
  throw new RangeError(`IP address "${address}": wanted IPv4 or IPv6`);
}

/** Without a list in between: thousands of addresses are asked for together. */
function parseIpv4(address: string): Buffer {
  const bytes = Buffer.alloc(4);
  let place = 0;
  for (let i = 0; i < address.length; i++) {
    const sign = address.charCodeAt(i);
    if (sign === dot) place++;
    else bytes[place] = bytes[place]! * 10 + sign - zero;
  }
  return bytes;
}

const [dot, zero] = [0x2e, 0x30];

function parseIpv6(address: string): Buffer {
  let hex = address;
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(address);
  if (dotted) {
    const quad = Buffer.from(dotted[2]!.split('.').map(Number));
    hex = `${dotted[1]}${quad.readUInt16BE(0).toString(16)}:${quad.readUInt16BE(2).toString(16)}`;
  }
  const [head, tail] = hex.split('::') as [string, string?];
  const groups = (part: string | undefined) =>
    part ? part.split(':').map((group) => Number.parseInt(group, 16)) : [];
  const left = groups(head);
  const right = groups(tail);
  const buffer = Buffer.alloc(16);
  left.forEach((group, i) => {
    buffer.writeUInt16BE(group, i * 2);
  });
  right.forEach((group, i) => {
    buffer.writeUInt16BE(group, (8 - right.length + i) * 2);
  });
  return buffer;
}

/** The text of 4 or 16 address bytes; IPv6 in its short form (RFC 5952). */
export function formatIp(bytes: Buffer): string {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
  if (bytes.length !== 16) throw new RangeError(`IP address of ${bytes.length} bytes: wanted 4 or 16`);
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(i * 2).toString(16));
  return new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address;
}

/** Parses `address/length`; without a length the whole address. Throws RangeError on a bad length. */
export function parsePrefix(prefix: string): IpBytes & { readonly length: number } {
  const [address, lengthText, extra] = prefix.split('/');
  const ip = parseIp(address!);
  const bits = ip.bytes.length * 8;
  const length = lengthText === undefined ? bits : /^\d{1,3}$/.test(lengthText) ? Number(lengthText) : -1;
  if (extra !== undefined || length < 0 || length > bits)
    throw new RangeError(`prefix "${prefix}": wanted a length from 0 to ${bits}`);
  return { ...ip, length };
}

/** Parses a MAC address such as `02:00:00:00:00:01`. Throws RangeError when it is not one. */
export function parseMac(mac: string): Buffer {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac))
    throw new RangeError(`MAC address "${mac}": wanted six hex pairs`);
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

/** Six bytes as xx:xx:xx:xx:xx:xx. */
export const formatMac = (bytes: Buffer): string => bytes.toString('hex').replace(/(..)(?=.)/g, '$1:');
