import { expect, test } from 'vitest';
import { main } from './main.ts';
import { meant } from './usage-error.ts';

async function told(line: string): Promise<{ exitCode: number; stdout: string; lines: string[] }> {
  const said = { stdout: '', stderr: '' };
  const exitCode = await main(line.split(' '), {
    stdout: { write: (text) => (said.stdout += text) },
    stderr: { write: (text) => (said.stderr += text) },
  });
  return { exitCode, stdout: said.stdout, lines: said.stderr.trimEnd().split('\n') };
}

const labWords = 'up, list, status, exec, kill, restore, cut, mend, test or down';
const methods = 'direct-routing, tunnel or masquerade';

/** Lines a new user types, what is wrong with them, and the next step. */
test.each([
  ['lab', `"lab": wanted ${labWords}, found nothing`, 'headgate lab --help'],
  ['lab upp nat', `"lab": wanted ${labWords}, found "upp"`, 'did you mean "headgate lab up"?'],
  ['lab ls', `"lab": wanted ${labWords}, found "ls"`, 'did you mean "headgate lab list"?'],
  ['lab create nat', `"lab": wanted ${labWords}, found "create"`, 'did you mean "headgate lab up"?'],
  ['lab stop', `"lab": wanted ${labWords}, found "stop"`, 'did you mean "headgate lab down"?'],
  ['lab stat', `"lab": wanted ${labWords}, found "stat"`, 'did you mean "headgate lab status"?'],
  ['lab frobnicate', `"lab": wanted ${labWords}, found "frobnicate"`, 'headgate lab --help'],
  ['lab up', '"lab up": wanted NAME|FILE, found nothing', 'for instance: headgate lab up nat'],
  [
    'lab up nat mine',
    '"lab up": wanted NAME|FILE, found "mine" as well',
    'for instance: headgate lab up nat',
  ],
  ['lab up nat --nam mine', '"lab up": there is no option "--nam"', 'did you mean "--name"?'],
  ['lab up nat --name', '"lab up": wanted NAME behind "--name", found nothing', 'headgate lab up --help'],
  ['lab list nat', '"lab list": wanted no argument, found "nat"', 'for instance: headgate lab list'],
  ['lab -o json list', undefined, 'write it behind the command: headgate lab list -o'],
  ['lab kill', '"lab kill": wanted NODE, found nothing', 'for instance: headgate lab kill rs1'],
  ['lab cut', '"lab cut": wanted LINK, found nothing', 'for instance: headgate lab cut back'],
  [
    'lab exec client',
    '"lab exec": wanted COMMAND..., found nothing',
    'for instance: headgate lab exec client -- curl -s http://172.16.16.172/',
  ],
  ['agent', '"agent": wanted up, down, serve or status, found nothing', 'headgate agent --help'],
  [
    'agent start',
    '"agent": wanted up, down, serve or status, found "start"',
    'did you mean "headgate agent up"?',
  ],
  [
    'agent remove',
    '"agent": wanted up, down, serve or status, found "remove"',
    'did you mean "headgate agent down"?',
  ],
  [
    'agent up 192.0.2.10',
    '"agent up": wanted no argument, found "192.0.2.10"',
    'for instance: headgate agent up --vip 192.0.2.10 --method direct-routing',
  ],
  [
    'agent up --vip',
    '"agent up": wanted ADDRESS... behind "--vip", found nothing',
    'headgate agent up --help',
  ],
  ['agent up --methd tunnel', '"agent up": there is no option "--methd"', 'did you mean "--method"?'],
  [
    'agent up --method nat',
    `"agent up": wanted ${methods} behind "--method", found "nat"`,
    'did you mean "masquerade"?',
  ],
  ['agent down --vip 192.0.2.1', '"agent down": there is no option "--vip"', 'headgate agent down --help'],
  ['shims instal', '"shims": wanted install or remove, found "instal"', 'did you mean "install"?'],
  [
    'doctor -o yml',
    '"doctor": wanted text, json or yaml behind "-o, --output", found "yml"',
    'did you mean "yaml"?',
  ],
  ['plan a.yaml b.yaml', '"plan": wanted [FILE], found "b.yaml" as well', 'for instance: headgate plan'],
  ['help dmeo', '"dmeo": there is no such command', 'did you mean "headgate demo"?'],
])('headgate %s', async (line, sentence, next) => {
  const { exitCode, stdout, lines } = await told(line);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
  if (sentence === undefined) expect(lines.join()).toContain(next);
  else expect(lines).toEqual([`headgate: Cannot run ${sentence} [HG_USAGE]`, `  next: ${next}`]);
});

test('an option behind the node of "lab exec" is not taken for the command', async () => {
  expect((await told('lab exec rs1 --lab mine -- true')).lines).toEqual([
    'headgate: Cannot run "--lab" on "rs1": wanted options of "lab exec" before the node, the command behind "--" [HG_USAGE]',
    '  next: headgate lab exec --lab LAB rs1 -- COMMAND',
  ]);
});

test('what is missing for "agent up" is told with a whole line that works', async () => {
  expect((await told('agent up')).lines).toEqual([
    'headgate: Cannot set up this host: wanted --method with one of direct-routing, tunnel, masquerade, found none [HG_USAGE]',
    '  next: for instance: headgate agent up --vip 192.0.2.10 --method direct-routing',
  ]);
});

test('an option before its command is sent behind it', async () => {
  expect((await told('--data-plane proxy demo')).lines).toEqual([
    'headgate: Cannot read the command line: there is no option "--data-plane" [HG_USAGE]',
    '  next: write it behind the command: headgate demo --data-plane',
  ]);
});

test('meant() never leads to a word that is not there', () => {
  expect(meant('start', ['list'])).toBeUndefined();
  expect(meant('constructor', ['list'])).toBeUndefined();
  expect(meant('start', ['run', 'restart'])).toBe('run');
});
