import { bindLibc, checked, clockResolutionNanoseconds } from './ffi.ts';

const cClockGettime = bindLibc('clock_gettime', 'int', ['int', 'void *']);
const monotonicCoarse = 6;
const bootTime = 7;
const timespec = Buffer.alloc(16);

/** Timer ticks a second (the kernel's CONFIG_HZ): the coarse clock moves once a tick. */
export function ticksPerSecond(): number {
  return Math.round(1e9 / clockResolutionNanoseconds(monotonicCoarse));
}

/** Milliseconds since the machine started, with the time it was suspended (CLOCK_BOOTTIME); never set back. */
export function bootTimeMs(): number {
  checked(cClockGettime(bootTime, timespec), 'clock_gettime', 'time since boot');
  return Number(timespec.readBigInt64LE(0)) * 1e3 + Number(timespec.readBigInt64LE(8)) / 1e6;
}
