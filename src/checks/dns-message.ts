import { type Address, addressFromBytes, addressToBytes, parseAddress } from '../model/address.ts';

/** Queries and answers of the Domain Name System (RFC 1035, section 4; SRV: RFC 2782; IPv6: RFC 3596). */

/** Kinds of records by their numbers. */
export const recordTypes = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
} as const;
export type RecordType = keyof typeof recordTypes;

/** The response codes that a plain server gives (RFC 1035, section 4.1.1). */
const responseCodes = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'] as const;

const internet = 1;
const headerLength = 12;
/** RFC 1035, section 3.1: a whole name in wire form, and so the labels one can have. */
const longestName = 255;
const isAnswerBit = 0x8000;
const cutOffBit = 0x0200;
const recursionDesiredBit = 0x0100;

/** What is asked. */
export type DnsQuestion = { readonly name: string; readonly record: RecordType };

/** An answer. `code` is a name such as NXDOMAIN, or RCODE11 for one without. */
export type DnsAnswer = {
  readonly id: number;
  readonly isAnswer: boolean;
  readonly isCutOff: boolean;
  readonly code: string;
  /** Absent where the server did not repeat the question, as some do not with an error. */
  readonly question?: { readonly name: string; readonly type: number };
  /** Records of the answer section: their text is what `dig +short` prints, without the dot that ends names. */
  readonly records: readonly { readonly type: number; readonly text: string }[];
};

/** Bytes that are no message of DNS. */
export class DnsFormatError extends Error {}

/** The name under which the PTR record of an address stands. */
export function reverseName(address: Address): string {
  const bytes = addressToBytes(address);
  if (bytes.length === 4) return `${[...bytes].reverse().join('.')}.in-addr.arpa`;
  const digits = [...Buffer.from(bytes).toString('hex')].reverse();
  return `${digits.join('.')}.ip6.arpa`;
}

/** The name to ask for: for PTR records an address stands for its reverse name. */
export function nameToAsk({ name, record }: DnsQuestion): string {
  const address = record === 'PTR' ? parseAddress(name) : undefined;
  return address === undefined ? name : reverseName(address);
}

/** A query with recursion desired. Labels must have 1 to 63 bytes. */
export function encodeQuery(id: number, question: DnsQuestion): Buffer {
  const header = Buffer.alloc(headerLength);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(recursionDesiredBit, 2);
  header.writeUInt16BE(1, 4);
  const tail = Buffer.alloc(4);
  tail.writeUInt16BE(recordTypes[question.record], 0);
  tail.writeUInt16BE(internet, 2);
  return Buffer.concat([header, encodeName(nameToAsk(question)), tail]);
}

function encodeName(name: string): Buffer {
  const labels = name.replace(/\.$/, '').split('.');
  const parts = labels[0] === '' ? [] : labels.map((label) => Buffer.from(label));
  return Buffer.concat([...parts.flatMap((part) => [Buffer.of(part.length), part]), Buffer.of(0)]);
}

/** Reads an answer; throws DnsFormatError and nothing else. Records of other kinds and classes are passed over. */
export function decodeAnswer(bytes: Buffer): DnsAnswer {
  need(bytes, 0, headerLength);
  const flags = bytes.readUInt16BE(2);
  const questions = bytes.readUInt16BE(4);
  const answers = bytes.readUInt16BE(6);
  const code = flags & 0xf;
  let at = headerLength;
  let question: DnsAnswer['question'];
  for (let i = 0; i < questions; i++) {
    const { name, next } = readName(bytes, at);
    need(bytes, next, 4);
    question ??= { name, type: bytes.readUInt16BE(next) };
    at = next + 4;
  }
  const isCutOff = (flags & cutOffBit) !== 0;
  const records = isCutOff ? [] : readRecords(bytes, at, answers);
  return {
    id: bytes.readUInt16BE(0),
    isAnswer: (flags & isAnswerBit) !== 0,
    isCutOff,
    code: responseCodes[code] ?? `RCODE${code}`,
    ...(question && { question }),
    records,
  };
}

