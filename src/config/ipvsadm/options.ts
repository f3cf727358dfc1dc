/** One option as the command line knows it. */
export type OptionSpec = {
  readonly long: string;
  readonly short?: string;
  /** Words that follow it: none by default. */
  readonly argument?: 'required' | 'optional';
  /** The name messages use; several options may share one. Default: `long`. */
  readonly display?: string;
  readonly help?: OptionHelp;
};

/** Where and how the help text shows an option. */
export type OptionHelp = {
  readonly section: 'commands' | 'service' | 'options' | 'daemon';
  /** What stands after the option's names. */
  readonly argument?: string;
  readonly text: readonly string[];
  /** The short form as shown, where it is not `-x`. */
  readonly shortAs?: string;
};

type Section = OptionHelp['section'];

const help = (section: Section, argument: string, ...text: string[]): { help: OptionHelp } => ({
  help: { section, argument, text },
});
const command = (long: string, short: string, text: string): OptionSpec => ({
  long,
  short,
  ...help('commands', '', text),
});
const longCommand = (long: string, argument: string, text: string): OptionSpec => ({
  long,
  ...help('commands', argument, text),
});
const flag = (long: string, text: string): OptionSpec => ({ long, ...help('options', '', text) });
const service = (long: string, short: string | undefined, argument: string, text: string): OptionSpec => ({
  long,
  ...(short === undefined ? {} : { short }),
  argument: 'required',
  display: 'service-address',
  ...help('service', argument, text),
});
const forward = (long: string, short: string, text: string): OptionSpec => ({
  long,
  short,
  display: 'forwarding-method',
  ...help('options', '', text),
});
const value = (long: string, short: string, argument: string, ...text: string[]): OptionSpec => ({
  long,
  short,
  argument: 'required',
  ...help('options', argument, ...text),
});
const longValue = (long: string, section: Section, argument: string, ...text: string[]): OptionSpec => ({
  long,
  argument: 'required',
  ...help(section, argument, ...text),
});

