import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { HeadgateError } from '../model/errors.ts';
import { changeShims, shimsText } from './shims.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'headgate-shims-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

test('install makes three executable names, remove takes them away, both as often as one likes', () => {
  const names = ['ipvsadm', 'ipvsadm-restore', 'ipvsadm-save'];
  for (let round = 0; round < 2; round++) {
    expect(changeShims('install', directory).map(({ change }) => change)).toEqual(Array(3).fill('installed'));
  }
  expect(readdirSync(directory).sort()).toEqual(names);
  for (const name of names) execFileSync('sh', ['-n', join(directory, name)]);
  expect(changeShims('remove', directory).map(({ change }) => change)).toEqual(Array(3).fill('removed'));
  expect(readdirSync(directory)).toEqual([]);
  expect(changeShims('remove', directory).map(({ change }) => change)).toEqual(Array(3).fill('absent'));
});

test('a shim hands on its own name and every argument as it is', () => {
  changeShims('install', directory);
  const shim = join(directory, 'ipvsadm-save');
  // The same file, with a program in Node's place that prints what it is given.
  writeFileSync(
    shim,
    readFileSync(shim, 'utf8')
      .replace(process.execPath, '/usr/bin/printf')
      .replace(/'[^']*headgate\.js'/, "'[%s]'"),
  );
  expect(execFileSync(shim, ['-n', 'a b', "c'd", '']).toString()).toBe("[ipvsadm-save][-n][a b][c'd][]");
});

test.each(['install', 'remove'] as const)(
  '%s leaves a file of another program alone and changes nothing',
  (action) => {
    const foreign = join(directory, 'ipvsadm-save');
    writeFileSync(foreign, '#!/bin/sh\nexit 0\n');
    expect(() => changeShims(action, directory)).toThrow(HeadgateError);
    expect(readdirSync(directory)).toEqual(['ipvsadm-save']);
    expect(readFileSync(foreign, 'utf8')).toBe('#!/bin/sh\nexit 0\n');
  },
);

test('a directory that is not there is refused and not made', () => {
  const missing = join(directory, 'missing');
  expect(() => changeShims('install', missing)).toThrow(/no writable directory/);
  expect(existsSync(missing)).toBe(false);
});

test('shimsText() warns when the names will not be found', () => {
  const changes = [{ path: '/opt/x/ipvsadm', change: 'installed' }] as const;
  expect(shimsText(changes, '/opt/x', '/usr/bin:/opt/x')).toBe('installed  /opt/x/ipvsadm\n');
  expect(shimsText(changes, '/opt/x', '/usr/bin')).toContain('/opt/x is not on the PATH');
});
