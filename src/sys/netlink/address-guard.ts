import { familyInet, familyInet6, parseIp } from './ip.ts';
import { attribute, nested, text } from './message.ts';
import { type Netlink, netlinkProtocols, openNetlink } from './socket.ts';

/**
 * A table of nf_tables that goes with the process that made it (NFT_TABLE_F_OWNER, include/uapi/linux/netfilter/nf_tables.h,
 * Linux 5.12) and keeps packets for some of the host's addresses away from it. Numbers are in network order here.
 */

/** What still gets through to an address. */
export type GuardedAddress = {
  readonly address: string;
  /** IP protocols and destination ports; port 0: all of the protocol. */
  readonly served: readonly { readonly protocol: number; readonly port: number }[];
  /** Firewall marks. */
  readonly marks: readonly number[];
};

export type Guard = {
  /** Guards these addresses and no others, from one moment to the next. Throws NetlinkError; what was guarded stays so then. */
  set(addresses: readonly GuardedAddress[]): void;
  close(): void;
};

const subsystem = 10;
const messages = { newTable: 0, deleteTable: 2, newChain: 3, newRule: 6 } as const;
const table = { name: 1, flags: 2, owner: 2 } as const;
const chain = { table: 1, name: 3, hook: 4, type: 7 } as const;
const hook = { number: 1, priority: 2, localIn: 1 } as const;
/** As keepalived's: before the host's own filters. */
const priority = -1;
const rule = { table: 1, chain: 2, expressions: 4 } as const;
const element = { one: 1, name: 1, data: 2 } as const;
const [firstRegister, verdictRegister] = [1, 0];
const meta = { register: 1, key: 2, mark: 3, transport: 16 } as const;
const payload = { register: 1, base: 2, offset: 3, length: 4, network: 1, transport: 2 } as const;
const compare = { register: 1, operator: 2, data: 3, equal: 0 } as const;
const immediate = { register: 1, data: 2 } as const;
const data = { value: 1, verdict: 2 } as const;
const verdict = { code: 1, chain: 2, drop: 0, accept: 1, goto: -4 } as const;

/** Errors that a connection needs to go on, and what finds neighbours (RFC 9568, 6.4.3: never dropped). */
const messagesKept = {
  4: { protocol: 1, types: [3, 11, 12] },
  6: { protocol: 58, types: [1, 2, 3, 4, 135, 136] },
};
const destinationAt = { 4: 16, 6: 24 } as const;

const typeOf = (message: number): number => (subsystem << 8) | message;

function be32(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return attribute(type, bytes);
}

const expression = (name: string, parts: readonly Buffer[]): Buffer =>
  nested(element.one, [text(element.name, name), nested(element.data, parts)]);

const equals = (value: Buffer): Buffer =>
  expression('cmp', [
    be32(compare.register, firstRegister),
    be32(compare.operator, compare.equal),
    nested(compare.data, [attribute(data.value, value)]),
  ]);

const metaIs = (key: number, value: Buffer): Buffer[] => [
  expression('meta', [be32(meta.register, firstRegister), be32(meta.key, key)]),
  equals(value),
];

const bytesAre = (base: number, offset: number, value: Buffer): Buffer[] => [
  expression('payload', [
    be32(payload.register, firstRegister),
    be32(payload.base, base),
    be32(payload.offset, offset),
    be32(payload.length, value.length),
  ]),
  equals(value),
];

const decide = (code: number, to?: string): Buffer =>
  expression('immediate', [
    be32(immediate.register, verdictRegister),
    nested(immediate.data, [
      nested(data.verdict, [
        be32(verdict.code, code),
        ...(to === undefined ? [] : [text(verdict.chain, to)]),
      ]),
    ]),
  ]);

const port = (number: number): Buffer => Buffer.from([number >> 8, number & 255]);

function mark(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}

/** What is decided about packets to one address, in its own chain. */
function rulesFor(family: 4 | 6, { served, marks }: GuardedAddress): readonly (readonly Buffer[])[] {
  const { protocol: icmp, types } = messagesKept[family];
  const transportIs = (protocol: number) => metaIs(meta.transport, Buffer.from([protocol]));
  return [
    ...types.map((type) => [...transportIs(icmp), ...bytesAre(payload.transport, 0, Buffer.from([type]))]),
    ...served.map(({ protocol, port: number }) => [
      ...transportIs(protocol),
      ...(number === 0 ? [] : bytesAre(payload.transport, 2, port(number))),
    ]),
    ...marks.map((one) => metaIs(meta.mark, mark(one))),
  ].map((conditions) => [...conditions, decide(verdict.accept)]);
}

/** Opens a guard with a table of this name for each family that is guarded. It goes with `close`, or with the process. */
export function openGuard(name: string): Guard {
  let netlink: Netlink | undefined;
  const used = new Set<4 | 6>();

  function requests(family: 4 | 6, addresses: readonly GuardedAddress[]) {
    const header = Buffer.from([family === 4 ? familyInet : familyInet6, 0, 0, 0]);
    const request = (message: number, ...parts: Buffer[]) => ({
      type: typeOf(message),
      parts: [header, ...parts],
    });
    const own = [text(table.name, name), be32(table.flags, table.owner)];
    const ruleIn = (where: string, expressions: readonly Buffer[]) =>
      request(
        messages.newRule,
        text(rule.table, name),
        text(rule.chain, where),
        nested(rule.expressions, expressions),
      );
    const chainOf = (i: number) => `address${i}`;
    return [
      // Made where it is not there, so that it can be deleted with what is in it.
      request(messages.newTable, ...own),
      request(messages.deleteTable, text(table.name, name)),
      ...(addresses.length === 0
        ? []
        : [
            request(messages.newTable, ...own),
            request(
              messages.newChain,
              text(chain.table, name),
              text(chain.name, 'input'),
              nested(chain.hook, [be32(hook.number, hook.localIn), be32(hook.priority, priority)]),
              text(chain.type, 'filter'),
            ),
            ...addresses.flatMap((one, i) => [
              request(messages.newChain, text(chain.table, name), text(chain.name, chainOf(i))),
              // Each comes before those that are there.
              ruleIn(chainOf(i), [decide(verdict.drop)]),
              ...rulesFor(family, one).map((expressions) => ruleIn(chainOf(i), expressions)),
              ruleIn('input', [
                ...bytesAre(payload.network, destinationAt[family], parseIp(one.address).bytes),
                decide(verdict.goto, chainOf(i)),
              ]),
            ]),
          ]),
    ];
  }

  return {
    set(addresses) {
      for (const family of [4, 6] as const) {
        const of = addresses.filter(({ address }) => address.includes(':') === (family === 6));
        if (of.length === 0 && !used.has(family)) continue;
        netlink ??= openNetlink({ protocol: netlinkProtocols.netfilter });
        netlink.batch('guard virtual addresses', subsystem, requests(family, of));
        used.add(family);
      }
    },
    close() {
      netlink?.close();
      netlink = undefined;
      used.clear();
    },
  };
}
