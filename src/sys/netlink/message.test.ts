import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  attribute,
  be16,
  decodeAcknowledgement,
  decodeAttributes,
  decodeMessages,
  decodeText,
  encodeMessage,
  MalformedMessageError,
  messageFlags,
  nested,
  text,
  u8,
  u16,
  u32,
} from './message.ts';

const hex = (bytes: string) => Buffer.from(bytes.replaceAll(/\s/g, ''), 'hex');

// The expected bytes are written by hand from struct nlmsghdr and struct nlattr (include/uapi/linux/netlink.h).
describe('encoding', () => {
  it('writes length, type, flags, sequence and port in host order before the body', () => {
    const message = encodeMessage(18, messageFlags.request | messageFlags.dump, 7, [hex('11000000')]);
    expect(message).toEqual(hex('14000000 1200 0103 07000000 00000000 11000000'));
  });

  it('pads a message to four bytes without counting the padding', () => {
    expect(encodeMessage(16, 1, 1, [hex('aabbcc')])).toEqual(
      hex('13000000 1000 0100 01000000 00000000 aabbcc 00'),
    );
  });

  it('pads an attribute to four bytes without counting the padding', () => {
    expect(text(3, 'v0')).toEqual(hex('0700 0300 763000 00'));
    expect(u8(8, 1)).toEqual(hex('0500 0800 01 000000'));
    expect(u16(5, 0x1234)).toEqual(hex('0600 0500 3412 0000'));
    expect(be16(5, 0x1234)).toEqual(hex('0600 0500 1234 0000'));
    expect(u32(4, 1400)).toEqual(hex('0800 0400 78050000'));
  });

  it('marks a nest with NLA_F_NESTED', () => {
    expect(nested(18, [text(1, 'veth')])).toEqual(hex('1000 1280 0900 0100 7665746800 000000'));
  });

  it('refuses a payload that a 16-bit length cannot count', () => {
    expect(attribute(1, Buffer.alloc(65531)).readUInt16LE(0)).toBe(0xffff);
    expect(() => attribute(1, Buffer.alloc(65532))).toThrow(RangeError);
  });
});

describe('decoding', () => {
  it('reads the messages of a multipart datagram in order', () => {
    const datagram = hex(`
      13000000 1000 0200 05000000 2a000000 aabbcc 00
      14000000 0300 0200 05000000 2a000000 00000000`);
    expect(decodeMessages(datagram)).toEqual([
      { type: 16, flags: 2, sequence: 5, portId: 42, payload: hex('aabbcc') },
      { type: 3, flags: 2, sequence: 5, portId: 42, payload: hex('00000000') },
    ]);
  });

  it.each([
    ['a length past the end', '20000000 1000 0000 00000000 00000000'],
    ['a length shorter than the header', '0f000000 1000 0000 00000000 00000000'],
    ['stray bytes', '10000000 1000 0000 00000000 00000000 0102'],
  ])('refuses %s', (_what, bytes) => {
    expect(() => decodeMessages(hex(bytes))).toThrow(MalformedMessageError);
  });

  it('strips the flags of an attribute type and keeps the last of a repeated one', () => {
    const attributes = decodeAttributes(hex('ff 0800 0480 01000000 0800 0400 02000000'), 1);
    expect([...attributes]).toEqual([[4, hex('02000000')]]);
  });

  it.each([['03000100'], ['09000100 01020304']])('refuses the attribute length in %s', (bytes) => {
    expect(() => decodeAttributes(hex(bytes))).toThrow(MalformedMessageError);
  });

  it('gives back what was encoded', () => {
    const attributes = fc.uniqueArray(
      fc.tuple(fc.integer({ min: 1, max: 0x3fff }), fc.uint8Array({ maxLength: 70 })),
      {
        selector: ([type]) => type,
      },
    );
    fc.assert(
      fc.property(attributes, (list) => {
        const parts = list.map(([type, payload]) => attribute(type, Buffer.from(payload)));
        const [message] = decodeMessages(encodeMessage(1, 0, 0, parts));
        const expected = list.map(([type, payload]) => [type, Buffer.from(payload)]);
        expect([...decodeAttributes(message!.payload)]).toEqual(expected);
      }),
    );
  });

  it('never reads past a mangled datagram', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          for (const { payload } of decodeMessages(Buffer.from(bytes))) decodeAttributes(payload);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedMessageError);
        }
      }),
    );
  });

  it('ends a string at its NUL or at its end', () => {
    expect(decodeText(hex('6c6f0078'))).toBe('lo');
    expect(decodeText(hex('6c6f'))).toBe('lo');
  });
});

describe('acknowledgements', () => {
  const error = (flags: number, payload: string) => ({
    type: 2,
    flags,
    sequence: 1,
    portId: 0,
    payload: hex(payload),
  });
  const requestHeader = '14000000 1000 0506 01000000 00000000';

  it('reads success', () => {
    expect(decodeAcknowledgement(error(0x100, `00000000 ${requestHeader}`))).toEqual({ errno: 0 });
  });

  it('reads the errno alone when the kernel says nothing more', () => {
    expect(decodeAcknowledgement(error(0x100, `efffffff ${requestHeader}`))).toEqual({ errno: 17 });
  });

  // NLMSGERR_ATTR_MSG (1) "no" and NLMSGERR_ATTR_OFFS (2) 32, after the bare header (NLM_F_CAPPED).
  const tlvs = '0700 0100 6e6f00 00 0800 0200 20000000';
  it('finds the extended text behind a capped request', () => {
    expect(decodeAcknowledgement(error(0x300, `eaffffff ${requestHeader} ${tlvs}`))).toEqual({
      errno: 22,
      text: 'no',
      offset: 32,
    });
  });

  it('finds the extended text behind the whole request', () => {
    expect(decodeAcknowledgement(error(0x200, `eaffffff ${requestHeader} 00000000 ${tlvs}`))).toEqual({
      errno: 22,
      text: 'no',
      offset: 32,
    });
  });

  it('reads the errno of a failed dump from its end', () => {
    const done = { type: 3, flags: 0x202, sequence: 1, portId: 0, payload: hex(`a1ffffff ${tlvs}`) };
    expect(decodeAcknowledgement(done)).toEqual({ errno: 95, text: 'no', offset: 32 });
  });
});
