import { bindLibc } from './ffi.ts';

const cSetScheduler = bindLibc('sched_setscheduler', 'int', ['int', 'int', 'void *']);
const roundRobin = 2;

/**
 * Puts the calling thread, or that with this number, before everything that is not real-time (sched(7), SCHED_RR). False where that
 * is not allowed: without CAP_SYS_NICE, or in a group without a real-time share.
 */
export function runInRealTime(priority: number, thread = 0): boolean {
  const parameters = Buffer.alloc(4);
  parameters.writeInt32LE(priority);
  return cSetScheduler(thread, roundRobin, parameters) === 0;
}
