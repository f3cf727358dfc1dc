import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { projectFiles, withoutComments } from '../../test/unit/project.ts';
import { tableInPieces } from './columns.ts';
import { main } from './main.ts';
import { dataText, listWriterOf, write } from './output.ts';

const folder = mkdtempSync(join(tmpdir(), 'headgate-output-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function run(...args: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const said = { stdout: '', stderr: '' };
  const exitCode = await main(args, {
    stdout: { write: (text) => (said.stdout += text) },
    stderr: { write: (text) => (said.stderr += text) },
  });
  return { exitCode, ...said };
}

test('write() gives text as it is, JSON on one line, and YAML', async () => {
  const said: string[] = [];
  const stdout = { write: (text: string) => said.push(text) };
  for (const output of ['text', 'json', 'yaml'] as const)
    await write({ stdout }, output, { a: [1, { b: 'c' }] }, () => 'for a person\n');
  expect(said).toEqual(['for a person\n', '{"a":[1,{"b":"c"}]}\n', 'a:\n  - 1\n  - b: c\n']);
});

test.each([
  [[]],
  [[[]]],
  [[[{ a: 1 }]]],
  [[[{ a: 1 }, { b: ['c'] }], [], [{ long: 'word '.repeat(50) }, 'on']]],
])('a list that is written piece by piece is what it is in one: %j', async (pieces) => {
  for (const output of ['json', 'yaml'] as const) {
    const [inPieces, whole]: string[][] = [[], []];
    const list = await listWriterOf({ stdout: { write: (text) => inPieces!.push(text) } }, output, String);
    for (const piece of pieces) list.add(piece);
    list.end();
    await write({ stdout: { write: (text) => whole!.push(text) } }, output, pieces.flat(), String);
    expect(inPieces!.join('')).toBe(whole!.join(''));
  }
});

test('a table that is written piece by piece has its heads once, and its columns only widen', async () => {
  const said: string[] = [];
  const columns = tableInPieces(['NAME', 'N'], 'N');
  const list = await listWriterOf({ stdout: { write: (text) => said.push(text) } }, 'text', columns);
  list.add([['longest', '1']]);
  list.add([]);
  list.add([['a', '100']]);
  list.end();
  expect(said.join('')).toBe('NAME     N\nlongest  1\na        100\n');
  const none: string[] = [];
  (await listWriterOf({ stdout: { write: (text) => none.push(text) } }, 'text', tableInPieces(['A']))).end();
  expect(none).toEqual(['A\n']);
});

test('the text is not made when nobody wants it', async () => {
  const never = (): string => {
    throw new Error('made');
  };
  await expect(write({ stdout: { write: () => 0 } }, 'json', {}, never)).resolves.toBeUndefined();
});

test('YAML holds what JSON holds, also for readers of YAML 1.1', async () => {
  const shared = { twice: true };
  const value = {
    words: [
      'on',
      'no',
      'Yes',
      'null',
      '~',
      '0o17',
      '1e3',
      '10:30',
      '2026-01-02',
      '',
      ' x',
      'a: b',
      '#',
      '- ',
    ],
    left: undefined,
    when: new Date(0),
    lines: 'one\ntwo\n',
    long: 'word '.repeat(50),
    numbers: [0, -1, 1.5, 1e21],
    empty: [{}, [], null],
    again: [shared, shared],
    '192.0.2.10:80': '[2001:db8::1]:80',
  };
  const json: unknown = JSON.parse(await dataText('json', value));
  const yaml = await dataText('yaml', value);
  for (const version of ['1.2', '1.1'] as const) expect(parse(yaml, { version })).toEqual(json);
  expect(yaml).not.toContain('&');
});

test.each([
  ['shims', 'remove', '--dir', folder],
  ['validate', join(folder, 'headgate.yaml')],
])('%s %s answers the same in JSON and in YAML', async (...words) => {
  writeFileSync(join(folder, 'headgate.yaml'), 'own: maybe\n');
  const [json, yaml] = [await run(...words, '-o', 'json'), await run(...words, '-o', 'yaml')];
  expect(json.stdout).toBe(`${JSON.stringify(JSON.parse(json.stdout))}\n`);
  expect(parse(yaml.stdout)).toEqual(JSON.parse(json.stdout));
  expect(yaml.exitCode).toBe(json.exitCode);
});

test('an error has the form that was asked for, however -o is written', async () => {
  for (const asked of [['-o', 'yaml'], ['-oyaml'], ['--output=yaml'], ['--output', 'yaml']]) {
    const { exitCode, stdout, stderr } = await run('shims', 'frob', ...asked);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    expect(parse(stderr)).toMatchObject({ error: { code: 'HG_USAGE' } });
  }
  expect((await run('lab', 'exec', 'nobody', '--', 'curl', '-o', 'json')).stderr).toMatch(/^headgate: /);
});

/** write() itself; the command whose answer is JSON; the one whose YAML is a configuration file. */
const exempt = ['src/cli/output.ts', 'src/cli/program.ts', 'src/cli/import.ts'];

test('no command makes its own JSON: output.ts writes answers', () => {
  const own = projectFiles('src/cli', ['.ts']).filter(
    ({ path, text }) =>
      !path.endsWith('.test.ts') &&
      !exempt.includes(path) &&
      /JSON\.stringify|(output|format) ===? '(json|yaml)'/.test(withoutComments(text)),
  );
  expect(own.map(({ path }) => path)).toEqual([]);
});
