import { isUtf8 } from 'node:buffer';
import type { Problem } from '../model/errors.ts';
import { problemAt, sourceOf } from '../model/problem.ts';

/** The text of a file's bytes: UTF-8, with or without a byte order mark. */
export function decodeText(bytes: Uint8Array, name: string): { text: string } | { problem: Problem } {
  const text = new TextDecoder('utf-8').decode(bytes);
  if (isUtf8(bytes)) return { text };
  const encoding = guess(bytes);
  const source = sourceOf(name, text);
  // The decoder puts U+FFFD in place of every byte it cannot read; the first one that stands for such a byte counts.
  const { start, offset } = firstBad(bytes, text);
  const byte = bytes[offset];
  const found = byte === undefined ? 'an incomplete sign' : `byte 0x${byte.toString(16).padStart(2, '0')}`;
  return {
    problem: problemAt(
      { source, start, end: start + 1 },
      'HG_CONFIG_CHARACTER',
      `text: wanted UTF-8, found ${encoding ?? found}`,
      `save the file as UTF-8: iconv -f ${encoding === undefined ? 'ISO-8859-1' : 'UTF-16'} -t UTF-8 ${name}`,
    ),
  };
}

function guess(bytes: Uint8Array): string | undefined {
  const [first, second] = bytes;
  const marked = (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff);
  return marked ? 'UTF-16' : undefined;
}

/**
 * Where the decoded text first differs from what the bytes say, as offset in the text and in the bytes: a U+FFFD that
 * is not written as EF BF BD.
 */
function firstBad(bytes: Uint8Array, text: string): { start: number; offset: number } {
  let offset = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  let seen = 0;
  for (let at = text.indexOf('\ufffd'); at >= 0; at = text.indexOf('\ufffd', seen)) {
    offset += Buffer.byteLength(text.slice(seen, at));
    if (bytes[offset] !== 0xef || bytes[offset + 1] !== 0xbf || bytes[offset + 2] !== 0xbd)
      return { start: at, offset };
    offset += 3;
    seen = at + 1;
  }
  return { start: text.length, offset: bytes.length };
}
