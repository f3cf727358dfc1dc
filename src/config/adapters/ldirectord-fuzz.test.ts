import fc from 'fast-check';
import { expect, test } from 'vitest';
import { problemText } from '../../model/problem.ts';
import type { Files } from '../files.ts';
import { importFile } from '../import.ts';
import { loadConfiguration } from '../load.ts';
import { directives, serviceWords } from './ldirectord/directives.ts';
import { machineNames } from './machine-names.ts';

const timeout = 120_000;
const numRuns = process.env.LONG ? 20_000 : 300;

const oneFile = (name: string, text: string): Files => ({
  read: (path) => {
    if (path === name) return new TextEncoder().encode(text);
    throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
  },
  list: () => [],
  identity: (path) => path,
});

const names = machineNames(() => new Uint8Array());

/** Whatever the text is: a configuration that native YAML says as well, or problems at places that are there. */
function isAnswer(text: string): void {
  const files = oneFile('ldirectord.cf', text);
  const { yaml, notes, problems } = importFile('ldirectord.cf', {
    files,
    names,
    environment: {},
    from: 'ldirectord',
  });
  expect(yaml === undefined).toBe(problems.length > 0);
  const lines = text.split('\n');
  for (const problem of problems) {
    expect(problem.at.line).toBeLessThanOrEqual(lines.length);
    expect(problem.message).not.toMatch(/\n/);
    expect(problemText(problem)).not.toMatch(/\p{Cc}(?<!\n)/u);
  }
  for (const { line } of notes) expect(lines[line - 1]).toMatch(/\S/);
  if (yaml === undefined) return;
  const native = loadConfiguration('h.yaml', { files: oneFile('h.yaml', yaml), environment: {} });
  expect(native.problems).toEqual([]);
  const direct = loadConfiguration('ldirectord.cf', { files, environment: {} });
  expect(native.configuration).toEqual(direct.configuration);
  const said = lines.flatMap((line, i) => (/^[\s\u00a0]*(?:#|$)/.test(line) ? [] : [i + 1]));
  expect(notes.map(({ line }) => line)).toEqual(said);
}

const values = [
  ...[
    'yes',
    'no',
    '0',
    '1',
    '3s',
    '70000',
    '99999999999',
    '"a"',
    '""',
    '"',
    "'a'",
    '"^a[b"',
    '"(?i)a$"',
    '"\\Qa"',
  ],
  ...[
    '10.0.0.1',
    '10.0.0.1:80',
    '10.0.0.1:80 gate',
    '10.0.0.1->10.0.0.3:80 masq 2',
    '10.0.0.9 ipip "a", "b"',
  ],
  ...[
    '10.0.0.1:8080 masq l:5 u:9',
    '0.0.0.0->255.255.255.255 gate',
    '[2001:db8::1]:80 masq',
    '[::1]',
    '127.0.0.1',
  ],
  ...[
    'connect',
    'ping',
    'external',
    'on',
    'off',
    'tcp',
    'udp',
    'fwm',
    'rr',
    'sh',
    'sh-port',
    '255.255.255.0',
    '64',
  ],
  ...['"http://10.0.0.1:8/x"', '"SELECT 1"', 'a#b', '', ...serviceWords],
];
const line = fc
  .tuple(
    fc.constantFrom('', '\t', '    ', '\t', '\t', '  ', '\u00a0\u00a0\u00a0\u00a0', '#'),
    fc.constantFrom('real', 'real', 'service', 'checktype', ...Object.keys(directives)),
    fc.constantFrom('=', '=', ' = ', '', '\u00a0=\t'),
    fc.constantFrom(...values),
    fc.constantFrom('\n', '\n', '\n', '\n\n', '\r\n', ' # c\n', ''),
  )
  .map((parts) => parts.join(''));
const head = fc.constantFrom(
  ...[
    'virtual=192.0.2.10:80\n',
    'virtual=192.0.2.10:53\n',
    'virtual = 7\n',
    'virtual6=[2001:db8::10]:80\n',
    '',
  ],
);

test('lines of what has a meaning give an answer', { timeout }, () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(head, fc.array(line, { maxLength: 8 })), { maxLength: 4 }), (sections) =>
      isAnswer(sections.map(([first, rest]) => `${first}${rest.join('')}`).join('')),
    ),
    { numRuns: numRuns * 3 },
  );
});

