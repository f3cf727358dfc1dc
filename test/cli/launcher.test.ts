import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';

const project = fileURLToPath(new URL('../..', import.meta.url));
const version: string = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8')).version;

let copy: string;

/** The product as npm lays it out, with the parts and packages named and no others. */
function lay(out: { parts: string[]; packages: string[] }): void {
  for (const part of [...out.parts, 'package.json'])
    cpSync(join(project, part), join(copy, part), { recursive: true });
  mkdirSync(join(copy, 'node_modules'));
  for (const name of out.packages) {
    const from = join(project, 'node_modules', name);
    if (existsSync(from)) symlinkSync(from, join(copy, 'node_modules', name));
  }
}

function run(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(copy, 'bin/headgate.js'), ...args], {
    encoding: 'utf8',
    timeout: 30_000,
  });
  return { status, stdout, stderr };
}

beforeEach(() => {
  copy = mkdtempSync(join(tmpdir(), 'headgate-launcher-'));
});

afterEach(() => rmSync(copy, { recursive: true }));

test('the built tree needs no package but koffi', () => {
  lay({ parts: ['bin', 'dist'], packages: ['koffi', '@koromix'] });
  expect(run('--version')).toEqual({ status: 0, stdout: `${version}\n`, stderr: '' });
  expect(run('ipvsadm', '--version')).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(/^ipvsadm v1\.31/),
  });
});

/** Whether V8 refuses the code that is kept beside a bundle of the copy; undefined where it finds none. */
function isRefused(name: string): boolean | undefined {
  const asked = `const { bundlePath, loadBundle } = require(${JSON.stringify(join(copy, 'bin/bundle.js'))});
    console.log(loadBundle(bundlePath('${name}')).script.cachedDataRejected);`;
  const { stdout } = spawnSync(process.execPath, ['-e', asked], { encoding: 'utf8', timeout: 30_000 });
  return stdout === 'undefined\n' ? undefined : stdout === 'true\n';
}

/** The files of code beside the bundles of the copy. */
const codeFiles = () =>
  readdirSync(join(copy, 'dist/bundle'))
    .filter((name) => name.endsWith('.code'))
    .map((name) => join(copy, 'dist/bundle', name));

test('bundles begin from the code that was made when they were built', () => {
  lay({ parts: ['bin', 'dist'], packages: ['koffi', '@koromix'] });
  expect(codeFiles()).toHaveLength(2);
  expect(['headgate', 'ipvsadm'].map(isRefused)).toEqual([false, false]);
});

test('code that is damaged, or of another bundle, is no error', () => {
  lay({ parts: ['bin', 'dist'], packages: ['koffi', '@koromix'] });
  for (const file of codeFiles()) truncateSync(file, 1000);
  expect(isRefused('headgate')).toBe(true);
  expect(run('--version')).toEqual({ status: 0, stdout: `${version}\n`, stderr: '' });
  const bundle = join(copy, 'dist/bundle/headgate.cjs');
  writeFileSync(bundle, `// 0123456789abcdef${readFileSync(bundle, 'latin1').slice(19)}`, 'latin1');
  expect(isRefused('headgate')).toBeUndefined();
  expect(run('--version')).toEqual({ status: 0, stdout: `${version}\n`, stderr: '' });
});

test('a checkout that is not built says how to build it', () => {
  lay({ parts: ['bin'], packages: [] });
  expect(run('--version')).toEqual({
    status: 70,
    stdout: '',
    stderr: 'headgate: Cannot start: this checkout is not built\n  next: npm run build\n',
  });
});

test('a reader that has seen enough is no error', () => {
  lay({ parts: ['bin', 'dist'], packages: ['koffi', '@koromix'] });
  const line = `"${process.execPath}" "${join(copy, 'bin/headgate.js')}" --help | true; echo "\${PIPESTATUS[0]}"`;
  const piped = spawnSync('bash', ['-c', line], { encoding: 'utf8', timeout: 30_000 });
  expect(piped).toMatchObject({ stdout: '0\n', stderr: '' });
});
