import { HeadgateError, type Problem } from '../model/errors.ts';
import { countMistakes, sortProblems } from '../model/problem.ts';
import type { Note, TestCodes } from './adapters/adapter.ts';
import { type Files, machineFiles } from './files.ts';
import { notesOfFullNat } from './full-nat-notes.ts';
import { judgeTree } from './judge.ts';
import { beginReading, endReading, type Memory } from './memory.ts';
import { notesOfPlane } from './plane-notes.ts';
import { locate, readFiles } from './read-files.ts';
import type { Configuration } from './schema/configuration.ts';
import type { Path } from './tree.ts';
import type { Environment } from './variables.ts';

/** A configuration that was read, or what keeps it from being one. */
export type Loaded = {
  /** Present exactly when there is no problem. */
  readonly configuration?: Configuration;
  /** Every mistake of every file, sorted by file and place. */
  readonly problems: readonly Problem[];
  /** Every file that was read, the first one first. */
  readonly files: readonly string[];
  /**
   * Which file says what a path of the configuration leads to, and the path in that file, for `editDocument`; undefined
   * where no file says it. What several files say together is the first one's.
   */
  readonly locate: (path: Path) => { readonly file: string; readonly path: Path } | undefined;
  /** Lines of other programs' files that were changed or ignored, and of ours what the data plane does not do. */
  readonly warnings: readonly Note[];
  /** Of a file of another program: what that program’s own test of it ends with, where it has codes of its own. */
  readonly testCodes?: TestCodes;
};

export type LoadOptions = {
  readonly files?: Files;
  readonly environment?: Environment;
  /** Of whoever reads the same configuration again and again; `locate` then finds no more than files. */
  readonly memory?: Memory;
};

/**
 * Reads headgate.yaml with all it includes, or a file of another program, which is known by its content. Throws
 * nothing: mistakes and unreadable files are `problems`.
 */
export function loadConfiguration(path: string, options: LoadOptions = {}): Loaded {
  const { memory, ...others } = options;
  if (!memory) return loadOnce(path, options);
  beginReading(memory);
  const loaded = loadOnce(path, options);
  // What is remembered has no places to show.
  if (loaded.problems.length > 0) return loadOnce(path, others);
  endReading(memory);
  return loaded;
}

function loadOnce(
  path: string,
  { files = machineFiles, environment = process.env, memory }: LoadOptions,
): Loaded {
  const read = readFiles(path, files, environment, memory);
  const { root, names, problems, notes } = read;
  const rest = {
    files: names,
    warnings: notes.filter(({ kind }) => kind !== 'kept'),
    ...(read.testCodes && { testCodes: read.testCodes }),
    locate: (of: Path) => locate(read, of),
  };
  if (!root) return { problems: sortProblems(problems, names), ...rest };
  const judged = judgeTree(root, memory);
  const all = sortProblems([...problems, ...judged.problems], names);
  if (all.length > 0 || !judged.configuration) return { problems: all, ...rest };
  const { configuration } = judged;
  const warnings = [
    ...rest.warnings,
    ...notesOfPlane(configuration, root),
    ...notesOfFullNat(configuration, root),
  ];
  return { configuration, problems: all, ...rest, warnings };
}

/** Like loadConfiguration; throws HG_CONFIG with all problems where there are some. */
export function readConfiguration(path: string, options: LoadOptions = {}): Configuration {
  const { configuration: read, problems } = loadConfiguration(path, options);
  if (read !== undefined) return read;
  throw new HeadgateError('HG_CONFIG', `Cannot use "${path}": ${countMistakes(problems)}`, { problems });
}

/** Reads a text that is in no file; `name` stands for it in messages. It may include files of `options`. */
export function loadText(text: string, name: string, options: LoadOptions = {}): Loaded {
  const others = options.files ?? machineFiles;
  const files: Files = {
    ...others,
    read: (path) => (path === name ? new TextEncoder().encode(text) : others.read(path)),
  };
  return loadConfiguration(name, { ...options, files });
}
