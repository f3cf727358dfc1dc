import { hostname } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import type { Problem } from '../model/errors.ts';
import { problemAt, problemOf, type Span, sourceOf } from '../model/problem.ts';
import type { Adapter, Note, TestCodes } from './adapters/adapter.ts';
import { adapterFor } from './adapters/detect.ts';
import { machineNames } from './adapters/machine-names.ts';
import { unreadForm } from './adapters/unread.ts';
import { decodeText } from './bytes.ts';
import { expandPattern, type Files, readBytes } from './files.ts';
import { decodeRules } from './ipvsadm/rule-words.ts';
import { limits } from './limits.ts';
import type { Memory } from './memory.ts';
import { readTree, usedTwice } from './read-tree.ts';
import {
  described,
  type ListNode,
  type MapNode,
  type Member,
  nodeAt,
  type Path,
  type TreeNode,
} from './tree.ts';
import type { Environment } from './variables.ts';

/** A configuration's files as one tree, in which `include` has done its work. */
export type ReadFiles = {
  /** Undefined where the first file has no meaning to go on with. */
  readonly root?: MapNode;
  /** Every file that was read, the first one first. */
  readonly names: readonly string[];
  readonly problems: Problem[];
  /** What each file itself says. */
  readonly own: ReadonlyMap<string, MapNode>;
  /** What became of the lines of files of other programs. */
  readonly notes: readonly Note[];
  /** Of a first file of another program: what that program’s own test would end with. */
  readonly testCodes?: TestCodes;
};

type Reader = {
  readonly files: Files;
  readonly environment: Environment;
  readonly memory: Memory | undefined;
  readonly names: string[];
  readonly problems: Problem[];
  readonly own: Map<string, MapNode>;
  readonly notes: Note[];
  /** What the own tests of other programs would end with, by file. */
  readonly testCodes: Map<string, TestCodes>;
  /** Where each file was included from; undefined for the first one. */
  readonly included: Map<string, { by: string; open: boolean }>;
};

/** Reads a file with all it includes. Nothing is thrown: what is wrong is in `problems`. */
export function readFiles(path: string, files: Files, environment: Environment, memory?: Memory): ReadFiles {
  const reader: Reader = {
    ...{ files, environment, memory, names: [], problems: [], notes: [] },
    own: new Map(),
    testCodes: new Map(),
    included: new Map(),
  };
  const root = readOne(path, undefined, reader);
  const { names, problems, notes, own } = reader;
  const testCodes = reader.testCodes.get(path);
  return {
    ...(root && { root }),
    ...{ names, problems, notes, own },
    ...(testCodes && { testCodes }),
  };
}

/** The pattern by which a file is included, and the file with it; undefined for the first file. */
type Include = { readonly span: Span; readonly by: string } | undefined;

function readOne(path: string, include: Include, reader: Reader): MapNode | undefined {
  const report = (code: 'HG_CONFIG_READ' | 'HG_CONFIG_SIZE', message: string, hint?: string) => {
    reader.problems.push(
      include ? problemAt(include.span, code, message, hint) : problemOf(path, code, message, hint),
    );
  };
  const identity = reader.files.identity(path);
  const before = reader.included.get(identity);
  if (before !== undefined && include !== undefined) {
    const why = before.open ? `it includes "${include.by}"` : `"${before.by}" includes it already`;
    const message = `include "${path}": ${before.open ? 'a circle, ' : 'wanted once, '}${why}`;
    reader.problems.push(problemAt(include.span, 'HG_CONFIG_INCLUDE', message));
    return undefined;
  }
  if (reader.names.length >= limits.files) {
    if (reader.names.length === limits.files)
      report('HG_CONFIG_SIZE', `include "${path}": wanted at most ${limits.files} files, found more`);
    return undefined;
  }
  const read = readBytes(path, reader.files);
  if ('reason' in read) {
    if (include && read.code === 'HG_CONFIG_READ') {
      const message = `include "${path}": ${read.reason}`;
      reader.problems.push(problemAt(include.span, 'HG_CONFIG_INCLUDE', message));
    } else report(read.code, `file "${path}": ${read.reason}`);
    return undefined;
  }
  const { bytes } = read;
  reader.names.push(path);
  const mark = { by: include?.by ?? path, open: true };
  reader.included.set(identity, mark);
  const adapter = adapterFor(() => decodeRules(bytes), path);
  if (adapter) {
    const adaptedRoot = adapted(path, bytes, adapter, include !== undefined, reader);
    const whole = includeAll(adaptedRoot, path, reader);
    mark.open = false;
    return whole;
  }
  const decoded = decodeText(bytes, path);
  if ('problem' in decoded) {
    reader.problems.push(decoded.problem);
    return undefined;
  }
  const unread = unreadForm(decoded.text, path);
  if (unread) {
    const message = `file "${path}": wanted a configuration, found ${unread.title}`;
    reader.problems.push(problemOf(path, 'HG_IMPORT_FORMAT', message, unread.hint));
    return undefined;
  }
  const source = sourceOf(path, decoded.text);
  const tree = readTree(source, reader.environment, reader.problems, reader.memory);
  const own = tree && rootMap(tree, reader);
  if (own) reader.own.set(path, own);
  const whole = own && includeAll(own, path, reader);
  mark.open = false;
  return whole;
}

