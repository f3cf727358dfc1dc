/**
 * The netlink wire format (include/uapi/linux/netlink.h): pure encoding and decoding, no socket. Integers are in host
 * order, which is little-endian on every platform Headgate is built for.
 */

export const messageFlags = {
  request: 0x1,
  multi: 0x2,
  ack: 0x4,
  dumpInterrupted: 0x10,
  dump: 0x300,
  replace: 0x100,
  exclusive: 0x200,
  create: 0x400,
  append: 0x800,
} as const;

export const controlTypes = { noop: 1, error: 2, done: 3, overrun: 4 } as const;

const headerLength = 16;
/** Length and type. */
export const attributeHeaderLength = 4;
const nestedFlag = 0x8000;
const attributeTypeMask = 0x3fff;
const ackTlvs = 0x200;
const ackCapped = 0x100;

/** One netlink message; `payload` is what follows the 16-byte header. */
export type Message = {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly portId: number;
  readonly payload: Buffer;
};

/** What NLMSG_ERROR carries: errno (0 is success) and the kernel's extended acknowledgement. */
export type Acknowledgement = {
  readonly errno: number;
  /** The kernel's own sentence (NLMSGERR_ATTR_MSG). */
  readonly text?: string;
  /** Offset of the offending attribute in the request (NLMSGERR_ATTR_OFFS). */
  readonly offset?: number;
};

/** The bytes of a malformed message, or a message cut short. */
export class MalformedMessageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'MalformedMessageError';
  }
}

const align = (length: number): number => (length + 3) & ~3;

/** One attribute: header, payload, padding to four bytes. Throws RangeError when the payload exceeds 65,531 bytes. */
export function attribute(type: number, payload: Buffer): Buffer {
  const length = attributeHeaderLength + payload.length;
  if (length > 0xffff)
    throw new RangeError(`netlink attribute ${type}: ${payload.length} bytes, at most 65531 fit`);
  const buffer = Buffer.alloc(align(length));
  buffer.writeUInt16LE(length, 0);
  buffer.writeUInt16LE(type, 2);
  payload.copy(buffer, attributeHeaderLength);
  return buffer;
}

/** An attribute of 8 bits. */
export const u8 = (type: number, value: number): Buffer => attribute(type, Buffer.from([value]));

/** A 16-bit attribute in the byte order of the host. */
export function u16(type: number, value: number): Buffer {
  const buffer = Buffer.alloc(2);
  buffer.writeUInt16LE(value);
  return attribute(type, buffer);
}

/** A 16-bit attribute in network byte order. */
export function be16(type: number, value: number): Buffer {
  const buffer = Buffer.alloc(2);
  buffer.writeUInt16BE(value);
  return attribute(type, buffer);
}

/** A 32-bit attribute in the byte order of the host. */
export function u32(type: number, value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(value >>> 0);
  return attribute(type, buffer);
}

/** A string attribute with its terminating NUL. */
export const text = (type: number, value: string): Buffer => attribute(type, Buffer.from(`${value}\0`));

/** A nest of attributes, marked NLA_F_NESTED as strict kernel parsers ask for. */
export const nested = (type: number, parts: readonly Buffer[]): Buffer =>
  attribute(type | nestedFlag, Buffer.concat(parts));

/** A whole message: header and body, padded to four bytes. */
export function encodeMessage(
  type: number,
  flags: number,
  sequence: number,
  parts: readonly Buffer[],
): Buffer {
  const body = Buffer.concat(parts);
  const length = headerLength + body.length;
  const buffer = Buffer.alloc(align(length));
  buffer.writeUInt32LE(length, 0);
  buffer.writeUInt16LE(type, 4);
  buffer.writeUInt16LE(flags, 6);
  buffer.writeUInt32LE(sequence >>> 0, 8);
  body.copy(buffer, headerLength);
  return buffer;
}

