import {
  type Address,
  addressFromBytes,
  addressToBytes,
  familyOf,
  parseAddress,
} from '../../../model/address.ts';
import type { Span } from '../../../model/problem.ts';
import { type Endpoint, portIn, shown } from './addresses.ts';
import type { Statement, Value } from './blocks.ts';
import type { Scope } from './scope.ts';
import { numberIn, unsignedMax } from './values.ts';

/** What a virtual_server_group holds. */
export type Group = {
  readonly name: string;
  readonly span: Span;
  readonly addresses: readonly (Endpoint & { readonly span: Span })[];
  readonly marks: readonly { readonly mark: number; readonly family?: 4 | 6; readonly span: Span }[];
};

/** How many addresses a group may have: each is a service of its own. */
const mostAddresses = 4096;

/** Reads a block `virtual_server_group`. */
export function readGroup(statement: Statement, scope: Scope): Group | undefined {
  const { notes } = scope;
  const [name] = statement.words;
  if (!name) {
    notes.wrong('ignored', statement.span, 'a group without a name');
    return undefined;
  }
  const group = { name: name.text, span: statement.span, addresses: [], marks: [] } satisfies Group;
  for (const value of statement.values) takeValue(value, group, scope);
  if (group.addresses.length + group.marks.length === 0)
    notes.wrong('ignored', statement.span, 'a group with nothing in it');
  else notes.kept(statement.span, 'several addresses of one virtual service');
  return group;
}

type Open = {
  addresses: (Endpoint & { span: Span })[];
  marks: { mark: number; family?: 4 | 6; span: Span }[];
};

function takeValue({ words, span }: Value, group: Open, scope: Scope): void {
  const { notes } = scope;
  const [first, second, third] = words;
  if (first?.text === 'fwmark') {
    const mark = second && numberIn(second, [0, unsignedMax], scope);
    if (!second) notes.wrong('ignored', span, 'a mark is missing');
    if (mark === undefined) return;
    const family = third?.text === 'inet' ? 4 : third?.text === 'inet6' ? 6 : undefined;
    if (third && family === undefined) {
      notes.wrong('ignored', third.span, `"${shown(third.text)}": wanted inet or inet6`);
      return;
    }
    group.marks.push({ mark, span, ...(family !== undefined && { family }) });
    notes.kept(span, '"fwmark"');
    return;
  }
  const port = second ? portIn(second, scope) : 0;
  if (port === undefined) return;
  const range = rangeOf(first!.text);
  if (typeof range === 'string') {
    notes.wrong('ignored', first!.span, `"${shown(first!.text)}": ${range}`);
    return;
  }
  if (range.length + group.addresses.length > mostAddresses) {
    notes.ignored(span, `more than ${mostAddresses} addresses in one group`);
    return;
  }
  for (const address of range) group.addresses.push({ address, port, span });
  notes.kept(span, '"address"');
}

/** The addresses of `A`, `A-B`, `A-LAST`, `A/LENGTH`, or what is wrong with it. */
function rangeOf(text: string): readonly Address[] | string {
  const [first = '', rest] = text.split(/[-/](.*)/s);
  const start = parseAddress(first);
  if (start === undefined) return 'wanted an address';
  if (rest === undefined) return [start];
  const family = familyOf(start);
  const bits = family === 4 ? 32 : 128;
  const from = numberOf(start);
  if (text[first.length] === '/') {
    const length = /^\d{1,3}$/.test(rest) ? Number(rest) : 0;
    if (length < 1 || length > bits) return `wanted a length from 1 to ${bits}`;
    const size = 1n << BigInt(bits - length);
    return from % size !== 0n ? 'wanted no bits behind the mask' : addressesFrom(from, size, family);
  }
  const last = rest.includes(family === 4 ? '.' : ':') ? parseAddress(rest) : undefined;
  if (last !== undefined && familyOf(last) !== family) return 'wanted both ends of one family';
  const short = family === 4 ? /^\d{1,3}$/ : /^[0-9a-fA-F]{1,4}$/;
  if (last === undefined && !short.test(rest)) return 'wanted the end of a range';
  const width = family === 4 ? 8n : 16n;
  const tail = last === undefined ? BigInt(Number.parseInt(rest, family === 4 ? 10 : 16)) : 0n;
  if (tail >> width !== 0n) return 'wanted the end of a range';
  const to = last === undefined ? ((from >> width) << width) | tail : numberOf(last);
  if (to < from || (last === undefined && to === from)) return 'its end comes before its start';
  return addressesFrom(from, to - from + 1n, family);
}

function addressesFrom(from: bigint, count: bigint, family: 4 | 6): readonly Address[] | string {
  if (count > BigInt(mostAddresses)) return `more than ${mostAddresses} addresses`;
  return Array.from({ length: Number(count) }, (_, i) => addressOf(from + BigInt(i), family));
}

function numberOf(address: Address): bigint {
  return addressToBytes(address).reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
}

function addressOf(value: bigint, family: 4 | 6): Address {
  const count = family === 4 ? 4 : 16;
  const bytes = Array.from({ length: count }, (_, i) =>
    Number((value >> BigInt(8 * (count - 1 - i))) & 0xffn),
  );
  return addressFromBytes(Uint8Array.from(bytes));
}
