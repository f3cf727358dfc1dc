import { isAlias, isMap, isPair, isScalar, isSeq, type Node, type Pair } from 'yaml';
import type { Problem } from '../model/errors.ts';
import { placeOf, problemAt, type Source, type Span } from '../model/problem.ts';
import { limits } from './limits.ts';
import type { Memory } from './memory.ts';
import { readQuickly } from './quick-yaml.ts';
import type { MapNode, Member, TreeNode } from './tree.ts';
import { type Environment, expandVariables, guardVariables, plainScalar, unguarded } from './variables.ts';
import { hasStrangeSigns, parseYaml, quoteHint } from './yaml.ts';

/**
 * Reads a YAML text into a tree of values with their places: aliases and merge keys (`<<`) resolved, variables put in,
 * keys unique. What is wrong goes to `problems`; undefined where the text has no meaning to go on with.
 */
export function readTree(
  source: Source,
  environment: Environment,
  problems: Problem[],
  memory?: Memory,
): TreeNode | undefined {
  return readUsual(source, environment, problems, memory) ?? readAny(source, environment, problems);
}

/** The tree of a text in the part of YAML that can be read quickly, the same as the one below; undefined for others. */
export function readUsual(
  source: Source,
  environment: Environment,
  problems: Problem[],
  memory?: Memory,
): TreeNode | undefined {
  if (hasStrangeSigns(source.text)) return undefined;
  const found: Problem[] = [];
  const scalar = (value: string, isPlain: boolean, span: Span) =>
    scalarNode(
      isPlain && !value.includes('$') ? plainScalar(value) : value,
      isPlain,
      span,
      environment,
      found,
    );
  const tree = readQuickly(source, guardVariables(source.text), scalar, memory);
  if (tree) problems.push(...found);
  return tree;
}

/** The tree of any YAML text. */
export function readAny(source: Source, environment: Environment, problems: Problem[]): TreeNode | undefined {
  const { document, problems: found } = parseYaml(source);
  problems.push(...found);
  if (!document) return undefined;
  const reader: Reader = { source, environment, problems, anchors: new Map(), aliased: 0 };
  return readNode(document.contents, { source, start: 0, end: 0 }, reader).node;
}

type Reader = {
  readonly source: Source;
  readonly environment: Environment;
  readonly problems: Problem[];
  /** What each anchor stands for from here on; `open` while its own value is being read. */
  readonly anchors: Map<string, Sized | 'open'>;
  aliased: number;
};

/** A node and how many values it consists of. */
type Sized = { readonly node: TreeNode; readonly size: number };

const nothing = (span: Span): Sized => ({ node: { kind: 'scalar', span, value: null }, size: 1 });
const broken = (span: Span): Sized => ({
  node: { kind: 'scalar', span, value: null, broken: true },
  size: 1,
});

function spanOf(node: Node, source: Source): Span {
  const [start, end] = node.range ?? [0, 0];
  return { source, start, end };
}

function readNode(node: unknown, at: Span, reader: Reader): Sized {
  if (isAlias(node)) return readAlias(node.source, spanOf(node, reader.source), reader);
  if (!isScalar(node) && !isMap(node) && !isSeq(node)) return nothing(at);
  const span = spanOf(node, reader.source);
  if (node.tag !== undefined && !knownTags.test(node.tag)) {
    reader.problems.push(tagged(node.tag, span));
    return broken(span);
  }
  if (node.anchor !== undefined) reader.anchors.set(node.anchor, 'open');
  const read = isScalar(node)
    ? {
        node: scalarNode(node.value, node.type === 'PLAIN', span, reader.environment, reader.problems),
        size: 1,
      }
    : isSeq(node)
      ? readList(node.items, span, reader)
      : readMap(node.items, span, reader);
  if (node.anchor !== undefined) reader.anchors.set(node.anchor, read);
  return read;
}

const knownTags = /^tag:yaml\.org,2002:(?:str|int|float|bool|null|map|seq)$/;

function tagged(tag: string, { source, start }: Span): Problem {
  const from = source.text.slice(0, start).search(/!\S*\s*$/);
  const span = { source, start: from < 0 ? start : from, end: start };
  return problemAt(span, 'HG_CONFIG_SYNTAX', `tag "${tag}": tags have no meaning here`, 'remove the tag');
}