/** Messages of one type for one datagram, numbered from `sequence` on; each body is as long as its attributes are, padded. */
export function encodeSeries(
  type: number,
  flags: number,
  sequence: number,
  bodies: readonly Buffer[],
): Buffer {
  const buffer = Buffer.alloc(bodies.reduce((sum, body) => sum + headerLength + align(body.length), 0));
  let at = 0;
  bodies.forEach((body, i) => {
    buffer.writeUInt32LE(headerLength + body.length, at);
    buffer.writeUInt16LE(type, at + 4);
    buffer.writeUInt16LE(flags, at + 6);
    buffer.writeUInt32LE((sequence + i) >>> 0, at + 8);
    body.copy(buffer, at + headerLength);
    at += headerLength + align(body.length);
  });
  return buffer;
}

/** The messages of one datagram, in order. Throws MalformedMessageError when a length does not fit. */
export function decodeMessages(datagram: Buffer): Message[] {
  const messages: Message[] = [];
  for (let offset = 0; offset < datagram.length; ) {
    if (datagram.length - offset < headerLength)
      throw new MalformedMessageError(
        `netlink datagram: ${datagram.length - offset} stray bytes at ${offset}`,
      );
    const length = datagram.readUInt32LE(offset);
    if (length < headerLength || offset + length > datagram.length)
      throw new MalformedMessageError(`netlink message at ${offset}: length ${length} does not fit`);
    messages.push({
      type: datagram.readUInt16LE(offset + 4),
      flags: datagram.readUInt16LE(offset + 6),
      sequence: datagram.readUInt32LE(offset + 8),
      portId: datagram.readUInt32LE(offset + 12),
      payload: datagram.subarray(offset + headerLength, offset + length),
    });
    offset += align(length);
  }
  return messages;
}

/**
 * Tells of each attribute from `offset` on, in order: where its value lies in the payload. Throws MalformedMessageError when
 * a length does not fit.
 */
export function eachAttribute(
  payload: Buffer,
  offset: number,
  take: (type: number, start: number, end: number) => void,
): void {
  for (let at = offset; at + attributeHeaderLength <= payload.length; ) {
    const length = payload.readUInt16LE(at);
    if (length < attributeHeaderLength || at + length > payload.length)
      throw new MalformedMessageError(`netlink attribute at ${at}: length ${length} does not fit`);
    take(payload.readUInt16LE(at + 2) & attributeTypeMask, at + attributeHeaderLength, at + length);
    at += align(length);
  }
}

/**
 * The attributes from `offset` on, by type; a repeated type keeps the last, as the kernel's nla_parse does.
 * Throws MalformedMessageError when a length does not fit.
 */
export function decodeAttributes(payload: Buffer, offset = 0): Map<number, Buffer> {
  const attributes = new Map<number, Buffer>();
  eachAttribute(payload, offset, (type, start, end) => attributes.set(type, payload.subarray(start, end)));
  return attributes;
}

/** A string attribute's value without the terminating NUL. */
export function decodeText(payload: Buffer): string {
  const end = payload.indexOf(0);
  return payload.toString('utf8', 0, end < 0 ? payload.length : end);
}

/** Decodes NLMSG_ERROR, and NLMSG_DONE which carries the same errno and attributes without the request's header. */
export function decodeAcknowledgement(message: Message): Acknowledgement {
  const { payload, flags } = message;
  if (payload.length < 4) return { errno: 0 };
  const errno = Math.abs(payload.readInt32LE(0));
  if ((flags & ackTlvs) === 0) return { errno };
  let offset = 4;
  if (message.type === controlTypes.error) {
    const requestLength = payload.readUInt32LE(4);
    offset += (flags & ackCapped) !== 0 || errno === 0 ? headerLength : align(requestLength);
  }
  const attributes = decodeAttributes(payload, offset);
  const sentence = attributes.get(1);
  const where = attributes.get(2);
  return {
    errno,
    ...(sentence ? { text: decodeText(sentence) } : {}),
    ...(where && where.length >= 4 ? { offset: where.readUInt32LE(0) } : {}),
  };
}
