/** IP version. */
export type Family = 4 | 6;

/**
 * An IP address as canonical text, the form glibc's inet_ntop prints: an IPv4 dotted quad, or IPv6 after RFC 5952
 * (lower case, longest run of two or more zero groups compressed) with the last 32 bits dotted under ::ffff:0:0/96
 * and under ::/96. Two addresses are equal exactly when their texts are.
 */
export type Address = string & { readonly __brand: 'Address' };

/** Reads the forms inet_pton(3) takes and no other: no short IPv4, no leading zeros, no zone, no prefix length. */
export function parseAddress(text: string): Address | undefined {
  // Of IPv4 there is one form.
  if (!text.includes(':')) return readIpv4(text) === undefined ? undefined : (text as Address);
  const bytes = parseIpv6(text);
  return bytes && addressFromBytes(bytes);
}

/**
 * Like parseAddress, and also the IPv4 forms of inet_aton(3): one to four numbers, each decimal, octal (0...) or
 * hexadecimal (0x...), the last one filling all remaining bytes (`10.1` is 10.0.0.1).
 */
export function parseAddressLoose(text: string): Address | undefined {
  return parseAddress(text) ?? parseShortIpv4(text);
}

/** The IP version of an address. */
export function familyOf(address: Address): Family {
  return address.includes(':') ? 6 : 4;
}

/** The address in network byte order: 4 or 16 bytes. */
export function addressToBytes(address: Address): Uint8Array {
  return (familyOf(address) === 6 ? parseIpv6(address) : parseIpv4(address))!;
}

/** The canonical text of 4 or 16 bytes in network byte order; any other length is a RangeError. */
export function addressFromBytes(bytes: Uint8Array): Address {
  if (bytes.length === 4) return formatIpv4(bytes) as Address;
  if (bytes.length === 16) return formatIpv6(bytes) as Address;
  throw new RangeError(`Cannot read an address of ${bytes.length} bytes: expected 4 or 16`);
}

/** Numeric order, every IPv4 address before every IPv6 address. */
export function compareAddresses(a: Address, b: Address): number {
  const x = addressToBytes(a);
  const y = addressToBytes(b);
  if (x.length !== y.length) return x.length - y.length;
  for (let i = 0; i < x.length; i++) {
    const difference = x[i]! - y[i]!;
    if (difference !== 0) return difference;
  }
  return 0;
}

/**
 * Whether the address alone says it is unicast, by the kernel's classes: IPv4 is neither 0.0.0.0, 255.255.255.255
 * nor 224.0.0.0/4 (inet_addr_type, net/ipv4/fib_frontend.c; the broadcast addresses of attached networks depend on
 * the host and are not known here); IPv6 is neither ::, ff00::/8 nor IPv4-mapped (__ipv6_addr_type,
 * net/ipv6/addrconf_core.c).
 */
export function isUnicast(address: Address): boolean {
  if (isMulticast(address)) return false;
  if (familyOf(address) === 4) return address !== '0.0.0.0' && address !== '255.255.255.255';
  return address !== '::' && !isMapped(address);
}

/** 224.0.0.0/4 or ff00::/8. */
export function isMulticast(address: Address): boolean {
  if (familyOf(address) === 6) return parseIpv6(address)![0] === 0xff;
  const first = Number.parseInt(address, 10);
  return first >= 224 && first < 240;
}

/** 127.0.0.0/8 or ::1. */
export function isLoopback(address: Address): boolean {
  return familyOf(address) === 4 ? address.startsWith('127.') : address === '::1';
}

/** 169.254.0.0/16 (RFC 3927) or fe80::/10 (RFC 4291, 2.5.6). */
export function isLinkLocal(address: Address): boolean {
  if (familyOf(address) === 4) return address.startsWith('169.254.');
  const [first, second] = parseIpv6(address)!;
  return first === 0xfe && (second! & 0xc0) === 0x80;
}

/**
 * The address as one unsigned 32-bit number in host order: IPv4 itself, IPv6 the XOR of its four words; what the
 * kernel's schedulers feed to their hashes (ip_vs_addr folding, net/netfilter/ipvs/ip_vs_sh.c).
 */
export function foldAddress(address: Address): number {
  const bytes = addressToBytes(address);
  let folded = 0;
  for (let i = 0; i < bytes.length; i += 4) folded ^= wordAt(bytes, i);
  return folded >>> 0;
}

