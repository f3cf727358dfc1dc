import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Address } from './address.ts';
import { disagreements, disagreementText, pageDisagreements } from './agreement.ts';
import type { MemberHealth } from './health.ts';
import { memberKey } from './override.ts';

const digestsOf = (text: string) => new Map([...text].map((digest, i) => [`s${i}`, digest]));
const odd = (text: string) => [...disagreements(digestsOf(text)).keys()];

test('those who differ from more than half are odd; where there is no such half, everybody', () => {
  expect(odd('')).toEqual([]);
  expect(odd('a')).toEqual([]);
  expect(odd('aaaa')).toEqual([]);
  expect(odd('abaa')).toEqual(['s1']);
  expect(odd('abaca')).toEqual(['s1', 's3']);
  expect(odd('ab')).toEqual(['s0', 's1']);
  expect(odd('aabb')).toEqual(['s0', 's1', 's2', 's3']);
});

test('fewer than half are ever odd where most agree, and nobody is where all do', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 12 }), (list) => {
      const found = disagreements(digestsOf(list.join('')));
      const [one] = found.values();
      if (new Set(list).size <= 1) expect(found.size).toBe(0);
      else if (one?.most) expect(found.size * 2).toBeLessThan(list.length);
      else expect(found.size).toBe(list.length);
    }),
  );
});

const member = (
  last: number,
  digest: string | undefined,
  more: Partial<MemberHealth> = {},
): MemberHealth => ({
  service: { kind: 'address', protocol: 'tcp', address: '192.0.2.10' as Address, port: 80 },
  destination: { address: `10.0.0.${last}` as Address, port: 80 },
  ...{ check: 0, type: 'http', rise: 1, fall: 3, isUp: true, sinceMs: 0, against: 0 },
  last: { atMs: 0, result: { isGood: true, detail: '200 OK', durationMs: 1, ...(digest && { digest }) } },
  ...more,
});

test('pages are compared within a service, check by check, of those who gave one', () => {
  const other = { kind: 'address', protocol: 'tcp', address: '192.0.2.11' as Address, port: 80 } as const;
  const found = pageDisagreements([
    ...[member(1, 'a'), member(2, 'a'), member(3, 'b'), member(4, undefined)],
    ...[member(1, 'b', { check: 1 }), member(2, 'b', { check: 1 })],
    member(9, 'c', { service: other }),
  ]);
  const { service, destination } = member(3, 'b');
  expect([...found.keys()]).toEqual([memberKey(service, destination)]);
});

test('it is told in a sentence', () => {
  const [long, other] = ['0123456789abcdef', 'fedcba9876543210'];
  expect(disagreementText({ digest: long, of: 4, most: { digest: other, count: 3 } })).toBe(
    'page is not that of 3 of 4 real servers: SHA-256 01234567..., theirs fedcba98...',
  );
  expect(disagreementText({ digest: long, of: 2 })).toBe(
    'page is one of several that 2 real servers have, and none is that of most: SHA-256 01234567...',
  );
});
