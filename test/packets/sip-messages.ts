/* SIP messages, and the Call-ID that ip_vs_pe_sip finds in each: with ct_sip_get_header of Linux, nf_conntrack_sip.c. */

/** A message of a call, as phones write it; `length`: with a body up to so many bytes. */
export function invite(callId: string, length = 0): Uint8Array {
  const head = [
    'INVITE sip:bob@example.org SIP/2.0',
    'Via: SIP/2.0/UDP 203.0.113.7:5060;branch=z9hG4bK776asdhds',
    'From: <sip:alice@example.org>;tag=1928301774',
    'To: <sip:bob@example.org>',
    `Call-ID: ${callId}`,
    'CSeq: 314159 INVITE',
  ];
  return Buffer.from(`${head.join('\r\n')}\r\n\r\n`.padEnd(length, 'v'));
}

const letters = 'A-Za-z\\xc0-\\xd6\\xd8-\\xf6\\xf8-\\xff';
const words = `[0-9${letters}!"%'()*+./:<>?[\\]\\\\_\`{}~-]`;
const blank = '[ \\t]*(?:(?:\\r\\n|\\r|\\n)[ \\t]+|(?![ \\t\\r\\n]))';
const [lineEnd, name] = [/\r\n|\r|\n/g, new RegExp(`call-id|i(?=[^${letters}])`, 'iy')];
const [colon, value] = [new RegExp(`${blank}:${blank}`, 'y'), new RegExp(`${words}+(?:@${words}*)?`, 'y')];

/** The Call-ID in a message of Latin-1 bytes, by the kernel's rules; undefined: there is none. */
export function callIdIn(message: string): string | undefined {
  let from = 0;
  for (let places = 0; ; ) {
    lineEnd.lastIndex = from;
    if (!lineEnd.test(message)) return undefined;
    name.lastIndex = lineEnd.lastIndex;
    from = lineEnd.lastIndex + 1;
    if (!name.test(message)) continue;
    colon.lastIndex = name.lastIndex;
    if (!colon.test(message)) return undefined;
    value.lastIndex = colon.lastIndex;
    const [found = '@'] = value.exec(message) ?? [];
    const end = message[colon.lastIndex + found.length];
    // The kernel's own way to go on: places of all values without anything are added up.
    if (found.endsWith('@')) {
      places += colon.lastIndex;
      from = places;
      continue;
    }
    return (end === '\r' || end === '\n') && found.length <= 255 ? found : undefined;
  }
}

const [ends, blanks] = [
  ['\r\n', '\r\n', '\n', '\r', '\n\r', '\n\n', '\r\n ', ''],
  ['', ' ', ' ', '  ', '\r\n ', '\n\t', '\t', '\r'],
];
/** What a line consists of, and what may stand there instead. */
const pieces = [
  ends,
  ['Call-ID', 'call-id', 'i', 'I', 'C', 'Call-I', 'in', 'i\xe9', ''],
  blanks,
  [':', ':', ':', '', '::'],
  blanks,
  ['a', 'b@c', 'd@', '@', '\xe9', '\0', 'a b', ',', 'x'.repeat(250), ''],
  ends,
];

/** Messages of lines put together at random, most with something wrong, the same every time; in Latin-1. */
export function randomMessages(count: number): string[] {
  let state = 1;
  const next = (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % below;
  };
  const line = () => pieces.map((one) => one[next(next(3) === 0 ? one.length : 2)]!).join('');
  return Array.from({ length: count }, () => `A${Array.from({ length: 1 + next(4) }, line).join('')}`);
}

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const long = 'x'.repeat(255);

