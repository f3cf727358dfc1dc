import { createHash, generateKeyPairSync, privateDecrypt } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeAnswerStart,
  decodeGreeting,
  decodePacket,
  encodeLogin,
  encryptedPassword,
  MysqlError,
  proofOf,
} from './mysql-message.ts';

const hex = (text: string) => Buffer.from(text.replace(/\s/g, ''), 'hex');
const salt = Buffer.from('abcdefgh0123456789xy');

// As a server of version 8 greets: protocol 10, version, connection, salt, capabilities, character set, status, plugin.
const greeting =
  hex(`0a 382e302e3336 00 0b000000 6162636465666768 00 ffff ff 0200 ffdf 15 00000000000000000000
  303132333435363738397879 00 ${Buffer.from('caching_sha2_password').toString('hex')} 00`);

describe('a greeting', () => {
  test('is read', () => {
    expect(decodeGreeting(greeting)).toEqual({
      version: '8.0.36',
      hasTls: true,
      salt,
      plugin: 'caching_sha2_password',
    });
  });

  test('may be an error, which has no state so early', () => {
    expect(decodeGreeting(hex('ff 1004 546f6f206d616e79'))).toEqual({
      kind: 'error',
      code: 1040,
      text: 'Too many',
    });
  });
});

/*
 * What servers keep is a digest of the password's digest; from the proof they must come back to it (MySQL Internals,
 * "Secure Password Authentication"; mysql-server, sql/auth/sha2_password_common.cc).
 */
const digest = (algorithm: string, ...parts: Buffer[]) =>
  createHash(algorithm).update(Buffer.concat(parts)).digest();
const xor = (a: Buffer, b: Buffer) => Buffer.from(a.map((byte, i) => byte ^ b[i]!));

test('proofs lead back to what the server keeps', () => {
  const password = Buffer.from('geheim');
  const kept1 = digest('sha1', digest('sha1', password));
  const once1 = xor(proofOf('mysql_native_password', 'geheim', salt), digest('sha1', salt, kept1));
  expect(digest('sha1', once1)).toEqual(kept1);
  const kept2 = digest('sha256', digest('sha256', password));
  const once2 = xor(proofOf('caching_sha2_password', 'geheim', salt), digest('sha256', kept2, salt));
  expect(digest('sha256', once2)).toEqual(kept2);
  expect(proofOf('mysql_native_password', '', salt)).toHaveLength(0);
});

test('an encrypted password is read by the owner of the key alone', () => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const long = 'geheim und länger als das Salz ist';
  const pem = Buffer.from(publicKey.export({ type: 'spki', format: 'pem' }));
  const opened = privateDecrypt(privateKey, encryptedPassword(long, salt, pem));
  const repeated = Buffer.alloc(opened.length, salt);
  expect(xor(opened, repeated).toString()).toBe(`${long}\0`);
  expect(() => encryptedPassword('x', salt, Buffer.from('no key'))).toThrow(MysqlError);
});

test('a login has the layout of HandshakeResponse41', () => {
  const login = {
    user: 'me',
    database: 'db',
    plugin: 'mysql_native_password',
    proof: hex('0102'),
    withTls: false,
  };
  const bytes = encodeLogin({ ...login, plugin: 'mysql_native_password' });
  expect(bytes.readUInt32LE(0)).toBe(0x1 + 0x8 + 0x200 + 0x2000 + 0x8000 + 0x80000);
  expect(bytes.subarray(9, 32)).toEqual(Buffer.alloc(23));
  expect(bytes.toString('latin1', 32)).toBe('me\0\x02\x01\x02db\0mysql_native_password\0');
});

test('whatever comes is read or refused', () => {
  const near = fc
    .tuple(
      fc.array(fc.tuple(fc.nat(greeting.length - 1), fc.nat(255)), { maxLength: 5 }),
      fc.nat(greeting.length),
    )
    .map(([changes, length]) => {
      const bytes = Buffer.from(greeting);
      for (const [at, value] of changes) bytes[at] = value;
      return bytes.subarray(0, length);
    });
  const any = fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes));
  const readers = fc.constantFrom<((bytes: Buffer) => unknown)[]>(
    decodeGreeting,
    decodePacket,
    decodeAnswerStart,
  );
  fc.assert(
    fc.property(readers, fc.oneof(near, any), (read, bytes) => {
      try {
        read(bytes);
      } catch (error) {
        if (!(error instanceof MysqlError)) throw error;
      }
    }),
    { numRuns: 3000 },
  );
});
