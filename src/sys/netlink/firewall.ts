import { decodeAttributes, decodeText, text } from './message.ts';
import type { Netlink } from './socket.ts';

/**
 * The rules of nf_tables over nfnetlink (include/uapi/linux/netfilter/nf_tables.h), as far as they compare addresses,
 * ports and protocols. iptables of today writes its rules there too. Sockets are opened with
 * `netlinkProtocols.netfilter`. Every function throws NetlinkError: EOPNOTSUPP or EINVAL where the kernel has none.
 */

/** A comparison of a rule; a rule takes a packet only when all of its comparisons hold. */
export type FirewallTest = {
  readonly field: 'saddr' | 'daddr' | 'sport' | 'dport' | 'protocol';
  /** Of an address. */
  readonly family?: 4 | 6;
  /** What it is compared with: first and last values, numbers in network order. */
  readonly ranges: readonly (readonly [bigint, bigint])[];
  readonly negated: boolean;
};

export type FirewallRule = {
  readonly family: FirewallFamily;
  readonly table: string;
  readonly chain: string;
  readonly handle: bigint;
  /** What could be read; other conditions are left out. */
  readonly tests: readonly FirewallTest[];
  /** Of a set whose elements have several parts: one of these lists must hold besides. */
  readonly oneOf?: readonly (readonly FirewallTest[])[];
  /** IP version it is limited to. */
  readonly only?: 4 | 6;
  /** `accept`, `drop`, `jump`, ..., or the name of what it does to the packet; absent: nothing. */
  readonly verdict?: string;
  /** It asks for the state of a connection (ct). */
  readonly stateful: boolean;
  /** It gives packets this firewall mark, or one that depends on the packet. */
  readonly mark?: number | 'computed';
};

export type FirewallChain = {
  readonly family: FirewallFamily;
  readonly table: string;
  readonly name: string;
  /** Absent: only other chains lead here. */
  readonly hook?: 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting' | 'ingress' | 'egress';
  readonly drops: boolean;
};

export type FirewallFamily = 'inet' | 'ip' | 'arp' | 'netdev' | 'bridge' | 'ip6';

const subsystem = 10 << 8;
const messages = { getChain: 4, getRule: 7, getSetElements: 13 } as const;
const families: Readonly<Record<number, FirewallFamily>> = {
  1: 'inet',
  2: 'ip',
  3: 'arp',
  5: 'netdev',
  7: 'bridge',
  10: 'ip6',
};
const inetHooks = ['prerouting', 'input', 'forward', 'output', 'postrouting', 'ingress'] as const;
const netdevHooks = ['ingress', 'egress'] as const;

/** struct nfgenmsg; 0: every family. */
const header = (family = 0): Buffer => Buffer.from([family, 0, 0, 0]);

/** Every chain, base chains with their hook. */
export function listFirewallChains(netlink: Netlink): FirewallChain[] {
  return netlink
    .dump('list firewall chains', subsystem | messages.getChain, [header()])
    .map(({ payload }) => {
      const attributes = decodeAttributes(payload, 4);
      const family = families[payload[0]!] ?? 'inet';
      const hook = attributes.get(4);
      const number = hook && decodeAttributes(hook).get(1)?.readUInt32BE(0);
      const name = number === undefined ? undefined : (family === 'netdev' ? netdevHooks : inetHooks)[number];
      return {
        family,
        table: textOf(attributes, 1),
        name: textOf(attributes, 3),
        drops: attributes.get(5)?.readUInt32BE(0) === 0,
        ...(name && { hook: name }),
      };
    });
}

/** Every rule, in the order the kernel runs those of one chain. */
export function listFirewallRules(netlink: Netlink): FirewallRule[] {
  const sets = new Map<string, Elements>();
  return netlink.dump('list firewall rules', subsystem | messages.getRule, [header()]).map(({ payload }) => {
    const attributes = decodeAttributes(payload, 4);
    const [table, chain] = [textOf(attributes, 1), textOf(attributes, 2)];
    const elementsOf = (set: string) => {
      const key = `${payload[0]} ${table} ${set}`;
      if (!sets.has(key)) sets.set(key, readElements(netlink, payload[0]!, table, set));
      return sets.get(key)!;
    };
    const family = families[payload[0]!] ?? 'inet';
    return {
      family,
      table,
      chain,
      handle: attributes.get(3)?.readBigUInt64BE(0) ?? 0n,
      ...readExpressions(listOf(attributes.get(4)), family, elementsOf),
    };
  });
}

