import { Argument, Command, Option } from 'commander';
import { expect, test } from 'vitest';
import { type CommandNode, commandTree, everyCommand } from './command-tree.ts';
import { completionScript } from './completion/script.ts';
import { buildProgram } from './program.ts';
import { verbs } from './verbs.ts';

const silent = { write: () => true };
const program = commandTree(buildProgram({ stdout: silent, stderr: silent }, { exitCode: 0 }));

const find = (...words: string[]): CommandNode =>
  everyCommand(program).find((node) => node.words.join(' ') === words.join(' '))!;

test('every verb is there, with its usage', () => {
  expect(program.commands.map(({ words, usage }) => [...words, usage].join(' ').trim())).toEqual(
    verbs.map(({ usage }) => usage),
  );
});

test('choices are those of commander, or those a usage line names', () => {
  const choices = (...words: string[]) => find(...words).arguments[0]!.choices;
  expect(choices('completion')).toEqual(['bash', 'zsh', 'fish']);
  expect(choices('shims')).toEqual(['install', 'remove']);
  expect(choices('service')).toEqual(['start', 'stop', 'restart', 'reload', 'save', 'status']);
  expect(find('plan').options.find(({ flags }) => flags.includes('-o'))).toEqual({
    flags: ['-o', '--output'],
    placeholder: 'format',
    choices: ['text', 'json', 'yaml'],
    summary: 'Form of the answer',
    leftOut: 'text',
  });
});

test('the options of ipvsadm are those of its own table', () => {
  const flags = find('ipvsadm').options.flatMap(({ flags }) => flags);
  expect(flags).toEqual(
    expect.arrayContaining(['-A', '--add-service', '-L', '-l', '--list', '--sctp-service']),
  );
  expect(new Set(flags).size).toBe(flags.length);
});

test.each(['bash', 'zsh', 'fish'] as const)('a new command is in the completion of %s by itself', (shell) => {
  const headgate = new Command('headgate');
  headgate
    .command('frobnicate')
    .description("It's new: [really]")
    .addArgument(new Argument('<service>', 'Which'))
    .addOption(new Option('--depth <depth>', 'How deep').choices(['shallow', 'abyssal']));
  const script = completionScript(shell, commandTree(headgate));
  for (const word of ['frobnicate', 'depth', 'shallow abyssal', 'services']) expect(script).toContain(word);
});
