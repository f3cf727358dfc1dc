import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { prepareWhole, readDocument, writeDocument, writeWhole } from './whole-file.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'headgate-whole-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('a file has its new text, or the old one until it is committed', () => {
  const path = join(folder, 'a', 'b.json');
  writeWhole(path, 'one', 'machine');
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const next = prepareWhole(path, 'two', 'process');
  expect(readFileSync(path, 'utf8')).toBe('one');
  next.commit();
  expect(readFileSync(path, 'utf8')).toBe('two');
  const after = prepareWhole(path, 'two, again', 'machine');
  rmSync(join(folder, 'a'), { recursive: true });
  after.commit();
  expect(readFileSync(path, 'utf8')).toBe('two, again');
  prepareWhole(path, 'three', 'process').discard();
  expect([readdirSync(join(folder, 'a')), readFileSync(path, 'utf8')]).toEqual([['b.json'], 'two, again']);
});

test('what cannot be written is named, with what to do, and leaves nothing behind', () => {
  writeFileSync(join(folder, 'file'), '');
  mkdirSync(join(folder, 'taken'));
  for (const [path, found, hint] of [
    ['file/state.json', 'a file where a folder should be', `namei -l ${folder}/file`],
    ['taken', 'EISDIR', 'Make room'],
  ] as const) {
    const error = (() => {
      try {
        writeWhole(join(folder, path), 'text', 'process');
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(error).toMatchObject({
      code: 'HG_STATE',
      message: `Cannot write "${folder}/${path}": wanted a file to keep state in, found ${found}`,
      hint: expect.stringContaining(hint),
    });
  }
  expect(readdirSync(folder).toSorted()).toEqual(['file', 'taken']);
});

test('a document that is cut off anywhere, or of another form, is none', () => {
  const path = join(folder, 'document.json');
  writeDocument(path, 1, { rules: ['one', 'two'] }, 'process');
  const whole = readFileSync(path, 'utf8');
  expect(readDocument(path, 1)).toEqual({ version: 1, rules: ['one', 'two'] });
  expect(readDocument(path, 2)).toBeUndefined();
  // Without the line break at its end it still says all.
  for (let length = 0; length < whole.length - 1; length++) {
    writeFileSync(path, whole.slice(0, length));
    expect(readDocument(path, 1)).toBeUndefined();
  }
});
