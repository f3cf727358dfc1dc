import { describe, expect, test } from 'vitest';
import { errorCatalogue } from '../../src/model/errors.ts';
import { projectFiles, projectText, withoutComments } from './project.ts';

const catalogue = new Map<string, { title: string; hint: string }>(Object.entries(errorCatalogue));

describe('docs/reference/errors.md', () => {
  const sections = projectText('docs/reference/errors.md').split(/^## /m).slice(1);
  const documented = new Map(
    sections.map((section) => {
      const [code, title, hint] = section.trim().split('\n\n');
      return [code!, { title: title?.replace(/\.$/, ''), hint: hint?.replace(/^Next: /, '') }];
    }),
  );

  test('has every error of the catalogue with its title and hint, and no other (npm run docs:reference)', () => {
    expect(Object.fromEntries(documented)).toEqual(Object.fromEntries(catalogue));
  });

  test('is sorted and names no code twice', () => {
    const codes = sections.map((section) => section.split('\n')[0]!);
    expect(codes).toEqual([...new Set(codes)].sort());
  });
});

describe('the error catalogue', () => {
  const uses = new Map<string, string[]>();
  for (const { path, text } of projectFiles('src', ['.ts'])) {
    if (path === 'src/model/errors.ts') continue;
    for (const [code] of withoutComments(text).matchAll(/\bHG_[A-Z0-9_]+\b/g)) {
      uses.set(code, [...(uses.get(code) ?? []), path]);
    }
  }

  test('knows every HG_ code that src/ mentions', () => {
    const unknown = [...uses].filter(([code]) => !catalogue.has(code));
    expect(unknown).toEqual([]);
  });

  test('holds no code that the product never uses', () => {
    const product = (code: string) => (uses.get(code) ?? []).some((path) => !path.endsWith('.test.ts'));
    expect([...catalogue.keys()].filter((code) => !product(code))).toEqual([]);
  });

  test.each([...catalogue])(
    '%s has a title without a full stop and a hint that ends with one or with a command',
    (code, { title, hint }) => {
      expect(code).toMatch(/^HG_[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$/);
      expect(title).toMatch(/^[A-Z].*[^.]$/);
      expect(hint).toMatch(/\.$|: [a-z]\S* [^.]*$/);
    },
  );
});
