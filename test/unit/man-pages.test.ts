import { Argument, Command } from 'commander';
import { expect, test } from 'vitest';
import { manPages } from '../../scripts/man-pages.ts';
import { blocks, inline, plain, wrapped } from '../../scripts/roff.ts';
import { commandTree } from '../../src/cli/command-tree.ts';
import { buildProgram } from '../../src/cli/program.ts';
import { verbs } from '../../src/cli/verbs.ts';
import { projectText } from './project.ts';

const silent = { write: () => true };
const sources = {
  program: commandTree(buildProgram({ stdout: silent, stderr: silent }, { exitCode: 0 })),
  commands: projectText('docs/reference/cli.md'),
  configuration: projectText('docs/reference/configuration.md'),
  version: '9.8.7',
  date: '2001-02-03',
};
const pages = manPages(sources);

test('every verb has a page, and the program and its file have one', () => {
  expect([...pages.keys()]).toEqual([
    'headgate.1',
    ...verbs.map(({ name }) => `headgate-${name}.1`),
    'headgate.yaml.5',
  ]);
  for (const text of pages.values())
    expect(text).toMatch(/^\.TH \S+ [15] "2001-02-03" "Headgate 9\.8\.7" "Headgate"\n/);
});

test('a page has what its section says, every option, and the examples as one types them', () => {
  const page = pages.get('headgate-apply.1')!;
  expect(page).toContain('Shows what \\fBplan\\fR shows and does it');
  expect(page).toContain('\\fB\\-\\-yes\\fR');
  expect(page).toContain('\n.SH "EXAMPLES"\n');
  expect(page).toContain('\nheadgate apply lb1.yaml \\-\\-yes\n');
  expect(page).not.toContain('npx');
});

test('the page of the program has exit status and environment', () => {
  const page = pages.get('headgate.1')!;
  for (const text of ['.SH "STREAMS AND EXIT STATUS"', '\\fBNO_COLOR\\fR', '.TP\n70\n'])
    expect(page).toContain(text);
});

test('a new command has a page by itself', () => {
  const headgate = new Command('headgate').description('Balance.');
  headgate.command('frobnicate').description('Do it').addArgument(new Argument('<service>', 'Which one'));
  const page = manPages({ ...sources, program: commandTree(headgate) }).get('headgate-frobnicate.1');
  expect(page).toContain('Which one.');
});

test('nothing of a text is taken for a macro or an escape (groff_char(7), roff(7))', () => {
  expect(plain("a\\b -x 'q' ~^`")).toBe('a\\eb \\-x \\(aqq\\(aq \\(ti\\(ha\\(ga');
  expect(wrapped('.TH is no macro here')).toBe('\\&.TH is no macro here');
  expect(
    wrapped(`${'word '.repeat(20)}`)
      .split('\n')
      .map((line) => line.length <= 78),
  ).toEqual([true, true]);
  expect(inline('see [the `x` page](y.md) and `a|b`')).toBe('see the \\fBx\\fR page and \\fBa|b\\fR');
  expect(inline('`a\\|b`')).toBe('\\fBa|b\\fR');
});

test('tables become lists, with columns after the second named', () => {
  const table = '| Key | Value | Meaning |\n|---|---|---|\n| `a` | `x \\| y` | What it is. |';
  expect(blocks(table)).toEqual(['.TP\n\\fBa\\fR\nValue: \\fBx | y\\fR. What it is.']);
  expect(blocks('| Code | Meaning |\n|---|---|\n| 0 | Done |')).toEqual(['.TP\n0\nDone']);
});

test('package.json names every page where it names any: npm links those and no others', () => {
  const { man } = JSON.parse(projectText('package.json')) as { man?: string[] };
  const names = [...pages.keys()].map((name) => `man/${name}`);
  expect([...(man ?? names)].sort()).toEqual(names.sort());
});