/** Every option, in the order the help text lists them. */
export const optionTable: readonly OptionSpec[] = [
  command('add-service', 'A', 'add virtual service with options'),
  command('edit-service', 'E', 'edit virtual service with options'),
  command('delete-service', 'D', 'delete virtual service'),
  command('clear', 'C', 'clear the whole table'),
  command('restore', 'R', 'restore rules from stdin'),
  command('save', 'S', 'save rules to stdout'),
  command('add-server', 'a', 'add real server with options'),
  command('edit-server', 'e', 'edit real server with options'),
  command('delete-server', 'd', 'delete real server'),
  { long: 'list', short: 'L', help: { section: 'commands', text: ['list the table'], shortAs: '-L|-l' } },
  { long: 'list', short: 'l' },
  command('zero', 'Z', 'zero counters in a service or all services'),
  longCommand('set', 'tcp tcpfin udp', 'set connection timeout values'),
  { ...longCommand('start-daemon', '', 'start connection sync daemon'), argument: 'required' },
  { ...longCommand('stop-daemon', '', 'stop connection sync daemon'), argument: 'required' },
  command('help', 'h', 'display this help message'),
  { long: 'version', short: 'v' },

  service('tcp-service', 't', 'service-address', 'service-address is host[:port]'),
  service('udp-service', 'u', 'service-address', 'service-address is host[:port]'),
  service('sctp-service', undefined, 'service-address', 'service-address is host[:port]'),
  service('fwmark-service', 'f', 'fwmark', 'fwmark is an integer greater than zero'),

  { long: 'ipv6', short: '6', ...help('options', '', 'fwmark entry uses IPv6') },
  value(
    'scheduler',
    's',
    'scheduler',
    'one of rr|wrr|lc|wlc|lblc|lblcr|dh|sh|sed|nq|fo|ovf|mh,',
    'the default scheduler is wlc.',
  ),
  longValue('pe', 'options', 'engine', 'alternate persistence engine may be sip,', 'not set by default.'),
  { ...value('persistent', 'p', '[timeout]', 'persistent service'), argument: 'optional' },
  value('netmask', 'M', 'netmask', 'persistent granularity mask'),
  value('real-server', 'r', 'server-address', 'server-address is host (and port)'),
  forward('gatewaying', 'g', 'gatewaying (direct routing) (default)'),
  forward('ipip', 'i', 'ipip encapsulation (tunneling)'),
  forward('masquerading', 'm', 'masquerading (NAT)'),
  // Headgate's own, which ipvsadm's help does not know.
  { long: 'full-nat', display: 'forwarding-method' },
  { long: 'local-addresses', argument: 'required' },
  { long: 'client-address', argument: 'required' },
  longValue('tun-type', 'options', 'type', 'one of ipip|gue|gre,', 'the default tunnel type is ipip.'),
  longValue('tun-port', 'options', 'port', 'tunnel destination port'),
  flag('tun-nocsum', 'tunnel encapsulation without checksum'),
  flag('tun-csum', 'tunnel encapsulation with checksum'),
  flag('tun-remcsum', 'tunnel encapsulation with remote checksum'),
  value('weight', 'w', 'weight', 'capacity of real server'),
  value('u-threshold', 'x', 'uthreshold', 'upper threshold of connections'),
  value('l-threshold', 'y', 'lthreshold', 'lower threshold of connections'),
  { long: 'connection', short: 'c', ...help('options', '', 'output of current IPVS connections') },
  flag('timeout', 'output of timeout (tcp tcpfin udp)'),
  flag('daemon', 'output of daemon information'),
  flag('stats', 'output of statistics information'),
  flag('rate', 'output of rate information'),
  {
    long: 'exact',
    short: 'X',
    help: { section: 'options', text: ['expand numbers (display exact values)'], shortAs: '' },
  },
  flag('thresholds', 'output of thresholds information'),
  flag('persistent-conn', 'output of persistent connection info'),
  flag('tun-info', 'output of tunnel information'),
  flag('nosort', 'disable sorting output of service/server entries'),
  flag('sort', 'does nothing, for backwards compatibility'),
  { long: 'ops', short: 'o', ...help('options', '', 'one-packet scheduling') },
  { long: 'numeric', short: 'n', ...help('options', '', 'numeric output of addresses and ports') },
  value('sched-flags', 'b', 'flags', 'scheduler flags (comma-separated)'),

  longValue('syncid', 'daemon', 'sid', 'syncid for connection sync (default=255)'),
  longValue('sync-maxlen', 'daemon', 'length', 'Max sync message length (default=1472)'),
  longValue('mcast-interface', 'daemon', 'interface', 'multicast interface for connection sync'),
  longValue('mcast-group', 'daemon', 'address', 'IPv4/IPv6 group (default=224.0.0.81)'),
  longValue('mcast-port', 'daemon', 'port', 'UDP port (default=8848)'),
  longValue('mcast-ttl', 'daemon', 'ttl', 'Multicast TTL (default=1)'),
];

/** The names of options in messages, in the order in which ipvsadm looks for conflicts. */
export const displayOrder = [
  'numeric',
  'connection',
  'service-address',
  'scheduler',
  'persistent',
  'netmask',
  'real-server',
  'forwarding-method',
  'weight',
  'u-threshold',
  'l-threshold',
  'mcast-interface',
  'timeout',
  'daemon',
  'stats',
  'rate',
  'thresholds',
  'persistent-conn',
  'nosort',
  'syncid',
  'exact',
  'ops',
  'pe',
  'sched-flags',
  'mcast-group',
  'mcast-port',
  'mcast-ttl',
  'sync-maxlen',
  'tun-info',
  'tun-type',
  'tun-port',
  'tun-nocsum',
  'tun-csum',
  'tun-remcsum',
  'local-addresses',
  'client-address',
];
