import { expect, test } from 'vitest';
import { parseAddress } from '../model/address.ts';
import { cleanTarget, hostOf, requestText } from './http-request.ts';

const four = parseAddress('10.0.0.1')!;
const six = parseAddress('2001:db8::1')!;

// RFC 9110, section 7.2: the port is left out where it is the scheme's own; an IPv6 address stands in brackets.
test.each([
  ['http', undefined, '/', four, 80, '10.0.0.1'],
  ['http', undefined, '/', four, 443, '10.0.0.1:443'],
  ['https', undefined, '/', four, 443, '10.0.0.1'],
  ['https', undefined, '/', six, 443, '[2001:db8::1]'],
  ['http', undefined, '/', six, 8080, '[2001:db8::1]:8080'],
  ['http', 'www.example.org', '/', four, 8080, 'www.example.org'],
  ['http', undefined, 'http://far.example.org:81/x', four, 3128, 'far.example.org:81'],
] as const)('%s, host %s, %s at %s port %i', (scheme, host, path, address, port, expected) => {
  expect(hostOf(scheme, host, path, address, port)).toBe(expected);
});

test('nothing in a path or host ends the request early', () => {
  expect(cleanTarget('/a b\r\nX: y?ü=%20')).toBe('/a%20b%0D%0AX:%20y?%C3%BC=%20');
  const text = requestText({
    method: 'GET',
    version: 'HTTP/1.1',
    scheme: 'http',
    target: '/',
    host: 'a\r\nX: y',
  });
  expect(text.split('\r\n')).toEqual([
    'GET / HTTP/1.1',
    'Host: aX: y',
    'User-Agent: headgate',
    'Accept: */*',
    'Accept-Encoding: identity',
    'Connection: close',
    '',
    '',
  ]);
});
