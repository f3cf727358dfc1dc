import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { failuresText, slowestText } from './closing.ts';
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
    expect(result.stdout).toMatch(/Left out on this machine:\n {2}.*one\.test\.ts > b\n {6}no water\n/);
    expect(run(body, { REQUIRE_ALL: '1' })).toMatchObject({
      exitCode: 1,
      lastLine: '1 passed, 0 failed, 1 skipped',
    });
  });

  test('names what passed only when tried again', () => {
    const result = run(`${passes}
      let tries = 0;
      test('b', { retry: 1 }, () => { expect(++tries, 'how often').toBe(2); });
      test('c', { retry: 1 }, () => { throw new Error('never'); });`);
    expect(result).toMatchObject({ exitCode: 1, lastLine: '2 passed, 1 failed, 0 skipped' });
    expect(result.stdout).toMatch(
      /Unsteady, .*:\n {2}.*one\.test\.ts > b\n {6}how often.*\n {6}expected 2\n {6}received 1\n\nFailed:\n {2}.*one\.test\.ts > c\n/,
    );
  });

  test('says what failed, in short, right before the totals', () => {
    const long = JSON.stringify({ ...Object.fromEntries(Array.from('abcdefghijklmnopqrs').entries()), z: 1 });
    const result = run(`${passes}
      describe('outer', () => {
        test('number', () => { expect(1, 'how many').toBe(2); });
        test('bound', () => { expect(897.5).toBeLessThan(350); });
        test('object', () => { expect({ ...${long}, z: 2 }).toEqual(${long}); });
        test('thrown', () => { throw new Error('first\\nsecond\\n\\nthird\\nfourth ' + 'x'.repeat(1000)); });
      });
      describe('hooked', () => {
        beforeAll(() => { throw new Error('no water'); });
        test('b', () => {});
      });`);
    const end = result.stdout.slice(result.stdout.lastIndexOf('\nFailed:\n'));
    const block = (name: string, ...lines: string[]) =>
      [` +\\S*one\\.test\\.ts > ${name}`, ...lines.map((line) => `      ${line}`)].join('\n');
    expect(end).toMatch(
      new RegExp(
        [
          '^\nFailed:',
          block('outer > number', 'how many: expected 1 to be 2.*', 'expected 2', 'received 1'),
          block('outer > bound', 'expected 897.5 to be less than 350', 'expected 350', 'received 897.5'),
          block('outer > object', 'expected \\{.*\\} to deeply equal .*', '- "z": 1,', '\\+ "z": 2,'),
          block('outer > thrown', 'first', 'second', 'third'),
          block('hooked', 'no water'),
          '1 passed, 5 failed, 1 skipped\n$',
        ].join('\n'),
      ),
    );
  });

  test('names the files that took longest', () => {
    const result = run("test('a', () => new Promise((resolve) => setTimeout(resolve, 1_100)));\n");
    expect(result.stdout).toMatch(/\nSlowest files:\n +1 s {2}\S*one\.test\.ts\n1 passed,/);
    expect(run(passes).stdout).not.toContain('Slowest files');
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

describe('failuresText()', () => {
  test('is empty when nothing failed', () => {
    expect(failuresText([])).toBe('');
  });

  test('keeps a block at four lines and about 300 characters, without colours', () => {
    const line = `\u001b[31m${'long '.repeat(100)}\u001b[39m`;
    const text = failuresText([
      { title: 'x > a', errors: [{ message: [line, line, line, line].join('\n') }] },
    ]);
    const [, heading, title, ...reason] = text.trimEnd().split('\n');
    expect([heading, title]).toEqual(['Failed:', '  x > a']);
    expect(reason).toHaveLength(3);
    expect(reason.join('').length).toBeLessThan(330);
    expect(text).not.toContain('\u001b');
  });

  test('has a block for a failure that gives no error', () => {
    expect(failuresText([{ title: 'x > a', errors: [] }])).toContain('x > a\n      no message\n');
  });
});

test('slowestText() gives the ten that took longest, longest first', () => {
  const times = Array.from({ length: 20 }, (_, index) => ({ file: `f${index}`, seconds: index }));
  const lines = slowestText(times).trim().split('\n');
  expect(lines).toHaveLength(11);
  expect([lines[1], lines[10]]).toEqual([
    expect.stringMatching(/ 19 s {2}f19$/),
    expect.stringMatching(/ 10 s {2}f10$/),
  ]);
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
