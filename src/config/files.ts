import { closeSync, openSync, readdirSync, readSync, realpathSync } from 'node:fs';
import { limits } from './limits.ts';

/** How a configuration reaches its files. */
export type Files = {
  /** The first bytes of a file: one more than may be in it, where it is too large. Throws what node:fs throws. */
  readonly read: (path: string) => Uint8Array;
  /** The names in a folder; none where there is no such folder. */
  readonly list: (folder: string) => readonly string[];
  /** One name for all names of a file. */
  readonly identity: (path: string) => string;
};

/** The files of this machine; pipes and devices are read as well, as far as they may be long. */
export const machineFiles: Files = {
  read: (path) => {
    const file = openSync(path, 'r');
    try {
      const chunks: Uint8Array[] = [];
      let length = 0;
      while (length <= limits.fileBytes) {
        const chunk = new Uint8Array(Math.min(65_536, limits.fileBytes + 1 - length));
        const count = readSync(file, chunk, 0, chunk.length, null);
        if (count === 0) break;
        chunks.push(chunk.subarray(0, count));
        length += count;
      }
      return Buffer.concat(chunks);
    } finally {
      closeSync(file);
    }
  },
  list: (folder) => {
    try {
      return readdirSync(folder);
    } catch {
      return [];
    }
  },
  identity: (path) => {
    try {
      return realpathSync(path);
    } catch {
      return path;
    }
  },
};

/**
 * The files a pattern names, sorted by name: `*` and `?` stand for signs within a name, but not for a dot at its start,
 * as in sh(1). A pattern without them names one file, whether it is there or not.
 */
export function expandPattern(pattern: string, files: Files): string[] {
  const [first = '', ...rest] = pattern.split('/');
  let found = [first];
  if (/[*?]/.test(first)) found = matching('', first, files);
  for (const part of rest)
    found = found.flatMap((folder) =>
      /[*?]/.test(part) ? matching(`${folder}/`, part, files) : [`${folder}/${part}`],
    );
  return found;
}

function matching(folder: string, part: string, files: Files): string[] {
  const form = part
    .replaceAll(/[\\^$.|+()[\]{}]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  const expression = new RegExp(`^${part.startsWith('.') ? '' : '(?!\\.)'}${form}$`, 'su');
  return files
    .list(folder === '' ? '.' : folder)
    .filter((name) => expression.test(name))
    .sort()
    .map((name) => `${folder}${name}`);
}

/** The bytes of a file, or why they cannot be used, as the second half of a sentence. */
export function readBytes(
  path: string,
  files: Files,
): { bytes: Uint8Array } | { code: 'HG_CONFIG_READ' | 'HG_CONFIG_SIZE'; reason: string } {
  try {
    const bytes = files.read(path);
    if (bytes.length <= limits.fileBytes) return { bytes };
  } catch (error) {
    return { code: 'HG_CONFIG_READ', reason: whyUnread(error) };
  }
  const most = limits.fileBytes / 1024 / 1024;
  return { code: 'HG_CONFIG_SIZE', reason: `wanted at most ${most} MiB, found more` };
}

function whyUnread(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOENT') return 'wanted a file, found none of that name';
  if (code === 'EISDIR') return 'wanted a file, found a folder';
  if (code === 'EACCES' || code === 'EPERM') return 'this user may not read it';
  return `cannot be read (${error instanceof Error ? error.message : String(error)})`;
}
