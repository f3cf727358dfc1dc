import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeAnswer, encodeRequest, RadiusError } from './radius-message.ts';

const hex = (text: string) => Buffer.from(text.replace(/\s/g, ''), 'hex');

// RFC 2865, section 7.1: the user nemo, the password arctangent, the secret xyzzy5461.
const request = {
  id: 0,
  authenticator: hex('0f403f9473978057bd83d5cb98f4227a'),
  secret: 'xyzzy5461',
  account: { user: 'nemo', password: 'arctangent' },
};
const accept = hex(`02 00 00 26 86 fe 22 0e 76 24 ba 2a 10 05 f6 bf 9b 55 e0 b2
  06 06 00 00 00 01 0f 06 00 00 00 00 0e 06 c0 a8 01 03`);

describe('a request', () => {
  test('hides the password as in the example of RFC 2865, section 7.1', () => {
    const packet = encodeRequest(request);
    expect(packet.toString('hex')).toContain('01066e656d6f02120dbe708d93d413ce3196e43f782a0aee');
    expect(packet.readUInt16BE(2)).toBe(packet.length);
  });

  test('has room for no more than the attributes', () => {
    const long = (length: number) => ({
      ...request,
      account: { user: 'nemo', password: 'x'.repeat(length) },
    });
    expect(encodeRequest(long(128)).includes(Buffer.of(2, 130))).toBe(true);
    expect(() => encodeRequest(long(129))).toThrow(RangeError);
  });
});

describe('an answer', () => {
  test('is taken when it is signed, as in the example of RFC 2865, section 7.1', () => {
    expect(decodeAnswer(accept, request)).toEqual({ code: 'Access-Accept', message: undefined });
    const padded = Buffer.concat([accept, Buffer.of(1, 2, 3)]);
    expect(decodeAnswer(padded, request)).toMatchObject({ code: 'Access-Accept' });
  });

  test('to another request is passed over', () => {
    expect(decodeAnswer(accept, { ...request, id: 1 })).toBeUndefined();
  });

  test('with anything changed is refused', () => {
    fc.assert(
      fc.property(fc.nat(accept.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        fc.pre(at !== 1);
        const bytes = Buffer.from(accept);
        bytes[at]! ^= change;
        expect(() => decodeAnswer(bytes, request)).toThrow(RadiusError);
      }),
    );
    expect(() => decodeAnswer(accept, { ...request, secret: 'xyzzy5462' })).toThrow(
      'not signed with the secret',
    );
  });

  test('of any bytes is read or refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (tail) => {
        const bytes = Buffer.concat([hex('0200'), Buffer.of(0, 20 + tail.length), Buffer.alloc(16), tail]);
        expect(() => decodeAnswer(bytes, request)).toThrow(RadiusError);
      }),
      { numRuns: 1000 },
    );
  });
});
