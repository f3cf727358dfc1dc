// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are variables of configuration files
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type ErrorCode, errorCatalogue } from '../model/errors.ts';
import { problemText, sourceOf } from '../model/problem.ts';
import type { Files } from './files.ts';
import { type Loaded, loadConfiguration } from './load.ts';

/** A machine that does other things as well takes its time. */
const timeout = 120_000;

const numRuns = process.env.LONG ? 20_000 : 200;

function load(content: Uint8Array | string): Loaded {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
  const files: Files = {
    read: (path) => {
      if (path === 'h.yaml') return bytes;
      throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
    },
    list: () => ['h.yaml'],
    identity: (path) => path,
  };
  return loadConfiguration('h.yaml', { files, environment: { NAME: 'x' } });
}

/** Whatever the content was: a configuration or problems, never both, each problem at a place that is there. */
function isAnswer({ configuration, problems }: Loaded): void {
  expect(configuration === undefined).toBe(problems.length > 0);
  for (const problem of problems) {
    expect(Object.keys(errorCatalogue) as ErrorCode[]).toContain(problem.code);
    expect(problem.message).toMatch(/\S/);
    expect(problem.message).not.toMatch(/\n/);
    expect(problemText(problem)).not.toMatch(/\p{Cc}(?<!\n)/u);
    expect(problem.at.line).toBeGreaterThan(0);
    expect(problem.at.column).toBeGreaterThan(0);
  }
}

test('arbitrary bytes give an answer', { timeout }, () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => isAnswer(load(bytes))),
    { numRuns },
  );
});

test('arbitrary text gives an answer', { timeout }, () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 100 }), (text) => isAnswer(load(text))),
    { numRuns },
  );
});

// What YAML and this reader give a meaning to, and words of the schema: text that gets further than noise does.
// biome-ignore format: as a list
const pieces = [
  ...'[]{},:-?&*!|>\'"%@`#~ \n\t$',
  '\n  ', '\n    ', '\n- ', ': ', '- ', '---\n', '...\n', '<<: ', '&a ', '*a', '!!str ', '!x ', '| \n', '>-\n',
  '${NAME}', '${', '${NONE}', '$${', '${A:-b}', '\u00a0', '\ufeff', '\u2028', '\u{1f600}', '\\', '\\x',
  'include', 'virtualServices', 'name', 'address', 'fwmark', 'realServers', 'check', 'type', 'http', 'failover',
  'vrrp', 'persistence', 'weight', '192.0.2.1:80', '"[2001:db8::1]:80"', '10.0.0.1', '5m', '0', '-1', '1e999',
  '__proto__', 'constructor', 'toString', 'null', 'true', 'h.yaml', '*.yaml', 'x-a',
];

test('text made of what has a meaning gives an answer', { timeout }, () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 40 }), (parts) =>
      isAnswer(load(parts.join(''))),
    ),
    { numRuns: numRuns * 5 },
  );
});

const sound = `include: []
dataPlane: auto
x-common: &common { scheduler: wlc, method: masquerade }
virtualServices:
  - <<: *common
    name: web
    address: [192.0.2.10:80, "[2001:db8::10]:80/tcp"]
    persistence: { timeout: 5m, netmask: 24 }
    check: { type: http, path: /health, status: [200-299, 401], interval: 2s }
    realServers:
      - { name: web1, address: 10.0.0.11:8080, weight: 3, check: none }
      - { address: "[2001:db8::11]:8080", upperThreshold: 10 }
    sorryServer: { address: 10.0.0.99:80 }
  - { name: mail, fwmark: 7, family: both, realServers: [{ address: 10.0.0.12 }] }
failover:
  vrrp:
    - { name: front, interface: eth0, routerId: 51, addresses: [192.0.2.10/24], trackServices: [{ name: web }] }
`;

test('a sound file with a part cut out, doubled or replaced gives an answer', { timeout }, () => {
  expect(load(sound).problems).toEqual([]);
  const offset = fc.nat(sound.length);
  fc.assert(
    fc.property(offset, offset, fc.constantFrom('', ...pieces), fc.boolean(), (a, b, piece, twice) => {
      const [from, to] = [Math.min(a, b), Math.max(a, b)];
      const part = sound.slice(from, to);
      isAnswer(load(`${sound.slice(0, from)}${piece}${twice ? part + part : ''}${sound.slice(to)}`));
    }),
    { numRuns: numRuns * 2 },
  );
});

test('places are those of the text: the carets stand under what is meant', { timeout }, () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 30 }), (parts) => {
      const text = parts.join('');
      const lines = sourceOf('h.yaml', text.replace(/^\ufeff/, '')).lineStarts.length;
      for (const { at, frame } of load(text).problems) {
        expect(at.line).toBeLessThanOrEqual(lines);
        const caret = frame.findIndex((line) => /\| *\^+$/.test(line));
        if (caret > 0) expect(frame[caret - 1]!.trimStart().startsWith(`${at.line} |`)).toBe(true);
      }
    }),
    { numRuns },
  );
});

test('time grows with the size of a file, not with its square', { timeout }, () => {
  const took = (content: string): number => {
    // Processor time, because other tests run beside this one.
    const before = process.cpuUsage();
    load(content);
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  };
  for (const make of [
    (n: number) => 'a: b\n'.repeat(n),
    (n: number) => Array.from({ length: n }, (_, i) => `k${i}: v\n`).join(''),
    (n: number) => `x-a: &a 1\nx-b: [${'*a,'.repeat(n)}]`,
    (n: number) => '\u00a0\n'.repeat(n),
    (n: number) => `x-a: "${'${NAME}'.repeat(n)}"`,
    (n: number) => '&a '.repeat(n),
    (n: number) => '? '.repeat(n),
    (n: number) => '"a" '.repeat(n),
    (n: number) => `${'k'.repeat(n)}: 1`,
  ]) {
    took(make(500));
    const small = Math.max(5, took(make(1_000)));
    expect(took(make(10_000)), make(3)).toBeLessThan(small * 60);
  }
});
