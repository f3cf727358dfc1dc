import { startTests } from 'vitest/internal/browser';
import type { VitestRunner } from 'vitest/suite';

/** What became of the tests of one file. */
export type FileResult = {
  readonly file: string;
  readonly passed: number;
  /** Full names; of a test that failed with the reason, of one left out with the reason it gave. */
  readonly failed: readonly { readonly name: string; readonly reason: string }[];
  readonly skipped: readonly { readonly name: string; readonly reason: string }[];
  readonly milliseconds: number;
};

/**
 * Runs test files with vitest's own runner and matchers, without the rest of vitest: no server, no workers, no
 * transformation, which would take minutes on an emulated processor. `files` says how to import each. Prints a
 * FileResult as a line of JSON after each file; everything else that is printed is for people.
 */
export async function runFiles(files: Readonly<Record<string, () => Promise<unknown>>>): Promise<void> {
  const runner: VitestRunner = {
    importFile: (path) => files[path]?.(),
    onAfterRunTask({ name, result }) {
      process.stdout.write(`${result?.state} ${Math.round(result?.duration ?? 0)} ms: ${name}\n`);
    },
    config: {
      root: process.cwd(),
      setupFiles: [],
      name: undefined,
      passWithNoTests: false,
      testNamePattern: undefined,
      allowOnly: false,
      sequence: { seed: 0, hooks: 'stack', setupFiles: 'list' },
      chaiConfig: undefined,
      maxConcurrency: 1,
      testTimeout: 600_000,
      hookTimeout: 600_000,
      retry: 0,
      includeTaskLocation: false,
      tags: [],
      tagsFilter: undefined,
      strictTags: false,
    },
  };
  for (const file of Object.keys(files)) {
    const started = performance.now();
    const [tree] = await startTests([file], runner);
    const result = { ...summary(tree!), milliseconds: Math.round(performance.now() - started) };
    process.stdout.write(`\n${JSON.stringify({ file, ...result })}\n`);
  }
}

type Task = Awaited<ReturnType<typeof startTests>>[number]['tasks'][number];
type Tally = {
  passed: number;
  failed: FileResult['failed'][number][];
  skipped: FileResult['skipped'][number][];
};

function summary(top: Awaited<ReturnType<typeof startTests>>[number]): Tally {
  const tally: Tally = { passed: 0, failed: [], skipped: [] };
  const visit = (task: Task | typeof top, name: string): void => {
    const reason = (task.result?.errors ?? []).map((error) => error.stack ?? error.message).join('\n');
    if (task.type === 'test') {
      const state = task.result?.state;
      if (state === 'pass') tally.passed++;
      else if (state === 'fail') tally.failed.push({ name, reason });
      else tally.skipped.push({ name, reason: 'skipped' });
    } else {
      // A file that did not load or a hook that failed: nothing else would show it.
      if (reason) tally.failed.push({ name: name || task.name, reason });
      for (const inner of task.tasks) visit(inner, name ? `${name} > ${inner.name}` : inner.name);
    }
  };
  visit(top, '');
  return tally;
}
