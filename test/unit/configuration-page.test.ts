import { expect, test } from 'vitest';
import type { z } from 'zod';
import { configurationReference } from '../../scripts/configuration-reference.ts';
import { limits } from '../../src/config/limits.ts';
import { loadText } from '../../src/config/load.ts';
import { configuration } from '../../src/config/schema/configuration.ts';
import { problemText } from '../../src/model/problem.ts';
import { projectText } from './project.ts';

const page = projectText('docs/configuration.md');

/** The indented blocks of a section, without their indentation. */
function blocks(section: string): string[] {
  const text = page.split(/^## /m).find((part) => part.startsWith(`${section}\n`));
  return [...text!.matchAll(/(?:^ {4}.*\n|^\n(?= {4}))+/gm)].map(([block]) =>
    block.replaceAll(/^ {4}/gm, '').trimStart(),
  );
}

test('the worked example is sound', () => {
  const [example] = blocks('Write one');
  const { configuration, problems } = loadText(example!, 'headgate.yaml', { environment: {} });
  expect(problems.map(problemText)).toEqual([]);
  expect(configuration!.virtualServices.map(({ name, realServers }) => [name, realServers.length])).toEqual([
    ['web', 3],
    ['dns', 2],
  ]);
  expect(configuration!.failover!.vrrp[0]!.priority).toBe(100);
});

test('the example of anchors is sound', () => {
  const [example] = blocks('Say something once');
  expect(loadText(example!, 'headgate.yaml').configuration!.virtualServices).toMatchObject([
    { name: 'shop', persistence: { timeout: 300 } },
    { name: 'blog', method: 'masquerade' },
  ]);
});

test('the mistake is told in the words of the page', () => {
  const [, shown] = blocks('Check it');
  const lines = [
    ...Array(9).fill('# '),
    '    address: 192.0.2.10:80',
    '    scheduler: wcl',
    '    method: masquerade',
  ];
  lines[0] = 'virtualServices:';
  lines[8] = '  - name: web';
  expect(loadText(lines.join('\n'), 'headgate.yaml').problems.map(problemText)).toEqual([shown]);
});

test('the limits are those of the program', () => {
  const text = page.slice(page.indexOf('## Limits'));
  expect(limits.fileBytes).toBe(4 * 1024 ** 2);
  for (const number of [limits.files, limits.depth, limits.aliasedValues])
    expect(text).toContain(number.toLocaleString('en'));
});

test('docs/reference/configuration.md is what the schema says (npm run docs:reference)', () => {
  expect(projectText('docs/reference/configuration.md')).toBe(configurationReference());
});

/** Every schema inside of a schema that has examples, with them. */
function* sampled(schema: z.ZodType): Generator<{ schema: z.ZodType; sample: unknown }> {
  const { samples } = (schema.meta() ?? {}) as { samples?: readonly unknown[] };
  for (const sample of samples ?? []) yield { schema, sample };
  const { shape, element, innerType, options, in: input } = schema.def as unknown as Record<string, unknown>;
  const inner = [
    Object.values(shape ?? {}),
    element ?? [],
    innerType ?? [],
    options ?? [],
    input ?? [],
  ].flat();
  for (const one of inner as z.ZodType[]) yield* sampled(one);
}

test('every example of the reference is a value its key takes', () => {
  const all = [...sampled(configuration)];
  expect(all.length).toBeGreaterThan(40);
  expect(
    all.filter(({ schema, sample }) => !schema.safeParse(sample).success).map(({ sample }) => sample),
  ).toEqual([]);
});
