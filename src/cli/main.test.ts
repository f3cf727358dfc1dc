import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { main } from './main.ts';
import { verbs } from './verbs.ts';

async function run(...args: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const said = { stdout: '', stderr: '' };
  const exitCode = await main(args, {
    stdout: { write: (text) => (said.stdout += text) },
    stderr: { write: (text) => (said.stderr += text) },
  });
  return { exitCode, ...said };
}

test('--version prints the version of package.json and nothing else', async () => {
  const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  expect(await run('--version')).toEqual({ exitCode: 0, stdout: `${manifest.version}\n`, stderr: '' });
});

test('--help, and no word at all, list every verb with its summary on standard output', async () => {
  for (const args of [['--help'], ['-h'], []]) {
    const { exitCode, stdout, stderr } = await run(...args);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const words = stdout.replaceAll(/\s+/g, ' ');
    for (const { name } of verbs) expect(words).toContain(`${name} `);
    for (const { summary } of verbs) expect(words).toContain(summary);
    const headings = stdout.match(/^\S.*:$/gm)!.slice(1);
    expect(headings).toEqual([...new Set(verbs.map(({ group }) => `${group}:`))]);
  }
});

test('a command of our own prints its help', async () => {
  const { exitCode, stdout } = await run('shims', '--help');
  expect(exitCode).toBe(0);
  expect(stdout).toContain('Usage: headgate shims install|remove [--dir DIRECTORY]');
  expect(stdout).toContain('/usr/local/sbin');
});

test('an unknown command is refused with the nearest one, exit 2, nothing on standard output', async () => {
  expect(await run('dmeo')).toEqual({
    exitCode: 2,
    stdout: '',
    stderr:
      'headgate: Cannot run "dmeo": there is no such command [HG_USAGE]\n  next: did you mean "headgate demo"?\n',
  });
  expect((await run('frobnicate')).stderr).toMatch(/\n {2}next: headgate --help\n$/);
});

test.each([
  ['an unknown option', ['--frob'], 'no option "--frob"'],
  ['an unknown option of a command', ['demo', '--frob'], 'Cannot run "demo": there is no option "--frob"'],
  ['a word too many', ['demo', 'now'], 'wanted no argument, found "now"'],
  ['a missing word', ['shims'], 'wanted install or remove, found nothing'],
  [
    'an option without its value',
    ['shims', 'install', '--dir'],
    'wanted DIRECTORY behind "--dir", found nothing',
  ],
  ['an unknown format', ['shims', 'install', '-o', 'xml'], 'xml'],
  ['a wrong word', ['shims', 'instal'], 'install or remove'],
])('%s is refused in two lines, exit 2', async (_what, args, reason) => {
  const { exitCode, stdout, stderr } = await run(...args);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
  expect(stderr).toMatch(/^headgate: Cannot .*\[HG_USAGE\]\n {2}next: .*\n$/);
  expect(stderr).toContain(reason);
});

test('an error is JSON on standard error when JSON was asked for', async () => {
  const { exitCode, stdout, stderr } = await run('shims', 'install', '--dir', '/dev/null', '-o', 'json');
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
  expect(Object.keys(JSON.parse(stderr).error)).toEqual(['code', 'message', 'hint']);
});
