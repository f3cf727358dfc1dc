import { mhTableIndexes } from './schedulers/mh.ts';

/**
 * Parameters of connection sync, for its processes alone: a sync process follows them as IPVS's threads do
 * (ip_vs_sync_conn_needed, net/netfilter/ipvs/ip_vs_sync.c), but for `sync_ports` and `sync_sock_size`, which hold for those
 * that start after it. What a sync process was started with goes before them.
 */
export type SyncSysctls = {
  /**
   * The first number of sync_threshold: packets of a connection before it is told of. With 0 for both, which tells IPVS to go
   * by states alone, ours tell of a connection when it is made; that is the default here, the kernel's is 3 and 50.
   */
  readonly sync_threshold: number;
  /** The second number of sync_threshold: packets after which it is told of again; 0: never by packets. */
  readonly sync_period: number;
  /**
   * Seconds in which a connection in use is told of once, or half its lifetime where that is less, and 10 s where that is more. 0: ours
   * tell of it again after a quarter of its lifetime.
   */
  readonly sync_refresh_period: number;
  /** With `sync_refresh_period`: how often it is told of once more, an eighth of that time after the last message. */
  readonly sync_retries: number;
  /** Ports, beginning with that of the sync process, over which connections are spread: a power of two. */
  readonly sync_ports: number;
  /** 1: what a persistence template rules is not told of, the template is. */
  readonly sync_persist_mode: number;
  /** Messages that wait for a socket that takes no more, for each port; one that comes then is dropped. */
  readonly sync_qlen_max: number;
  /** Bytes that the sockets hold; 0: ours have a size of their own. */
  readonly sync_sock_size: number;
  /** Version of the messages sent, 0 or 1; 0 has no IPv6. Both are understood. */
  readonly sync_version: number;
};

/**
 * Parameters of a whole table, by the names and with the values they have under net.ipv4.vs
 * (Documentation/networking/ipvs-sysctl.rst); those that a data plane of ours acts on, and at the end some of our own.
 */
export type TableSysctls = {
  /** Pages of 4,096 bytes, 32 connections each: with fewer places left in the table, defences that are automatic are on. */
  readonly amemthresh: number;
  /** With drop_packet 3: every so many'th new connection is refused. */
  readonly am_droprate: number;
  /** Entries that were not answered, and idle ones, are dropped: 0 never, 1 and 2 as amemthresh says, 3 always. */
  readonly drop_entry: number;
  /** New connections are refused: 0 never, 1 and 2 the more the fewer places are left, 3 by am_droprate. */
  readonly drop_packet: number;
  /** The stricter table of TCP states: 0 never, 1 and 2 as amemthresh says, 3 always. */
  readonly secure_tcp: number;
  /**
   * 1: where IPVS's rule holds, a connection whose destination was deleted ends, and what comes of it is scheduled anew; so
   * is a SYN or INIT of a connection whose destination has weight 0. 0: packets of the first are dropped, those of the second go on.
   */
  readonly expire_nodest_conn: number;
  /** 1: a persistence template whose destination has weight 0 brings nobody back to it. */
  readonly expire_quiescent_template: number;
  /** 1: any segment but a reset may open a connection. */
  readonly sloppy_tcp: number;
  /** 1: any packet but an ABORT may open an SCTP association. */
  readonly sloppy_sctp: number;
  /**
   * 1: an IPv4 packet takes its "do not fragment" along into a tunnel, and its sender is told what fits. 0: tunnels
   * fragment whatever does not fit.
   */
  readonly pmtu_disc: number;
  /** What a SYN or INIT opens anew: 0 nothing, 1 what has ended, +2 what a TCP client has ended where replies are not seen. */
  readonly conn_reuse_mode: number;
  /** Seconds that lblc and lblcr remember an address that nobody asks for. */
  readonly lblc_expiration: number;
  readonly lblcr_expiration: number;
  /** 1: a masqueraded real server that sends to nobody hears that the port is unreachable. */
  readonly nat_icmp_send: number;
  /** 1: what an ICMP error without a connection is about is scheduled as if the client had sent it. */
  readonly schedule_icmp: number;
  /** 1: a packet for a mark that no real server serves goes on to where it was sent, and so do all of its connection. */
  readonly cache_bypass: number;
  /** 1: what comes out of a tunnel that ends on this host is not for virtual services. */
  readonly ignore_tunneled: number;
  /** Ours: half-open connections of TCP and SCTP the table has at most, in percent of it; for a newer one the oldest goes. 0: no limit. */
  readonly half_open_share: number;
  /**
   * Ours: CONFIG_IP_VS_MH_TAB_INDEX of the kernel, by which mh's tables have 251 (8) to 131071 (17) places (ip_vs_mh.c). It is
   * what a plane was set up with, or the kernel was built with, and cannot be set otherwise.
   */
  readonly mh_tab_index: number;
};
/** Parameters with a list in place of a number. */
export type ListSysctls = {
  /**
   * Ours: ports of virtual services; what masqueraded control connections of FTP to them say of data connections is acted on. What
   * the kernel's ip_vs_ftp takes as `ports` when it is loaded.
   */
  readonly ftp_ports: readonly number[];
};
export type NumberSysctls = TableSysctls & SyncSysctls;
export type Sysctls = NumberSysctls & ListSysctls;
export type SysctlName = keyof Sysctls;
export type NumberSysctlName = keyof NumberSysctls;

