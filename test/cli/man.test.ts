import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { requires } from '../requirements.ts';

const root = resolve(import.meta.dirname, '../..');
let folder: string;
let pages: string[];

/** The pages as the package has them. */
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'headgate-man-'));
  const { status, stderr } = spawnSync(process.execPath, ['--import', 'tsx', 'scripts/man.ts', folder], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, SOURCE_DATE_EPOCH: '981173106' },
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  pages = readdirSync(folder).map((name) => join(folder, name));
});

afterAll(() => rmSync(folder, { recursive: true }));

const run = (program: string, words: readonly string[], columns = '80') => {
  const env = { ...process.env, MANWIDTH: columns, LC_ALL: 'C.UTF-8' };
  const { status, stdout, stderr } = spawnSync(program, words, { encoding: 'utf8', env });
  return { status, stdout, stderr };
};

test('the date is that of the package where one is given', () => {
  for (const page of pages) expect(readFileSync(page, 'utf8')).toContain('"2001-02-03"');
});

requires('mandoc')('mandoc', () => {
  test('finds nothing to complain about, not even style', () => {
    expect(run('mandoc', ['-T', 'lint', ...pages])).toEqual({ status: 0, stdout: '', stderr: '' });
  });
});

requires('man')('man', () => {
  test.each(['72', '80', '200'])('shows every page without a warning in %s columns', (columns) => {
    for (const page of pages)
      expect(run('man', ['--warnings', '-l', page], columns)).toMatchObject({ status: 0, stderr: '' });
  });

  test('shows a page as it is meant', () => {
    const { stdout: text } = run('man', ['-l', join(folder, 'headgate-diff.1')]);
    expect(text).toContain('headgate-diff - Compare a configuration with the rules in force');
    expect(text).toContain('       headgate diff [FILE]\n');
    expect(text).toContain('headgate diff lb1.yaml && echo as described');
    expect(text).toContain(
      '       -o, --output FORMAT\n              Form of the answer. One of text, json, yaml. Left out: text.\n',
    );
  });
});
