import { createHash, createHmac, timingSafeEqual } from 'node:crypto';

/** Packets of RADIUS (RFC 2865; Message-Authenticator: RFC 3579, section 3.2; Status-Server: RFC 5997). */

const accessRequest = 1;
const statusServer = 12;
const userName = 1;
const userPassword = 2;
const replyMessage = 18;
const nasIdentifier = 32;
const messageAuthenticator = 80;

const headerLength = 20;
const authenticatorLength = 16;
const longestPacket = 4096;
const longestPassword = 128;

/** Answers by code (RFC 2865, section 3). */
const answers: Readonly<Record<number, string>> = {
  2: 'Access-Accept',
  3: 'Access-Reject',
  5: 'Accounting-Response',
  11: 'Access-Challenge',
};

/** What a request is made of. `authenticator` is 16 random bytes. */
export type RadiusRequest = {
  readonly id: number;
  readonly authenticator: Buffer;
  readonly secret: string;
  /** Who asks for access; without, the state of the server is asked for. */
  readonly account?: { readonly user: string; readonly password: string };
};

/** An answer that is signed with the secret. */
export type RadiusAnswer = { readonly code: string; readonly message: string | undefined };

/** A packet that is no answer, or that the secret does not sign. */
export class RadiusError extends Error {}

/**
 * An Access-Request, or a Status-Server, with the Message-Authenticator first, without which servers that are safe from
 * forged answers do not answer. Throws RangeError for a user of more than 253 bytes or a password of more than 128.
 */
export function encodeRequest({ id, authenticator, secret, account }: RadiusRequest): Buffer {
  const attributes = [
    attribute(messageAuthenticator, Buffer.alloc(authenticatorLength)),
    ...(account
      ? [
          attribute(userName, Buffer.from(account.user)),
          attribute(userPassword, hidePassword(account.password, authenticator, secret)),
        ]
      : []),
    attribute(nasIdentifier, Buffer.from('headgate')),
  ];
  const header = Buffer.alloc(headerLength);
  header[0] = account ? accessRequest : statusServer;
  header[1] = id;
  authenticator.copy(header, 4);
  const packet = Buffer.concat([header, ...attributes]);
  packet.writeUInt16BE(packet.length, 2);
  createHmac('md5', secret)
    .update(packet)
    .digest()
    .copy(packet, headerLength + 2);
  return packet;
}

function attribute(type: number, value: Buffer): Buffer {
  if (value.length > 253)
    throw new RangeError(`attribute ${type} of ${value.length} bytes: wanted at most 253`);
  return Buffer.concat([Buffer.of(type, value.length + 2), value]);
}

/** RFC 2865, section 5.2. */
function hidePassword(password: string, authenticator: Buffer, secret: string): Buffer {
  const plain = Buffer.from(password);
  if (plain.length > longestPassword) {
    throw new RangeError(`password of ${plain.length} bytes: wanted at most ${longestPassword}`);
  }
  const hidden = Buffer.alloc(Math.max(16, Math.ceil(plain.length / 16) * 16));
  plain.copy(hidden);
  let previous = authenticator;
  for (let at = 0; at < hidden.length; at += 16) {
    const mask = createHash('md5').update(secret).update(previous).digest();
    for (let i = 0; i < 16; i++) hidden[at + i]! ^= mask[i]!;
    previous = hidden.subarray(at, at + 16);
  }
  return hidden;
}

/** Reads the answer to a request; undefined where it has another identifier. Throws RadiusError and nothing else. */
export function decodeAnswer(datagram: Buffer, request: RadiusRequest): RadiusAnswer | undefined {
  const length = datagram.length < headerLength ? 0 : datagram.readUInt16BE(2);
  if (length < headerLength || length > Math.min(datagram.length, longestPacket)) {
    throw new RadiusError('the answer is no RADIUS packet');
  }
  // What follows the length is padding (RFC 2865, section 3).
  const packet = datagram.subarray(0, length);
  if (packet[1] !== request.id) return undefined;
  const attributes = attributesOf(packet);
  if (!isSigned(packet, request)) throw new RadiusError('the answer is not signed with the secret');
  const signature = attributes.find(({ type }) => type === messageAuthenticator);
  if (signature && !isAuthentic(packet, signature.at, request)) {
    throw new RadiusError('the Message-Authenticator of the answer is not made with the secret');
  }
  const message = attributes.find(({ type }) => type === replyMessage);
  return {
    code: answers[packet[0]!] ?? `code ${packet[0]}`,
    message: message && packet.toString('utf8', message.at, message.end),
  };
}

type Attribute = { readonly type: number; readonly at: number; readonly end: number };

function attributesOf(packet: Buffer): readonly Attribute[] {
  const found: Attribute[] = [];
  for (let at = headerLength; at < packet.length; ) {
    const length = packet[at + 1] ?? 0;
    if (length < 2 || at + length > packet.length) throw new RadiusError('the answer has a broken attribute');
    found.push({ type: packet[at]!, at: at + 2, end: at + length });
    at += length;
  }
  return found;
}

/** The Response Authenticator (RFC 2865, section 3). */
function isSigned(packet: Buffer, { authenticator, secret }: RadiusRequest): boolean {
  const wanted = createHash('md5')
    .update(packet.subarray(0, 4))
    .update(authenticator)
    .update(packet.subarray(headerLength))
    .update(secret)
    .digest();
  return timingSafeEqual(wanted, packet.subarray(4, headerLength));
}

/** RFC 3579, section 3.2: computed with the request's authenticator, and with zeroes in its own place. */
function isAuthentic(packet: Buffer, at: number, { authenticator, secret }: RadiusRequest): boolean {
  if (packet[at - 1] !== authenticatorLength + 2) return false;
  const bytes = Buffer.from(packet);
  authenticator.copy(bytes, 4);
  bytes.fill(0, at, at + authenticatorLength);
  const wanted = createHmac('md5', secret).update(bytes).digest();
  return timingSafeEqual(wanted, packet.subarray(at, at + authenticatorLength));
}
