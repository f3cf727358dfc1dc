import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { requires } from './requirements.ts';

const root = resolve(import.meta.dirname, '..');

requires('clang-16')('the committed object', () => {
  let elsewhere: string;
  beforeAll(() => {
    elsewhere = mkdtempSync(join(tmpdir(), 'headgate-drift-'));
    for (const name of ['bpf', 'src', 'scripts', 'package.json', 'tsconfig.json']) {
      cpSync(join(root, name), join(elsewhere, name), { recursive: true });
    }
    symlinkSync(join(root, 'node_modules'), join(elsewhere, 'node_modules'));
  });
  afterAll(() => rmSync(elsewhere, { recursive: true, force: true }));

  const check = (env = process.env) =>
    spawnSync(process.execPath, ['--import', 'tsx', 'scripts/build-bpf.ts', '--check'], {
      cwd: elsewhere,
      env,
      encoding: 'utf8',
    });

  it('is what its source gives, wherever it is built', () => {
    expect(check()).toMatchObject({ status: 0, stdout: 'bpf object: matches its source\n' });
  });

  it('says so when it was not checked', () => {
    const { status, stdout } = check({ ...process.env, PATH: elsewhere });
    expect({ status, stdout: stdout.split(',')[0] }).toEqual({
      status: 0,
      stdout: 'bpf object: not checked',
    });
  });
});
