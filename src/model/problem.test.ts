import { expect, test } from 'vitest';
import { placeOf, problemAt, problemsText, problemText, sortProblems, sourceOf } from './problem.ts';

const source = sourceOf('a.yaml', 'one\r\ntwo \u{1f600}x: 3\n\tthree\n');
const at = (text: string, of = source) => {
  const start = of.text.indexOf(text);
  return { source: of, start, end: start + text.length };
};

test('lines and columns count from 1, columns in characters', () => {
  expect(placeOf(source, 0)).toEqual({ line: 1, column: 1 });
  expect(placeOf(source, at('two').start)).toEqual({ line: 2, column: 1 });
  expect(placeOf(source, at('x:').start)).toEqual({ line: 2, column: 6 });
  expect(placeOf(source, source.text.length)).toEqual({ line: 4, column: 1 });
  expect(placeOf(source, 10_000).line).toBe(4);
});

test('a problem is printed with its place, code, frame and next step', () => {
  expect(problemText(problemAt(at('x'), 'HG_CONFIG_VALUE', '"x": wanted y, found z', 'write y'))).toBe(
    [
      'a.yaml:2:6: "x": wanted y, found z [HG_CONFIG_VALUE]',
      '  1 | one',
      '  2 | two \u{1f600}x: 3',
      '    |      ^',
      '  3 | →three',
      '  next: write y',
      '',
    ].join('\n'),
  );
});

test('line numbers are as wide as the widest, and nothing follows the last line', () => {
  const long = sourceOf('b', `${'l\n'.repeat(9)}here\n`);
  expect(problemAt(at('here', long), 'HG_USAGE', 'x').frame).toEqual([' 9 | l', '10 | here', '   | ^^^^']);
  const alone = sourceOf('c', 'here');
  expect(problemAt(at('here', alone), 'HG_USAGE', 'x').frame).toEqual(['1 | here', '  | ^^^^']);
});

test('of a long line the surroundings are shown', () => {
  const line = sourceOf('d', `${'a'.repeat(5000)}HERE${'b'.repeat(5000)}`);
  const { at: place, frame } = problemAt(at('HERE', line), 'HG_USAGE', 'x');
  expect(place).toEqual({ line: 1, column: 5001 });
  expect(frame[0]).toBe(`1 | ${'a'.repeat(50)}HERE${'b'.repeat(46)}`);
  expect(frame[1]).toBe(`  | ${' '.repeat(50)}^^^^`);
});

test('nothing in a text reaches a terminal as a command', () => {
  const evil = sourceOf('e', 'a\u001b[2J\u202e\u0007b');
  const text = problemText(problemAt(at('b', evil), 'HG_USAGE', 'found "\u001b[31m"', '\u009b'));
  expect(text).not.toMatch(/[^\n\P{Cc}]|\p{Cf}/u);
  expect(text).toContain('found "·[31m"');
});

test('problems are sorted by file, in the order given, and place; many are cut off', () => {
  const other = sourceOf('z.yaml', 'x');
  const list = [
    problemAt(at('three'), 'HG_USAGE', '3'),
    problemAt(at('x', other), 'HG_USAGE', 'other'),
    problemAt(at('3'), 'HG_USAGE', '2'),
    problemAt(at('one'), 'HG_USAGE', '1'),
  ];
  expect(sortProblems(list).map(({ message }) => message)).toEqual(['1', '2', '3', 'other']);
  expect(sortProblems(list, ['z.yaml', 'a.yaml']).map(({ message }) => message)).toEqual([
    'other',
    '1',
    '2',
    '3',
  ]);
  expect(problemsText(Array(51).fill(list[0]!))).toMatch(/and 1 more mistake\n$/);
  expect(problemsText(list)).not.toContain('more');
});
