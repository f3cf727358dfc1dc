import { expect, test } from 'vitest';
import { HeadgateError } from '../model/errors.ts';
import { problemAt, sourceOf } from '../model/problem.ts';
import type { Output } from './output.ts';
import { reportError } from './report-error.ts';

async function report(error: unknown, format: Output = 'text'): Promise<{ exitCode: number; text: string }> {
  let text = '';
  const exitCode = await reportError(error, { write: (part) => (text += part), format, version: '9.8.7' });
  return { exitCode, text };
}

test('an error of the catalogue shows sentence, code and hint; exit 1, for HG_USAGE 2', async () => {
  expect(await report(new HeadgateError('HG_NOT_ROOT', 'Cannot do this', { hint: 'do that.' }))).toEqual({
    exitCode: 1,
    text: 'headgate: Cannot do this [HG_NOT_ROOT]\n  next: do that.\n',
  });
  expect((await report(new HeadgateError('HG_USAGE', 'Cannot read'))).exitCode).toBe(2);
});

test('JSON holds the same three', async () => {
  const { text } = await report(
    new HeadgateError('HG_NOT_ROOT', 'Cannot do "this"', { hint: 'do that.' }),
    'json',
  );
  expect(JSON.parse(text)).toEqual({
    error: { code: 'HG_NOT_ROOT', message: 'Cannot do "this"', hint: 'do that.' },
  });
});

test('the problems of an error come before it, in JSON beside its code', async () => {
  const source = sourceOf('h.yaml', 'own: 1');
  const problems = [problemAt({ source, start: 5, end: 6 }, 'HG_CONFIG_VALUE', 'wanted x', 'do it')];
  const error = new HeadgateError('HG_CONFIG', 'Cannot use "h.yaml": 1 mistake', {
    problems,
    hint: 'correct it',
  });
  expect(await report(error)).toEqual({
    exitCode: 1,
    text: [
      'h.yaml:1:6: wanted x [HG_CONFIG_VALUE]',
      '  1 | own: 1',
      '    |      ^',
      '  next: do it',
      'headgate: Cannot use "h.yaml": 1 mistake [HG_CONFIG]',
      '  next: correct it',
      '',
    ].join('\n'),
  });
  expect(JSON.parse((await report(error, 'json')).text).error.problems).toEqual([
    { code: 'HG_CONFIG_VALUE', file: 'h.yaml', line: 1, column: 6, message: 'wanted x', hint: 'do it' },
  ]);
});

test.each([new TypeError('x is not a function'), 'a string'])(
  'anything else is a defect of ours, exit 70, with what a report needs: %s',
  async (thrown) => {
    const { exitCode, text } = await report(thrown);
    expect(exitCode).toBe(70);
    expect(text).toContain('a defect in Headgate');
    expect(text).toContain('headgate 9.8.7, node v');
    expect(JSON.parse((await report(thrown, 'json')).text).error).toMatchObject({ defect: true });
  },
);
