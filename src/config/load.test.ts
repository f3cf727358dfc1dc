// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are variables of configuration files
import { describe, expect, test } from 'vitest';
import type { Problem } from '../model/errors.ts';
import { editDocument } from './edit.ts';
import type { Files } from './files.ts';
import { limits } from './limits.ts';
import { loadConfiguration, readConfiguration } from './load.ts';

/** A folder in memory: names with their texts or bytes. */
function folder(content: Readonly<Record<string, string | Uint8Array>>): Files {
  return {
    read: (path) => {
      const file = content[path];
      if (file === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
      return typeof file === 'string' ? new TextEncoder().encode(file) : file;
    },
    list: (path) =>
      Object.keys(content)
        .filter((name) =>
          path === '.' ? !name.includes('/') : name.startsWith(`${path.replace(/\/$/, '')}/`),
        )
        .map((name) => (path === '.' ? name : name.slice(path.replace(/\/$/, '').length + 1)))
        .filter((name) => !name.includes('/')),
    identity: (path) => path,
  };
}

function problemsIn(text: string | Uint8Array, environment: Record<string, string> = {}): readonly Problem[] {
  return loadConfiguration('h.yaml', { files: folder({ 'h.yaml': text }), environment }).problems;
}

const good = `# The web servers.
dataPlane: auto
virtualServices:
  - name: web
    address: 192.0.2.10:80
    scheduler: wrr
    method: masquerade
    realServers:
      - { name: web1, address: 10.0.0.11:8080, weight: 3 }
      - name: web2
        address: 10.0.0.12:8080
  - name: dns
    address: [192.0.2.10:53/udp, "[2001:db8::10]:53/udp"]
    realServers:
      - address: 10.0.0.13
      - address: 2001:db8::13
`;

test('a sound file gives a configuration with what is left out filled in', () => {
  const { configuration, problems, files } = loadConfiguration('h.yaml', {
    files: folder({ 'h.yaml': good }),
  });
  expect(problems).toEqual([]);
  expect(files).toEqual(['h.yaml']);
  expect(configuration).toMatchObject({
    own: false,
    virtualServices: [
      { name: 'web', scheduler: 'wrr', realServers: [{ weight: 3 }, { weight: 1, upperThreshold: 0 }] },
      { scheduler: 'wlc', method: 'direct-routing', address: [{ protocol: 'udp' }, { port: 53 }] },
    ],
  });
});

test('aliases and merge keys mean what they name; the place of a mistake in them is where it was made', () => {
  const { configuration, problems } = loadConfiguration('h.yaml', {
    files: folder({
      'h.yaml': `
x-common: &common { scheduler: sh, method: tunnel }
virtualServices:
  - { <<: *common, name: a, address: "192.0.2.1:80", method: masquerade, realServers: &servers [{ address: 10.0.0.1 }] }
  - { <<: [*common], name: b, address: "192.0.2.2:80", realServers: *servers }
`,
    }),
  });
  expect(problems).toEqual([]);
  expect(configuration!.virtualServices).toMatchObject([
    { scheduler: 'sh', method: 'masquerade', realServers: [{ address: { address: '10.0.0.1' } }] },
    { scheduler: 'sh', method: 'tunnel', realServers: [{ address: { address: '10.0.0.1' } }] },
  ]);
});

describe('variables', () => {
  const text = (value: string) =>
    `virtualServices:\n  - name: a\n    address: 192.0.2.1:80\n    realServers: [{ address: 10.0.0.1, weight: ${value} }]\n`;
  const weight = (value: string, environment: Record<string, string>) =>
    loadConfiguration('h.yaml', { files: folder({ 'h.yaml': text(value) }), environment }).configuration
      ?.virtualServices[0]?.realServers[0]?.weight;

  test('are put into scalars, which then have the type they would have had', () => {
    expect(weight('${W}', { W: '7' })).toBe(7);
    expect(weight('${W:-8}', {})).toBe(8);
    expect(weight('${W:-8}', { W: '' })).toBe(8);
    expect(weight('1${W}', { W: '0' })).toBe(10);
    expect(weight('"${W}"', { W: '7' })).toBeUndefined();
  });

  test('cannot add structure', () => {
    expect(problemsIn(text('${W}'), { W: '1 }, { address: 10.0.0.2' })).toMatchObject([
      { code: 'HG_CONFIG_VALUE', at: { line: 4, column: 48 } },
    ]);
  });

  test('that are not set, or not closed, are told where they stand', () => {
    expect(problemsIn(text('9${W}'))).toMatchObject([
      { code: 'HG_CONFIG_VARIABLE', message: 'variable "W": not set', at: { line: 4, column: 49 } },
    ]);
    expect(problemsIn('dataPlane: "${}"')[0]).toMatchObject({ at: { line: 1, column: 13 } });
    expect(problemsIn('x-a: "$${W} ${W:-}"')).toEqual([]);
  });
});

describe('include', () => {
  const service = (name: string, address: string) =>
    `virtualServices: [{ name: ${name}, address: "${address}" }]\n`;

  test('reads files as if they stood there, in the order of their names', () => {
    const files = folder({
      'etc/h.yaml': `include: [conf.d/*.yaml]\n${service('a', '192.0.2.1:80')}`,
      'etc/conf.d/2.yaml': service('c', '192.0.2.3:80'),
      'etc/conf.d/1.yaml': `${service('b', '192.0.2.2:80')}timeouts: { tcp: 1m }\n`,
      'etc/conf.d/.hidden.yaml': 'nonsense',
      'etc/conf.d/old.yml': 'nonsense',
    });
    const { configuration, files: read } = loadConfiguration('etc/h.yaml', { files });
    expect(configuration!.virtualServices.map(({ name }) => name)).toEqual(['a', 'b', 'c']);
    expect(configuration!.timeouts).toEqual({ tcp: 60 });
    expect(read).toEqual(['etc/h.yaml', 'etc/conf.d/1.yaml', 'etc/conf.d/2.yaml']);
  });

  test('locate() finds the file that says something, for an edit of it', () => {
    const content: Record<string, string> = {
      'h.yaml': `include: [b.yaml]\n${service('a', '192.0.2.1:80')}`,
      'b.yaml': `${service('b', '192.0.2.2:80')}timeouts: { udp: 1m } # short\n`,
    };
    const { locate } = loadConfiguration('h.yaml', { files: folder(content) });
    expect(locate(['virtualServices', 0, 'name'])).toEqual({
      file: 'h.yaml',
      path: ['virtualServices', 0, 'name'],
    });
    expect(locate(['virtualServices', 1, 'name'])).toEqual({
      file: 'b.yaml',
      path: ['virtualServices', 0, 'name'],
    });
    expect(locate(['timeouts', 'udp'])).toEqual({ file: 'b.yaml', path: ['timeouts', 'udp'] });
    expect(locate(['virtualServices'])?.file).toBe('h.yaml');
    expect(locate(['virtualServices', 2])).toBeUndefined();
    expect(locate(['own'])).toBeUndefined();
    const { file, path } = locate(['timeouts', 'udp'])!;
    expect(editDocument(content[file]!, path, '30s')).toBe(content[file]!.replace('1m', '30s'));
  });

  const told = (content: Record<string, string>) =>
    loadConfiguration('h.yaml', { files: folder(content) }).problems.map(
      ({ code, file, at, message }) => `${file}:${at.line}:${at.column} ${code} ${message}`,
    );

  test('tells circles, files that come twice, and files that are not there, at the pattern', () => {
    expect(told({ 'h.yaml': 'include: [a.yaml]', 'a.yaml': 'include: h.yaml' })).toEqual(
      [
        'a.yaml:1:10 HG_CONFIG_VALUE "include": wanted a list of files, found "h.yaml"',
        'a.yaml:1:10 HG_CONFIG_INCLUDE include "h.yaml": a circle, it includes "a.yaml"',
      ]
        .sort()
        .slice(0, 1),
    );
    expect(told({ 'h.yaml': 'include: [h.yaml]' })).toEqual([
      'h.yaml:1:11 HG_CONFIG_INCLUDE include "h.yaml": a circle, it includes "h.yaml"',
    ]);
    expect(told({ 'h.yaml': 'include: [a.yaml, "?.yaml"]', 'a.yaml': '' })).toEqual([
      'h.yaml:1:19 HG_CONFIG_INCLUDE include "a.yaml": wanted once, "h.yaml" includes it already',
      'h.yaml:1:19 HG_CONFIG_INCLUDE include "h.yaml": a circle, it includes "h.yaml"',
    ]);
    expect(told({ 'h.yaml': 'include:\n  - b.yaml\n  - none*.yaml' })).toEqual([
      'h.yaml:2:5 HG_CONFIG_INCLUDE include "b.yaml": wanted a file, found none of that name',
    ]);
  });

  test('tells mistakes in the file they stand in, files in the order they were read', () => {
    expect(
      told({
        'h.yaml': `include: [b.yaml, a.yaml]\n${service('x', '192.0.2.1:80')}own: maybe`,
        'a.yaml': `\n${service('y', '192.0.2.1:80')}own: false`,
        'b.yaml': 'timeouts: { tcp: 1x }',
      }).map((line) => line.split(':').slice(0, 2).join(':')),
    ).toEqual(['h.yaml:3', 'b.yaml:1', 'a.yaml:2', 'a.yaml:3']);
  });
});

describe('a file that is no configuration at all', () => {
  test.each<[string, string | Uint8Array, string, string]>([
    [
      'Latin-1',
      Buffer.from('dataPlane: auto\n# f\xfcr', 'latin1'),
      'HG_CONFIG_CHARACTER',
      '2:4 text: wanted UTF-8, found byte 0xfc',
    ],
    [
      'UTF-16',
      Buffer.from('\ufeffown: true', 'utf16le'),
      'HG_CONFIG_CHARACTER',
      '1:1 text: wanted UTF-8, found UTF-16',
    ],
    [
      'cut off in a sign',
      Buffer.from('own: "ü').subarray(0, 7),
      'HG_CONFIG_CHARACTER',
      '1:7 text: wanted UTF-8',
    ],
    [
      'too large',
      `# ${'x'.repeat(limits.fileBytes)}`,
      'HG_CONFIG_SIZE',
      '1:1 file "h.yaml": wanted at most 4 MiB, found more',
    ],
    ['too deep', '['.repeat(100_000), 'HG_CONFIG_SIZE', '1:61 value: nested deeper than 60 levels'],
    ['a list', '- a', 'HG_CONFIG_VALUE', '1:1 file: wanted keys and values, found a list'],
    [
      'an alias in itself',
      'x-a: &a [*a]',
      'HG_CONFIG_SYNTAX',
      '1:10 alias "*a": it stands inside the value it names',
    ],
    [
      'many aliases of many',
      `x-0: &l0 [1,1,1,1,1,1,1,1,1,1]\n${Array.from({ length: 9 }, (_, i) => `x-${i + 1}: &l${i + 1} [${Array(10).fill(`*l${i}`)}]\n`).join('')}`,
      'HG_CONFIG_SIZE',
      '6:11 alias "*l4": with it aliases put in more than 200000 values',
    ],
  ])('%s', (_, text, code, told) => {
    const problems = problemsIn(text);
    expect(problems.map((one) => one.code)).toEqual([code]);
    expect(`${problems[0]!.at.line}:${problems[0]!.at.column} ${problems[0]!.message}`).toContain(told);
  });

  test('an empty one is an empty configuration', () => {
    expect(problemsIn('')).toEqual([]);
    expect(problemsIn('# only a comment\n')).toEqual([]);
    expect(problemsIn('\ufeff')).toEqual([]);
  });
});

test('readConfiguration() throws HG_CONFIG with all problems', () => {
  expect(() => readConfiguration('h.yaml', { files: folder({ 'h.yaml': 'own: 1\nx: 2' }) })).toThrow(
    expect.objectContaining({
      code: 'HG_CONFIG',
      message: 'Cannot use "h.yaml": 2 mistakes',
      problems: [expect.anything(), expect.anything()],
    }),
  );
});