/** The map a file consists of; a file without a value is an empty one. */
function rootMap(tree: TreeNode, { problems }: Reader): MapNode | undefined {
  if (tree.kind === 'map') return tree;
  if (tree.kind === 'scalar' && tree.value === null)
    return { kind: 'map', span: tree.span, members: new Map() };
  problems.push(
    problemAt(
      tree.span,
      'HG_CONFIG_VALUE',
      `file: wanted keys and values, found ${described(tree)}`,
      'begin with a key such as "virtualServices:"',
    ),
  );
  return undefined;
}

/** The map of a file with those of the files it includes put in; the key `include` stays, to be judged. */
function includeAll(own: MapNode, path: string, reader: Reader): MapNode {
  const include = own.members.get('include')?.value;
  if (include === undefined) return own;
  const patterns = include.kind === 'list' ? include.items : [include];
  let whole = own;
  for (const pattern of patterns) {
    if (pattern.kind !== 'scalar' || typeof pattern.value !== 'string' || pattern.value === '') continue;
    const named = isAbsolute(pattern.value) ? pattern.value : join(dirname(path), pattern.value);
    for (const file of expandPattern(named, reader.files)) {
      const part = readOne(file, { span: pattern.span, by: path }, reader);
      if (part) whole = mergeMaps(whole, part, reader.problems);
    }
  }
  return whole;
}

/** Both maps as one: lists follow each other, maps are merged, anything else may be given once. */
function mergeMaps(first: MapNode, second: MapNode, problems: Problem[]): MapNode {
  const members = new Map<string, Member>(first.members);
  for (const [key, member] of second.members) {
    const before = members.get(key);
    if (before === undefined) members.set(key, member);
    else if (before.value.kind === 'map' && member.value.kind === 'map')
      members.set(key, { ...before, value: mergeMaps(before.value, member.value, problems) });
    else if (before.value.kind === 'list' && member.value.kind === 'list')
      members.set(key, { ...before, value: joinLists(before.value, member.value) });
    else if (key !== 'include') problems.push(usedTwice(key, member.keySpan, before.keySpan));
  }
  return { ...first, members };
}

function joinLists(first: ListNode, second: ListNode): ListNode {
  return { ...first, items: [...first.items, ...second.items] };
}

/** What a file of another program says; its notes are kept. */
function adapted(
  path: string,
  bytes: Uint8Array,
  adapter: Adapter,
  isPart: boolean,
  { files, environment, problems, notes, names: read, testCodes }: Reader,
): MapNode {
  const names = machineNames(files.read);
  const context = { names, environment, files, hostName: hostname(), isPart };
  const found = adapter.read(sourceOf(path, decodeRules(bytes)), context);
  read.push(...(found.files ?? []));
  if (found.testCodes) testCodes.set(path, found.testCodes);
  problems.push(...found.problems);
  notes.push(...found.notes);
  return found.root;
}

/**
 * Which file says what a path of the whole leads to, and the path in that file; undefined where nothing is there. What
 * several files say together, such as a list they each have a part of, is the first one's.
 */
export function locate({ root, own }: ReadFiles, path: Path): { file: string; path: Path } | undefined {
  const target = root && nodeAt(root, path);
  if (!target) return undefined;
  for (const [file, ownRoot] of own) {
    const inFile = pathIn(ownRoot, root, path);
    if (inFile) return { file, path: inFile };
  }
  return undefined;
}

/** The path by which one file's own values lead to what a path of the whole leads to. */
function pathIn(own: MapNode, whole: MapNode, path: Path): Path | undefined {
  const found: (string | number)[] = [];
  let [mine, all]: [TreeNode | undefined, TreeNode | undefined] = [own, whole];
  for (const step of path) {
    all = nodeAt(all, [step]);
    // Entries of lists that several files have a part of are where they were, but not as many as they were.
    const ownStep: string | number = mine.kind === 'list' && all ? mine.items.indexOf(all) : step;
    mine = nodeAt(mine, [ownStep]);
    if (!mine || !all) return undefined;
    found.push(ownStep);
  }
  return found;
}
