import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BerError, decodeBer, encodeBer } from './ber.ts';
import { decodeAnswer, encodeBind, encodeRead, encodeStartTls } from './ldap-message.ts';

const hex = (text: string) => Buffer.from(text.replace(/\s/g, ''), 'hex');

test('requests have the layout of RFC 4511', () => {
  // LDAPMessage (4.1.1), BindRequest (4.2): version 3, name, simple [0].
  expect(encodeBind(2, 'cn=a', 'pw')).toEqual(hex('3012 020102 600d 020103 0404 636e3d61 8002 7077'));
  // ExtendedRequest (4.12): requestName [0] with the OID of StartTLS.
  expect(encodeStartTls(1).subarray(0, 9)).toEqual(hex('301d 020101 7718 8016'));
  // SearchRequest (4.5.1): base "", scope 0, aliases 0, sizes 0, types only, (objectClass=*), attributes 1.1.
  expect(encodeRead(3, '')).toEqual(
    hex(
      `302a 020103 6325 0400 0a0100 0a0100 020100 020100 0101ff 870b ${Buffer.from('objectClass').toString('hex')} 3005 0403 312e31`,
    ),
  );
});

test('answers are read', () => {
  expect(decodeAnswer(hex('3010 020103 640b 0407 64633d61 2c6f3d 3000'))).toEqual({
    id: 3,
    kind: 'entry',
    name: 'dc=a,o=',
  });
  expect(decodeAnswer(hex('300c 020102 6107 0a0131 0400 0400'))).toEqual({
    id: 2,
    kind: 'bind',
    code: 49,
    text: 'invalidCredentials',
  });
  // A server may write lengths longer than they need be (X.690, 8.1.3.5).
  expect(decodeAnswer(hex('308400000010 020103 658400000007 0a0100 0400 0400'))).toMatchObject({
    kind: 'search',
    code: 0,
  });
});

test('lengths beyond 127 come back', () => {
  for (const length of [127, 128, 255, 256, 70_000]) {
    const [element] = decodeBer(encodeBer(4, Buffer.alloc(length, 1)));
    expect(element?.content).toHaveLength(length);
  }
  expect(encodeBer(4, Buffer.alloc(256)).subarray(0, 4)).toEqual(hex('04820100'));
});

test('whatever comes is read or refused', () => {
  const real = hex('300c 020102 6107 0a0131 0400 0400');
  const near = fc.array(fc.tuple(fc.nat(real.length - 1), fc.nat(255)), { maxLength: 5 }).map((changes) => {
    const bytes = Buffer.from(real);
    for (const [at, value] of changes) bytes[at] = value;
    return bytes;
  });
  const any = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
  fc.assert(
    fc.property(fc.oneof(near, any), (bytes) => {
      try {
        decodeAnswer(bytes);
      } catch (error) {
        if (!(error instanceof BerError)) throw error;
      }
    }),
    { numRuns: 3000 },
  );
});