function readAlias(name: string, span: Span, reader: Reader): Sized {
  const target = reader.anchors.get(name);
  if (target === undefined || target === 'open') {
    const why = target === 'open' ? 'it stands inside the value it names' : `no "&${name}" comes before it`;
    reader.problems.push(problemAt(span, 'HG_CONFIG_SYNTAX', `alias "*${name}": ${why}`));
    return broken(span);
  }
  if (reader.aliased <= limits.aliasedValues && reader.aliased + target.size > limits.aliasedValues)
    reader.problems.push(
      problemAt(
        span,
        'HG_CONFIG_SIZE',
        `alias "*${name}": with it aliases put in more than ${limits.aliasedValues} values`,
      ),
    );
  reader.aliased += target.size;
  return reader.aliased > limits.aliasedValues ? broken(span) : target;
}

/** The node of a scalar as YAML has it, with variables put in. */
function scalarNode(
  value: unknown,
  isPlain: boolean,
  span: Span,
  environment: Environment,
  problems: Problem[],
): TreeNode {
  if (typeof value === 'string' && value.includes('$')) {
    const text = expandVariables(value, span, environment, problems);
    if (text === undefined) return broken(span).node;
    return { kind: 'scalar', span, value: isPlain ? plainScalar(text) : text };
  }
  const known = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
  return { kind: 'scalar', span, value: known ? value : null };
}

function readList(items: readonly unknown[], span: Span, reader: Reader): Sized {
  const read = items.map((item) =>
    isPair(item) ? readMap([item], span, reader) : readNode(item, span, reader),
  );
  return {
    node: { kind: 'list', span, items: read.map(({ node }) => node) },
    size: read.reduce((sum, { size }) => sum + size, 1),
  };
}

function readMap(pairs: readonly Pair[], span: Span, reader: Reader): Sized {
  const members = new Map<string, Member>();
  const merged: MapNode[] = [];
  let size = 1;
  for (const { key, value } of pairs) {
    const keySpan = key === null || typeof key !== 'object' ? span : spanOf(key as Node, reader.source);
    const empty =
      isScalar(value) && value.type === 'PLAIN' && value.source === '' && value.anchor === undefined;
    const read = empty ? nothing(keySpan) : readNode(value, keySpan, reader);
    size += read.size;
    if (!isScalar(key) || key.value === null) {
      reader.problems.push(wrongKey(key, keySpan));
      return broken(span);
    }
    const name = unguarded(key.source ?? String(key.value));
    const before = members.get(name);
    if (name === '<<') merged.push(...mergedMaps(read.node, keySpan, reader));
    else if (before) reader.problems.push(usedTwice(name, keySpan, before.keySpan));
    else members.set(name, { keySpan, value: read.node });
  }
  for (const map of merged)
    for (const [name, member] of map.members) if (!members.has(name)) members.set(name, member);
  return { node: { kind: 'map', span, members }, size };
}

function wrongKey(key: unknown, span: Span): Problem {
  const message = 'key: wanted a word, found something else';
  return isSeq(key)
    ? problemAt(span, 'HG_CONFIG_SYNTAX', message, quoteHint)
    : problemAt(span, 'HG_CONFIG_SYNTAX', message);
}

/** What `<<` merges in: a map, or several of which the first has precedence (https://yaml.org/type/merge.html). */
function mergedMaps(node: TreeNode, keySpan: Span, reader: Reader): readonly MapNode[] {
  const nodes = node.kind === 'list' ? node.items : [node];
  const maps = nodes.filter((one) => one.kind === 'map');
  if (maps.length < nodes.length)
    reader.problems.push(
      problemAt(
        keySpan,
        'HG_CONFIG_SYNTAX',
        'key "<<": wanted an alias of keys and values, found another value',
      ),
    );
  return maps;
}

/** The problem of a key that was given before; `first` may stand in another file. */
export function usedTwice(key: string, at: Span, first: Span): Problem {
  const { line } = placeOf(first.source, first.start);
  const where = first.source === at.source ? `line ${line}` : `${first.source.name}:${line}`;
  return problemAt(at, 'HG_CONFIG_DUPLICATE_KEY', `key "${key}": given in ${where} already`);
}
