import { clockResolutionNanoseconds } from './ffi.ts';

const monotonicCoarse = 6;

/** Timer ticks a second (the kernel's CONFIG_HZ): the coarse clock moves once a tick. */
export function ticksPerSecond(): number {
  return Math.round(1e9 / clockResolutionNanoseconds(monotonicCoarse));
}