/** What is asked of each data plane: a name, a message, and the Call-ID in it, if there is one. */
export const messages: readonly (readonly [name: string, message: Uint8Array, callId?: string])[] = [
  [
    'a usual message',
    invite('f81d4fae-7dec-11d0-a765-00a0c91e6bf6@192.0.2.1'),
    'f81d4fae-7dec-11d0-a765-00a0c91e6bf6@192.0.2.1',
  ],
  ['a name in capitals', bytes('A\r\nCALL-ID: a\r\n'), 'a'],
  ['a name in small letters', bytes('A\r\ncall-id: a\r\n'), 'a'],
  ['the compact name', bytes('A\r\ni: a\r\n'), 'a'],
  ['the compact name as a capital', bytes('A\r\nI:a\r\n'), 'a'],
  ['another name that begins like it', bytes('A\r\nIn-Reply-To: b\r\nCall-ID: a\r\n'), 'a'],
  ['another name that begins like the long one', bytes('A\r\nCall-Info: b\r\nCall-ID: a\r\n'), 'a'],
  ['blanks before and behind the colon', bytes('A\r\nCall-ID  :   a\r\n'), 'a'],
  ['lines that end in line feeds', bytes('A\nCall-ID: a\n'), 'a'],
  ['lines that end in carriage returns', bytes('A\rCall-ID: a\r'), 'a'],
  ['a value behind a folded line', bytes('A\r\nCall-ID:\r\n abc\r\n'), 'abc'],
  ['a colon behind a folded line', bytes('A\r\nCall-ID\r\n : abc\r\n'), 'abc'],
  ['a line folded twice', bytes('A\r\nCall-ID:\r\n \r\n abc\r\n')],
  [
    'every byte of a word',
    bytes(`A\r\ni: aZ09!"%'()*+-./:<>?[\\]_\`{}~\r\n`),
    `aZ09!"%'()*+-./:<>?[\\]_\`{}~`,
  ],
  ['letters of Latin-1', bytes('A\r\ni: \xe9\xff\xc0\r\n'), '\xe9\xff\xc0'],
  ['255 bytes', bytes(`A\r\ni: ${long}\r\n`), long],
  ['256 bytes', bytes(`A\r\ni: ${long}x\r\n`)],
  ['two parts of 255 bytes in all', bytes(`A\r\ni: ${long.slice(2)}@x\r\n`), `${long.slice(2)}@x`],
  ['two parts of 256 bytes in all', bytes(`A\r\ni: ${long.slice(1)}@x\r\n`)],
  ['behind much else', bytes(`A\r\n${'X: yyyyyyyyyyyyyyy\r\n'.repeat(60)}i: a\r\n`), 'a'],
  ['in what follows the headers', bytes('A\r\n\r\nCall-ID: a\r\n'), 'a'],
  ['one that is empty, and another', bytes('A\r\nCall-ID:,\r\nCall-ID: b\r\n'), 'b'],
  ['a line that ends behind the colon, and another', bytes('A\r\nCall-ID:\r\nCall-ID: b\r\n')],
  ['one without a second part, and another', bytes('A\r\nCall-ID: a@\r\ni: b\r\n'), 'b'],
  ['two that are empty, and another too near', bytes('A\r\ni:@\r\ni:@\r\ni: b\r\n')],
  ['two that are empty, and another', bytes('A\r\ni:@\r\ni:@\r\nX: y\r\ni: b\r\n'), 'b'],
  ['the first of two', bytes('A\r\ni: a\r\ni: b\r\n'), 'a'],
  ['on the first line', bytes('Call-ID: a\r\n')],
  ['on a line that goes on', bytes('A\r\nX: y\r\n Call-ID: a\r\n')],
  ['no end of the line', bytes('A\r\nCall-ID: a')],
  ['a blank behind the value', bytes('A\r\nCall-ID: a \r\n')],
  ['two words', bytes('A\r\nCall-ID: a b\r\n')],
  ['a comma', bytes('A\r\nCall-ID: a,b\r\n')],
  ['three parts', bytes('A\r\nCall-ID: a@b@c\r\n')],
  ['a byte behind the name', bytes('A\r\nCall-IDs: a\r\nCall-ID: b\r\n')],
  ['a name without a colon', bytes('A\r\ni\r\nCall-ID: b\r\n')],
  ['a name at the end', bytes('A\r\nCall-ID')],
  ['a colon at the end', bytes('A\r\nCall-ID:')],
  ['a tab before the value', bytes('A\r\nCall-ID:\ta\r\n'), 'a'],
  ['no line feeds', bytes('INVITE Call-ID: a')],
  ['a zero byte', bytes('A\r\nCall-ID: a\0b\r\n')],
  ['keep-alive', bytes('\r\n\r\n')],
  ['an empty value', bytes('A\r\nCall-ID:\r\nX: y\r\n')],
];
