import { encodeMessage, headerBytes } from './message.ts';

/*
 * What directors with a key say to each other of messages that were lost, docs/reference/sync-envelope.md:
 *
 *     0 | sync id | length (2) | 0 | mark | 1 | 0 | ...
 *       number       nothing: its own number shows whether those before it have come
 *       lost         session (16) | spans of numbers: first (8) | how many (4)
 *       told again   spans
 *
 * To who does not know them, messages of version 0 without connections.
 */

/** Numbers of messages, one after the other. */
export type Span = { readonly first: number; readonly count: number };

export type AgainMessage =
  | { readonly kind: 'number' }
  /** To the sender of a session, the name of which is 16 bytes as latin1. */
  | { readonly kind: 'lost'; readonly session: string; readonly spans: readonly Span[] }
  /** The connections of these messages of the session it comes in have been told again. */
  | { readonly kind: 'told-again'; readonly spans: readonly Span[] };

/** Spans of one message at most: it fits every link. */
export const mostSpans = 32;

const marks = { number: 0x4e, lost: 0x4c, 'told-again': 0x54 } as const;
const kinds = new Map(
  Object.entries(marks).map(([kind, mark]) => [mark as number, kind as AgainMessage['kind']]),
);
const version = 1;
const sessionBytes = 16;
const spanBytes = 12;

/** Writes one; of spans 32 at most. */
export function encodeAgain(id: number, message: AgainMessage): Buffer {
  const spans = message.kind === 'number' ? [] : message.spans;
  if (spans.length > mostSpans) throw new RangeError(`write sync message: ${spans.length} spans`);
  const session = Buffer.from(message.kind === 'lost' ? message.session : '', 'latin1');
  const bytes = Buffer.concat([
    encodeMessage(id, []),
    session,
    ...spans.map(({ first, count }) => {
      const span = Buffer.alloc(spanBytes);
      span.writeBigUInt64BE(BigInt(first));
      span.writeUInt32BE(count, 8);
      return span;
    }),
  ]);
  bytes.writeUInt16BE(bytes.length, 2);
  bytes.set([marks[message.kind], version], 5);
  return bytes;
}

/** Reads one; undefined where it is none. Never throws, whatever the bytes. */
export function decodeAgain(bytes: Buffer): AgainMessage | undefined {
  if (bytes.length < headerBytes || bytes[0] !== 0 || bytes[4] !== 0 || bytes[6] !== version)
    return undefined;
  const kind = kinds.get(bytes[5]!);
  if (kind === undefined || bytes.readUInt16BE(2) !== bytes.length) return undefined;
  if (kind === 'number') return bytes.length === headerBytes ? { kind } : undefined;
  const from = headerBytes + (kind === 'lost' ? sessionBytes : 0);
  const count = (bytes.length - from) / spanBytes;
  if (!Number.isInteger(count) || count < 1 || count > mostSpans) return undefined;
  const spans = Array.from({ length: count }, (_, i) => ({
    first: Number(bytes.readBigUInt64BE(from + i * spanBytes)),
    count: bytes.readUInt32BE(from + i * spanBytes + 8),
  }));
  return kind === 'lost'
    ? { kind, session: bytes.toString('latin1', headerBytes, from), spans }
    : { kind, spans };
}

/** Numbers, in any order, as spans. */
export function spansOf(numbers: readonly number[]): Span[] {
  const spans: { first: number; count: number }[] = [];
  for (const number of numbers.toSorted((a, b) => a - b)) {
    const last = spans.at(-1);
    if (last && last.first + last.count === number) last.count++;
    else spans.push({ first: number, count: 1 });
  }
  return spans;
}
