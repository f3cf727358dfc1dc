import { bindLibc } from './ffi.ts';

const cSetScheduler = bindLibc('sched_setscheduler', 'int', ['int', 'int', 'void *']);
const roundRobin = 2;

/**
 * Puts the calling thread before everything that is not real-time (sched(7), SCHED_RR). False where that is not allowed:
 * without CAP_SYS_NICE, or in a group without a real-time share.
 */
export function runInRealTime(priority: number): boolean {
  const parameters = Buffer.alloc(4);
  parameters.writeInt32LE(priority);
  return cSetScheduler(0, roundRobin, parameters) === 0;
}
