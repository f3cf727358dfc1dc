import { expect, test } from 'vitest';
import type { Address } from '../../model/address.ts';
import { encloseIn, openSequences, takeHeader } from './authentication-header.ts';

/* What keepalived 2.2.7 sent with "auth_type AH" and "auth_pass geheim", taken from the wire. */
const wire = Buffer.from(
  '45c0004000020000ff33d0670a4d0002e0000012700400000a4d0002000000023834ed0f5fd2415348388dc02133640102016e190a4d00640000000000000000',
  'hex',
);
const ends = { source: '10.77.0.2' as Address, destination: '224.0.0.18' as Address };

test('what keepalived sends is of its password and of no other', () => {
  const found = takeHeader(wire.subarray(0, 20), wire.subarray(20))!;
  expect(found.sequence).toBe(2);
  expect(found.isOf('geheim')).toBe(true);
  expect(found.isOf('geheim-und-laenger')).toBe(false);
  expect(found.isOf('falsch')).toBe(false);
  for (const at of [15, 26, 31, 44, 46, 59]) {
    const forged = Buffer.from(wire);
    forged[at]! ^= 1;
    expect(takeHeader(forged.subarray(0, 20), forged.subarray(20))?.isOf('geheim') ?? false).toBe(false);
  }
});

test('the same advertisement gets the same packet, but for what the kernel fills in', () => {
  const packet = encloseIn(wire.subarray(44), ends, { secret: 'geheim', sequence: 1 });
  const wanted = Buffer.from(wire);
  wanted.fill(0, 10, 12);
  // Its number and its digest are its own.
  for (const bytes of [packet, wanted]) bytes.fill(0, 28, 44);
  expect(packet).toEqual(wanted);
});

test('a number counts once, and what is sent goes on behind what was heard', () => {
  const sequences = openSequences();
  expect(sequences.isNew(ends.source, 7)).toBe(true);
  expect(sequences.isNew(ends.source, 7)).toBe(false);
  expect(sequences.isNew(ends.source, 6)).toBe(false);
  expect(sequences.next()).toBe(8);
});
