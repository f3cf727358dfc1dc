import type { SysctlName } from '../../src/model/sysctls.ts';
import type {
  ForwardingMethod,
  SchedulerFlags,
  SchedulerName,
  Tunnel,
} from '../../src/model/virtual-service.ts';
import type { Numbers } from '../packets/random.ts';

/*
 * Scenarios as plain values. Each step says by itself what it does, whatever was done before it, so that any of them can be
 * left out and the rest still is a scenario.
 */

/**
 * The services there can be. `anyPort`: port 0, which is a service with persistence; `mark`: of a firewall mark, where no protocol is
 * said for TCP at even ports and UDP at odd ones. Those of SCTP come last: they have scenarios of their own.
 */
export const places = [
  { protocol: 'tcp', family: 4 },
  { protocol: 'udp', family: 4 },
  { protocol: 'tcp', family: 6 },
  { protocol: 'udp', family: 6 },
  { protocol: 'tcp', family: 4, anyPort: true },
  { mark: 1, family: 4 },
  { mark: 1, family: 6 },
  { protocol: 'sctp', family: 4 },
  { protocol: 'sctp', family: 6 },
  { mark: 1, protocol: 'sctp', family: 4 },
  { mark: 1, protocol: 'sctp', family: 6 },
] as const;
const firstOfSctp = places.findIndex((place) => 'protocol' in place && place.protocol === 'sctp');

/** Destinations there can be in each service, clients, and ports each has. */
export const most = { destinations: 6, clients: 6, ports: 4 } as const;

export type ServiceWish = {
  readonly scheduler: SchedulerName;
  readonly flags: Pick<SchedulerFlags, 'flag1' | 'flag2'>;
  /** Seconds, and bits of the client's address that count. */
  readonly persistence?: { readonly seconds: number; readonly bits: number };
  readonly onePacket: boolean;
};

export type DestinationWish = {
  readonly weight: number;
  readonly method: ForwardingMethod;
  readonly tunnel?: Tunnel;
  readonly upper: number;
  readonly lower: number;
};

export type Step =
  | { readonly do: 'add-service' | 'edit-service'; readonly at: number; readonly wish: ServiceWish }
  | { readonly do: 'delete-service' | 'zero'; readonly at: number }
  | {
      readonly do: 'add' | 'edit';
      readonly at: number;
      readonly to: number;
      readonly wish: DestinationWish;
    }
  | { readonly do: 'delete'; readonly at: number; readonly to: number }
  /** The first packet of a client's connection. */
  | { readonly do: 'open'; readonly at: number; readonly client: number; readonly port: number }
  /** A packet of the client, or of whoever got the last one of it, in one of the conversations there have been. */
  | {
      readonly do: 'client' | 'server';
      readonly talk: number;
      readonly flags: string;
      readonly bytes: number;
    }
  /** TCP, SCTP: the answers that make a connection established. */
  | { readonly do: 'shake'; readonly talk: number }
  /** UDP: a datagram of a conversation in pieces. */
  | { readonly do: 'pieces'; readonly talk: number; readonly from: 'client' | 'server' }
  /** An ICMP error about the last packet of a conversation that the client got, or somebody on the real servers' side. */
  | {
      readonly do: 'error';
      readonly talk: number;
      readonly about: 'reply' | 'request';
      readonly what: 'too big' | 'no such port' | 'time exceeded';
      /** Whether a router says so. */
      readonly router: boolean;
    }
  | { readonly do: 'wait'; readonly seconds: number }
  | { readonly do: 'timeouts'; readonly tcp: number; readonly tcpFin: number; readonly udp: number }
  | { readonly do: 'sysctl'; readonly name: SysctlName; readonly value: number };

export type Scenario = readonly Step[];

// twos draws lots: it is compared by itself.
const schedulers: readonly SchedulerName[] = [
  ...(['rr', 'wrr', 'lc', 'wlc', 'lblc', 'lblcr', 'dh', 'sh', 'sed', 'nq', 'fo', 'ovf', 'mh'] as const),
];
const weights = [0, 1, 1, 1, 2, 3, 5, 10];
const methods = ['masquerade', 'masquerade', 'masquerade', 'direct-routing', 'tunnel'] as const;
const clientFlags = ['A', 'A', 'PA', 'FA', 'FA', 'R', 'RA', 'S', 'P'];
const serverFlags = ['SA', 'A', 'A', 'PA', 'FA', 'FA', 'R', 'RA'];
export const guePort = 6080;
/** Seconds: what is counted in whole ones does not end while another thing does, for the kernel's timers are late. */
const waits = [1.4, 3.4, 6.4, 15.4];
/** With the value that is not the kernel's own. */
export const sysctls: readonly (readonly [SysctlName, readonly number[]])[] = [
  ['expire_nodest_conn', [0, 1]],
  ['expire_quiescent_template', [0, 1]],
  ['conn_reuse_mode', [0, 1, 1]],
  ['sloppy_tcp', [0, 1]],
  ['secure_tcp', [0, 0, 3]],
  ['nat_icmp_send', [0, 1, 1]],
  ['schedule_icmp', [0, 1, 1]],
];
export const sctpSysctls: typeof sysctls = [['sloppy_sctp', [0, 1]]];
const tunnels: readonly Tunnel[] = [
  { type: 'ipip', port: 0, checksum: 'none' },
  { type: 'ipip', port: 0, checksum: 'none' },
  { type: 'gre', port: 0, checksum: 'none' },
  { type: 'gre', port: 0, checksum: 'checksum' },
  { type: 'gue', port: guePort, checksum: 'none' },
  { type: 'gue', port: guePort, checksum: 'checksum' },
  { type: 'gue', port: guePort, checksum: 'remote' },
];

