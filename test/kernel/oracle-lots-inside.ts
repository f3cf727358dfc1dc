import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hear, type Said } from '../oracle/calls.ts';
import { type Director, openEbpfDirector, openIpvsDirector } from '../oracle/director.ts';
import { distance, spread } from '../oracle/lots.ts';
import { callIdIn, invite, messages, randomMessages } from '../packets/sip-messages.ts';

/*
 * Runs in a guest, whose kernel has IPVS: oracle.test.ts. What both do at random is compared by how often. Calls are here
 * because a guest takes long to start.
 */

/** Guest time, which goes by at no cost while nothing happens. */
const longMs = 2 ** 31 - 1;

describe('chance and calls, of the ebpf plane and of the IPVS of the kernel', () => {
  let directors: readonly [Director, Director];
  beforeAll(async () => {
    directors = [await openIpvsDirector(), await openEbpfDirector()];
  });
  afterAll(async () => {
    for (const director of directors ?? []) await director.close();
  });

  it(
    'draws lots alike: twos',
    async () => {
      const [one, other] = [
        await spread(directors[0], 900, 'twos', [1, 2, 3, 4], 600),
        await spread(directors[1], 900, 'twos', [1, 2, 3, 4], 600),
      ];
      expect([one.refused, other.refused]).toEqual([0, 0]);
      // With three degrees of freedom chance is beyond this once in a million times.
      expect(distance(one.taken, other.taken), `${one.taken} and ${other.taken}`).toBeLessThan(30.7);
    },
    longMs,
  );

  it(
    'finds the same Call-IDs in messages: sip',
    async () => {
      const texts = [
        ...messages.map(([, message]) => Buffer.from(message).toString('latin1')),
        ...randomMessages(160),
      ];
      const said = texts.map((text, n): Said => {
        return { client: [n, 7, 4000], message: Buffer.from(text, 'latin1') };
      });
      const [one, other] = [await hear(directors[0], 902, said), await hear(directors[1], 902, said)];
      // As lines, so that a failure shows which they are; and what the packet tests take for right.
      const rows = (callOf: (text: string, n: number) => string | undefined) =>
        texts.map((text, n) => `${n} ${JSON.stringify(text)}: ${callOf(text, n) ?? 'none'}`);
      const found = ({ calls }: typeof one) => rows((_, n) => calls.get(`203.0.${n}.0`)?.[0]);
      const expected = new Set(rows(callIdIn));
      expect(
        found(one)
          .filter((row) => !expected.has(row))
          .join('\n'),
      ).toBe('');
      expect(found(other)).toEqual(found(one));
      expect(other.served).toEqual(one.served);
    },
    longMs,
  );

  it(
    'keeps the same calls together: sip',
    async () => {
      const said = Array.from({ length: 120 }, (_, n): Said => {
        const call = (n * 7 + (n >> 3)) % 11;
        const message = invite(`call-${call}@example.org`);
        const first = n % 6 === 5 ? { from: 11 + (n % 4) } : {};
        return { client: [n % 3, 1 + (n % 5), 4000 + n], message, ...first };
      });
      const [one, other] = [await hear(directors[0], 903, said), await hear(directors[1], 903, said)];
      // Real servers that are none of the service are not heard.
      expect(new Set(one.served)).toEqual(new Set([undefined, '10.1.0.11', '10.1.0.12', '10.1.0.13']));
      expect(other).toEqual(one);
    },
    longMs,
  );

  it(
    'refuses as many: drop_packet',
    async () => {
      for (const director of directors)
        await director.apply([{ kind: 'set-sysctls', sysctls: { drop_packet: 3, am_droprate: 7 } }]);
      // Defences are decided upon once a second.
      await sleep(3000);
      const [one, other] = [
        await spread(directors[0], 901, 'rr', [1, 1], 300),
        await spread(directors[1], 901, 'rr', [1, 1], 300),
      ];
      for (const director of directors)
        await director.apply([{ kind: 'set-sysctls', sysctls: { drop_packet: 0, am_droprate: 10 } }]);
      expect(one.refused).toBeGreaterThan(300 / 7 - 2);
      expect(Math.abs(one.refused - other.refused), `${one.refused} and ${other.refused}`).toBeLessThan(3);
    },
    longMs,
  );
});
