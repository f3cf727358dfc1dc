import { basename, dirname } from 'node:path';
import type { Files } from '../config/files.ts';
import { loadConfiguration } from '../config/load.ts';
import type { FileText } from './file-texts.ts';
import { type Generation, namesFrom } from './generations.ts';
import { type Pools, type Wanted, wantedOf } from './wanted.ts';

/** What a generation asked for, to ask for it again. */
export function wantedAgain({ table, timeouts, own, names, files }: Generation): Wanted {
  const pools = poolsIn(files);
  return { table, timeouts, own, names: namesFrom(names), ...(pools && { pools }) };
}

/** How its files have real servers checked; undefined where this build cannot read them any more. */
function poolsIn(texts: readonly FileText[]): Pools | undefined {
  const [first] = texts;
  if (!first) return undefined;
  const { configuration } = loadConfiguration(first.path, { files: filesOf(texts) });
  return configuration && wantedOf(configuration).pools;
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
