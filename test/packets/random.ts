import { randomInt } from 'node:crypto';

/** Numbers that follow from a start value (mulberry32, Tommy Ettinger). */
export type Numbers = {
  /** A whole number from 0 to bound - 1. */
  below(bound: number): number;
  pick<T>(from: readonly T[]): T;
};

export function randomNumbers(start: number): Numbers {
  let state = start >>> 0;
  const below = (bound: number) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound);
  };
  return { below, pick: (from) => from[below(from.length)]! };
}

/** The start value in an environment variable, or a new one. A test that uses it prints it. */
export function startOf(variable: string): number {
  const given = process.env[variable];
  return given ? Number(given) : randomInt(2 ** 32);
}

/**
 * How much a random test does: `usual`; `long` with LONG=1; `short` with SHORT=1, which test/kernel sets where the
 * processor is emulated.
 */
export function amount(of: {
  readonly short: number;
  readonly usual: number;
  readonly long: number;
}): number {
  return process.env.SHORT ? of.short : process.env.LONG ? of.long : of.usual;
}