type Attributes = Map<number, Buffer>;
/** Keys of a set: first and last of each. */
type Elements = readonly (readonly [Buffer, Buffer])[];

const textOf = (attributes: Attributes, type: number): string =>
  decodeText(attributes.get(type) ?? Buffer.alloc(0));

/** The attributes of a list, whose elements all have the same type. */
function listOf(list: Buffer | undefined): Buffer[] {
  const found: Buffer[] = [];
  if (!list) return found;
  for (let at = 0; at + 4 <= list.length; ) {
    const length = Math.max(4, list.readUInt16LE(at));
    found.push(list.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return found;
}

/** The bytes in a nested NFTA_DATA_VALUE. */
const dataOf = (data: Buffer | undefined): Buffer | undefined => data && decodeAttributes(data).get(1);

function readElements(netlink: Netlink, family: number, table: string, set: string): Elements {
  const parts = [header(family), text(1, table), text(2, set)];
  const elements = netlink
    .dump(`list elements of set "${set}"`, subsystem | messages.getSetElements, parts)
    .flatMap(({ payload }) => listOf(decodeAttributes(payload, 4).get(3)))
    .map((element) => {
      const attributes = decodeAttributes(element);
      const ends = ((attributes.get(3)?.readUInt32BE(0) ?? 0) & 1) !== 0;
      return { key: dataOf(attributes.get(1)), last: dataOf(attributes.get(10)), ends };
    })
    .filter((element): element is typeof element & { key: Buffer } => element.key !== undefined);
  if (!elements.some(({ ends }) => ends)) return elements.map(({ key, last }) => [key, last ?? key] as const);
  // Intervals: each begins at a key and ends before the next one up, which is marked so.
  const sorted = elements.toSorted((a, b) => Buffer.compare(a.key, b.key) || Number(b.ends) - Number(a.ends));
  return sorted.flatMap(({ key, ends }, i): Elements => {
    const next = sorted[i + 1];
    return ends ? [] : [[key, next ? before(next.key) : Buffer.alloc(key.length, 255)]];
  });
}

function before(key: Buffer): Buffer {
  const bytes = Buffer.from(key);
  for (let at = bytes.length - 1; at >= 0; at--) {
    bytes[at] = bytes[at]! - 1;
    if (bytes[at] !== 255) break;
  }
  return bytes;
}

/** Bytes of a packet in a register, or something about it. */
type Loaded =
  | { readonly base: number; readonly offset: number; readonly length: number; readonly mask?: Buffer }
  | { readonly meta: 'protocol' | 'ip version' | 'ether type' };

type Place = { readonly field: FirewallTest['field']; readonly offset: number; readonly length: number };
const networkPlaces: Readonly<Record<4 | 6, readonly Place[]>> = {
  4: [
    { field: 'protocol', offset: 9, length: 1 },
    { field: 'saddr', offset: 12, length: 4 },
    { field: 'daddr', offset: 16, length: 4 },
  ],
  6: [
    { field: 'protocol', offset: 6, length: 1 },
    { field: 'saddr', offset: 8, length: 16 },
    { field: 'daddr', offset: 24, length: 16 },
  ],
};
const transportPlaces: readonly Place[] = [
  { field: 'sport', offset: 0, length: 2 },
  { field: 'dport', offset: 2, length: 2 },
];

const metaKeys: Readonly<Record<number, 'protocol' | 'ip version' | 'ether type'>> = {
  1: 'ether type',
  15: 'ip version',
  16: 'protocol',
};
/** NFT_META_MARK. */
const markKey = 3;
const verdicts: Readonly<Record<number, string>> = {
  0: 'drop',
  1: 'accept',
  3: 'queue',
  [-3]: 'jump',
  [-4]: 'goto',
  [-5]: 'return',
};
/** Expressions that end a packet's way or change it. */
const doing = new Set(['reject', 'nat', 'masq', 'redir', 'queue', 'tproxy', 'synproxy', 'fwd', 'dup']);

/** Registers by their place in words of four bytes: the four old ones have sixteen each (nft_parse_register). */
const wordOf = (register: number): number => (register < 8 ? register * 4 : register - 4);

function readExpressions(
  expressions: readonly Buffer[],
  table: FirewallFamily,
  elementsOf: (set: string) => Elements,
): Pick<FirewallRule, 'tests' | 'oneOf' | 'only' | 'verdict' | 'stateful' | 'mark'> {
  const registers = new Map<number, Loaded>();
  const tests: FirewallTest[] = [];
  let only: 4 | 6 | undefined = table === 'ip' ? 4 : table === 'ip6' ? 6 : undefined;
  let oneOf: FirewallTest[][] | undefined;
  let verdict: string | undefined;
  let stateful = false;
  let mark: number | 'computed' | undefined;
  /** Constants in registers. */
  const constants = new Map<number, Buffer>();

  const compared = (loaded: Loaded, ranges: Elements, negated: boolean): FirewallTest[] => {
    if (!('meta' in loaded)) return testsOf(loaded, ranges, negated, only);
    if (loaded.meta === 'protocol')
      return [{ field: 'protocol', ranges: ranges.map(([a, b]) => [numberOf(a), numberOf(b)]), negated }];
    const number = ranges[0]?.[0];
    if (!negated && ranges.length === 1 && number) only = versionOf(loaded.meta, number) ?? only;
    return [];
  };
  const test = (...of: Parameters<typeof compared>) => void tests.push(...compared(...of));
  const lookUp = (first: number, elements: Elements, negated: boolean) => {
    const parts = partsOf(registers, first, elements[0]?.[0].length);
    const slices = ([a, b]: Elements[number], { at, length }: Part): Elements[number] => [
      a.subarray(at, at + length),
      b.subarray(at, at + length),
    ];
    const [only] = parts;
    if (only && parts.length === 1)
      test(
        only.source,
        elements.map((element) => slices(element, only)),
        negated,
      );
    else if (!negated && parts.length > 1)
      oneOf ??= elements.map((element) =>
        parts.flatMap((part) => compared(part.source, [slices(element, part)], false)),
      );
  };

  for (const expression of expressions) {
    const outer = decodeAttributes(expression);
    const name = textOf(outer, 1);
    const data = decodeAttributes(outer.get(2) ?? Buffer.alloc(0));
    const number = (type: number) => data.get(type)?.readUInt32BE(0) ?? 0;
    const loaded = (type: number) => registers.get(wordOf(number(type)));
    if (name === 'immediate' && number(1) !== 0) {
      const value = dataOf(data.get(2));
      if (value) constants.set(wordOf(number(1)), value);
    } else if (name === 'meta' && data.has(3)) {
      // The kernel keeps marks in the order of the host's bytes.
      const value = constants.get(wordOf(number(3)));
      if (number(2) === markKey) mark = value?.length === 4 ? value.readUInt32LE(0) : 'computed';
    } else if (name === 'payload' && data.has(1)) {
      registers.set(wordOf(number(1)), { base: number(2), offset: number(3), length: number(4) });
    } else if (name === 'meta' && data.has(1)) {
      const key = metaKeys[number(2)];
      if (key) registers.set(wordOf(number(1)), { meta: key });
      else registers.delete(wordOf(number(1)));
    } else if (name === 'bitwise') {
      const source = loaded(1);
      const mask = dataOf(data.get(4));
      const flips = dataOf(data.get(5))?.some((byte) => byte !== 0) ?? false;
      if (source && !('meta' in source) && mask && !flips)
        registers.set(wordOf(number(2)), { ...source, mask });
      else registers.delete(wordOf(number(2)));
    } else if (name === 'cmp') {
      const source = loaded(1);
      const value = dataOf(data.get(3));
      const range = value && rangeOf(number(2), value);
      if (source && range) test(source, [range], number(2) === 1);
    } else if (name === 'range') {
      const source = loaded(1);
      const [first, last] = [dataOf(data.get(3)), dataOf(data.get(4))];
      if (source && first && last) test(source, [[first, last]], number(2) === 1);
    } else if (name === 'lookup') {
      lookUp(wordOf(number(2)), elementsOf(textOf(data, 1)), (number(5) & 1) !== 0);
      if (data.get(3) && number(3) === 0) verdict = 'vmap';
    } else if (name === 'immediate' && number(1) === 0) {
      const code = decodeAttributes(
        decodeAttributes(data.get(2) ?? Buffer.alloc(0)).get(2) ?? Buffer.alloc(0),
      );
      verdict = verdicts[code.get(1)?.readInt32BE(0) ?? 1] ?? verdict;
    } else if (name === 'target') {
      verdict = textOf(data, 1).toLowerCase();
      if (verdict === 'mark') mark = markOfTarget(data.get(3));
      else if (verdict === 'connmark') mark = 'computed';
    } else if (doing.has(name)) {
      verdict = name;
    } else if (
      ['ct', 'socket', 'fib', 'hash', 'numgen', 'exthdr', 'rt', 'osf', 'xfrm', 'tunnel'].includes(name)
    ) {
      stateful ||= name === 'ct';
      registers.delete(wordOf(number(name === 'hash' ? 2 : 1)));
    }
  }
  return {
    tests,
    stateful,
    ...(oneOf && { oneOf }),
    ...(only && { only }),
    ...(verdict !== undefined && { verdict }),
    ...(mark !== undefined && { mark }),
  };
}

/** struct xt_mark_tginfo2 of iptables: bits to set (by exclusive or) and bits to clear first. */
function markOfTarget(info: Buffer | undefined): number | 'computed' {
  if (!info || info.length < 8) return 'computed';
  return info.readUInt32LE(4) === 0xffffffff ? info.readUInt32LE(0) : 'computed';
}

function versionOf(meta: 'ip version' | 'ether type', value: Buffer): 4 | 6 | undefined {
  if (meta === 'ip version') return value[0] === 2 ? 4 : value[0] === 10 ? 6 : undefined;
  const type = value.readUInt16BE(0);
  return type === 0x0800 ? 4 : type === 0x86dd ? 6 : undefined;
}

/** What a comparison allows; NFT_CMP_NEQ is the negation of the same. */
function rangeOf(operator: number, value: Buffer): readonly [Buffer, Buffer] | undefined {
  const [lowest, highest] = [Buffer.alloc(value.length), Buffer.alloc(value.length, 255)];
  switch (operator) {
    case 0:
    case 1:
      return [value, value];
    case 2:
      return [lowest, before(value)];
    case 3:
      return [lowest, value];
    case 5:
      return [value, highest];
    default:
      return undefined;
  }
}

type Part = { readonly source: Loaded; readonly at: number; readonly length: number };

/** What a set's key of so many bytes consists of: several fields fill several registers, each padded to whole ones. */
function partsOf(registers: ReadonlyMap<number, Loaded>, first: number, width = 1): Part[] {
  const parts: Part[] = [];
  for (let at = 0; at < width; ) {
    const source = registers.get(first + at / 4);
    const length = source && !('meta' in source) ? source.length : Math.min(4, width - at);
    if (source) parts.push({ source, at, length: Math.min(length, width - at) });
    at += (length + 3) & ~3;
  }
  return parts;
}

const numberOf = (bytes: Buffer): bigint => (bytes.length === 0 ? 0n : BigInt(`0x${bytes.toString('hex')}`));

/** The fields that lie in what was loaded; a comparison of several at once (one load for source and destination) is taken apart. */
function testsOf(
  { base, offset, length, mask }: Exclude<Loaded, { meta: string }>,
  ranges: Elements,
  negated: boolean,
  family: 4 | 6 | undefined,
): FirewallTest[] {
  const places = base === 2 ? transportPlaces : base === 1 && family ? networkPlaces[family] : [];
  const covered = places.filter((place) => place.offset >= offset && place.offset < offset + length);
  if (covered.length > 1 && negated) return [];
  return covered.flatMap((place): FirewallTest[] => {
    const from = place.offset - offset;
    const to = Math.min(from + place.length, length);
    const missing = BigInt(8 * (place.length - (to - from)));
    const cut = mask?.subarray(from, to);
    const free = cut ? numberOf(Buffer.from(cut.map((byte) => byte ^ 255))) : 0n;
    // Only masks of prefixes can be told as a range.
    if ((free & (free + 1n)) !== 0n) return [];
    const slices = ranges.map(([a, b]): [bigint, bigint] => [
      numberOf(a.subarray(from, to)) << missing,
      ((numberOf(b.subarray(from, to)) | free) << missing) | ((1n << missing) - 1n),
    ]);
    const isAddress = place.field === 'saddr' || place.field === 'daddr';
    return [{ field: place.field, ranges: slices, negated, ...(isAddress && family && { family }) }];
  });
}
