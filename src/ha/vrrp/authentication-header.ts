import { createHmac, timingSafeEqual } from 'node:crypto';
import { type Address, addressFromBytes, addressToBytes, isMulticast } from '../../model/address.ts';
import { type Ends, vrrpHopLimit, vrrpProtocol } from './packet.ts';

/**
 * VRRP version 2 behind an authentication header (RFC 2402, RFC 2338, 5.3.6.3) as keepalived speaks it: HMAC-MD5-96 (RFC 2403)
 * over the IP header, the authentication header and the advertisement, IPv4 only. Pure.
 */

/** IP protocol number of the authentication header. */
export const headerProtocol = 51;
const ipBytes = 20;
const headerBytes = 24;
const digestBytes = 12;
const digestAt = ipBytes + headerBytes - digestBytes;
/** The length of the header in words of four bytes, less two (RFC 2402, 2.2). */
const payloadLength = headerBytes / 4 - 2;
const networkControl = 0xc0;
/** keepalived takes eight bytes of a password, and fills them up with zeros; so does HMAC. */
const secretBytes = 8;

/** A whole IPv4 packet with an advertisement behind an authentication header; the kernel fills in what is zero. */
export function encloseIn(
  pdu: Buffer,
  { source, destination }: Ends,
  { secret, sequence }: { readonly secret: string; readonly sequence: number },
): Buffer {
  const packet = Buffer.alloc(ipBytes + headerBytes);
  packet[0] = 0x45;
  packet.writeUInt16BE(ipBytes + headerBytes + pdu.length, 2);
  // A number that both know: the kernel fills in another one where it is zero, and keepalived counts it.
  packet.writeUInt16BE((sequence % 0xffff) + 1, 4);
  packet[8] = vrrpHopLimit;
  packet[9] = headerProtocol;
  packet.set(addressToBytes(source), 12);
  packet.set(addressToBytes(destination), 16);
  packet[ipBytes] = vrrpProtocol;
  packet[ipBytes + 1] = payloadLength;
  // The sender's address is the index of what both have agreed on: keepalived wants it so.
  packet.set(addressToBytes(source), ipBytes + 4);
  packet.writeUInt32BE(sequence, ipBytes + 8);
  const whole = Buffer.concat([packet, pdu]);
  whole.set(digestOf(withoutChanging(whole, destination), secret), digestAt);
  whole[1] = networkControl;
  return whole;
}

/** What stands behind an authentication header that is right. */
export type Authenticated = {
  readonly pdu: Buffer;
  readonly sequence: number;
  /** Whether it was made with this secret. */
  isOf(secret: string): boolean;
};

/** Takes the header off; undefined where there is none, or it is of another form. */
export function takeHeader(header: Buffer, payload: Buffer): Authenticated | undefined {
  if (header.length !== ipBytes || payload.length < headerBytes) return undefined;
  if (payload[0] !== vrrpProtocol || payload[1] !== payloadLength) return undefined;
  if (!payload.subarray(4, 8).equals(header.subarray(12, 16))) return undefined;
  return {
    pdu: payload.subarray(headerBytes),
    sequence: payload.readUInt32BE(8),
    isOf(secret) {
      const whole = Buffer.concat([header, payload]);
      const said = whole.subarray(digestAt, digestAt + digestBytes);
      const destination = addressFromBytes(header.subarray(16, 20));
      return timingSafeEqual(said, digestOf(withoutChanging(whole, destination), secret));
    },
  };
}

/**
 * RFC 2402, 3.3.3.1.1: fields that change on the way count as zero. keepalived leaves the hop limit of multicast as it is, which
 * nobody changes there.
 */
function withoutChanging(packet: Buffer, destination: Address): Buffer {
  const fixed = Buffer.from(packet);
  fixed[1] = 0;
  fixed.fill(0, 6, 8);
  if (!isMulticast(destination)) fixed[8] = 0;
  fixed.fill(0, 10, 12);
  fixed.fill(0, digestAt, digestAt + digestBytes);
  return fixed;
}

function digestOf(packet: Buffer, secret: string): Buffer {
  const key = Buffer.from(secret).subarray(0, secretBytes);
  return createHmac('md5', key).update(packet).digest().subarray(0, digestBytes);
}

/** Numbers of advertisements: each is greater than those before (RFC 2402, 3.3.2 and 3.4.3). */
export type Sequences = {
  /** The next one to send: as in keepalived, greater than those that were heard as well, so that a start forgets nothing. */
  next(): number;
  /** Whether this sender has not sent it before. */
  isNew(from: Address, sequence: number): boolean;
};

/** Of few senders: only whose secret is right is asked for. */
export function openSequences(): Sequences {
  const last = new Map<Address, number>();
  let greatest = 0;
  return {
    next: () => ++greatest,
    isNew(from, sequence) {
      if (sequence <= (last.get(from) ?? 0)) return false;
      last.set(from, sequence);
      greatest = Math.max(greatest, sequence);
      return true;
    },
  };
}