/** What sync processes go by where nobody has said anything else: 4,096 messages are six megabytes, and 160,000 connections of IPv4. */
export const syncSysctlDefaults: SyncSysctls = {
  sync_threshold: 0,
  sync_period: 0,
  sync_refresh_period: 0,
  sync_retries: 0,
  sync_ports: 1,
  sync_persist_mode: 0,
  sync_qlen_max: 4096,
  sync_sock_size: 0,
  sync_version: 1,
};

/** The kernel's defaults (ip_vs_control_net_init_sysctl), but for `sync_threshold`, and `sync_qlen_max`, which goes by memory there. */
export const sysctlDefaults: Sysctls = {
  amemthresh: 1024,
  am_droprate: 10,
  drop_entry: 0,
  drop_packet: 0,
  secure_tcp: 0,
  expire_nodest_conn: 0,
  expire_quiescent_template: 0,
  sloppy_tcp: 0,
  sloppy_sctp: 0,
  pmtu_disc: 1,
  conn_reuse_mode: 1,
  lblc_expiration: 86_400,
  lblcr_expiration: 86_400,
  nat_icmp_send: 0,
  schedule_icmp: 0,
  cache_bypass: 0,
  ignore_tunneled: 0,
  ...syncSysctlDefaults,
  half_open_share: 25,
  mh_tab_index: mhTableIndexes.usual,
  ftp_ports: [21],
};

const most = 0x7fff_ffff;
/** As much as fits a count of jiffies. */
const longestSeconds = 4_000_000;

/** Least and greatest value of each number. */
export const sysctlRanges: Readonly<Record<NumberSysctlName, readonly [number, number]>> = {
  amemthresh: [0, most],
  am_droprate: [0, most],
  drop_entry: [0, 3],
  drop_packet: [0, 3],
  secure_tcp: [0, 3],
  expire_nodest_conn: [0, 1],
  expire_quiescent_template: [0, 1],
  sloppy_tcp: [0, 1],
  sloppy_sctp: [0, 1],
  pmtu_disc: [0, 1],
  conn_reuse_mode: [0, 3],
  lblc_expiration: [0, longestSeconds],
  lblcr_expiration: [0, longestSeconds],
  nat_icmp_send: [0, 1],
  schedule_icmp: [0, 1],
  cache_bypass: [0, 1],
  ignore_tunneled: [0, 1],
  sync_threshold: [0, most],
  sync_period: [0, most],
  sync_refresh_period: [0, longestSeconds],
  sync_retries: [0, 3],
  sync_ports: [1, 64],
  sync_persist_mode: [0, 1],
  sync_qlen_max: [0, most],
  sync_sock_size: [0, most],
  sync_version: [0, 1],
  half_open_share: [0, 50],
  mh_tab_index: [mhTableIndexes.least, mhTableIndexes.most],
};

