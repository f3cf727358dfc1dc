import { expect, test } from 'vitest';
import { expiryText, withExpiry } from './tls-session.ts';

const day = 86_400_000;
const now = Date.UTC(2026, 10, 21, 12);

test.each([
  [-1, 'certificate expired 2026-11-21'],
  [-2 * day, 'certificate expired 2026-11-19'],
  [1, 'certificate expires within a day'],
  [day, 'certificate expires in 1 day'],
  [6.5 * day, 'certificate expires in 6 days'],
  [14 * day, 'certificate expires in 14 days'],
  [14 * day + 1, undefined],
])('a certificate that ends %i ms from now', (leftMs, text) => {
  expect(
    expiryText({ version: 'TLSv1.3', protocol: undefined, expiresMs: now + leftMs }, now, 14 * day),
  ).toBe(text);
});

test('nothing is said of a certificate where that is not wanted', () => {
  const session = { version: 'TLSv1.3', protocol: undefined, expiresMs: now - day };
  expect(expiryText(session, now, 0)).toBeUndefined();
  expect(withExpiry('200 OK', session, { expiryWarning: 0 })).toEqual({ detail: '200 OK' });
  expect(withExpiry('200 OK', session, { expiryWarning: day })).toEqual({
    detail: '200 OK, certificate expired 2026-11-20',
    warning: 'certificate expired 2026-11-20',
  });
});
