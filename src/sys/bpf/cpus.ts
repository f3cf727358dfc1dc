import { readFileSync } from 'node:fs';

let possible: number | undefined;

/** CPUs that may ever come online: the number of values a per-CPU map returns for a key. */
export function possibleCpus(): number {
  possible ??= countCpus(readFileSync('/sys/devices/system/cpu/possible', 'utf8'));
  return possible;
}

/** The CPUs in a kernel list such as "0-3,8". */
export function countCpus(list: string): number {
  return list
    .trim()
    .split(',')
    .reduce((count, range) => {
      const [first, last = first] = range.split('-').map(Number);
      return count + last! - first! + 1;
    }, 0);
}
