import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checked } from './site.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hgfile-'));
  path = join(folder, 'state');
});
afterEach(() => rmSync(folder, { recursive: true }));

async function found(text: string | undefined, keys: Record<string, unknown> = {}) {
  if (text !== undefined) writeFileSync(path, text);
  return (await checked({ type: 'file', path, ...keys }, 80)).result;
}

test('0, nothing and no file are good, all else is bad', async () => {
  expect(await found(undefined)).toMatchObject({ isGood: true, detail: 'holds 0' });
  expect(await found('')).toMatchObject({ isGood: true });
  expect(await found(' 0\n')).toMatchObject({ isGood: true });
  expect(await found('0 since noon\n')).toMatchObject({ isGood: true });
  expect(await found('1\n')).toMatchObject({
    isGood: false,
    phase: 'expect',
    reason: `"${path}" holds 1, want 0`,
  });
  expect(await found('on\x07')).toMatchObject({
    isGood: false,
    reason: `"${path}" holds "on\\x07", want a number`,
  });
});

test('with a factor the number changes the weight', async () => {
  // keepalived.conf(5), track_file: the number times the weight is added; less than -253 is down.
  expect(await found('3', { factor: 2, base: 10 })).toMatchObject({ isGood: true, weight: 16 });
  expect(await found('0', { factor: 2, base: 10 })).toMatchObject({ isGood: true, weight: 10 });
  expect(await found('20', { factor: -1, base: 10 })).toMatchObject({ isGood: true, weight: 0 });
  expect(await found('-253', { factor: 1, base: 300 })).toMatchObject({ isGood: true, weight: 47 });
  expect(await found('254', { factor: -1, base: 300 })).toMatchObject({ isGood: false, phase: 'expect' });
  expect(await found('9999999', { factor: 254 })).toMatchObject({ isGood: true, weight: 65_535 });
});

test('what is no regular file is not waited for', async () => {
  expect(await found(undefined, { path: folder })).toMatchObject({
    isGood: false,
    phase: 'run',
    reason: `"${folder}" is no regular file`,
  });
  spawnSync('mkfifo', [path]);
  expect(await found(undefined)).toMatchObject({ isGood: false, reason: `"${path}" is no regular file` });
  expect(await found(undefined, { path: join(path, 'below') })).toMatchObject({
    reason: expect.stringMatching(/^cannot read ".*": ENOTDIR/),
  });
});

test('a file that must not exist is bad whatever it holds, by the name of the real server', async () => {
  const byName = { path: join(folder, '{address}:{port}'), mustNotExist: true };
  expect(await found(undefined, byName)).toMatchObject({ isGood: true, detail: 'no such file' });
  const own = join(folder, '127.0.0.1:80');
  writeFileSync(own, '');
  const bad = { isGood: false, phase: 'expect', reason: `"${own}" is there` };
  expect(await found(undefined, byName)).toMatchObject(bad);
  rmSync(own);
  // What it leads to does not matter, as little as what it is.
  spawnSync('ln', ['-s', '/nowhere', own]);
  expect(await found(undefined, byName)).toMatchObject(bad);
  rmSync(own);
  spawnSync('mkdir', [own]);
  expect(await found(undefined, byName)).toMatchObject(bad);
  expect(await found(undefined, { path: join(folder, 'none', 'x'), mustNotExist: true })).toMatchObject({
    isGood: true,
  });
});
