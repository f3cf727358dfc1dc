/** The Basic Encoding Rules of ASN.1 (X.690) with definite lengths, as far as LDAP uses them (RFC 4511, section 5.1). */

/** Tags of the universal class. */
export const berTags = {
  boolean: 0x01,
  integer: 0x02,
  octets: 0x04,
  enumerated: 0x0a,
  sequence: 0x30,
} as const;

/** Bytes that are not encoded so. */
export class BerError extends Error {}

/** An element: its tag, and what it holds. */
export type BerElement = { readonly tag: number; readonly content: Buffer };

/** An element of these parts, one after the other. */
export function encodeBer(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  return Buffer.concat([Buffer.of(tag), encodeLength(content.length), content]);
}

/** A whole number from 0 to 127. */
export function encodeSmall(tag: number, value: number): Buffer {
  return encodeBer(tag, Buffer.of(value));
}

export function encodeText(tag: number, text: string): Buffer {
  return encodeBer(tag, Buffer.from(text));
}

function encodeLength(length: number): Buffer {
  if (length < 0x80) return Buffer.of(length);
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(length);
  const significant = bytes.subarray(bytes.findIndex((byte) => byte !== 0));
  return Buffer.concat([Buffer.of(0x80 | significant.length), significant]);
}

/** How many bytes of length follow the first two of an element. Throws BerError for a length that is not definite. */
export function lengthBytes(second: number): number {
  if (second < 0x80) return 0;
  const count = second & 0x7f;
  if (count === 0 || count > 4) throw new BerError(`a length of ${count} bytes`);
  return count;
}

/** The elements that follow one another in these bytes. Throws BerError and nothing else. */
export function decodeBer(bytes: Buffer): readonly BerElement[] {
  const elements: BerElement[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (at + 2 > bytes.length) throw new BerError('an element without length');
    const tag = bytes[at]!;
    const more = lengthBytes(bytes[at + 1]!);
    const start = at + 2 + more;
    if (start > bytes.length) throw new BerError('a length without end');
    const length = more === 0 ? bytes[at + 1]! : bytes.readUIntBE(at + 2, more);
    if (start + length > bytes.length) throw new BerError('an element longer than what holds it');
    elements.push({ tag, content: bytes.subarray(start, start + length) });
    at = start + length;
  }
  return elements;
}

/** The whole number, 0 or more, that an element holds. Throws BerError. */
export function numberIn(element: BerElement | undefined): number {
  const content = element?.content;
  if (!content || content.length === 0 || content.length > 4)
    throw new BerError('a number of a strange length');
  return content.readUIntBE(0, content.length);
}
