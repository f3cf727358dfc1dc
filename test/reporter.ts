import type { Reporter, TestCase, TestModule, TestSuite } from 'vitest/node';
import { type Failure, type FileTime, failuresText, slowestText, unsteadyText } from './closing.ts';
import { missingIn, type RequirementName, requirements, whyMissing } from './requirements.ts';

type SerializedError = Parameters<NonNullable<Reporter['onTestRunEnd']>>[1][number];

/**
 * Closes a run: the files that took longest; what was left out, why, and the line that adds it; a short block for each
 * test that passed only when tried again, and for each failure; then `N passed, N failed, N skipped` alone on the last line. With REQUIRE_ALL=1 a skipped test fails the run.
 */
export class ClosingReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const skipped = tests.filter((test) => test.result().state === 'skipped');
    const all = process.env.REQUIRE_ALL === '1';
    // A hook that failed, a file that did not load or an error outside a test counts: nothing else would show it.
    const failures = [...modules.flatMap(failuresIn), ...unhandled.map(outsideOfTests)];
    const failed = failures.length;
    const passed = tests.filter((test) => test.result().state === 'passed').length;
    if (failed > 0 || (all && skipped.length > 0) || tests.length === 0) process.exitCode = 1;
    process.stdout.write(slowestText(modules.map(timeOf)));
    process.stdout.write(closingText(skipped.map(leftOut), all));
    process.stdout.write(unsteadyText(tests.flatMap(unsteady)));
    process.stdout.write(failuresText(failures));
    process.stdout.write(`${passed} passed, ${failed} failed, ${skipped.length} skipped\n`);
  }
}

/** A skipped test: what it needed, or the note it was skipped with. */
export type LeftOut = {
  readonly title: string;
  readonly missing: readonly RequirementName[];
  readonly note: string | undefined;
};

function leftOut(test: TestCase): LeftOut {
  const missing: RequirementName[] = [];
  let hookFailed = test.module.errors().length > 0;
  let block: TestCase['parent'] = test.parent;
  while (block.type === 'suite') {
    missing.push(...missingIn(block.name));
    hookFailed ||= block.errors().length > 0;
    block = block.parent;
  }
  const result = test.result();
  return {
    title: titleOf(test),
    missing: [...new Set(missing)],
    note: hookFailed ? 'not reached: a hook failed' : result.state === 'skipped' ? result.note : undefined,
  };
}

/** The tests that failed; hooks and files that did, by the block they belong to. */
function failuresIn(block: TestModule | TestSuite): Failure[] {
  const own = block.errors().length > 0 ? [{ title: titleOf(block), errors: block.errors() }] : [];
  const inner = [...block.children].flatMap((child) => {
    if (child.type === 'suite') return failuresIn(child);
    const { state, errors } = child.result();
    return state === 'failed' ? [{ title: titleOf(child), errors }] : [];
  });
  return [...own, ...inner];
}

/** A test that failed, was tried again and passed, with what it failed of. */
function unsteady(test: TestCase): Failure[] {
  const { state, errors } = test.result();
  return state === 'passed' && test.diagnostic()?.flaky
    ? [{ title: titleOf(test), errors: errors ?? [] }]
    : [];
}

const outsideOfTests = (error: SerializedError): Failure => ({
  title: '(outside of tests)',
  errors: [error],
});

function titleOf(task: TestModule | TestSuite | TestCase): string {
  return task.type === 'module' ? fileOf(task) : `${fileOf(task.module)} > ${task.fullName}`;
}

const fileOf = (module: TestModule): string => module.moduleId.replace(`${process.cwd()}/`, '');

function timeOf(module: TestModule): FileTime {
  const { duration, collectDuration } = module.diagnostic();
  return { file: fileOf(module), seconds: (duration + collectDuration) / 1000 };
}

/** The closing list; empty when nothing was left out. */
export function closingText(skipped: readonly LeftOut[], requireAll: boolean): string {
  if (skipped.length === 0) return '';
  const lines = [requireAll ? '\nLeft out, and REQUIRE_ALL=1 allows none:' : '\nLeft out on this machine:'];
  const names = [...new Set(skipped.flatMap((test) => test.missing))].sort();
  for (const name of names) {
    const count = skipped.filter((test) => test.missing.includes(name)).length;
    lines.push(`  ${name.padEnd(12)} ${`${count} tests`.padStart(10)}  ${requirements[name].buys}`);
    lines.push(`  ${''.padEnd(12)} ${''.padStart(10)}  missing: ${whyMissing(name) ?? 'it is there now'}`);
  }
  for (const test of skipped.filter(({ missing }) => missing.length === 0)) {
    lines.push(`  ${test.title}`, `      ${test.note ?? 'skipped without a reason'}`);
  }
  const line = addingLine(names);
  if (line !== undefined) lines.push('To test this too:', `  ${line}`);
  return `${lines.join('\n')}\n\n`;
}

/** The one line that adds what packages and privilege can add; undefined where neither can. */
export function addingLine(names: readonly RequirementName[]): string | undefined {
  const packages = new Set<string>();
  for (const name of names) {
    const requirement = requirements[name];
    if ('debianPackage' in requirement) packages.add(requirement.debianPackage);
  }
  const steps: string[] = [];
  if (packages.size > 0) {
    const list = [...packages].sort().join(' ');
    steps.push('apt-get update', `apt-get install -y --no-install-recommends ${list}`);
  }
  if (steps.length === 0 && names.length === 0) return undefined;
  const commands = [...steps, 'npm test'].join(' && ');
  if (process.geteuid?.() !== 0) return `sudo sh -c '${commands}'`;
  // Root without the capabilities is root in a container that was started without them; no command in it helps.
  return whyMissing('root') === undefined
    ? commands
    : `${commands}   (in a container started with --privileged)`;
}
