import { createDecipheriv, type DecipherGCM, hkdfSync, scryptSync } from 'node:crypto';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { decodeMessage, encodeMessage } from './message.ts';
import { clearWire, clockToleranceMs, replayWindow, sealedWire } from './wire.ts';

const message = encodeMessage(9, []);
const time = { ms: 1_800_000_000_000 };
const now = () => time.ms;
const pair = () => [sealedWire('a secret', now), sealedWire('a secret', now)] as const;

it('a message arrives once, in any order', () => {
  const [one, other] = pair();
  const sealed = Array.from({ length: 50 }, (_, i) => one.seal(encodeMessage(i, [])));
  expect(sealed[0]).toHaveLength(message.length + one.overhead);
  for (const i of [3, 0, 2, 49, 1]) expect(other.open(sealed[i]!)).toEqual(encodeMessage(i, []));
  for (const i of [3, 0, 2, 49, 1]) expect(other.open(sealed[i]!)).toBe('it has come before');
});

it('a message that comes after many others is not taken', () => {
  const [one, other] = pair();
  const early = one.seal(message);
  const late = one.seal(message);
  for (let i = 0; i < replayWindow - 1; i++) expect(other.open(one.seal(message))).toEqual(message);
  expect(other.open(late)).toEqual(message);
  expect(other.open(early)).toBe('it has come before');
});

it('what another key made, what was changed and what is in clear is not taken', () => {
  const [one, other] = pair();
  expect(sealedWire('another', now).open(one.seal(message))).toMatch('not made with this key');
  expect(other.open(message)).toBe('it is not encrypted');
  expect(clearWire.open(one.seal(message))).toMatch('there is no key here');
  const sealed = one.seal(encodeMessage(9, []));
  fc.assert(
    fc.property(fc.nat(sealed.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const changed = Buffer.from(sealed);
      changed[at] = changed[at]! ^ change;
      expect(typeof other.open(changed)).toBe('string');
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
      expect(typeof other.open(Buffer.from(noise))).toBe('string');
    }),
  );
  // None of these attempts has spoiled the session for the real one.
  expect(other.open(sealed)).toEqual(message);
});

it('an old recording begins no session, and a clock that runs on ends none', () => {
  const [one, other] = pair();
  const recorded = one.seal(message);
  time.ms += clockToleranceMs + 1;
  expect(other.open(recorded)).toMatch('61 s apart'.replace('61', '60'));
  expect(other.open(one.seal(message))).toEqual(message);
  const second = one.seal(message);
  time.ms += 10 * clockToleranceMs;
  expect(other.open(second)).toEqual(message);
});

it('is nothing to IPVS: no connection in a message of version 0', () => {
  const [one] = pair();
  expect(decodeMessage(one.seal(message))).toMatchObject({ version: 0, connections: [], refused: [] });
});

it('is what its page says, by a second implementation', () => {
  const sealed = pair()[0].seal(message);
  const session = sealed.subarray(8, 24);
  const master = scryptSync('a secret', 'headgate connection sync', 32, { N: 16384, r: 8, p: 1 });
  const key = Buffer.from(hkdfSync('sha256', master, session, 'headgate sync 1', 32));
  const nonce = Buffer.concat([Buffer.alloc(4), sealed.subarray(24, 32)]);
  const engine = createDecipheriv('aes-256-gcm', key, nonce) as DecipherGCM;
  engine.setAAD(sealed.subarray(0, 32));
  engine.setAuthTag(sealed.subarray(-16));
  const plain = Buffer.concat([engine.update(sealed.subarray(32, -16)), engine.final()]);
  expect(plain.readBigUInt64BE(0)).toBe(BigInt(time.ms));
  expect(plain.subarray(8)).toEqual(message);
});
