import { expect, test } from 'vitest';
import { directives, serviceWords } from '../../src/config/adapters/ldirectord/directives.ts';
import { projectText } from './project.ts';

/** The words in the first column of the tables of docs/from-ldirectord.md. */
function oldWords(heading: RegExp): string[] {
  const section = projectText('docs/from-ldirectord.md')
    .split(heading)[1]!
    .split(/^#/m)[0]!
    .split(/^\|---.*$/m)[1]!;
  const rows = [...section.matchAll(/^\| (`.+?) \|/gm)].map(([, cell]) => cell!);
  return rows.flatMap((cell) => [...cell.matchAll(/`([a-z0-9_]+)(?: = [^`]*)?`/g)].map(([, word]) => word!));
}

test('docs/from-ldirectord.md has every directive of ldirectord in its table, and no other', () => {
  const known = [...Object.keys(directives), 'virtual', 'virtual6'];
  // The words of a `real` line, and those of `checktype`.
  const values = ['gate', 'masq', 'ipip', 'off'];
  const found = oldWords(/^## Old words, new words$/m);
  expect([...new Set(found)].filter((word) => !values.includes(word)).toSorted()).toEqual(known.toSorted());
});

test('docs/from-ldirectord.md has every service of a negotiate check', () => {
  expect(oldWords(/^### Services of a negotiate check$/m).toSorted()).toEqual([...serviceWords].toSorted());
});