function readRecords(bytes: Buffer, start: number, count: number): DnsAnswer['records'] {
  const records: { type: number; text: string }[] = [];
  let at = start;
  for (let i = 0; i < count; i++) {
    const { next } = readName(bytes, at);
    need(bytes, next, 10);
    const type = bytes.readUInt16BE(next);
    const length = bytes.readUInt16BE(next + 8);
    const data = next + 10;
    need(bytes, data, length);
    const text = bytes.readUInt16BE(next + 2) === internet ? textOf(bytes, type, data, length) : undefined;
    if (text !== undefined) records.push({ type, text });
    at = data + length;
  }
  return records;
}

/** What a record says; undefined for kinds that are not known here. Names in it may point into the whole message. */
function textOf(bytes: Buffer, type: number, at: number, length: number): string | undefined {
  const name = (from: number) => readName(bytes, from).name;
  switch (type) {
    case recordTypes.A:
    case recordTypes.AAAA:
      if (length !== (type === recordTypes.A ? 4 : 16))
        throw new DnsFormatError(`an address of ${length} bytes`);
      return addressFromBytes(bytes.subarray(at, at + length));
    case recordTypes.NS:
    case recordTypes.CNAME:
    case recordTypes.PTR:
      return name(at);
    case recordTypes.MX:
      need(bytes, at, 2);
      return `${bytes.readUInt16BE(at)} ${name(at + 2)}`;
    case recordTypes.SRV:
      need(bytes, at, 6);
      return `${[0, 2, 4].map((offset) => bytes.readUInt16BE(at + offset)).join(' ')} ${name(at + 6)}`;
    case recordTypes.SOA:
      return startOfAuthority(bytes, at);
    case recordTypes.TXT:
      return strings(bytes, at, length);
    default:
      return undefined;
  }
}

function startOfAuthority(bytes: Buffer, at: number): string {
  const server = readName(bytes, at);
  const mailbox = readName(bytes, server.next);
  need(bytes, mailbox.next, 20);
  const numbers = [0, 4, 8, 12, 16].map((offset) => bytes.readUInt32BE(mailbox.next + offset));
  return [server.name, mailbox.name, ...numbers].join(' ');
}

function strings(bytes: Buffer, start: number, length: number): string {
  const found: string[] = [];
  for (let at = start; at < start + length; ) {
    const size = bytes[at]!;
    if (at + 1 + size > start + length) throw new DnsFormatError('a text that is longer than its record');
    found.push(`"${bytes.toString('latin1', at + 1, at + 1 + size)}"`);
    at += 1 + size;
  }
  return found.join(' ');
}

/**
 * The name at a position, without the dot that ends it, `.` for the root, and where what follows it begins. A pointer
 * must lead to before the part it stands in, so that names end however they are compressed.
 */
function readName(bytes: Buffer, start: number): { readonly name: string; readonly next: number } {
  const labels: string[] = [];
  let at = start;
  let partStart = start;
  let next: number | undefined;
  for (let total = 1; ; ) {
    need(bytes, at, 1);
    const length = bytes[at]!;
    if (length === 0) break;
    if (length >= 0xc0) {
      need(bytes, at, 2);
      const target = bytes.readUInt16BE(at) & 0x3fff;
      if (target >= partStart) throw new DnsFormatError('a name that points forward');
      next ??= at + 2;
      at = target;
      partStart = target;
      continue;
    }
    if (length > 63) throw new DnsFormatError('a label of an unknown kind');
    need(bytes, at + 1, length);
    total += length + 1;
    if (total > longestName) throw new DnsFormatError(`a name of more than ${longestName} bytes`);
    labels.push(bytes.toString('latin1', at + 1, at + 1 + length));
    at += length + 1;
  }
  return { name: labels.length === 0 ? '.' : labels.join('.'), next: next ?? at + 1 };
}

function need(bytes: Buffer, at: number, count: number): void {
  if (at + count > bytes.length) throw new DnsFormatError(`it ends after ${bytes.length} bytes`);
}
