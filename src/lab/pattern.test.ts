import { expect, it } from 'vitest';
import { patternBytes } from './pattern.ts';

it('is the same stream wherever one begins', () => {
  const whole = patternBytes(0, 5000);
  expect(patternBytes(1234, 100)).toEqual(whole.subarray(1234, 1334));
});

it('shows a lost, repeated or shifted block of any packet size', () => {
  const whole = patternBytes(0, 200_000);
  for (const shift of [1, 256, 1360, 1448, 4096, 65_536])
    expect(whole.subarray(0, 64).equals(whole.subarray(shift, shift + 64)), `shift ${shift}`).toBe(false);
});