test('lines of which each is right by itself are mostly a configuration', { timeout }, () => {
  const right = fc.constantFrom(
    ...[
      'real=10.0.0.1:80 masq',
      'real=10.0.0.2->10.0.0.4:81 masq 3 "a", "b"',
      'real=10.0.0.7 gate',
      'checkport=81',
    ],
    ...[
      'request="x"',
      'receive="^a$"',
      'receive="a"',
      'login="u"',
      'passwd="p"',
      'secret="s"',
      'database="d"',
    ],
    ...[
      'fallback=127.0.0.1',
      'persistent=60',
      'quiescent=yes',
      'failurecount=3',
      'checktimeout=2',
      'ops=yes',
    ],
    ...[
      'checktype=connect',
      'checktype=2',
      'checktype=external',
      'virtualhost=a.example',
      'protocol=udp',
      'comment=c',
    ],
    ...serviceWords.map((word) => `service=${word}`),
  );
  let sound = 0;
  fc.assert(
    fc.property(fc.array(right, { maxLength: 12 }), (lines) => {
      const text = `virtual=192.0.2.10:80\n${lines.map((one) => `\t${one}\n`).join('')}`;
      isAnswer(text);
      const { problems } = loadConfiguration('ldirectord.cf', {
        files: oneFile('ldirectord.cf', text),
        environment: {},
      });
      if (problems.length === 0) sound++;
    }),
    { numRuns },
  );
  expect(sound).toBeGreaterThan(numRuns * 0.9);
});

const file = `checktimeout=3
fallback=127.0.0.1:80
virtual=192.0.2.10:80
\treal=10.0.0.11->10.0.0.13:80 masq 2 "a", "b" l:1 u:2
\tservice=http
\trequest="test.html"
\treceive="Test (Page|Site)$"
\tscheduler=rr
virtual6=[2001:db8::10]:443
\treal6=[2001:db8::11]:443 gate
`;

test('a sound file with a part cut out, doubled or replaced gives an answer', { timeout }, () => {
  isAnswer(file);
  const offset = fc.nat(file.length);
  fc.assert(
    fc.property(
      offset,
      offset,
      fc.string({ unit: 'binary', maxLength: 8 }),
      fc.boolean(),
      (a, b, piece, twice) => {
        const [from, to] = [Math.min(a, b), Math.max(a, b)];
        const part = file.slice(from, to);
        const text = `${file.slice(0, from)}${piece}${twice ? part + part : ''}${file.slice(to)}`;
        if (!text.includes('\0')) isAnswer(text);
      },
    ),
    { numRuns: numRuns * 2 },
  );
});

test('time grows with the size of a file, not with its square', { timeout }, () => {
  const took = (text: string): number => {
    const before = process.cpuUsage();
    loadConfiguration('ldirectord.cf', { files: oneFile('ldirectord.cf', text), environment: {} });
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  };
  for (const make of [
    (n: number) => 'quiescent=yes\n'.repeat(n),
    (n: number) => `virtual=192.0.2.10:80\n${'\treal=10.0.0.1:80 gate\n'.repeat(n)}`,
    (n: number) =>
      Array.from({ length: n }, (_, i) => `virtual=192.0.2.10:${i + 1}\n\treal=10.0.0.1:80 masq\n`).join(''),
    (n: number) => `comment=${'"a" '.repeat(n)}\n`,
    (n: number) => `virtual=192.0.2.10:80\n\treal=10.0.0.1:80 gate ${'"a" '.repeat(n)}\n`,
    (n: number) => `virtual=192.0.2.10:80\n\treal=10.0.0.1:80 gate ${'"a", '.repeat(n)}\n`,
    (n: number) => `virtual=192.0.2.10:80\n\treal=${'10.0.0.1-'.repeat(n)}\n`,
    (n: number) => `virtual=${'1.'.repeat(n)}\n`,
    (n: number) => `virtual=192.0.2.10:80\n\tfallback=${'a:'.repeat(n)}\n`,
    (n: number) => `virtual=192.0.2.10:80\n\treceive="${'(a+'.repeat(n)}"\n`,
  ]) {
    took(make(500));
    const small = Math.max(5, took(make(1_000)));
    expect(took(make(10_000)), make(3)).toBeLessThan(small * 60);
  }
});
