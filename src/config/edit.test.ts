import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { editDocument, type Writable } from './edit.ts';
import { loadText } from './load.ts';
import type { Path } from './tree.ts';

const text = `# Shop, ask Ann before you touch it.
dataPlane:   auto   # was ipvs

virtualServices:
    # The first one.
    - name: web    # port 80
      address: 192.0.2.10:80
      method: masquerade
      realServers:
          # heavy
          - { name: web1, address: 10.0.0.11:8080, weight: 0x3 }   # rack 1
          - name: web2  # rack 2
            address: 10.0.0.12:8080
    # The end.
`;

const web = ['virtualServices', 0] as const;
const servers = [...web, 'realServers'] as const;

describe('editDocument()', () => {
  test.each<[Path, Writable, string, string]>([
    [['dataPlane'], 'ebpf', 'auto   #', 'ebpf   #'],
    [[...servers, 0, 'weight'], 0, '0x3', '0'],
    [[...web, 'name'], 'a b', 'web    #', '"a b"    #'],
    [[...web, 'name'], '80', 'web    #', '"80"    #'],
    [[...web, 'name'], 'true', 'web    #', '"true"    #'],
    [[...web, 'address'], '[2001:db8::1]:80', '192.0.2.10:80', '"[2001:db8::1]:80"'],
  ])('%j = %j changes nothing but the scalar', (path, value, from, to) => {
    expect(text).toContain(from);
    expect(editDocument(text, path, value)).toBe(text.replace(from, to));
  });

  test('adds a key, a list entry and a map that was not there, and keeps every comment', () => {
    const added = editDocument(text, [...servers, 1, 'weight'], 5);
    const longer = editDocument(added, [...servers, 2], { address: '10.0.0.13:80', weight: 1 });
    const whole = editDocument(longer, ['timeouts', 'tcp'], '5m');
    expect(loadText(whole, 'h.yaml')).toMatchObject({
      problems: [],
      configuration: {
        timeouts: { tcp: 300 },
        virtualServices: [
          { realServers: [{ weight: 3 }, { weight: 5 }, { address: { address: '10.0.0.13' } }] },
        ],
      },
    });
    for (const [comment] of text.matchAll(/#.*/g)) expect(whole).toContain(comment);
  });

  test('takes a value out with its comments, and no other', () => {
    const without = editDocument(text, [...servers, 0], undefined);
    expect(without).not.toContain('web1');
    expect(parse(without)).toMatchObject({ virtualServices: [{ realServers: [{ name: 'web2' }] }] });
    for (const [comment] of text.matchAll(/#.*/g))
      if (!/heavy|rack 1/.test(comment)) expect(without).toContain(comment);
    expect(editDocument(text, ['own'], undefined)).toBe(text);
  });

  test('writes what reads as the same text, also where a variable might be put in', () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of configuration files
    const value = '${HOME}';
    const edited = editDocument('x-a: 1\n', ['x-a'], value);
    expect(loadText(edited, 'h.yaml', { environment: {} }).problems).toEqual([]);
    expect(edited).toContain('$${HOME}');
  });

  test('keeps CRLF and a byte order mark', () => {
    const windows = `\ufeff${text.replaceAll('\n', '\r\n')}`;
    const edited = editDocument(windows, ['own'], true);
    expect(edited.startsWith('\ufeff')).toBe(true);
    expect(edited.replaceAll('\r\n', '')).not.toContain('\n');
  });

  test.each<[string, Path, string]>([
    ['a: &x { b: 1 }\nc: *x', ['a', 'b'], 'it is shared, as the anchor "&x"'],
    ['a: &x { b: 1 }\nc: *x', ['c', 'b'], 'it is shared, through the alias "*x"'],
    ['a: [1]', ['a', 2], 'there is no place "2"'],
    ['a: [1]', ['a', 'b'], 'there is no place "b"'],
    ['a: 1', ['a', 'b'], 'there is no place "b"'],
    ['a: [', ['a'], 'wanted YAML, found'],
    ['a: 1\na: 2', ['a'], 'wanted YAML, found Map keys must be unique'],
  ])('refuses %j at %j', (before, path, why) => {
    expect(() => editDocument(before, path, 7)).toThrow(
      expect.objectContaining({ code: 'HG_CONFIG_EDIT', message: expect.stringContaining(why) }),
    );
  });
});

/** A place of a value, at random. */
function places(value: unknown, path: Path = []): Path[] {
  if (typeof value !== 'object' || value === null) return [path];
  const inner = Array.isArray(value)
    ? value.flatMap((item, i) => places(item, [...path, i]))
    : Object.entries(value).flatMap(([key, item]) => places(item, [...path, key]));
  return path.length === 0 ? inner : [path, ...inner];
}

const key = fc.stringMatching(/^[a-z][a-zA-Z0-9-]{0,8}$/);
const leaf = fc.oneof(
  fc.string({ maxLength: 12 }),
  fc.string({ unit: 'grapheme', maxLength: 6 }),
  fc.integer(),
  fc.boolean(),
  fc.constant(null),
  fc.constantFrom(
    'yes',
    '012',
    '1e3',
    '- a',
    'a: b',
    '# c',
    '[x',
    '*y',
    '&z',
    '!t',
    '%',
    ' ',
    'a #b',
    '192.0.2.1:80',
  ),
);
const { value: anyValue } = fc.letrec<{ value: Writable }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    leaf,
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(key, tie('value'), { maxKeys: 4, noNullPrototype: true }),
  ),
}));

