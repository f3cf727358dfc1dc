// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are variables of configuration files
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Problem } from '../model/errors.ts';
import { sourceOf } from '../model/problem.ts';
import { readAny, readUsual } from './read-tree.ts';
import type { TreeNode } from './tree.ts';

/** What matters of a tree: values, keys in their order, and places; of maps and lists only where they start. */
function shape(node: TreeNode): unknown {
  const { start, end } = node.span;
  if (node.kind === 'scalar') return [start, end, node.value, node.broken];
  if (node.kind === 'list') return ['list', start, node.items.map(shape)];
  return [
    'map',
    start,
    [...node.members].map(([key, { keySpan, value }]) => [key, keySpan.start, keySpan.end, shape(value)]),
  ];
}

const environment = { NAME: '7', WORD: 'a b' };

/** Whether the quick reader took it; then both must have made the same of it. */
function agrees(text: string): boolean {
  const source = sourceOf('h.yaml', text);
  const [quickProblems, problems]: [Problem[], Problem[]] = [[], []];
  const quick = readUsual(source, environment, quickProblems);
  if (!quick) return false;
  const whole = readAny(source, environment, problems);
  expect(quickProblems, text).toEqual(problems);
  expect(shape(quick), text).toEqual(whole && shape(whole));
  return true;
}

const usual = `# A comment
dataPlane:   auto   # was ipvs
own: true

virtualServices:
    # The first one.
    - name: web    # port 80
      address: [ 192.0.2.10:80, "[2001:db8::10]:80/tcp" ]
      persistence: \${NAME}m
      check: {type: http, interval: 2s, path: /a#b, status: [200-299, 401]}
      empty:
      realServers:
      - { name: web1, address: 10.0.0.11:8080, weight: \${NAME} }
      -
        name: web2  # rack 2
        weight: -1
      - plain entry
    - ~
x-numbers: [0x1F, 0o17, 1e3, .5, -.inf, .NaN, +12, 1., 012, 0b1, 1_000, null, Null, NULL, ~, true, True, FALSE, yes, '', "", '~']
x-text: [-a, ?b, :c, a:b, "a # b", 'c: d', a#b, "-"]
`;

test.each([usual, 'a: 1', 'a:\n- b\nc: {}\n', '- a\n- b: c\n  d: []\n', 'a:\n\n# x\n  b:\n\n\n'])(
  'takes %j',
  (text) => {
    expect(agrees(text)).toBe(true);
  },
);

test.each([
  'a: &x 1',
  'a: *x',
  'a: !!str 1',
  'a: |\n b',
  'a: "b\\n"',
  "a: 'b''c'",
  'a: b\n c',
  'a: [b,\n c]',
  'a: 1\na: 2',
  '<<: 1',
  '"a": 1',
  'a: b: c',
  '- - a',
  '? a',
  'null: 1',
  'a\n',
  'a: [b: c]',
  'a: {b}',
  'a: [b] c',
  ' a: 1\nb: 2',
  '---\na: 1',
  'a: 1\n...\n',
  'a:\t1',
  'a: 1\r\nb: 2',
])('leaves %j to the other parser', (text) => {
  expect(agrees(text)).toBe(false);
});

const numRuns = process.env.LONG ? 20_000 : 2_000;

// biome-ignore format: as a list
const pieces = [
  'a', 'b:', 'c: ', 'd: e', ': ', ':', '- ', '-', '-1', '? ', '\n', '\n', '\n  ', '\n  ', '\n    ', '\n- ', '\n  - ', ' ', '  ',
  '#', ' # x', '# y\n', '[', ']', '{', '}', ', ', ',', '"', "'", '"x"', "'y'", '""', '[a, b]', '{ a: 1, b: c }', '{}',
  '[]', '~', 'null', 'true', '0x1f', '1e3', '.5', '${NAME}', '${WORD}', '${NONE}', '$${x}', '$', '&a ', '*a', '|', '>', '!',
  '%', '@', '`', '---\n', '...\n', '\\', '192.0.2.1:80', '"[::1]:80"', '\u00e9',
];

test('agrees with the other parser on whatever it takes', { timeout: 120_000 }, () => {
  let taken = 0;
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...pieces), { minLength: 1, maxLength: 14 }), (parts) => {
      if (agrees(parts.join(''))) taken++;
    }),
    { numRuns },
  );
  expect(taken).toBeGreaterThan(numRuns / 100);
});

test('agrees on a usual file with a part cut out, doubled or replaced', { timeout: 120_000 }, () => {
  const offset = fc.nat(usual.length);
  let taken = 0;
  fc.assert(
    fc.property(
      offset,
      fc.nat(12),
      fc.constantFrom('', ...pieces),
      fc.boolean(),
      (from, length, piece, twice) => {
        const part = usual.slice(from, from + length);
        const changed = `${usual.slice(0, from)}${piece}${twice ? part + part : ''}${usual.slice(from + length)}`;
        if (agrees(changed)) taken++;
      },
    ),
    { numRuns: numRuns / 4 },
  );
  expect(taken).toBeGreaterThan(numRuns / 50);
});
