import { parseAddress } from '../../../model/address.ts';
import type { Span } from '../../../model/problem.ts';
import { parsePrefix } from '../../schema/addresses.ts';
import type { MapNode, TreeNode } from '../../tree.ts';
import { interfaceIn, shown } from './addresses.ts';
import type { Value } from './blocks.ts';
import { listAt, mapAt, type Scope, scalarAt } from './scope.ts';
import { numberIn } from './values.ts';
import type { Word } from './words.ts';

/** Lines of virtual_routes, virtual_rules, static_ipaddress, static_routes and static_rules (keepalived.conf(5)). */

/** One of them, or none. */
export const listed = (node: MapNode | undefined): readonly MapNode[] => (node ? [node] : []);

/** Several of them as a node; undefined where there are none. */
export const nodesAt = (nodes: readonly MapNode[], span: Span): TreeNode | undefined =>
  nodes.length > 0 ? listAt(span, nodes) : undefined;

const mostNumber = 4_294_967_295;
const tableNames: Readonly<Record<string, string | number>> = {
  ...{ main: 'main', local: 'local', default: 'default', 253: 'default', 254: 'main', 255: 'local' },
};
const types = ['unicast', 'blackhole', 'unreachable', 'prohibit'];

/** What a word of a line is for: how its value is read, and where it goes. */
type Taker = (value: Word, scope: Scope) => TreeNode | undefined;
type Takers = Readonly<Record<string, readonly [key: string, take: Taker]>>;

const number: Taker = (word, scope) => {
  const value = numberIn(word, [0, mostNumber], scope);
  return value === undefined ? undefined : scalarAt(word.span, value);
};
const table: Taker = (word, scope) => {
  const name = Object.hasOwn(tableNames, word.text) ? tableNames[word.text] : undefined;
  if (name !== undefined) return scalarAt(word.span, name);
  if (/^\d+$/.test(word.text)) return number(word, scope);
  scope.notes.ignored(word.span, `table "${shown(word.text)}": wanted a number, main, local or default`);
  return undefined;
};
const address: Taker = (word, { notes }) => {
  const value = parseAddress(word.text);
  if (value !== undefined) return scalarAt(word.span, value);
  notes.wrong('ignored', word.span, `"${shown(word.text)}": wanted an address`);
  return undefined;
};
const network: Taker = (word, { notes }) => {
  const text = word.text === 'default' ? 'default' : /^(all|any)$/.test(word.text) ? undefined : word.text;
  if (text === 'default' || (text !== undefined && parsePrefix(text))) return scalarAt(word.span, text);
  if (text !== undefined) notes.wrong('ignored', word.span, `"${shown(word.text)}": wanted a network`);
  return undefined;
};
const device: Taker = (word, scope) => {
  const name = interfaceIn(word, scope);
  return name === undefined ? undefined : scalarAt(word.span, name);
};
/** `1/0xff`: the mark, and the bits of it that count. */
const mark: Taker = ({ text, span }, { notes }) => {
  const value = Number(text.split('/')[0]);
  if (text !== '' && Number.isInteger(value) && value >= 0 && value <= mostNumber)
    return scalarAt(span, value);
  notes.wrong('ignored', span, `"${shown(text)}": wanted a mark`);
  return undefined;
};

const ofRoutes: Takers = {
  ...{ to: ['to', network], via: ['via', address], gw: ['via', address], dev: ['interface', device] },
  ...{ oif: ['interface', device], src: ['source', address], table: ['table', table] },
  ...{ metric: ['metric', number], priority: ['metric', number], preference: ['metric', number] },
  mtu: ['mtu', number],
};
const ofRules: Takers = {
  ...{ from: ['from', network], to: ['to', network], iif: ['interface', device], dev: ['interface', device] },
  ...{ fwmark: ['mark', mark], table: ['table', table], lookup: ['table', table] },
  ...{ priority: ['priority', number], preference: ['priority', number], pref: ['priority', number] },
};
/** What is said without a value, or has no meaning for where packets go. */
const lone = ['onlink', 'prepend', 'append', 'add', 'no_track', 'inet', 'inet6', 'not', 'fastopen_no_cookie'];

