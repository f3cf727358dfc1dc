import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseAddress } from '../model/address.ts';
import { DnsFormatError, decodeAnswer, encodeQuery, reverseName } from './dns-message.ts';

const hex = (text: string) => Buffer.from(text.replace(/\s/g, ''), 'hex');

describe('a query', () => {
  test('has the layout of RFC 1035, section 4', () => {
    // Header of 4.1.1 with RD, the name of 3.1, QTYPE AAAA (28), QCLASS IN (1).
    expect(encodeQuery(0x1234, { name: 'example.org.', record: 'AAAA' }).toString('hex')).toBe(
      `123401000001000000000000${'076578616d706c65036f726700'}001c0001`,
    );
    expect(encodeQuery(1, { name: '.', record: 'SOA' }).toString('hex')).toBe(
      '000101000001000000000000' + '0000060001',
    );
  });

  test('asks for the reverse name of an address (RFC 1035, 3.5; RFC 3596, 2.5)', () => {
    expect(reverseName(parseAddress('10.2.0.52')!)).toBe('52.0.2.10.in-addr.arpa');
    expect(reverseName(parseAddress('4321:0:1:2:3:4:567:89ab')!)).toBe(
      'b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa',
    );
  });
});

describe('an answer', () => {
  const header = (answers: number, flags = '8180') => `abcd ${flags} 0001 000${answers} 0000 0000`;
  const question = '01 61 03 6f7267 00 0001 0001';

  test('is read with names compressed as in RFC 1035, section 4.1.4', () => {
    const bytes = hex(
      `${header(2)} ${question}
       c00c 000f 0001 0000003c 0009 000a 046d61696c c00c
       c00c 0005 0001 0000003c 0002 c00e`,
    );
    expect(decodeAnswer(bytes)).toEqual({
      id: 0xabcd,
      isAnswer: true,
      isCutOff: false,
      code: 'NOERROR',
      question: { name: 'a.org', type: 1 },
      records: [
        { type: 15, text: '10 mail.a.org' },
        { type: 5, text: 'org' },
      ],
    });
  });

  test('has its code by name, and by number where it has none', () => {
    expect(decodeAnswer(hex(`${header(0, '8183')} ${question}`)).code).toBe('NXDOMAIN');
    expect(decodeAnswer(hex(`${header(0, '818b')} ${question}`)).code).toBe('RCODE11');
  });

  test.each([
    ['a pointer to itself', `${header(1)} ${question} c017 0001 0001 00000000 0004 01020304`],
    ['two pointers in a circle', `${header(1)} ${question} 0161 c017 0001 0001 00000000 0004 01020304`],
    ['a pointer forward', `${header(1)} ${question} c0ff 0001 0001 00000000 0004 01020304`],
    ['a record without its end', `${header(1)} ${question} c00c 0001 0001 00000000 0004 0102`],
    ['a short address', `${header(1)} ${question} c00c 0001 0001 00000000 0003 010203`],
    ['a label of an unknown kind', `${header(1)} ${question} 80`],
    ['more records than there are', `abcd 8180 0001 ffff 0000 0000 ${question}`],
    ['a text longer than its record', `${header(1)} ${question} c00c 0010 0001 00000000 0002 0561`],
    ['half a header', 'abcd 8180'],
  ])('is refused with %s', (_what, bytes) => {
    expect(() => decodeAnswer(hex(bytes))).toThrow(DnsFormatError);
  });

  test('is read or refused, whatever the bytes, and at once', () => {
    // Bytes near a real answer reach deeper than any bytes.
    const real = [...hex(`${header(1)} ${question} c00c 000f 0001 0000003c 0009 000a 046d61696c c00c`)];
    const changed = fc
      .tuple(
        fc.array(fc.tuple(fc.nat(real.length - 1), fc.nat(255)), { maxLength: 6 }),
        fc.array(fc.nat(255), { maxLength: 80 }),
      )
      .map(([changes, tail]) => {
        const bytes = [...real];
        for (const [at, value] of changes) bytes[at] = value;
        return Buffer.from([...bytes, ...tail]);
      });
    const any = fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes));
    fc.assert(
      fc.property(fc.oneof(changed, any), (bytes) => {
        try {
          decodeAnswer(bytes);
        } catch (error) {
          if (!(error instanceof DnsFormatError)) throw error;
        }
      }),
      { numRuns: 3000 },
    );
  });

  test('of 64 KiB of pointers is read in time', () => {
    // Each record's name is a pointer to 127 labels: the most a byte can cost.
    const name = Buffer.concat([
      ...Array.from({ length: 126 }, () => Buffer.from('0161', 'hex')),
      Buffer.of(0),
    ]);
    const record = hex('c00c 0001 0001 00000000 0004 01020304');
    const count = 4000;
    const bytes = Buffer.concat([
      hex('abcd 8180 0001'),
      Buffer.of(count >> 8, count & 255),
      hex('0000 0000'),
      name,
      hex('0001 0001'),
      ...Array.from({ length: count }, () => record),
    ]);
    const started = performance.now();
    expect(decodeAnswer(bytes).records).toHaveLength(count);
    expect(performance.now() - started).toBeLessThan(30_000);
  });
});
