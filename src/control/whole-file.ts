import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { HeadgateError } from '../model/errors.ts';
import type { Table } from '../model/table.ts';
import { tableText } from './table-text.ts';

/** A file that is written whole beside its name, and takes its name by `commit`, which needs no room on the disk. */
export type Prepared = {
  /** Throws HG_STATE, and then the file is as it was. */
  commit(): void;
  /** Nothing stays of it. */
  discard(): void;
};

/**
 * What a file is to outlive: the process that writes it, or the machine's stopping too, and then it has to be on the disk. What
 * is kept of a table need not be: that is in the kernel's memory, and ends with the machine.
 */
export type Outlives = 'process' | 'machine';

/** Writes a file beside its name; its folder is made where it is missing. Throws HG_STATE. */
export function prepareWhole(path: string, text: string, outlives: Outlives): Prepared {
  const beside = `${path}.new`;
  const discard = () => rmSync(beside, { force: true });
  const whole = (work: () => void) =>
    orHgState(path, () => {
      try {
        work();
      } catch (error) {
        discard();
        throw error;
      }
    });
  whole(() => writeAll(beside, text, outlives));
  return {
    commit: () =>
      whole(() => {
        // Somebody who cleaned up may have taken it along, with its folder.
        if (!existsSync(beside)) writeAll(beside, text, outlives);
        takeName(beside, path, outlives);
      }),
    discard,
  };
}

function writeAll(path: string, text: string, outlives: Outlives): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const file = openSync(path, 'w', 0o600);
  try {
    // Goes on where the system takes a part only, as it does just before the disk is full.
    writeFileSync(file, text);
    if (outlives === 'machine') fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function takeName(beside: string, path: string, outlives: Outlives): void {
  renameSync(beside, path);
  if (outlives === 'process') return;
  // The name is in the folder, and the folder is not on the disk before this.
  const folder = openSync(dirname(path), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** Writes a file whole or not at all; its folder is made where it is missing. Throws HG_STATE, and then the file is as it was. */
export function writeWhole(path: string, text: string, outlives: Outlives): void {
  prepareWhole(path, text, outlives).commit();
}

/** Which writing of which file this is; undefined when there is no file. */
export function stampOf(path: string): string | undefined {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false });
  return found && `${path} ${found.dev} ${found.ino} ${found.size} ${found.mtimeNs} ${found.ctimeNs}`;
}

/** What `writeDocument` wrote; undefined when there is nothing, or another build wrote it, or it was cut off. */
export function readDocument<T extends object>(path: string, version: number): T | undefined {
  try {
    const read = JSON.parse(readFileSync(path, 'utf8')) as T & { version: number };
    return read.version === version ? read : undefined;
  } catch {
    return undefined;
  }
}

/** Writes a JSON document with the version of its form, whole or not at all. Throws HG_STATE. */
export function writeDocument(path: string, version: number, value: Document, outlives: Outlives): void {
  writeWhole(path, documentText(version, value), outlives);
}

/** What a document says; a table in it may be much of it. */
export type Document = Readonly<Record<string, unknown>> & { readonly table?: Table };

/** A JSON document with the version of its form; of `parts` the texts are there already. */
export function documentText(
  version: number,
  { table, ...rest }: Document,
  parts: Readonly<Record<string, string>> = {},
): string {
  const texts = { ...parts, ...(table && { table: tableText(table) }) };
  const more = Object.entries(texts).map(([name, text]) => `,${JSON.stringify(name)}:${text}`);
  return `${JSON.stringify({ version, ...rest }).slice(0, -1)}${more.join('')}}\n`;
}

function orHgState<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    const { found, hint } = reasons(path)[code] ?? { found: code };
    const sentence = `Cannot write "${path}": wanted a file to keep state in, found ${found}`;
    throw new HeadgateError('HG_STATE', sentence, { cause: error, ...(hint !== undefined && { hint }) });
  }
}

function reasons(path: string): Readonly<Record<string, { found: string; hint: string }>> {
  const folder = dirname(path);
  const full = {
    found: 'no room on its file system',
    hint: `make room, then do it again; what is full: df -h ${folder}`,
  };
  const forbidden = {
    found: 'that this user may not write there',
    hint: `look at who owns it: ls -ld ${folder}`,
  };
  return {
    ENOSPC: full,
    EDQUOT: full,
    EROFS: {
      found: 'a file system that is mounted read-only',
      hint: `make it writable, or keep state elsewhere (HEADGATE_STATE): findmnt -T ${folder}`,
    },
    EACCES: forbidden,
    EPERM: forbidden,
    ENOTDIR: {
      found: 'a file where a folder should be',
      hint: `look at each part of it: namei -l ${folder}`,
    },
    EEXIST: { found: 'a file where a folder should be', hint: `look at each part of it: namei -l ${folder}` },
  };
}