function wordAt(bytes: Uint8Array, offset: number): number {
  return (bytes[offset]! << 24) | (bytes[offset + 1]! << 16) | (bytes[offset + 2]! << 8) | bytes[offset + 3]!;
}

function isMapped(address: Address): boolean {
  const bytes = addressToBytes(address);
  return wordAt(bytes, 0) === 0 && wordAt(bytes, 4) === 0 && wordAt(bytes, 8) === 0xffff;
}

function parseIpv4(text: string): Uint8Array | undefined {
  const number = readIpv4(text);
  if (number === undefined) return undefined;
  return Uint8Array.of(number >>> 24, number >>> 16, number >>> 8, number);
}

const [digit0, digit9, dot] = [0x30, 0x39, 0x2e];

/** A dotted quad as one number, sign by sign: a configuration is full of them. */
function readIpv4(text: string): number | undefined {
  let number = 0;
  let byte = -1;
  let bytes = 0;
  for (let at = 0; at < text.length; at++) {
    const sign = text.charCodeAt(at);
    if (sign >= digit0 && sign <= digit9) {
      // A number that goes on after a zero would be an octal one.
      if (byte === 0) return undefined;
      byte = (byte < 0 ? 0 : byte * 10) + sign - digit0;
      if (byte > 255) return undefined;
    } else {
      if (sign !== dot || byte < 0) return undefined;
      number = number * 256 + byte;
      byte = -1;
      bytes++;
    }
  }
  return bytes === 3 && byte >= 0 ? number * 256 + byte : undefined;
}

function parseShortIpv4(text: string): Address | undefined {
  const parts = text.split('.');
  if (parts.length > 4) return undefined;
  const numbers = parts.map(parseCNumber);
  const last = numbers.pop();
  const room = 256 ** (4 - numbers.length);
  if (last === undefined || last >= room) return undefined;
  let value = last;
  for (const [i, number] of numbers.entries()) {
    if (number === undefined || number > 255) return undefined;
    value += number * 256 ** (3 - i);
  }
  return addressFromBytes(Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value));
}

/** An unsigned number the way C writes it. */
function parseCNumber(text: string): number | undefined {
  if (/^0[xX][0-9a-fA-F]+$/.test(text)) return Number.parseInt(text, 16);
  if (/^0[0-7]*$/.test(text)) return Number.parseInt(text, 8);
  return /^[1-9][0-9]*$/.test(text) ? Number(text) : undefined;
}

function parseIpv6(text: string): Uint8Array | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0]!, halves.length === 1);
  const tail = halves.length === 2 ? parseGroups(halves[1]!, true) : [];
  if (!head || !tail) return undefined;
  const missing = 16 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 2) return undefined;
  return Uint8Array.from([...head, ...new Array<number>(missing).fill(0), ...tail]);
}

/** The bytes of colon-separated groups; `atEnd` allows a dotted quad as the last one. */
function parseGroups(text: string, atEnd: boolean): number[] | undefined {
  if (text === '') return [];
  const bytes: number[] = [];
  const groups = text.split(':');
  for (const [i, group] of groups.entries()) {
    if (/^[0-9a-fA-F]{1,4}$/.test(group)) {
      const value = Number.parseInt(group, 16);
      bytes.push(value >> 8, value & 0xff);
      continue;
    }
    const quad = atEnd && i === groups.length - 1 ? parseIpv4(group) : undefined;
    if (!quad) return undefined;
    bytes.push(...quad);
  }
  return bytes;
}

function formatIpv4(bytes: Uint8Array): string {
  return bytes.join('.');
}

function formatIpv6(bytes: Uint8Array): string {
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((bytes[i]! << 8) | bytes[i + 1]!);
  const zeros = longestZeroRun(groups);
  const dotted = zeros.start === 0 && (zeros.length === 6 || (zeros.length === 5 && groups[5] === 0xffff));
  const words = groups.map((group) => group.toString(16));
  if (dotted) words.splice(6, 2, formatIpv4(bytes.subarray(12)));
  if (zeros.length < 2) return words.join(':');
  return `${words.slice(0, zeros.start).join(':')}::${words.slice(zeros.start + zeros.length).join(':')}`;
}

/** The first of the longest runs of zero groups. */
function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start++) {
    let length = 0;
    while (groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  return best;
}

/** The IPv4 mask of a prefix length as unsigned 32-bit number. */
export function maskOf(length: number): number {
  return length === 0 ? 0 : (-1 << (32 - length)) >>> 0;
}