export type ScenarioKind = 'usual' | 'sctp';

/** A scenario of `length` steps, before which a few services come into being. */
export function randomScenario(random: Numbers, length: number, kind: ScenarioKind = 'usual'): Scenario {
  const isSctp = kind === 'sctp';
  const [first, count] = isSctp ? [firstOfSctp, places.length - firstOfSctp] : [0, firstOfSctp];
  const chosen = Array.from({ length: 1 + random.below(3) }, () => first + random.below(count));
  const at = () => random.pick(chosen);
  const chance = (percent: number) => random.below(100) < percent;

  const service = (): ServiceWish => ({
    scheduler: random.pick(schedulers),
    flags: { flag1: chance(30), flag2: chance(30) },
    ...(chance(25) && { persistence: { seconds: random.pick([5, 11]), bits: random.pick([32, 24]) } }),
    onePacket: chance(15),
  });
  // One that changes its method under connections loses some in IPVS: docs/reference/differences-from-ipvs.md.
  const methodOf = Array.from({ length: count }, () =>
    Array.from({ length: most.destinations }, () => random.pick(methods)),
  );
  // IPVS knows one type of tunnel for each real server, whatever services it is in.
  const tunnelOf = Array.from({ length: most.destinations }, () => random.pick(tunnels));
  const member = (at: number) => {
    const to = random.below(most.destinations);
    return { at, to, wish: destination(methodOf[at - first]![to]!, tunnelOf[to]!) };
  };
  const destination = (method: ForwardingMethod, tunnel: Tunnel): DestinationWish => {
    const upper = chance(12) ? 1 + random.below(4) : 0;
    return {
      weight: random.pick(weights),
      method,
      ...(method === 'tunnel' && { tunnel }),
      upper,
      lower: random.below(upper + 1),
    };
  };
  const to = () => random.below(most.destinations);
  const talk = () => random.below(64);
  const bytes = () => random.pick([0, 1, 100]);
  // IPVS puts datagrams together and counts them as one: such scenarios compare no counters.
  const hasPieces = chance(15);
  const pieces = (): Step => ({ do: 'pieces', talk: talk(), from: random.pick(['client', 'server']) });
  const error = (): Step => ({
    do: 'error',
    talk: talk(),
    about: random.pick(['reply', 'request']),
    what: random.pick(['too big', 'no such port', 'time exceeded']),
    router: chance(50),
  });
  const kinds: readonly (readonly [percent: number, () => Step])[] = [
    [
      31,
      () => ({ do: 'open', at: at(), client: random.below(most.clients), port: random.below(most.ports) }),
    ],
    [13, () => ({ do: 'client', talk: talk(), flags: random.pick(clientFlags), bytes: bytes() })],
    [9, () => ({ do: 'server', talk: talk(), flags: random.pick(serverFlags), bytes: bytes() })],
    [12, () => ({ do: 'shake', talk: talk() })],
    [4, () => (hasPieces ? pieces() : error())],
    [7, () => ({ do: 'add', ...member(at()) })],
    [7, () => ({ do: 'edit', ...member(at()) })],
    [4, () => ({ do: 'delete', at: at(), to: to() })],
    [1, () => ({ do: 'add-service', at: at(), wish: service() })],
    [3, () => ({ do: 'edit-service', at: at(), wish: service() })],
    [1, () => ({ do: 'delete-service', at: at() })],
    [4, () => ({ do: 'wait', seconds: random.pick(waits) })],
    [1, () => ({ do: 'zero', at: at() })],
    [
      1,
      () => ({
        do: 'timeouts',
        tcp: random.pick([8, 15]),
        tcpFin: random.pick([3, 8]),
        udp: random.pick([3, 8]),
      }),
    ],
    [
      2,
      () => {
        const [name, values] = random.pick(isSctp ? [...sysctls, ...sctpSysctls] : sysctls);
        return { do: 'sysctl', name, value: random.pick(values) };
      },
    ],
  ];
  const step = (): Step => {
    let dice = random.below(100);
    for (const [percent, make] of kinds) {
      if (dice < percent) return make();
      dice -= percent;
    }
    throw new Error('the percentages sum up to less than 100');
  };
  return [
    ...chosen.flatMap((place): Step[] => [
      { do: 'add-service', at: place, wish: service() },
      ...Array.from({ length: 1 + random.below(4) }, (): Step => ({ do: 'add', ...member(place) })),
    ]),
    ...Array.from({ length }, step),
  ];
}

/**
 * The fewest steps of a scenario that still fail, as far as leaving out pieces, halved again and again, can find; at most
 * `tries` runs.
 */
export async function shrink(
  scenario: Scenario,
  fails: (scenario: Scenario) => Promise<boolean>,
  tries: number,
): Promise<Scenario> {
  let found = scenario;
  let left = tries;
  for (let size = Math.ceil(found.length / 2); size >= 1; size = size > 1 ? Math.ceil(size / 2) : 0) {
    for (let start = 0; start < found.length && left > 0; ) {
      const without = [...found.slice(0, start), ...found.slice(start + size)];
      left--;
      if (await fails(without)) found = without;
      else start += size;
    }
  }
  return found;
}
