import { defineConfig } from 'vitest/config';
import { ClosingReporter } from './test/reporter.ts';
import { whyMissing } from './test/requirements.ts';

/** A condition is waited for as long as a busy machine may take; expect.poll gives up after a second by itself. */
const patientPolls = { poll: { timeout: 15_000 } };

export default defineConfig({
  test: {
    reporters: ['default', new ClosingReporter()],
    projects: [
      {
        // Pure rules and everything beside its source: no privilege, no network, one process, a thread per processor.
        test: {
          name: 'unit',
          include: ['src/**/*.test.ts', 'test/unit/**/*.test.ts'],
          setupFiles: ['test/unit/setup.ts'],
          pool: 'threads',
          isolate: false,
          maxWorkers: '100%',
          // Property tests take seconds where other work has the processors; none of them waits for a clock.
          testTimeout: process.env.LONG ? 300_000 : 120_000,
          expect: patientPolls,
        },
      },
      {
        // The real kernel: BPF programs, namespaces, whole commands. One file at a time, a process each. Of what root is
        // needed for, other users count the tests only; what is left shares no more than loopback and free ports of it.
        test: {
          name: 'kernel',
          include: ['test/**/*.test.ts'],
          exclude: ['test/unit/**', 'test/.cache/**'],
          pool: 'forks',
          ...(whyMissing('root') === undefined ? { fileParallelism: false } : { maxWorkers: '100%' }),
          // Whole directors under the clock of a shared machine: CONTRIBUTING.md says what a second try is for.
          retry: process.env.CI ? 1 : 0,
          testTimeout: 240_000,
          hookTimeout: 240_000,
          expect: patientPolls,
        },
      },
    ],
  },
});
