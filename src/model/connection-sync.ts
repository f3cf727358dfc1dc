import { type Address, familyOf } from './address.ts';

/** What a connection sync process is: it tells of this director's connections, or hears of others'. */
export type SyncRole = 'master' | 'backup';

/** The group, port and hop limit of ip_vs (include/net/ip_vs.h, net/netfilter/ipvs/ip_vs_sync.c). */
export const syncDefaults = { group: '224.0.0.81' as Address, port: 8848, ttl: 1, id: 0 } as const;

/** What a connection sync process is started with; as IPVS's sync daemon has it. */
export type SyncDaemon = {
  readonly role: SyncRole;
  /** The interface it multicasts by. */
  readonly interface: string;
  /** Directors of one id listen to each other; a backup of id 0 listens to all. */
  readonly id: number;
  /** Longest message, bytes; absent: what the interface's MTU takes. */
  readonly maxLength?: number;
  readonly group: Address;
  readonly port: number;
  /** Hop limit. */
  readonly ttl: number;
};

/**
 * The longest message of a sync process: what was asked for, within the kernel's limits, else what is sent in one packet of
 * Ethernet, and what arrives by an interface of this MTU (start_sync_thread).
 */
export function syncMaxLength(
  { role, group, maxLength }: Pick<SyncDaemon, 'role' | 'group' | 'maxLength'>,
  mtu: number,
): number {
  const headers = familyOf(group) === 6 ? 48 : 28;
  if (maxLength !== undefined)
    return Math.min(Math.max(maxLength, role === 'backup' ? 1024 : 1), 65_535 - headers);
  return (role === 'backup' ? Math.min(Math.max(mtu, 1500), 65_535) : 1500) - headers;
}

/** A sync process of our own can do more than IPVS's. */
export type SyncSettings = SyncDaemon & {
  /** Packets of a connection before it is told of; absent: it is told of when it is made. */
  readonly threshold?: number;
  /** With `threshold`: packets after which it is told of again; 0: never by packets. */
  readonly period?: number;
  /** Time after which a connection in use is told of again; absent: a quarter of its lifetime. */
  readonly refreshSeconds?: number;
  /** Messages are encrypted and authenticated with a key made from it, and others are not listened to. */
  readonly secret?: string;
  /** A configuration says so, and not a person: it ends when no configuration does any more. */
  readonly configured?: true;
};

/** A connection or template as directors tell each other of it. Addresses are of one family. */
export type SyncedConnection = {
  readonly family: 4 | 6;
  /** IP protocol number; 0: a template of a firewall mark. */
  readonly protocol: number;
  /** The kernel's flags (include/uapi/linux/ip_vs.h, IP_VS_CONN_F_*), of those that are told. */
  readonly flags: number;
  /** The kernel's number of its state. */
  readonly state: number;
  /** Addresses in network order, 4 or 16 bytes; ports as numbers. */
  readonly client: Uint8Array;
  readonly clientPort: number;
  readonly virtual: Uint8Array;
  readonly virtualPort: number;
  readonly real: Uint8Array;
  readonly realPort: number;
  readonly fwmark: number;
  /** 0: not told; the state's own. */
  readonly timeoutSeconds: number;
  /** What a persistence engine keeps of a template, and its name. */
  readonly engine?: { readonly name: string; readonly data: Uint8Array };
  /** With full NAT: where the real server sees it come from. Between directors of ours alone. */
  readonly local?: { readonly address: Uint8Array; readonly port: number };
};

/** The mark of a template that has one for a virtual address, in its first word (ip_vs_sched_persist); 0: it has none. */
export const markOfTemplate = (protocol: number, virtual: Uint8Array): number =>
  protocol === 0 ? new DataView(virtual.buffer, virtual.byteOffset).getUint32(0) : 0;

/** IP_VS_CONN_F_*, as far as they matter to who tells or hears. */
export const syncFlags = {
  method: 0x7,
  masquerade: 0,
  local: 1,
  tunnel: 2,
  directRouting: 3,
  bypass: 4,
  /** Ours; to IPVS there is no such method. */
  fullNat: 5,
  synced: 0x20,
  noOutput: 0x80,
  inactive: 0x100,
  outSequence: 0x200,
  inSequence: 0x400,
  noClientPort: 0x800,
  template: 0x1000,
  onePacket: 0x2000,
} as const;

/** What a backup takes over of the flags it is told (IP_VS_CONN_F_BACKUP_MASK). */
export const backupFlags =
  syncFlags.method |
  syncFlags.noOutput |
  syncFlags.inactive |
  syncFlags.outSequence |
  syncFlags.inSequence |
  syncFlags.noClientPort |
  syncFlags.template;

/** How a sync process fares; counts are since it started. */
export type SyncProgress = {
  readonly pid: number;
  readonly encrypted: boolean;
  /** Messages and connections sent, or received and entered. */
  readonly messages: number;
  readonly connections: number;
  /** Connections that wait for a destination now. Backups only. */
  readonly unbound: number;
  /** Messages and connections that were not taken, or could not be sent. */
  readonly refused: number;
  /** Why the last of these was. */
  readonly lastRefusal?: string;
  /** Messages that wait for a socket that takes no more now. Masters only. */
  readonly waiting?: number;
  /** Messages whose connections were told again, because another director lacked them. Masters with a key. */
  readonly toldAgain?: number;
  /** Messages that did not come and were asked for; and those of which nobody has told again yet. Backups with a key. */
  readonly missed?: number;
  readonly missing?: number;
  /** Longest time from a connection's event to its message within the last ten seconds. Masters only. */
  readonly lagMs?: number;
  /** Since anything arrived, which with a key is once a second at least; absent: nothing has. Backups only. */
  readonly silentMs?: number;
  /** Another director has said that all it had when this process began has been told. Backups only. */
  readonly whole?: boolean;
};

/** A sync process that runs; without `progress` the kernel's own. */
export type RunningSync = SyncDaemon & {
  readonly progress?: SyncProgress;
  readonly configured?: true;
  /** Differs where any setting does. */
  readonly digest?: string;
};

/** Why a sync process was not started or stopped: EEXIST, ESRCH, ENODEV and EINVAL of ip_vs_ctl.c. */
export type SyncRefusal = {
  readonly reason: 'running' | 'not-running' | 'no-interface' | 'invalid';
  readonly detail: string;
};

/** What a sync process of our own is told: where it listens, and what it does. */
export type SyncOrder = { readonly socket: string; readonly settings: SyncSettings };