/** YAML of a value, in a style at random, with a numbered comment at the end of many lines and between them. */
function yamlOf(value: Writable, indent: string, style: () => number, comments: string[]): string {
  const comment = (): string => {
    if (style() < 0.6) return '';
    comments.push(`# c${comments.length}`);
    return `  ${comments.at(-1)}`;
  };
  const above = (): string => (style() < 0.8 ? '' : `${indent}${comment().trimStart()}\n`);
  if (typeof value !== 'object' || value === null || Object.keys(value).length === 0 || style() < 0.2)
    return ` ${JSON.stringify(value)}${comment()}\n`;
  const rows = Array.isArray(value)
    ? value.map((item) => `${above()}${indent}-${yamlOf(item, `${indent}  `, style, comments)}`)
    : Object.entries(value).map(
        ([name, item]) =>
          `${above()}${indent}${name}:${yamlOf(item as Writable, `${indent}  `, style, comments)}`,
      );
  return `${comment()}\n${rows.join('')}`;
}

test('any edit of any document says what it should, and comments outside of what it replaces stay', () => {
  fc.assert(
    fc.property(
      fc.dictionary(key, anyValue, { minKeys: 1, maxKeys: 4, noNullPrototype: true }),
      anyValue,
      fc.nat(),
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 40, maxLength: 40 }),
      (document, value, at, dice) => {
        let rolled = 0;
        const comments: string[] = [];
        const before = yamlOf(document, '', () => dice[rolled++ % dice.length]!, comments).trimStart();
        expect(parse(before)).toEqual(document);
        const all = places(document);
        const path = all[at % all.length]!;
        const after = editDocument(before, path, value);
        const expected = structuredClone(document) as Record<string, unknown>;
        const parent = path
          .slice(0, -1)
          .reduce<Record<string, unknown>>((inner, step) => inner[step] as Record<string, unknown>, expected);
        const replaced = parent[path.at(-1)!];
        parent[path.at(-1)!] = value;
        expect(parse(after.replaceAll('$${', '${'))).toEqual(expected);
        const inside = typeof replaced === 'object' && replaced !== null;
        if (!inside) for (const comment of comments) expect(after).toMatch(new RegExp(`${comment}$`, 'm'));
      },
    ),
    { numRuns: process.env.LONG ? 20_000 : 300 },
  );
}, 120_000);
