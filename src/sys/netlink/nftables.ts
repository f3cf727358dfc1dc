import { familyInet, familyInet6 } from './ip.ts';
import { attribute, nested, text } from './message.ts';
import type { Netlink } from './socket.ts';

/**
 * Tables of nf_tables over nfnetlink (include/uapi/linux/netfilter/nf_tables.h), as far as source translation needs
 * them. Sockets are opened with `netlinkProtocols.netfilter`. Numbers are in network order here. Every function throws
 * NetlinkError: EOPNOTSUPP and ENOENT where the kernel lacks what it takes.
 */

const subsystem = 10;
const messages = { newTable: 0, getTable: 1, deleteTable: 2, newChain: 3, newRule: 6 } as const;
const tableName = 1;
const chain = { table: 1, name: 3, hook: 4, type: 7 } as const;
const hook = { number: 1, priority: 2 } as const;
const rule = { table: 1, chain: 2, expressions: 4 } as const;
const listElement = 1;
const expressionName = 1;
const expressionData = 2;
const meta = { register: 1, key: 2, inputIndex: 4, outputName: 7 } as const;
const compare = { register: 1, operator: 2, data: 3, equal: 0, notEqual: 1 } as const;
const dataValue = 1;
const firstRegister = 1;
const postRouting = 4;
/** NF_IP_PRI_NAT_SRC. */
const sourceTranslationPriority = 100;
const interfaceNameBytes = 16;

const typeOf = (message: number): number => (subsystem << 8) | message;

function be32(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return attribute(type, bytes);
}

/** struct nfgenmsg. */
const header = (family: 'ipv4' | 'ipv6'): Buffer =>
  Buffer.from([family === 'ipv4' ? familyInet : familyInet6, 0, 0, 0]);

const expression = (name: string, data: readonly Buffer[]): Buffer =>
  nested(listElement, [
    text(expressionName, name),
    ...(data.length > 0 ? [nested(expressionData, data)] : []),
  ]);

const load = (key: number): Buffer =>
  expression('meta', [be32(meta.register, firstRegister), be32(meta.key, key)]);

const compareWith = (operator: number, value: Buffer): Buffer =>
  expression('cmp', [
    be32(compare.register, firstRegister),
    be32(compare.operator, operator),
    nested(compare.data, [attribute(dataValue, value)]),
  ]);

/** Whether there is a table of that name. */
export function hasTable(netlink: Netlink, family: 'ipv4' | 'ipv6', name: string): boolean {
  return netlink.tryRequest(typeOf(messages.getTable), 0, [header(family), text(tableName, name)]).length > 0;
}

/**
 * Makes a table that gives packets which the host forwards out of `device` the device's own address as source
 * (masquerade). What the host sends itself has come in nowhere and keeps its source. All of it or nothing.
 */
export function addMasqueradeTable(
  netlink: Netlink,
  family: 'ipv4' | 'ipv6',
  { name, device }: { readonly name: string; readonly device: string },
): void {
  const deviceName = Buffer.alloc(interfaceNameBytes);
  deviceName.write(device);
  const chainName = 'postrouting';
  const parts = (...more: Buffer[]) => [header(family), ...more];
  netlink.batch(`masquerade through "${device}"`, subsystem, [
    { type: typeOf(messages.newTable), parts: parts(text(tableName, name)) },
    {
      type: typeOf(messages.newChain),
      parts: parts(
        text(chain.table, name),
        text(chain.name, chainName),
        nested(chain.hook, [be32(hook.number, postRouting), be32(hook.priority, sourceTranslationPriority)]),
        text(chain.type, 'nat'),
      ),
    },
    {
      type: typeOf(messages.newRule),
      parts: parts(
        text(rule.table, name),
        text(rule.chain, chainName),
        nested(rule.expressions, [
          load(meta.outputName),
          compareWith(compare.equal, deviceName),
          load(meta.inputIndex),
          compareWith(compare.notEqual, Buffer.alloc(4)),
          expression('masq', []),
        ]),
      ),
    },
  ]);
}

/** Deletes a table with everything in it. */
export function deleteTable(netlink: Netlink, family: 'ipv4' | 'ipv6', name: string): void {
  netlink.batch(`delete table "${name}"`, subsystem, [
    { type: typeOf(messages.deleteTable), parts: [header(family), text(tableName, name)] },
  ]);
}
