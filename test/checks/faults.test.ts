import type { Socket } from 'node:net';
import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import type { Check } from '../../src/config/schema/check.ts';
import { checked, peer } from './site.ts';
import { bad, good } from './verdict.ts';

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

/** The port of a server that behaves so. */
async function serving(behave: (socket: Socket) => void): Promise<number> {
  const one = await peer(behave);
  closing.push(one.close);
  return one.port;
}

/** The port of a server that answers whatever comes first. */
function answering(text: string | Uint8Array): Promise<number> {
  return serving((socket) => socket.once('data', () => socket.end(text)));
}

const talkers = ['http', 'https', 'tls', 'smtp', 'imap', 'pop', 'ftp', 'nntp', 'redis'] as const;

test.each(talkers)('%s: a server that never answers', async (type) => {
  const silent = await serving(() => {});
  const phase = type === 'tls' || type === 'https' ? 'tls' : 'expect';
  expect(await bad({ type, timeout: '500ms' }, silent)).toBe(`${phase}: no answer within 500ms`);
});

test.each(talkers)('%s: a reset after the connection stands', async (type) => {
  const resetting = await serving((socket) => socket.resetAndDestroy());
  expect(await bad({ type }, resetting)).toMatch(
    /^(tls: connection closed during the handshake|(send|expect|connect): connection (reset|closed) by the server)$/,
  );
});

test.each(talkers)('%s: an end without an answer', async (type) => {
  const ending = await serving((socket) => socket.end());
  expect(await bad({ type }, ending)).toMatch(
    /^(tls: connection closed during the handshake|expect: connection closed without an answer)$/,
  );
});

test.each(talkers.filter((type) => type !== 'tls'))('%s: one byte now and then', async (type) => {
  const timers = new Set<NodeJS.Timeout>();
  const dripping = await serving((socket) => {
    const timer = setInterval(() => socket.write('2'), 10);
    timers.add(timer);
    socket.once('close', () => clearInterval(timer));
  });
  expect(await bad({ type, timeout: '300ms' }, dripping)).toMatch(/^(tls|expect): /);
  for (const timer of timers) clearInterval(timer);
});

test.each(talkers.filter((type) => type !== 'tls' && type !== 'https'))(
  '%s: lines without end',
  async (type) => {
    const flooding = await serving((socket) => {
      const more = (): void => {
        while (socket.writable && socket.write('250-x\r\n* OK x\r\n'.repeat(500)));
      };
      socket.on('drain', more);
      more();
    });
    const { result } = await checked(
      { type, timeout: '60s', ...(type === 'imap' && { user: 'x' }) },
      flooding,
    );
    expect(result).toMatchObject({ isGood: false, phase: 'expect' });
    expect(result).not.toMatchObject({ reason: expect.stringContaining('no answer within') });
  },
);

test.each([
  [
    'a header line of 64 KiB',
    `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(65_536)}\r\n\r\n`,
    'a line of more than 16384 bytes',
  ],
  [
    'a header without end',
    `HTTP/1.1 200 OK\r\n${'X: y\r\n'.repeat(20_000)}`,
    'a header of more than 65536 bytes',
  ],
  ['interim answers without end', 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(50), 'more than 16 interim answers'],
  ['another protocol', 'SSH-2.0-OpenSSH_9.2p1\r\n', 'answer is not HTTP/1: got "SSH-2.0-OpenSSH_9.2p1"'],
  ['a status that is none', 'HTTP/1.1 99 Low\r\n\r\n', 'answer is not HTTP/1: got "HTTP/1.1 99 Low"'],
  [
    'a length that is none',
    'HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n',
    'content length "many" is not a number',
  ],
  [
    'half a body',
    'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf',
    'connection closed in the middle of an answer',
  ],
  ['half a header', 'HTTP/1.1 200 OK\r\nContent-Le', 'connection closed in the middle of an answer'],
  [
    'a chunk that is none',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n',
    'size of a chunk is no number: got "-1"',
  ],
  [
    'a chunk too long',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcdef\r\n0\r\n\r\n',
    'a line of more than 2 bytes',
  ],
  [
    'an unknown encoding',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n',
    'transfer encoding "gzip" is not known',
  ],
])('http: %s', async (_, answer, reason) => {
  expect(await bad({ type: 'http' }, await answering(answer))).toBe(`expect: ${reason}`);
});

