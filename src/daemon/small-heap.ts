import { setFlagsFromString } from 'node:v8';

/** Until a process that has read a large configuration counts as idle again. */
const busyMs = 3_000;

/**
 * Keeps the memory of a process small that works once in a while. The space for new objects stays as small as it is: one
 * reload would let it grow to 32 MB for good. And while nobody is busy V8 collects garbage for room, not for speed, so that
 * within seconds what a reload has left is gone. The function that is returned says that somebody is busy.
 */
export function keepHeapSmall(): () => void {
  let idle: NodeJS.Timeout | undefined;
  setFlagsFromString('--semi-space-growth-factor=1');
  return function busy() {
    clearTimeout(idle);
    setFlagsFromString('--no-optimize-for-size');
    idle = setTimeout(() => setFlagsFromString('--optimize-for-size'), busyMs).unref();
  };
}
