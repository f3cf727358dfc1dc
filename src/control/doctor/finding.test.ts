import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { findingMeanings } from './finding.ts';

test('docs/doctor.md has every finding in its table, and no other', () => {
  const page = readFileSync(new URL('../../../docs/doctor.md', import.meta.url), 'utf8');
  const rows = [...page.matchAll(/^\| `([a-z-]+)` \| (.+) \|$/gm)].map(([, id, meaning]) => [id, meaning]);
  expect(rows).toEqual(Object.entries(findingMeanings));
});
