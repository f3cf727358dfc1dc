import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A line `name = value` of a file of sysctl(8), the name with dots. */
export type SysctlLine = { readonly name: string; readonly value: string; readonly place: string };

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

/** The lines of a file that are about a prefix (`net.ipv4.vs.`), in their order; of none where the file is not there. */
export function linesAbout(file: string, prefixes: readonly string[]): SysctlLine[] {
  const text = ifThere(() => readFileSync(file, 'utf8')) ?? '';
  return text.split('\n').flatMap((line, i): SysctlLine[] => {
    // A dash before a name lets sysctl(8) go on where there is no such parameter.
    const [, typed, value] = /^\s*-?([^#;=\s][^=]*?)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (typed === undefined || value === undefined) return [];
    const name = typed.replaceAll('/', '.');
    return prefixes.some((one) => name.startsWith(one)) ? [{ name, value, place: `${file}:${i + 1}` }] : [];
  });
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
