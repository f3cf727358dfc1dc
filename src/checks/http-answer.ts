import { CheckFailure } from './check.ts';
import type { Dialogue } from './dialogue.ts';
import { shownText } from './shown-text.ts';

/** What came for a request. */
export type PageAnswer = {
  readonly status: number;
  /** `OK`; empty where the protocol has none. */
  readonly reason: string;
  /** The value of the Location header. */
  readonly location: string | undefined;
  readonly body: Buffer;
  /** Whether the body was read to its end. */
  readonly isWhole: boolean;
};

/** Bounds, bytes: of a line of the header, of the whole header. */
const longestHeaderLine = 16_384;
const longestHeader = 65_536;

/** How many interim answers (1xx) may come before the one. */
const mostInterim = 16;

/** Reads an answer of HTTP/1.0 or 1.1 (RFC 9112) and its body up to `maxBody` bytes. */
export async function readAnswer(
  dialogue: Dialogue,
  method: 'GET' | 'HEAD',
  maxBody: number,
): Promise<PageAnswer> {
  for (let interim = 0; interim <= mostInterim; interim++) {
    const { status, reason } = await readStatus(dialogue);
    const fields = await readFields(dialogue);
    if (status >= 100 && status < 200) continue;
    const hasBody = method === 'GET' && status !== 204 && status !== 304;
    const { bytes: body, isWhole } = hasBody ? await readBody(dialogue, fields, maxBody) : nothing;
    return { status, reason, location: fields.get('location'), body, isWhole };
  }
  throw new CheckFailure('expect', `more than ${mostInterim} interim answers`);
}

type Body = { readonly bytes: Buffer; readonly isWhole: boolean };

const nothing: Body = { bytes: Buffer.alloc(0), isWhole: true };

async function readStatus(dialogue: Dialogue): Promise<{ status: number; reason: string }> {
  const line = await dialogue.readLine(longestHeaderLine);
  const match = /^HTTP\/1\.[0-9] ([1-9][0-9]{2})(?: (.*))?$/.exec(line);
  if (!match) throw new CheckFailure('expect', `answer is not HTTP/1: got "${shownText(line)}"`);
  return { status: Number(match[1]), reason: shownText((match[2] ?? '').trim().slice(0, 60)) };
}

/** The fields of a header by their names in small letters; of several of one name the last. */
async function readFields(dialogue: Dialogue): Promise<ReadonlyMap<string, string>> {
  const fields = new Map<string, string>();
  for (let length = 0; length <= longestHeader; ) {
    const line = await dialogue.readLine(longestHeaderLine);
    if (line === '') return fields;
    length += line.length + 1;
    const colon = line.indexOf(':');
    if (colon > 0) fields.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  throw new CheckFailure('expect', `a header of more than ${longestHeader} bytes`);
}

async function readBody(
  dialogue: Dialogue,
  fields: ReadonlyMap<string, string>,
  maxBody: number,
): Promise<Body> {
  if (maxBody === 0) return { ...nothing, isWhole: false };
  const encoding = fields.get('transfer-encoding');
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    if (encoding.toLowerCase() === 'chunked') return await readChunks(dialogue, maxBody);
    throw new CheckFailure('expect', `transfer encoding "${shownText(encoding)}" is not known`);
  }
  const length = fields.get('content-length');
  if (length === undefined) return await dialogue.readToEnd(maxBody);
  if (!/^[0-9]{1,15}$/.test(length)) {
    throw new CheckFailure('expect', `content length "${shownText(length)}" is not a number`);
  }
  const bytes = await dialogue.readBytes(Math.min(Number(length), maxBody));
  return { bytes, isWhole: Number(length) <= maxBody };
}

/** Chunks (RFC 9112, 7.1); extensions and trailers are not looked at. */
async function readChunks(dialogue: Dialogue, maxBody: number): Promise<Body> {
  const chunks: Buffer[] = [];
  let room = maxBody;
  while (true) {
    const line = await dialogue.readLine(longestHeaderLine);
    const digits = /^([0-9a-fA-F]{1,13})[ \t]*(?:;.*)?$/.exec(line)?.[1];
    if (digits === undefined) {
      throw new CheckFailure('expect', `size of a chunk is no number: got "${shownText(line)}"`);
    }
    const size = Number.parseInt(digits, 16);
    if (size === 0) return { bytes: Buffer.concat(chunks), isWhole: true };
    chunks.push(await dialogue.readBytes(Math.min(size, room)));
    room -= size;
    if (room < 0) return { bytes: Buffer.concat(chunks), isWhole: false };
    const end = await dialogue.readLine(2);
    if (end !== '') throw new CheckFailure('expect', 'a chunk is longer than its size');
  }
}
