import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { HeadgateError } from '../model/errors.ts';
import { loadWanted } from './load-wanted.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'headgate-wanted-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function refusal(name: string): HeadgateError {
  try {
    loadWanted(join(folder, name));
  } catch (error) {
    if (error instanceof HeadgateError) return error;
    throw error;
  }
  throw new Error('it was taken');
}

test.each(['none.yaml', 'none of\tthat name.yaml', ''])(
  'where the file itself cannot be read the next step is to name one (%j)',
  (name) => {
    expect(refusal(name)).toMatchObject({
      hint: expect.stringMatching(/^name the file, or write it/),
      problems: [{ code: 'HG_CONFIG_READ' }],
    });
  },
);

test('where one that it includes cannot be read the next step is to correct the place', () => {
  writeFileSync(join(folder, 'whole.yaml'), 'include: [none.yaml]\n');
  expect(refusal('whole.yaml')).toMatchObject({
    hint: expect.stringMatching(/^Correct the places that are named/),
    problems: [{ code: 'HG_CONFIG_INCLUDE', at: { line: 1, column: 11 } }],
  });
});
