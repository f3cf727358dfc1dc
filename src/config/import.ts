import { hostname } from 'node:os';
import { HeadgateError, type Problem } from '../model/errors.ts';
import { problemOf, sortProblems, sourceOf } from '../model/problem.ts';
import type { Adapter, AdapterContext, Note } from './adapters/adapter.ts';
import { adapterFor, adapterNamed, adapters } from './adapters/detect.ts';
import { unreadForm } from './adapters/unread.ts';
import { readBytes } from './files.ts';
import { decodeRules } from './ipvsadm/rule-words.ts';
import { judgeTree } from './judge.ts';
import { plain } from './tree.ts';
import { writeYaml } from './write-yaml.ts';

/** An old file in the words of headgate.yaml. */
export type Imported = {
  /** The name of its format. */
  readonly format: string;
  /** headgate.yaml; absent where there are problems. */
  readonly yaml?: string;
  /** The same as values; absent where there are problems. */
  readonly values?: unknown;
  readonly notes: readonly Note[];
  readonly problems: readonly Problem[];
};

export type ImportOptions = Omit<AdapterContext, 'hostName'> & {
  /** The name of its format; left out: told by its content. */
  readonly from?: string;
};

/**
 * Reads an old file. Mistakes in it are `problems`; throws HG_IMPORT_FORMAT where it is of no known format, and
 * HG_USAGE where `from` is none.
 */
export function importFile(path: string, { from, ...options }: ImportOptions): Imported {
  const { files } = options;
  const context = { ...options, hostName: hostname() };
  const named = from === undefined ? undefined : adapterNamed(from);
  if (from !== undefined && !named) {
    const names = adapters.map(({ name }) => name).join(', ');
    throw new HeadgateError('HG_USAGE', `Cannot import format "${from}": wanted ${names}`);
  }
  const read = readBytes(path, files);
  if ('reason' in read) {
    const problem = problemOf(path, read.code, `file "${path}": ${read.reason}`);
    return { format: from ?? 'unknown', notes: [], problems: [problem] };
  }
  const text = decodeRules(read.bytes);
  const adapter = named ?? adapterFor(() => text, path);
  if (!adapter) throw unknownFormat(path, text);
  if (text.includes('\0')) {
    const message = `file "${path}": wanted ${adapter.title}, found binary data`;
    return { format: adapter.name, notes: [], problems: [problemOf(path, 'HG_CONFIG_CHARACTER', message)] };
  }
  return imported(path, text, adapter, context);
}

function imported(path: string, text: string, adapter: Adapter, context: AdapterContext): Imported {
  const { root, comments, notes, problems } = adapter.read(sourceOf(path, text), context);
  const found = problems.length > 0 ? problems : judgeTree(root).problems;
  if (found.length > 0) return { format: adapter.name, notes, problems: sortProblems(found) };
  const said = comments.get(root) ?? [];
  const header = [
    `Imported from ${path.split('/').at(-1)}, ${adapter.title}.`,
    ...(said.length > 0 ? ['', ...said] : []),
  ];
  const yaml = writeYaml(root, new Map(comments).set(root, header));
  return { format: adapter.name, yaml, values: plain(root), notes, problems: [] };
}

function unknownFormat(path: string, text: string): HeadgateError {
  const unread = unreadForm(text, path);
  const found = unread
    ? unread.title
    : text.includes('\0')
      ? 'binary data'
      : text.trim() === ''
        ? 'an empty file'
        : `"${text.trimStart().split('\n')[0]!.slice(0, 40)}"`;
  const wanted = adapters.map(({ title }) => title).join(', ');
  return new HeadgateError(
    'HG_IMPORT_FORMAT',
    `Cannot import file "${path}": wanted ${wanted}, found ${found}`,
    unread && { hint: unread.hint },
  );
}
