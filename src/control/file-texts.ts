import { createHash } from 'node:crypto';
import { basename, dirname, resolve } from 'node:path';
import { type Files, machineFiles } from '../config/files.ts';
import { decodeRules } from '../config/ipvsadm/rule-words.ts';
import { loadConfiguration } from '../config/load.ts';
import type { Configuration } from '../config/schema/configuration.ts';

/** A file as it was when it was read. */
export type FileText = { readonly path: string; readonly text: string };

/** Files of this machine, which keep what was read of them. */
export function keepingFiles(): {
  readonly files: Files;
  textsOf(names: readonly string[]): FileText[];
} {
  const read = new Map<string, Uint8Array>();
  return {
    files: {
      ...machineFiles,
      read: (path) => {
        const bytes = machineFiles.read(path);
        read.set(path, bytes);
        return bytes;
      },
    },
    textsOf: (names) =>
      names.flatMap((path) => {
        const bytes = read.get(path);
        if (!bytes) return [];
        const file = { path: resolve(path) };
        // A text when somebody wants it: most of those who read a configuration do not keep its files.
        return [
          Object.defineProperty(file, 'text', {
            enumerable: true,
            get: () => decodeRules(bytes),
          }) as FileText,
        ];
      }),
  };
}

/** What a configuration consists of as its files are now, whether they are right or not. */
export function currentTexts(file: string): FileText[] {
  const { files, textsOf } = keepingFiles();
  return textsOf(loadConfiguration(file, { files }).files);
}

/** What kept files say; undefined where this build cannot read them any more. */
export function configurationIn(texts: readonly FileText[]): Configuration | undefined {
  const [first] = texts;
  return first && loadConfiguration(first.path, { files: filesOf(texts) }).configuration;
}

function filesOf(texts: readonly FileText[]): Files {
  return {
    read(path) {
      const found = texts.find((one) => one.path === path);
      if (!found) throw Object.assign(new Error(`no ${path}`), { code: 'ENOENT' });
      return new TextEncoder().encode(found.text);
    },
    list: (folder) => texts.filter(({ path }) => dirname(path) === folder).map(({ path }) => basename(path)),
    identity: (path) => path,
  };
}

/** A short word that is another one when a file is another one. */
export function fingerprintOf(texts: readonly FileText[]): string {
  const hash = createHash('sha256');
  for (const { path, text } of texts) hash.update(`${path}\0${text.length}\0${text}\0`);
  return hash.digest('hex').slice(0, 32);
}