type Line = { readonly nodes: Record<string, TreeNode>; readonly said: ReadonlySet<string> };

function readLine({ words }: Value, takers: Takers, scope: Scope): Line {
  const nodes: Record<string, TreeNode> = {};
  const said = new Set<string>();
  for (let i = 0; i < words.length; i++) {
    const { text, span } = words[i]!;
    const taker = Object.hasOwn(takers, text) ? takers[text] : undefined;
    const value = words[i + 1];
    if (taker && value) {
      // `mtu lock 1400`: it holds whatever routers say.
      const held = text === 'mtu' && value.text === 'lock' ? words[i + 2] : undefined;
      const node = taker[1](held ?? value, scope);
      if (node) nodes[taker[0]] = node;
      if (text === 'fwmark' && /\/(0x[\da-f]+|\d+)$/i.test(value.text))
        nodes.markMask = scalarAt(value.span, Number(value.text.split('/')[1]));
      i += held ? 2 : 1;
    } else if (types.includes(text)) nodes.type = scalarAt(span, text);
    else if (lone.includes(text)) said.add(text);
    else if (nodes.to === undefined && takers === ofRoutes && (text === 'default' || parsePrefix(text)))
      nodes.to = scalarAt(span, text);
    else {
      scope.notes.ignored(span, `${text} ${shown(value?.text ?? '')}: it is not set`.replace('  ', ' '));
      i++;
    }
  }
  return { nodes, said };
}

/** A line of virtual_routes or static_routes; undefined where it leads nowhere that can be said. */
export function routeNode(value: Value, scope: Scope): MapNode | undefined {
  const { nodes, said } = readLine(value, ofRoutes, scope);
  const { notes } = scope;
  const not = said.has('not') ? 'not' : value.words.some(({ text }) => text === 'nexthop') && 'nexthop';
  if (not || !nodes.to) {
    notes.ignored(value.span, not ? `routes with "${not}" are not set` : 'a route without a destination');
    return undefined;
  }
  notes.kept(value.span, '"routes"');
  return mapAt(value.span, { ...nodes, onLink: said.has('onlink') ? true : undefined });
}

/** A line of virtual_rules or static_rules; undefined where it cannot be said. */
export function ruleNode(value: Value, scope: Scope): MapNode | undefined {
  const { nodes, said } = readLine(value, ofRules, scope);
  const { notes } = scope;
  const ignore = (reason: string): undefined => {
    notes.ignored(value.span, reason);
    return undefined;
  };
  if (said.has('not')) return ignore('rules with "not" are not set');
  if (nodes.type) return ignore('rules that lead to no table are not set');
  if (!nodes.table) return ignore('a rule without a table');
  if (!nodes.priority) return ignore('a rule without a preference: keepalived would choose one');
  notes.kept(value.span, '"rules"');
  return mapAt(value.span, { ...nodes, family: said.has('inet6') ? 'ipv6' : undefined });
}

/** A line of static_ipaddress. */
export function staticAddressNode(
  { words, span }: Value,
  usual: string | undefined,
  { notes }: Scope,
): MapNode | undefined {
  const [first, ...options] = words;
  const at = options.findIndex(({ text }) => text === 'dev');
  const where = at >= 0 ? options[at + 1]?.text : usual;
  if (!parsePrefix(first!.text) || where === undefined || !/^[^\s/:]{1,15}$/.test(where)) {
    notes.wrong('ignored', span, `"${shown(first!.text)}": wanted an address and "dev" with an interface`);
    return undefined;
  }
  for (const [i, { text, span: place }] of options.entries())
    if (i !== at && i !== at + 1) notes.ignored(place, `"${shown(text)}" is not set`);
  notes.kept(span, '"always.addresses"');
  return mapAt(span, { address: scalarAt(first!.span, first!.text), interface: where });
}
