import { expect, test } from 'vitest';
import { placeAfter } from './http-redirect.ts';

const place = { scheme: 'http', host: 'www.example.org', port: 8080, target: '/a/b?c' } as const;

// RFC 3986, section 5.4, for references; RFC 9110, section 15.4, for the codes.
test.each([
  [302, '/x?y', { target: '/x?y' }],
  [301, 'x', { target: '/a/x' }],
  [303, '../x', { target: '/x' }],
  [307, 'http://www.example.org/x', { target: '/x' }],
  [308, 'http://shop.example.org/x', { host: 'shop.example.org', port: 80, target: '/x' }],
  [302, 'https://www.example.org/x', { scheme: 'https', port: 443, target: '/x' }],
  [
    302,
    'https://www.example.org:8443',
    { scheme: 'https', host: 'www.example.org:8443', port: 8443, target: '/' },
  ],
  [302, '//shop.example.org:81/x', { host: 'shop.example.org:81', port: 81, target: '/x' }],
])('%i to %s', (status, location, changed) => {
  expect(placeAfter(place, answerOf(status, location))).toEqual({ ...place, ...changed });
});

test.each([
  [200, '/x'],
  [304, '/x'],
  [302, undefined],
  [302, 'ftp://www.example.org/x'],
  [302, 'http://['],
])('%i to %s leads nowhere', (status, location) => {
  expect(placeAfter(place, answerOf(status, location))).toBeUndefined();
});

function answerOf(status: number, location: string | undefined) {
  return { status, location, reason: '', body: Buffer.alloc(0), isWhole: true };
}
