import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { check } from '../../src/config/schema/check.ts';
import { projectFiles } from './project.ts';

test('every check that a page shows is one', () => {
  const shown = projectFiles('docs', ['.md']).flatMap(({ path, text }) =>
    [...text.matchAll(/^ {4,}check: (\{.*\})$/gm)].map(([, source]) => ({ path, source: source! })),
  );
  expect(shown.length).toBeGreaterThan(5);
  const wrong = shown.flatMap(({ path, source }) => {
    const result = check.safeParse(parse(source.replaceAll(/\$\{\w+\}/g, 'x')));
    return result.success ? [] : [`${path}: ${source}: ${result.error.issues[0]?.message}`];
  });
  expect(wrong).toEqual([]);
});
