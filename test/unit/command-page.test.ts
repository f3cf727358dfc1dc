import { describe, expect, test } from 'vitest';
import { type CommandNode, commandTree, everyCommand } from '../../src/cli/command-tree.ts';
import { examplesOf } from '../../src/cli/examples.ts';
import { main } from '../../src/cli/main.ts';
import { buildProgram } from '../../src/cli/program.ts';
import { exitCodes } from '../../src/cli/report-error.ts';
import { findVerb } from '../../src/cli/verbs.ts';
import { projectText } from './project.ts';

const page = projectText('docs/reference/cli.md');
const silent = { write: () => true };
const program = commandTree(buildProgram({ stdout: silent, stderr: silent }, { exitCode: 0 }));
/** Every command of our own grammar, also those below others, by its name. */
const commands = everyCommand(program)
  .slice(1)
  .filter(({ words }) => findVerb(words[0])?.grammar === 'headgate')
  .map((node) => [node.words.join(' '), node] as const);

/** What the page says of a command: its row in the first table, and its section. */
function pageOf({ words: [verb] }: CommandNode): string {
  const row = page.split('\n').filter((line) => line.startsWith(`| \`headgate ${verb}`));
  const section = page.split(/^## /m).find((text) => text.startsWith(`${verb}\n`)) ?? '';
  return `${row.join('\n')}\n${section}`;
}

async function run(...args: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const said = { stdout: '', stderr: '' };
  const exitCode = await main(args, {
    stdout: { write: (text) => (said.stdout += text) },
    stderr: { write: (text) => (said.stderr += text) },
  });
  return { exitCode, ...said };
}

describe.each(commands)('headgate %s', (_name, node) => {
  test('has two examples on the page, and has them in its help', async () => {
    const examples = examplesOf(node.words);
    const wanted = node.words.length === 1 ? 2 : 1;
    expect(examples.length).toBeGreaterThanOrEqual(wanted);
    const { exitCode, stdout, stderr } = await run(...node.words, '--help');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    for (const example of examples) {
      expect(stdout.split('\n')).toContain(`  ${example}`);
      expect(page.replaceAll('npx headgate', 'headgate').includes(`    ${example}\n`)).toBe(true);
    }
    expect(await run('help', ...node.words)).toEqual({ exitCode, stdout, stderr });
  });

  test('has every option on the page', () => {
    const text = pageOf(node);
    const flags = node.options.flatMap(({ flags }) => flags).filter((flag) => flag.startsWith('--'));
    const missing = flags.filter((flag) => {
      if (flag === '--help') return false;
      // What every command has in common is told once, and here by what the answer is in JSON.
      return flag === '--output' ? !text.includes('-o ') : !text.includes(flag);
    });
    expect(missing).toEqual([]);
  });

  test('has no option in its examples that it does not take', () => {
    const flags = node.options.flatMap(({ flags }) => flags);
    const said = examplesOf(node.words).flatMap((line) => {
      const [own = ''] = line.split(`headgate ${node.words.join(' ')}`)[1]!.split(/ -- | [|>&] ?/);
      return own.split(' ').filter((word) => word.startsWith('-'));
    });
    if (node.commands.length === 0) expect(said.filter((flag) => !flags.includes(flag))).toEqual([]);
  });

  test('has a help of at most 80 columns', async () => {
    const { stdout } = await run(...node.words, '--help');
    expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([]);
  });
});

test('every exit code is in the table of the page, and those alone', () => {
  const table = page.slice(page.indexOf('\n## Streams and exit codes'), page.indexOf('\n## Environment'));
  const codes = [...table.matchAll(/^\| (\d+) \| /gm)].map(([, code]) => Number(code));
  expect(codes).toEqual(Object.values(exitCodes));
});

test('the help of the program has at most 80 columns', async () => {
  const { stdout } = await run('--help');
  expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([]);
});
