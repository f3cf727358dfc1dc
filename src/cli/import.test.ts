import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { goldenNames } from '../../test/golden/replay.ts';
import { importConfiguration } from './import.ts';
import { main } from './main.ts';

const folder = mkdtempSync(join(tmpdir(), 'headgate-import-'));
afterAll(() => rmSync(folder, { recursive: true }));

function fileOf(text: string | Uint8Array): string {
  const path = join(folder, 'rules');
  writeFileSync(path, text);
  return path;
}

async function run(...args: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const said = { stdout: '', stderr: '' };
  const exitCode = await main(args, {
    stdout: { write: (text) => (said.stdout += text) },
    stderr: { write: (text) => (said.stderr += text) },
  });
  return { exitCode, ...said };
}

const rules = `# the shop
-A -t 192.0.2.10:80 -s rr
-a -t 192.0.2.10:80 -r 10.0.0.11:8080 -g
-Z
`;
const yaml = `# Imported from rules, rules of ipvsadm.

virtualServices:
  # the shop
  - name: http-192.0.2.10
    address: 192.0.2.10:80
    scheduler: rr
    whenGone: drop
    realServers:
      - { address: 10.0.0.11 }
`;

test('the configuration is the answer, what became of lines is said beside it', async () => {
  const file = fileOf(rules);
  const notes = `${file}:3: changed: port 8080 is 80: only masquerading (-m) can change the port
${file}:4: ignored: counters are no configuration
${file}: 3 lines: 1 kept, 1 changed, 1 ignored
`;
  expect(await run('import', file)).toEqual({ exitCode: 0, stdout: yaml, stderr: notes });
  expect(await run('import', file, '--check')).toEqual({ exitCode: 1, stdout: yaml, stderr: notes });
  expect((await run('import', fileOf('-A -t 192.0.2.10:80\n'), '--check')).exitCode).toBe(0);
});

test('-o json has the configuration, every note and the counts', async () => {
  const file = fileOf(rules);
  const { exitCode, stdout } = await run('import', file, '-o', 'json');
  expect(exitCode).toBe(0);
  const note = (line: number, kind: string) => expect.objectContaining({ file, line, kind });
  expect(JSON.parse(stdout)).toEqual({
    format: 'ipvsadm',
    configuration: {
      virtualServices: [
        {
          name: 'http-192.0.2.10',
          address: '192.0.2.10:80',
          scheduler: 'rr',
          whenGone: 'drop',
          realServers: [{ address: '10.0.0.11' }],
        },
      ],
    },
    notes: [note(2, 'kept'), note(3, 'changed'), note(4, 'ignored')],
    summary: { kept: 1, changed: 1, ignored: 1 },
  });
});

test('a mistake has its place and a next step, and nothing is printed', async () => {
  const file = fileOf('-A -t 192.0.2.10:80 - rr\n');
  const { exitCode, stdout, stderr } = await run('import', file);
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
  expect(stderr).toBe(`${file}:1:21: rule: wanted an option, found "-" [HG_CONFIG_RULE]
  1 | -A -t 192.0.2.10:80 - rr
    |                     ^
  next: did you mean "-s rr"?
headgate: Cannot import file "${file}": 1 mistake [HG_CONFIG]
  next: Correct the places that are named; docs/import.md says what is read.
`);
});

test.each([
  ['a file that is not there', () => join(folder, 'none'), 'HG_CONFIG_READ'],
  ['a folder', () => folder, 'HG_CONFIG_READ'],
  [
    'binary data',
    () => fileOf(Uint8Array.from({ length: 5000 }, (_, i) => (i * i) % 256)),
    'HG_IMPORT_FORMAT',
  ],
  ['a file without end', () => '/dev/zero', 'HG_CONFIG_SIZE'],
  ['another program, by its name', () => fileOf('keepalive 2\ndeadtime 30\n'), 'HG_IMPORT_FORMAT'],
  ['something else', () => fileOf('frontend web\n  bind :80\n'), 'HG_IMPORT_FORMAT'],
])('%s is refused', async (_what, file, code) => {
  const { exitCode, stdout, stderr } = await run('import', file());
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
  expect(stderr).toContain(`[${code}]\n`);
});

test('an unknown format is a mistake in the command line', async () => {
  const { exitCode, stderr } = await run('import', fileOf(rules), '--from', 'ipvsdam');
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(/"ipvsdam": wanted .*ipvsadm, .* \[HG_USAGE\]/);
});

test('names of hosts are looked up, all of them', async () => {
  const file = fileOf('-A -t www:http\n-a -t www:http -r real-1:http -m\n-a -t www:http -r nobody -m\n');
  const said = { stdout: '', stderr: '' };
  const streams = {
    stdout: { write: (text: string) => (said.stdout += text) },
    stderr: { write: (text: string) => (said.stderr += text) },
  };
  const attempt = () => importConfiguration(file, { output: 'yaml' }, streams, goldenNames);
  await expect(attempt()).rejects.toMatchObject({ problems: [{ at: { line: 3 } }] });
  fileOf('-A -t www:http\n-a -t www:http -r real-1:http -m\n');
  expect(await attempt()).toBe(0);
  const [, host] = /"www:http" is (\S+):80/.exec(said.stderr)!;
  expect(host).toBe(await goldenNames.addressOf('www'));
  expect(said.stdout).toContain(`address: ${host}:80\n`);
});

test('validate takes such files, and warns', async () => {
  const file = fileOf(rules);
  const { exitCode, stdout, stderr } = await run('validate', file);
  expect({ exitCode, stdout }).toEqual({
    exitCode: 0,
    stdout: `${file}: sound, 1 virtual service, 1 real server\n`,
  });
  expect(stderr.split('\n').map((line) => line.replace(/(ed): .*/, '$1'))).toEqual([
    `${file}:3: changed`,
    `${file}:4: ignored`,
    '',
  ]);
  const json = JSON.parse((await run('validate', file, '-o', 'json')).stdout);
  expect(json.files[0].warnings).toHaveLength(2);
});
