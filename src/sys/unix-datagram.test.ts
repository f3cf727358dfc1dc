import { expect, test } from 'vitest';
import { unixAddress } from './unix-datagram.ts';

// unix(7): a pathname ends with a zero byte, an abstract name begins with one and ends with the address.
test.each([
  ['/run/x', [1, 0, 0x2f, 0x72, 0x75, 0x6e, 0x2f, 0x78, 0]],
  ['@x', [1, 0, 0, 0x78]],
])('%s', (path, bytes) => {
  expect([...unixAddress(path)]).toEqual(bytes);
});

test.each(['', 'relative', '@', `/${'x'.repeat(107)}`])('refuses "%s"', (path) => {
  expect(() => unixAddress(path)).toThrow(RangeError);
});
