import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  decodeMessage,
  encodeQuery,
  encodeSaslStart,
  encodeStartup,
  encodeTlsRequest,
  hashedPassword,
  PostgresqlError,
} from './postgresql-message.ts';

// Layouts of the manual, "Message Formats"; the real server is asked in test/checks/postgresql.test.ts.

test('messages have the layout of the manual', () => {
  expect(encodeTlsRequest().toString('hex')).toBe('0000000804d2162f');
  const startup = encodeStartup('me', 'db');
  expect(startup.readUInt32BE(0)).toBe(startup.length);
  expect(startup.subarray(4, 8).toString('hex')).toBe('00030000');
  expect(startup.toString('latin1', 8)).toBe('user\0me\0database\0db\0application_name\0headgate\0\0');
  expect(encodeQuery('é')).toEqual(Buffer.from('Q\0\0\0\x07\xc3\xa9\0', 'latin1'));
  expect(encodeSaslStart('X', 'ab')).toEqual(Buffer.from('p\0\0\0\x0cX\0\0\0\0\x02ab', 'latin1'));
});

test('a password is hashed as the manual says: md5(md5(password user) salt)', () => {
  // By the tools: printf %s "$(printf passuser | md5sum | cut -c1-32)" with the bytes 1 2 3 4 appended | md5sum
  expect(hashedPassword('user', 'pass', Uint8Array.of(1, 2, 3, 4))).toBe(
    'md56cf524962d8413e6b0cdf79fddff891c',
  );
});

test('answers are read', () => {
  const hex = (text: string) => Buffer.from(text.replace(/\s/g, ''), 'hex');
  expect(decodeMessage('R', hex('00000005 01020304'))).toEqual({ kind: 'wantsMd5', salt: hex('01020304') });
  expect(decodeMessage('R', Buffer.from('\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0'))).toEqual({
    kind: 'wantsSasl',
    mechanisms: ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256'],
  });
  expect(decodeMessage('R', hex('00000007'))).toEqual({ kind: 'wantsUnknown', method: 7 });
  expect(decodeMessage('E', Buffer.from('SFATAL\0C28P01\0Mno\0\0'))).toEqual({
    kind: 'error',
    code: '28P01',
    text: 'no',
  });
});

test('whatever comes is read or refused', () => {
  fc.assert(
    fc.property(fc.constantFrom(...'RESZDCIKNT'), fc.uint8Array({ maxLength: 60 }), (type, body) => {
      try {
        decodeMessage(type, Buffer.from(body));
      } catch (error) {
        if (!(error instanceof PostgresqlError)) throw error;
      }
    }),
    { numRuns: 2000 },
  );
});
