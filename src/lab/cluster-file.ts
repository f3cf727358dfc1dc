import { HeadgateError } from '../model/errors.ts';
import { schedulerNames } from '../model/virtual-service.ts';
import { type Cluster, contents, nodeRoles } from './cluster.ts';
import { clusterMistakes, type Path } from './cluster-mistakes.ts';
import { JsonError, type JsonNode, type Place, parseJson } from './json.ts';

/** What a value of a cluster file may be. */
type Shape =
  | { readonly kind: 'string' | 'number' }
  | { readonly kind: 'one of'; readonly words: readonly string[] }
  | { readonly kind: 'array'; readonly items: Shape }
  | { readonly kind: 'object'; readonly required: Keys; readonly optional: Keys };
type Keys = Readonly<Record<string, Shape>>;

const text: Shape = { kind: 'string' };
const number: Shape = { kind: 'number' };
const oneOf = (...words: readonly string[]): Shape => ({ kind: 'one of', words });
const listOf = (items: Shape): Shape => ({ kind: 'array', items });
const object = (required: Keys, optional: Keys = {}): Shape => ({ kind: 'object', required, optional });

const clusterShape = object(
  {
    name: text,
    nodes: listOf(object({ name: text, role: oneOf(...nodeRoles) }, { gateway: text })),
    links: listOf(
      object(
        { name: text, ports: listOf(object({ node: text, addresses: listOf(text) }, { device: text })) },
        { mtu: number },
      ),
    ),
    services: listOf(
      object(
        {
          address: text,
          port: number,
          scheduler: oneOf(...schedulerNames),
          method: oneOf('masquerade', 'direct-routing', 'tunnel'),
          realServers: listOf(object({ node: text, address: text }, { port: number, weight: number })),
        },
        { protocol: oneOf('tcp', 'udp'), serves: oneOf(...contents) },
      ),
    ),
  },
  { summary: text },
);

type Found = { readonly at: Place; readonly sentence: string };
type Findings = { readonly found: Found[]; readonly strange: Found[] };

/**
 * Reads a cluster from the text of a JSON file; `file` is its name in messages. Throws HG_LAB_FILE with every mistake, a
 * line each, `file:line:column: what is wrong`.
 */
export function readCluster(text: string, file: string): Cluster {
  let root: JsonNode;
  try {
    root = parseJson(text);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw failure(file, [{ at: error.at, sentence: error.message }]);
  }
  const found: Found[] = [];
  // A key too many does not keep the rest from being judged, so that all mistakes come at once.
  const strange: Found[] = [];
  const value = readShape(root, clusterShape, 'the cluster', { found, strange });
  if (found.length > 0) throw failure(file, [...found, ...strange]);
  const { summary = `From ${file}`, services, ...rest } = value as Cluster;
  const cluster: Cluster = {
    ...rest,
    summary,
    services: services.map(({ protocol = 'tcp', serves = 'http', ...service }) => ({
      ...service,
      protocol,
      serves,
    })),
  };
  const mistakes = clusterMistakes(cluster);
  if (mistakes.length + strange.length === 0) return cluster;
  throw failure(file, [
    ...strange,
    ...mistakes.map(({ path, sentence }) => ({ at: placeAt(root, path), sentence })),
  ]);
}

function failure(file: string, found: readonly Found[]): HeadgateError {
  const lines = found
    .toSorted((a, b) => a.at.line - b.at.line || a.at.column - b.at.column)
    .map(({ at, sentence }) => `${file}:${at.line}:${at.column}: ${sentence}`);
  return new HeadgateError('HG_LAB_FILE', lines.join('\n  '));
}

function readShape(node: JsonNode, shape: Shape, what: string, findings: Findings): unknown {
  const wrong = (wanted: string): undefined => {
    findings.found.push({ at: node.at, sentence: `${what}: wanted ${wanted}, found ${described(node)}` });
    return undefined;
  };
  switch (shape.kind) {
    case 'string':
      return node.kind === 'string' ? node.value : wrong('a string');
    case 'number':
      return node.kind === 'number' ? node.value : wrong('a number');
    case 'one of':
      return node.kind === 'string' && shape.words.includes(node.value)
        ? node.value
        : wrong(`one of ${shape.words.join(', ')}`);
    case 'array':
      if (node.kind !== 'array') return wrong('a list in [ ]');
      return node.items.map((item, i) => readShape(item, shape.items, `${what}, entry ${i + 1}`, findings));
    case 'object':
      return node.kind === 'object' ? readKeys(node, shape, what, findings) : wrong('an object in { }');
  }
}

function readKeys(
  node: JsonNode & { kind: 'object' },
  { required, optional }: Shape & { kind: 'object' },
  what: string,
  findings: Findings,
): Record<string, unknown> {
  const known = { ...required, ...optional };
  const result: Record<string, unknown> = {};
  for (const { key, at, value } of node.members) {
    const shape = Object.hasOwn(known, key) ? known[key] : undefined;
    if (shape) result[key] = readShape(value, shape, `"${key}"`, findings);
    else
      findings.strange.push({
        at,
        sentence: `key "${key}": not known here; wanted one of ${Object.keys(known).join(', ')}`,
      });
  }
  for (const key of Object.keys(required))
    if (!node.members.some((member) => member.key === key))
      findings.found.push({ at: node.at, sentence: `${what}: wanted the key "${key}", found none` });
  return result;
}

function described(node: JsonNode): string {
  if (node.kind === 'string') return `"${node.value}"`;
  if (node.kind === 'number' || node.kind === 'boolean') return String(node.value);
  return { object: 'an object', array: 'a list', null: 'null' }[node.kind];
}

/** The place of the value a path leads to; where the path ends early, of the last value on it. */
function placeAt(root: JsonNode, path: Path): Place {
  let node = root;
  for (const step of path) {
    const next: JsonNode | undefined =
      node.kind === 'object'
        ? node.members.find(({ key }) => key === step)?.value
        : node.kind === 'array'
          ? node.items[step as number]
          : undefined;
    if (!next) break;
    node = next;
  }
  return node.at;
}
