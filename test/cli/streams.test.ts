import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { until } from '../ha/link.ts';
import { requires } from '../requirements.ts';

const launcher = resolve(import.meta.dirname, '../../bin/headgate.js');

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'headgate-streams-'));
  writeFileSync(join(folder, 'good.yaml'), 'own: true\n');
  writeFileSync(join(folder, 'bad.yaml'), 'own: maybe\n');
  writeFileSync(join(folder, 'rules'), '-A -t 192.0.2.10:80 -s rr\n-Z\n');
});

afterAll(() => rmSync(folder, { recursive: true }));

const run = (...words: string[]) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [launcher, ...words], {
    encoding: 'utf8',
    timeout: 60_000,
    cwd: folder,
  });
  return { status, stdout, stderr };
};

test.each([
  [['validate', 'good.yaml'], 0],
  [['validate', 'bad.yaml'], 1],
  [['shims', 'remove', '--dir', '.'], 0],
])('the answer of %j is all on standard output, also as JSON and YAML', answersAlike);

// The folder of labs is root's once there was one.
requires('root')('of labs', () => {
  test('the list is all on standard output too', () => answersAlike(['lab', 'list'], 0));
});

function answersAlike(words: readonly string[], status: number): void {
  const [text, json, yaml] = [[], ['-o', 'json'], ['-o', 'yaml']].map((form) => run(...words, ...form));
  for (const one of [text, json, yaml]) expect(one).toMatchObject({ status, stderr: '' });
  expect(text!.stdout).not.toBe('');
  expect(json!.stdout).toMatch(/^[{[].*[}\]]\n$/);
  expect(parse(yaml!.stdout)).toEqual(JSON.parse(json!.stdout));
}

test('what is said beside an answer is on standard error', () => {
  const { status, stdout, stderr } = run('import', 'rules');
  expect(status).toBe(0);
  expect(parse(stdout)).toMatchObject({ virtualServices: [{ address: '192.0.2.10:80' }] });
  expect(stderr).toMatch(/^rules:2: ignored: /);
});

test.each([
  [['plan', 'bad.yaml'], 1],
  [['import', 'good.yaml', '--from', 'nothing'], 2],
  [['lab', 'up', 'nothing-of-this-name'], 1],
  [['reload', '--frob'], 2],
  [['frob'], 2],
])('%j fails with nothing on standard output', (words, status) => {
  const { stderr, ...rest } = run(...words);
  expect(rest).toEqual({ status, stdout: '' });
  expect(stderr).toMatch(/^headgate: Cannot .*\[HG_[A-Z_]+\]\n {2}next: .*\n$/m);
});

/** What the demonstration prints on a terminal until its picture is there and a person types Ctrl-C. */
async function demoOnTerminal(environment: NodeJS.ProcessEnv): Promise<string> {
  const demo = `${process.execPath} ${launcher} demo --data-plane proxy`;
  const terminal = spawn('script', ['-qec', demo, '/dev/null'], {
    env: { PATH: process.env.PATH, TERM: 'xterm', ...environment },
  });
  const ended = once(terminal, 'close');
  try {
    let shown = '';
    terminal.stdout.setEncoding('utf8').on('data', (text) => {
      shown += text;
    });
    await until(() => shown.includes('forwards in this process'), 'the picture is there', 60_000);
    terminal.stdin.write('\x03');
    await ended;
    return shown;
  } finally {
    terminal.kill();
  }
}

// ECMA-48, select graphic rendition.
const colours = new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*m`);

requires('terminal')('colour', () => {
  test('is on a terminal only, and not with NO_COLOR', async () => {
    expect(await demoOnTerminal({})).toMatch(colours);
    expect(await demoOnTerminal({ NO_COLOR: '1' })).not.toMatch(colours);
  });
});