test.each([
  ['no reason', 'HTTP/1.1 200\r\n\r\n', '200'],
  ['lines without CR', 'HTTP/1.0 200 OK\nX: y\n\nbody', '200 OK'],
  [
    'an interim answer',
    'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n',
    '204 No Content',
  ],
  [
    'chunks with extensions and trailers',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;a=b\r\nal\r\n3\r\nive\r\n0\r\nT: x\r\n\r\n',
    '200 OK',
  ],
])('http: %s is good', async (_, answer, detail) => {
  const contains = detail === '200 OK' && answer.includes('ive') ? { contains: 'alive' } : {};
  expect(await good({ type: 'http', ...contains }, await answering(answer))).toBe(detail);
});

test('http: a body without end is read as far as is wanted', async () => {
  const endless = await serving((socket) => {
    const more = (): void => {
      while (socket.writable && socket.write('x'.repeat(10_000)));
    };
    socket.once('data', () => {
      socket.write('HTTP/1.0 200 OK\r\n\r\n');
      socket.on('drain', more);
      more();
    });
  });
  expect(await good({ type: 'http' }, endless)).toBe('200 OK');
  expect(await bad({ type: 'http', contains: 'y', maxBody: '1Mi' }, endless)).toMatch(
    /^expect: first 1048576 bytes of the body without "y"/,
  );
});

test('an expression that backtracks without end fails by itself, and soon', async () => {
  const page = await answering(`HTTP/1.0 200 OK\r\n\r\n${'a'.repeat(60)}!`);
  expect(await bad({ type: 'http', matches: '(a+)+$' }, page)).toMatch(
    /^expect: \/\(a\+\)\+\$\/ took more than 50ms on 61 characters/,
  );
});

test('smtp: more than the answer before the handshake is no TLS', async () => {
  // The attack of RFC 3207, section 6, and CVE-2011-0411: a command slipped in before the handshake.
  const injecting = await serving((socket) => {
    socket.write('220 x\r\n');
    socket.on('data', (data) =>
      socket.write(
        String(data).startsWith('EHLO') ? '250-x\r\n250 STARTTLS\r\n' : '220 go\r\n250 injected\r\n',
      ),
    );
  });
  expect(await bad({ type: 'smtp', transport: 'startTls' }, injecting)).toBe(
    'tls: the server sent more before the handshake',
  );
});

test('smtp: a server that does not know EHLO, and one that does not say goodbye', async () => {
  const old = await serving((socket) => {
    socket.write('220 old\r\n');
    socket.on('data', (data) => {
      const text = String(data);
      if (text.startsWith('EHLO')) socket.write('502 what?\r\n');
      else if (text.startsWith('HELO')) socket.write('250 hello\r\n');
    });
  });
  expect(await good({ type: 'smtp' }, old)).toBe('220 old');
  expect(await bad({ type: 'smtp', transport: 'startTls' }, old)).toBe(
    'tls: the server does not offer STARTTLS',
  );
});

