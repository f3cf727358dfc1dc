import { badArgument } from './failure.ts';
import { displayOrder } from './options.ts';

/** Which options a command takes: all others are illegal; of the exclusive ones at most one may be given. */
type Validity = {
  readonly required?: readonly string[];
  readonly optional?: readonly string[];
  readonly exclusive?: readonly string[];
};

const serviceOptions = ['scheduler', 'persistent', 'netmask', 'ops', 'pe', 'sched-flags'];
const serverOptions = [
  'forwarding-method',
  'weight',
  'u-threshold',
  'l-threshold',
  'tun-type',
  'tun-port',
  'tun-nocsum',
  'tun-csum',
  'tun-remcsum',
  'local-addresses',
  'client-address',
];

/** By the names messages use; `flush` is the internal name of --clear. */
const commandValidity = {
  'add-service': { required: ['service-address'], optional: serviceOptions },
  'edit-service': { required: ['service-address'], optional: serviceOptions },
  'delete-service': { required: ['service-address'] },
  flush: {},
  list: {
    exclusive: ['connection', 'service-address', 'timeout', 'daemon'],
    optional: [
      'numeric',
      'stats',
      'rate',
      'thresholds',
      'persistent-conn',
      'nosort',
      'syncid',
      'exact',
      'tun-info',
    ],
  },
  'add-server': { required: ['service-address', 'real-server'], optional: serverOptions },
  'delete-server': { required: ['service-address', 'real-server'] },
  'edit-server': { required: ['service-address', 'real-server'], optional: serverOptions },
  set: {},
  'start-daemon': {
    optional: ['mcast-interface', 'syncid', 'mcast-group', 'mcast-port', 'mcast-ttl', 'sync-maxlen'],
  },
  'stop-daemon': { optional: ['syncid'] },
  restore: {},
  save: { optional: ['numeric'] },
  zero: { optional: ['service-address'] },
} as const satisfies Record<string, Validity>;

export type CommandName = keyof typeof commandValidity;

const tunnelValidity = {
  ipip: {},
  gue: { required: ['tun-port'], exclusive: ['tun-nocsum', 'tun-csum', 'tun-remcsum'] },
  gre: { exclusive: ['tun-nocsum', 'tun-csum'] },
} as const satisfies Record<string, Validity>;

export type TunnelType = keyof typeof tunnelValidity;

export const isTunnelType = (text: string): text is TunnelType => Object.hasOwn(tunnelValidity, text);

/** Refuses options that do not go with the command, in ipvsadm's words. */
export function checkCommandOptions(name: CommandName, given: ReadonlySet<string>): void {
  check(commandValidity[name], given, displayOrder, `'${name}' command`);
}

/** Refuses tunnel options that do not go with the tunnel type, in ipvsadm's words. */
export function checkTunnelOptions(type: TunnelType, given: ReadonlySet<string>): void {
  check(
    tunnelValidity[type],
    given,
    ['tun-port', 'tun-nocsum', 'tun-csum', 'tun-remcsum'],
    `'${type}' tunnel type`,
  );
}

function check(
  validity: Validity,
  given: ReadonlySet<string>,
  order: readonly string[],
  subject: string,
): void {
  let exclusive: string | undefined;
  for (const name of order) {
    if (!given.has(name)) {
      if (validity.required?.includes(name))
        throw badArgument(`You need to supply the '${name}' option for the ${subject}`);
    } else if (validity.exclusive?.includes(name)) {
      if (exclusive !== undefined)
        throw badArgument(`The option '${name}' conflicts with the '${exclusive}' option in the ${subject}`);
      exclusive = name;
    } else if (!validity.required?.includes(name) && !validity.optional?.includes(name)) {
      throw badArgument(`Illegal '${name}' option with the ${subject}`);
    }
  }
}
