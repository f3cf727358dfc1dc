import { familyInet, familyInet6, formatIp, parsePrefix } from './ip.ts';
import { attribute, decodeAttributes, decodeText, messageFlags, text, u8, u32 } from './message.ts';
import type { Netlink } from './socket.ts';

/** Policy routing rules over rtnetlink (include/uapi/linux/fib_rules.h). Every function throws NetlinkError. */

const newRule = 32;
const deleteRuleType = 33;
const getRule = 34;
const fra = {
  ...{ destination: 1, source: 2, inInterface: 3, priority: 6, mark: 10, table: 15, maskOfMark: 16 },
  ...{ protocol: 21, transport: 22 },
} as const;
const actionToTable = 1;

/** A rule that sends what it matches to a routing table; without conditions it matches everything. */
export type Rule = {
  readonly family: 'ipv4' | 'ipv6';
  readonly priority: number;
  readonly table: number;
  /** Prefixes, `192.0.2.0/24`. */
  readonly source?: string;
  readonly destination?: string;
  readonly mark?: number;
  /** Bits of the packet's mark that are compared; default all. */
  readonly maskOfMark?: number;
  /** Only packets that came in here. */
  readonly inInterface?: string;
  /** IP protocol of the packet. */
  readonly transport?: number;
  /** Who made it (FRA_PROTOCOL); a deletion finds only such a one. */
  readonly protocol?: number;
};

function ruleParts(rule: Rule): Buffer[] {
  const source = rule.source === undefined ? undefined : parsePrefix(rule.source);
  const destination = rule.destination === undefined ? undefined : parsePrefix(rule.destination);
  const family = rule.family === 'ipv6' ? familyInet6 : familyInet;
  const table = rule.table > 255 ? 0 : rule.table;
  return [
    Buffer.from([
      family,
      destination?.length ?? 0,
      source?.length ?? 0,
      0,
      table,
      0,
      0,
      actionToTable,
      0,
      0,
      0,
      0,
    ]),
    u32(fra.table, rule.table),
    u32(fra.priority, rule.priority),
    ...(source ? [attribute(fra.source, source.bytes)] : []),
    ...(destination ? [attribute(fra.destination, destination.bytes)] : []),
    ...(rule.mark === undefined ? [] : [u32(fra.mark, rule.mark)]),
    ...(rule.maskOfMark === undefined ? [] : [u32(fra.maskOfMark, rule.maskOfMark)]),
    ...(rule.inInterface === undefined ? [] : [text(fra.inInterface, rule.inInterface)]),
    ...(rule.transport === undefined ? [] : [u8(fra.transport, rule.transport)]),
    ...(rule.protocol === undefined ? [] : [u8(fra.protocol, rule.protocol)]),
  ];
}

/** Adds a rule, behind those of the same priority. Throws EEXIST when the same rule is there, unless it is to be `again`. */
export function addRule(netlink: Netlink, rule: Rule, { again = false }: { again?: boolean } = {}): void {
  const flags = messageFlags.create | (again ? 0 : messageFlags.exclusive);
  netlink.request(`add routing rule ${rule.priority}`, newRule, flags, ruleParts(rule));
}

/** Deletes the first rule that matches; what is not given matches anything. */
export function deleteRule(netlink: Netlink, rule: Rule): void {
  netlink.request(`delete routing rule ${rule.priority}`, deleteRuleType, 0, ruleParts(rule));
}

/** The rules of one family in the order they are tried; those that do not lead to a table are left out. */
export function listRules(netlink: Netlink, family: 'ipv4' | 'ipv6'): Rule[] {
  const header = Buffer.alloc(12);
  header[0] = family === 'ipv6' ? familyInet6 : familyInet;
  return netlink
    .dump('list routing rules', getRule, [header])
    .filter(({ payload }) => payload[7] === actionToTable)
    .map(({ payload }) => decodeRule(payload, family));
}

function decodeRule(payload: Buffer, family: 'ipv4' | 'ipv6'): Rule {
  const attributes = decodeAttributes(payload, 12);
  const number = (type: number) => attributes.get(type)?.readUInt32LE(0);
  const source = attributes.get(fra.source);
  const destination = attributes.get(fra.destination);
  const mark = number(fra.mark);
  const mask = number(fra.maskOfMark);
  const inInterface = attributes.get(fra.inInterface);
  const transport = attributes.get(fra.transport)?.[0];
  const protocol = attributes.get(fra.protocol)?.[0];
  return {
    family,
    priority: number(fra.priority) ?? 0,
    table: number(fra.table) ?? payload[4]!,
    ...(source ? { source: `${formatIp(source)}/${payload[2]}` } : {}),
    ...(destination ? { destination: `${formatIp(destination)}/${payload[1]}` } : {}),
    ...(mark === undefined ? {} : { mark }),
    ...(mask === undefined ? {} : { maskOfMark: mask }),
    ...(inInterface ? { inInterface: decodeText(inInterface) } : {}),
    ...(transport ? { transport } : {}),
    ...(protocol ? { protocol } : {}),
  };
}
