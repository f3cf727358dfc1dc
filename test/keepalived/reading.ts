import { keepalivedAdapter } from '../../src/config/adapters/keepalived/keepalived.ts';
import type { Files } from '../../src/config/files.ts';
import { judgeTree } from '../../src/config/judge.ts';
import { plain } from '../../src/config/tree.ts';
import { sourceOf } from '../../src/model/problem.ts';

/** A folder in memory, for tests: names with their texts. */
export function folder(content: Readonly<Record<string, string>>): Files {
  return {
    read: (path) => {
      const text = content[path];
      if (text === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
      return new TextEncoder().encode(text);
    },
    list: (path) => {
      const prefix = path === '.' ? '' : `${path.replace(/\/$/, '')}/`;
      const below = Object.keys(content).filter((name) => name.startsWith(prefix));
      return [...new Set(below.map((name) => name.slice(prefix.length).split('/')[0]!))];
    },
    identity: (path) => path,
  };
}

type Value = Readonly<Record<string, unknown>>;

/** What a text says, for tests: values, what the rules of a configuration have against them, notes that are no `kept`. */
export function read(
  text: string,
  others: Readonly<Record<string, string>> = {},
  environment: Readonly<Record<string, string>> = {},
) {
  const source = sourceOf('keepalived.conf', text);
  const names = { portOf: () => undefined, addressOf: () => undefined };
  const files = folder(others);
  const found = keepalivedAdapter.read(source, { names, environment, files, hostName: 'one.example.org' });
  const values = plain(found.root) as Readonly<{
    virtualServices?: Value[];
    failover?: Value;
    timeouts?: Value;
  }>;
  const judged = judgeTree(found.root).problems;
  return {
    ...found,
    values,
    services: values.virtualServices,
    problems: [...found.problems, ...judged].map(
      ({ file, at, message }) => `${file}:${at.line}:${at.column} ${message}`,
    ),
    all: found.notes,
    notes: found.notes
      .filter(({ kind }) => kind !== 'kept')
      .map(
        ({ file, line, kind, reason }) =>
          `${file === source.name ? '' : `${file}:`}${line} ${kind}: ${reason}`,
      ),
  };
}
