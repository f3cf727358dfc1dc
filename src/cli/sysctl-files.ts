import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A line of a file of sysctl(8): `name = value`, the name with dots. */
export type SysctlLine = {
  readonly name: string;
  /** There is none where `-name` keeps a parameter from patterns. */
  readonly value?: string;
  /** A dash before the name: what cannot be set is passed over. */
  readonly optional: boolean;
  readonly place: string;
};

/** Where sysctl(8) looks; of files with one name the first counts (sysctl.d(5)). */
const folders = ['/etc', '/run', '/usr/local/lib', '/usr/lib', '/lib'].map((one) => `${one}/sysctl.d`);

/** The files that `sysctl --system` reads, in its order: by name, then sysctl.conf; below another root in tests. */
export function systemFiles(root = '/'): string[] {
  const found = new Map<string, string>();
  for (const folder of folders.map((one) => join(root, one)))
    for (const name of namesIn(folder))
      if (name.endsWith('.conf') && !found.has(name)) found.set(name, join(folder, name));
  const files = [...found.keys()].sort().map((name) => found.get(name)!);
  return [...files, join(root, 'etc/sysctl.conf')];
}

function namesIn(folder: string): string[] {
  return ifThere(() => readdirSync(folder)) ?? [];
}

const isPattern = (name: string): boolean => /[*?[]/.test(name);

/**
 * The lines of a file that are about a prefix (`net.ipv4.vs.`), or may be since their name is a pattern, in their order; of none
 * where the file is not there.
 */
export function linesAbout(file: string, prefixes: readonly string[]): SysctlLine[] {
  const text = ifThere(() => readFileSync(file, 'utf8')) ?? '';
  return text.split('\n').flatMap((line, i): SysctlLine[] => {
    const [, dash, typed, value] = /^\s*(-?)([^#;=\s][^=]*?)\s*(?:=\s*(.*?)\s*)?$/.exec(line) ?? [];
    if (typed === undefined || (value === undefined && dash === '')) return [];
    const name = typed.replaceAll('/', '.');
    if (!isPattern(name) && !prefixes.some((one) => name.startsWith(one))) return [];
    return [
      { name, ...(value !== undefined && { value }), optional: dash !== '', place: `${file}:${i + 1}` },
    ];
  });
}

/**
 * Lines with a value for one name each: a pattern (glob(7)) stands for those of `titles` that it matches, but for the ones that a line
 * of any file names itself (sysctl.d(5)). One that matches none stays where it is about a prefix.
 */
export function resolvePatterns(
  lines: readonly SysctlLine[],
  titles: readonly string[],
  prefixes: readonly string[],
): (SysctlLine & { readonly value: string })[] {
  const named = new Set(lines.map(({ name }) => name));
  return lines.flatMap((line) => {
    const { name, value } = line;
    if (value === undefined) return [];
    if (!isPattern(name)) return [{ ...line, value }];
    const pattern = patternOf(name);
    const matched = titles.filter((title) => pattern.test(title));
    const ours = prefixes.some((prefix) => name.startsWith(prefix));
    if (matched.length === 0) return ours ? [{ ...line, value }] : [];
    return matched.filter((title) => !named.has(title)).map((title) => ({ ...line, name: title, value }));
  });
}

function patternOf(name: string): RegExp {
  const pieces = name.match(/\[[!^]?\]?[^\]]*\]|./gs) ?? [];
  const source = pieces.map((piece) => {
    if (piece === '*') return '[^.]*';
    if (piece === '?') return '[^.]';
    const [, not, members] = /^\[([!^]?)(.+)\]$/s.exec(piece) ?? [];
    if (members === undefined) return piece.replace(/[\\^$.*+?()[\]{}|]/, '\\$&');
    return `[${not ? '^' : ''}${members.replace(/[\\\]^[]/g, '\\$&')}]`;
  });
  try {
    return new RegExp(`^${source.join('')}$`);
  } catch {
    return /(?!)/; // a range that runs backwards is of no character
  }
}

function ifThere<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}
