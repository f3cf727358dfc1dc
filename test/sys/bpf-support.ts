import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { type ObjectSpec, parseObject } from '../../src/sys/bpf/object.ts';

const fixtures = path.join(import.meta.dirname, 'fixtures');

/** A folder of its own, with a bpffs in it when asked for, until `remove`. */
export function workFolder(withBpffs = false): { readonly path: string; remove(): void } {
  const folder = mkdtempSync(path.join(tmpdir(), 'hgbpf-'));
  if (withBpffs) execFileSync('mount', ['-t', 'bpf', 'hgbpf', folder]);
  return {
    path: folder,
    remove() {
      if (withBpffs) execFileSync('umount', [folder]);
      rmSync(folder, { recursive: true });
    },
  };
}

/** The same for the block that calls this in its body: from the block's `beforeAll` to its end, and not where it is left out. */
export function workFolderOfBlock(withBpffs = false): { readonly path: string } {
  let folder: ReturnType<typeof workFolder> | undefined;
  beforeAll(() => {
    folder = workFolder(withBpffs);
  });
  afterAll(() => folder?.remove());
  return {
    get path() {
      if (!folder) throw new Error('Read "path" in beforeAll or later: the folder is not there yet');
      return folder.path;
    },
  };
}

/** Compiles `fixtures/<name>.bpf.c`; the path of the object. */
export function compile(name: string, into: string): string {
  const object = path.join(into, `${name}.o`);
  const include = '-I/usr/include/x86_64-linux-gnu';
  const flags = ['-O2', '-g', '-Wall', '-Werror', '-target', 'bpf', '-mcpu=v3', include];
  execFileSync('clang-16', [...flags, '-c', path.join(fixtures, `${name}.bpf.c`), '-o', object]);
  return object;
}

export function parseFile(object: string): ObjectSpec {
  return parseObject(readFileSync(object));
}

/** What bpftool says, as it says it to programs. */
export function bpftool<T = unknown>(...args: string[]): T {
  return JSON.parse(
    execFileSync('bpftool', ['-j', ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
  );
}