/** How many ports there may be of FTP (IP_VS_APP_MAX_PORTS, include/net/ip_vs.h). */
export const mostFtpPorts = 8;
const isFtpPort = (port: number): boolean => Number.isInteger(port) && port >= 1 && port <= 0xffff;

/** In the order they are shown. */
export const sysctlNames = Object.keys(sysctlDefaults) as readonly SysctlName[];

const isSync = (name: string): name is keyof SyncSysctls => Object.hasOwn(syncSysctlDefaults, name);

/** Those numbers that the program in the kernel acts on. */
export const tableSysctlNames = sysctlNames.filter(
  (name) => !isSync(name) && Object.hasOwn(sysctlRanges, name),
) as readonly (keyof TableSysctls)[];

/** Those of connection sync among some. */
export const syncSysctlsIn = (sysctls: Partial<Sysctls>): Partial<SyncSysctls> =>
  Object.fromEntries(Object.entries(sysctls).filter(([name]) => isSync(name)));

/** Why parameters are not as they have to be, or do not go with each other (proc_do_sync_threshold, proc_do_sync_ports); undefined: they are and do. */
export function sysctlsAtOdds({
  sync_threshold,
  sync_period,
  sync_ports,
  ftp_ports = [],
}: Partial<Sysctls>): string | undefined {
  if (ftp_ports.length > mostFtpPorts || ftp_ports.some((port) => !isFtpPort(port)))
    return `ftp_ports ${ftp_ports} are not up to ${mostFtpPorts} ports`;
  if (sync_ports !== undefined && (sync_ports & (sync_ports - 1)) !== 0)
    return `sync_ports ${sync_ports} is no power of two`;
  if (sync_threshold === undefined || !sync_period || sync_threshold < sync_period) return undefined;
  return `sync_threshold ${sync_threshold} is not below its period, ${sync_period}`;
}

/** Those that the kernel's IPVS does not know by these names. */
export const ownSysctlNames: readonly SysctlName[] = ['half_open_share', 'mh_tab_index', 'ftp_ports'];

/** A value as it is written: a list with commas, 0 for an empty one. */
export const sysctlText = (value: Sysctls[SysctlName]): string =>
  typeof value === 'number' ? `${value}` : value.join(',') || '0';

/** The name of a parameter as sysctl(8) writes it. */
export const sysctlTitle = (name: SysctlName): string =>
  ownSysctlNames.includes(name) ? `headgate.${name}` : `net.ipv4.vs.${name}`;

/** A parameter that cannot be set to anything but what our planes do; without a value there is none. */
export type FixedSysctl = { readonly value?: string; readonly because: string };

const estimated: FixedSysctl = { because: 'rates are estimated by a timer in the kernel, not by threads' };

/** What else net.ipv4.vs has in Linux 6.12 (ip_vs_ctl.c, vs_vars), and why our planes leave it as it is. */
export const fixedSysctls: Readonly<Record<string, FixedSysctl>> = {
  conntrack: { value: '0', because: 'packets of virtual services never come to connection tracking' },
  snat_reroute: { value: '1', because: 'replies always go by the route that the virtual address has' },
  backup_only: {
    value: '0',
    because: 'with failover, a director that does not have an address schedules nothing for it anyway',
  },
  run_estimation: { value: '1', because: 'rates cost next to nothing' },
  est_cpulist: estimated,
  est_nice: estimated,
  debug_level: { value: '0', because: 'programs in the kernel print nothing' },
};