test('ftp: the file comes from the server that is checked, whatever address it names', async () => {
  const asked: string[] = [];
  const data = await serving((socket) => socket.end('content'));
  const lying = await serving((socket) => {
    socket.write('220 x\r\n');
    socket.on('data', (chunk) => {
      const text = String(chunk).trim();
      asked.push(text);
      if (text.startsWith('USER')) socket.write('230 in\r\n');
      if (text === 'TYPE I') socket.write('200 binary\r\n');
      if (text === 'EPSV') socket.write('500 no\r\n');
      if (text === 'PASV')
        socket.write(`227 Entering Passive Mode (192,0,2,1,${data >> 8},${data & 255})\r\n`);
      if (text.startsWith('RETR')) socket.write('150 here\r\n226 done\r\n');
      if (text === 'QUIT') socket.end('221 bye\r\n');
    });
  });
  expect(await good({ type: 'ftp', path: 'alive', contains: 'content' }, lying)).toBe('alive: 7 bytes');
  expect(asked).toEqual(['USER anonymous', 'TYPE I', 'EPSV', 'PASV', 'RETR alive', 'QUIT']);
});

const fragments = fc.oneof(
  fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
  fc
    .constantFrom(
      ...[
        'HTTP/1.1 200 OK\r\n',
        'HTTP/1.1 301 X\r\nLocation: ',
        'Content-Length: ',
        'Transfer-Encoding: chunked\r\n',
      ],
      ...[
        '\r\n',
        '\n',
        '5\r\nabcde\r\n',
        '0\r\n\r\n',
        '220 x\r\n',
        '220-x\r\n',
        '250 STARTTLS\r\n',
        '331 x\r\n',
      ],
      ...['230 x\r\n', '200 x\r\n', '229 (|||0|)\r\n', '227 (1,2,3,4,5,6)\r\n', '150 x\r\n', '226 x\r\n'],
      ...[
        '* OK x\r\n',
        'a1 OK\r\n',
        'a2 NO\r\n',
        '+OK\r\n',
        '-ERR\r\n',
        '+PONG\r\n',
        '-NOAUTH\r\n',
        '99999999999',
      ],
      ...[
        '\x16\x03\x01\x00\x05',
        '\x16\x03\x03\x00\x02\x02\x28',
        '\x00\x00\x00\x04\x00\x00\x00\x00\x00',
        '\u00e9\u4e2d',
      ],
    )
    .map((text) => Buffer.from(text, 'latin1')),
);

test.each<[string, Record<string, unknown> & { type: Check['type'] }]>([
  ['tcp', { type: 'tcp', send: 'x', contains: 'y', matches: 'z' }],
  ['tls', { type: 'tls' }],
  ['http', { type: 'http', contains: 'abc', matches: 'd', redirects: 1 }],
  ['http 2', { type: 'http', version: 'HTTP/2' }],
  ['https', { type: 'https' }],
  ['smtp', { type: 'smtp', transport: 'startTls' }],
  ['imap', { type: 'imap', transport: 'startTls', user: 'x', password: 'y' }],
  ['imap', { type: 'imap', user: 'x', password: 'y' }],
  ['pop', { type: 'pop', transport: 'startTls', user: 'x' }],
  ['pop', { type: 'pop', user: 'x' }],
  ['ftp', { type: 'ftp', path: '/x' }],
  ['nntp', { type: 'nntp' }],
  ['redis', { type: 'redis', user: 'x', password: 'y' }],
])('%s: whatever comes is good, or a reason, and soon', async (_, keys) => {
  let chunks: readonly Buffer[] = [];
  const port = await serving((socket) => {
    socket.on('data', () => {});
    for (const chunk of chunks) socket.write(chunk);
    socket.end();
  });
  await fc.assert(
    fc.asyncProperty(fc.array(fragments, { maxLength: 12 }), async (answer) => {
      chunks = answer;
      const { result } = await checked({ ...keys, timeout: '60s' }, port);
      if (!result.isGood) {
        expect(result.reason).not.toContain('fault of ours');
        expect(result.reason).not.toMatch(/[^ -~\u00a0-\uffff]/);
        expect(result.reason.length).toBeLessThan(1_000);
      }
      expect(result).not.toMatchObject({ reason: expect.stringContaining('no answer within') });
    }),
    { numRuns: process.env.LONG ? 2_000 : 100 },
  );
});
