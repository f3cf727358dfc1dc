import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addingLine, closingText } from './reporter.ts';

const project = fileURLToPath(new URL('..', import.meta.url));
const cache = join(project, 'test/.cache');

describe('A run of vitest with the closing reporter', () => {
  let folder: string;

  beforeAll(() => {
    mkdirSync(cache, { recursive: true });
    folder = mkdtempSync(join(cache, 'reporter-'));
    const reporter = JSON.stringify(join(project, 'test/reporter.ts'));
    writeFileSync(
      join(folder, 'vitest.config.ts'),
      `import { ClosingReporter } from ${reporter};
       export default { test: { reporters: ['default', new ClosingReporter()] } };`,
    );
  });

  afterAll(() => rmSync(folder, { recursive: true }));

  function run(body: string, environment: Record<string, string> = {}) {
    const imports = "import { beforeAll, describe, expect, test } from 'vitest';\n";
    writeFileSync(join(folder, 'one.test.ts'), imports + body);
    const vitest = join(project, 'node_modules/vitest/vitest.mjs');
    const inherited = {
      ...process.env,
      REQUIRE_ALL: '',
      NO_COLOR: '1',
      VITEST: '',
      VITEST_POOL_ID: '',
      VITEST_WORKER_ID: '',
    };
    const ended = spawnSync(process.execPath, [vitest, 'run', '--root', folder], {
      encoding: 'utf8',
      env: { ...inherited, ...environment },
    });
    return { exitCode: ended.status, lastLine: ended.stdout.split('\n').at(-2), stdout: ended.stdout };
  }

  const passes = "test('a', () => {});\n";

  test('ends with the totals alone on the last line', () => {
    expect(run(passes)).toMatchObject({ exitCode: 0, lastLine: '1 passed, 0 failed, 0 skipped' });
  });

  test('counts a failed test', () => {
    const result = run(`${passes}test('b', () => { expect(1).toBe(2); });`);
    expect(result).toMatchObject({ exitCode: 1, lastLine: '1 passed, 1 failed, 0 skipped' });
  });

  test('lists a skip with its note, and fails because of it only with REQUIRE_ALL=1', () => {
    const body = `${passes}test('b', (context) => context.skip('no water'));`;
    const result = run(body);
    expect(result).toMatchObject({ exitCode: 0, lastLine: '1 passed, 0 failed, 1 skipped' });
    expect(result.stdout).toMatch(/Left out on this machine:\n {2}.*one\.test\.ts: b\n {6}no water\n/);
    expect(run(body, { REQUIRE_ALL: '1' })).toMatchObject({
      exitCode: 1,
      lastLine: '1 passed, 0 failed, 1 skipped',
    });
  });

  test('counts a failed hook, a file that does not load and a run without tests as failures', () => {
    const hook =
      "describe('x', () => { beforeAll(() => { throw new Error('no'); }); test('b', () => {}); });";
    const hooked = run(passes + hook);
    expect(hooked).toMatchObject({ exitCode: 1, lastLine: '1 passed, 1 failed, 1 skipped' });
    expect(hooked.stdout).toContain('not reached: a hook failed');
    expect(run("throw new Error('no');")).toMatchObject({
      exitCode: 1,
      lastLine: '0 passed, 1 failed, 0 skipped',
    });
    expect(run('')).toMatchObject({ exitCode: 1 });
  });
});

describe('closingText()', () => {
  const skipped = { title: 'x.test.ts: a', note: undefined };

  test('is empty when nothing was left out', () => {
    expect(closingText([], false)).toBe('');
  });

  test('counts tests by what they lack and ends with the one line', () => {
    const text = closingText(
      [
        { ...skipped, missing: ['qemu', 'ipvsadm'] },
        { ...skipped, missing: ['qemu'] },
      ],
      false,
    );
    expect(text).toMatch(/^ {2}ipvsadm +1 tests {2}our listings/m);
    expect(text).toMatch(/^ {2}qemu +2 tests {2}other kernels/m);
    expect(text.trimEnd().split('\n').at(-1)).toMatch(
      /apt-get update && apt-get install -y --no-install-recommends ipvsadm qemu-system-x86 && npm test/,
    );
  });

  test('names a test that was skipped without a reason', () => {
    expect(closingText([{ ...skipped, missing: [] }], false)).toContain('skipped without a reason');
  });
});

test('addingLine() names each package once and none for what no package brings', () => {
  expect(addingLine(['ip', 'tc', 'root'])?.match(/iproute2/g)).toHaveLength(1);
  expect(addingLine(['root'])).not.toContain('apt-get');
  expect(addingLine([])).toBeUndefined();
});
