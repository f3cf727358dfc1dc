import { expect, it } from 'vitest';
import { countCpus } from './cpus.ts';

// Documentation/admin-guide/cputopology.rst gives these forms.
it.each([
  ['0\n', 1],
  ['0-3\n', 4],
  ['0-1,4-7,12\n', 7],
])('counts the CPUs of "%s"', (list, count) => expect(countCpus(list)).toBe(count));
