import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeAnswer, encodeOptions, isFinalAnswer, SipError } from './sip-message.ts';

const request = {
  transport: 'udp',
  host: '[2001:db8::1]:5070',
  branch: 'b1',
  callId: 'c1',
  tag: 't1',
} as const;

test('a request has the headers that RFC 3261, section 8.1.1, wants', () => {
  const text = encodeOptions({ ...request, user: 'carol' }, { address: '2001:db8::9', port: 4000 });
  const [first, ...headers] = text.split('\r\n');
  expect(first).toBe('OPTIONS sip:carol@[2001:db8::1]:5070 SIP/2.0');
  const named = Object.fromEntries(headers.filter(Boolean).map((line) => line.split(/: (.*)/s)));
  expect(named).toMatchObject({
    To: '<sip:carol@[2001:db8::1]:5070>',
    'Call-ID': 'c1',
    CSeq: '1 OPTIONS',
    'Max-Forwards': '70',
    Via: 'SIP/2.0/UDP [2001:db8::9]:4000;branch=z9hG4bKb1;rport',
  });
  expect(named.From).toMatch(/;tag=t1$/);
  expect(text.endsWith('\r\n\r\n')).toBe(true);
  const elsewhere = encodeOptions({ ...request, user: 'carol@chicago.com' }, { address: '::', port: 1 });
  expect(elsewhere).toMatch(/^OPTIONS sip:carol@chicago\.com SIP/);
});

// RFC 3261, section 11.2.
const answer = `SIP/2.0 200 OK\r
Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKhjhs8ass877\r
 ;received=192.0.2.4\r
To: <sip:carol@chicago.com>;tag=93810874\r
From: Alice <sip:alice@atlanta.com>;tag=1928301774\r
i:  c1\r
cseq : 1   OPTIONS\r
Content-Length: 0\r
\r
Call-ID: body`;

test('an answer is known by its call and sequence, however the headers are written', () => {
  const read = decodeAnswer(answer);
  expect(read).toMatchObject({ status: 200, reason: 'OK', callId: 'c1' });
  expect(isFinalAnswer(read, request)).toBe(true);
  expect(isFinalAnswer(read, { ...request, callId: 'c2' })).toBe(false);
  expect(isFinalAnswer({ ...read, status: 100 }, request)).toBe(false);
  expect(isFinalAnswer({ ...read, sequence: '2 OPTIONS' }, request)).toBe(false);
});

test('whatever comes is read or refused', () => {
  const near = fc
    .tuple(fc.nat(answer.length), fc.string())
    .map(([at, text]) => answer.slice(0, at) + text + answer.slice(at));
  fc.assert(
    fc.property(fc.oneof(near, fc.string({ maxLength: 300 })), (text) => {
      try {
        decodeAnswer(text);
      } catch (error) {
        if (!(error instanceof SipError)) throw error;
      }
    }),
    { numRuns: 1000 },
  );
});
