import type { SpawnSyncReturns } from 'node:child_process';
import { join, resolve } from 'node:path';
import { numbers, records } from '../../src/dataplane/ebpf/layout.generated.ts';
import { mapRecords, type Records } from '../../src/dataplane/ebpf/records.ts';
import { type Lab, up } from '../../src/lab/build.ts';
import { type Helper, startRealServer } from '../../src/lab/processes.ts';
import type { Node, Port, Segment, Topology } from '../../src/lab/topology.ts';
import { splitPerCpu } from '../../src/sys/bpf/map.ts';
import { openPinnedMap } from '../../src/sys/bpf/pin.ts';
import { type Offloads, setOffloads } from '../../src/sys/ethtool.ts';
import { bpffsDirectory } from '../../src/sys/mount.ts';
import { linkIndex, listLinks, setLink } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { netnsCookie, netnsPath } from '../../src/sys/netns.ts';

/** How the links of a site treat packets; what is not named is as the kernel makes it. */
export type LinkKind = {
  readonly links: string;
  readonly offloads?: Partial<Offloads>;
  /** Of the director's ends alone, where they differ. */
  readonly director?: Partial<Offloads>;
};

const allOff = { rxChecksum: false, txChecksum: false, tso: false, gso: false, gro: false };

/** Every network test runs on both kinds of link. */
export const linkKinds: readonly [LinkKind, LinkKind] = [
  { links: 'offloads on' },
  { links: 'offloads off', offloads: allOff },
];

/** Packets arrive with a checksum that is yet to be made, and the director's own device makes it. */
export const finishedByDirector: LinkKind = { links: 'finished by the director', director: allOff };

/** Packets arrive with a finished checksum, which GRO verifies before the director looks at them. */
export const verifiedByDirector: LinkKind = {
  links: 'verified by the director',
  offloads: { txChecksum: false, tso: false, gso: false },
  director: { gro: true },
};

/** Addresses of one IP version on a site. */
type Plan = {
  /** As ipvsadm writes the address of a service; `-t` takes `${host}:80`. */
  readonly client: string;
  /** The director's own addresses on the two networks. */
  readonly front: string;
  readonly back: string;
  /** Held by the director alone, for masquerading. */
  readonly vip: string;
  /** Held by the director and, on lo, by every real server, for direct routing. */
  readonly sharedVip: string;
  /** Real server n (1-3) on the network it shares with the director alone, and on the client's. */
  backOf(n: number): string;
  frontOf(n: number): string;
  /** Another address of the client, n from 1 to 60: ICMP errors are rationed by receiver. */
  clientOf(n: number): string;
  /** The router behind the director and the real server behind it, where a site has them. */
  readonly router: string;
  readonly routerFar: string;
  readonly far: string;
};

export const plans: Readonly<Record<4 | 6, Plan>> = {
  4: {
    client: '10.71.0.1',
    front: '10.71.0.254',
    back: '10.72.0.254',
    vip: '10.71.0.100',
    sharedVip: '10.71.0.101',
    backOf: (n) => `10.72.0.${n}`,
    frontOf: (n) => `10.71.0.${10 + n}`,
    clientOf: (n) => `10.71.0.${20 + n}`,
    router: '10.72.0.9',
    routerFar: '10.73.0.254',
    far: '10.73.0.1',
  },
  6: {
    client: 'fd71::1',
    front: 'fd71::fe',
    back: 'fd72::fe',
    vip: 'fd71::100',
    sharedVip: 'fd71::101',
    backOf: (n) => `fd72::${n}`,
    frontOf: (n) => `fd71::1${n}`,
    clientOf: (n) => `fd71::2:${n}`,
    router: 'fd72::9',
    routerFar: 'fd73::fe',
    far: 'fd73::1',
  },
};

/** `address:port` as ipvsadm and URLs take it. */
export const at = (address: string, port: number): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;

const versions = [4, 6] as const;
const realServers = [1, 2, 3];
const lengths = { 4: 24, 6: 64 };
const hosts = { 4: 32, 6: 128 };

/**
 * A client, a director and three real servers:
 *
 *     client ── front ──┬── director ── back ──┬── real servers
 *                       └──────────────────────┘
 *
 * What a real server sends from its address on `back` goes through the director, all else straight to the client. With
 * `router` there is a fourth real server, behind a router on `back`. `bare` ones do not hold the shared virtual address.
 */
function topologyOf(name: string, kind: LinkKind, router: boolean, bare: boolean): Topology {
  const both = (pick: (plan: Plan, family: 4 | 6) => string[]) =>
    versions.flatMap((family) => pick(plans[family], family));
  const port = (node: string, device: string, addresses: string[]): Port => {
    const offloads = node === 'director' ? (kind.director ?? kind.offloads) : kind.offloads;
    return { node, device, addresses, ...(offloads && { offloads }) };
  };
  const nodes: Node[] = [
    { name: 'client' },
    { name: 'director', sysctls: { 'net.ipv4.ip_forward': 0, 'net.ipv6.conf.all.forwarding': 0 } },
    ...realServers.map(
      (n): Node => ({
        name: `real${n}`,
        ...(!bare && {
          loopback: both((plan, family) => [`${plan.sharedVip}/${hosts[family]}`]),
          sysctls: { 'net.ipv4.conf.all.arp_ignore': 1, 'net.ipv4.conf.all.arp_announce': 2 },
        }),
        rules: versions.map((family) => ({
          family: `ipv${family}` as const,
          priority: 100,
          table: 100,
          source: `${plans[family].backOf(n)}/${hosts[family]}`,
        })),
        routes: versions.map((family) => ({
          destination: 'default' as const,
          gateway: plans[family].back,
          device: 'back',
          table: 100,
          family: `ipv${family}` as const,
        })),
      }),
    ),
  ];
  const segments: Segment[] = [
    {
      name: 'front',
      ports: [
        port(
          'client',
          'front',
          both((plan, family) => [
            `${plan.client}/${lengths[family]}`,
            ...Array.from({ length: 60 }, (_, n) => `${plan.clientOf(n + 1)}/${lengths[family]}`),
          ]),
        ),
        port(
          'director',
          'front',
          both((plan, family) => [
            `${plan.front}/${lengths[family]}`,
            `${plan.vip}/${hosts[family]}`,
            `${plan.sharedVip}/${hosts[family]}`,
          ]),
        ),
        ...realServers.map((n) =>
          port(
            `real${n}`,
            'front',
            both((plan, family) => [`${plan.frontOf(n)}/${lengths[family]}`]),
          ),
        ),
      ],
    },
    {
      name: 'back',
      ports: [
        port(
          'director',
          'back',
          both((plan, family) => [`${plan.back}/${lengths[family]}`]),
        ),
        ...realServers.map((n) =>
          port(
            `real${n}`,
            'back',
            both((plan, family) => [`${plan.backOf(n)}/${lengths[family]}`]),
          ),
        ),
      ],
    },
  ];
  if (router) addRouter(nodes, segments, both, port);
  return { name, nodes, segments };
}

function addRouter(
  nodes: Node[],
  segments: Segment[],
  both: (pick: (plan: Plan, family: 4 | 6) => string[]) => string[],
  port: (node: string, device: string, addresses: string[]) => Port,
): void {
  const routes = (device: string, gateway: (plan: Plan) => string) =>
    versions.map((family) => ({
      destination: 'default' as const,
      gateway: gateway(plans[family]),
      device,
      family: `ipv${family}` as const,
    }));
  nodes.push(
    {
      name: 'router',
      sysctls: { 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 },
      routes: routes('back', (plan) => plan.back),
    },
    { name: 'real4', routes: routes('far', (plan) => plan.routerFar) },
  );
  const director = nodes.findIndex(({ name }) => name === 'director');
  nodes[director] = {
    ...nodes[director]!,
    routes: versions.map((family) => ({
      destination: family === 4 ? '10.73.0.0/24' : 'fd73::/64',
      gateway: plans[family].router,
      device: 'back',
    })),
  };
  const back = segments.findIndex(({ name }) => name === 'back');
  const routerPort = port(
    'router',
    'back',
    both((plan, family) => [`${plan.router}/${lengths[family]}`]),
  );
  segments[back] = { ...segments[back]!, ports: [...segments[back]!.ports, routerPort] };
  segments.push({
    name: 'far',
    ports: [
      port(
        'router',
        'far',
        both((plan, family) => [`${plan.routerFar}/${lengths[family]}`]),
      ),
      port(
        'real4',
        'far',
        both((plan, family) => [`${plan.far}/${lengths[family]}`]),
      ),
    ],
  });
}

/** What every real server of a site serves. */
export const services = { http: [80, 8080], tcp: [7, 7007], udp: [5300, 5353] };

export type Site = {
  readonly lab: Lab;
  /** Runs `ipvsadm` on the director; throws with what it said when it fails. */
  ipvsadm(...words: string[]): string;
  /** The same, as it ends. */
  tryIpvsadm(words: readonly string[], input?: string): SpawnSyncReturns<string>;
  /** Replaces the director's table by these rules, in the order given. */
  rules(...lines: string[]): void;
  /** How often the data plane has counted an event, over all CPUs. */
  events(event: keyof typeof numbers.event): number;
  /** Connections the data plane has made since it was set up, over all destinations. */
  connectionsMade(): number;
  /** Live entries of the connection table, as the data plane counts them. */
  entries(): number;
  /** Sets the timeout of every state, not only of the three that `--set` reaches. For packets from here on. */
  setAllTimeouts(seconds: number): void;
  /** The folder of the director's pins. */
  readonly pins: string;
  down(): Promise<void>;
};

/** The launcher this checkout builds. */
export const launcher = resolve(import.meta.dirname, '../../bin/ipvsadm.js');

export const smallTable = { ...process.env, HEADGATE_CONNECTIONS: '65536' };

/** A lab's name for this run alone: two runs at once do not meet. `what` counts with its first five letters. */
export const labName = (what: string): string => `n${what.slice(0, 5)}${process.pid.toString(36)}`;

/** Builds a site and starts its real servers (those of `started`), which answer with the names real1 to real3. */
export async function standUp(
  what: string,
  kind: LinkKind,
  {
    env = smallTable,
    serve = services,
    router = false,
    bare = false,
    started = realServers,
  }: {
    env?: NodeJS.ProcessEnv;
    serve?: Partial<typeof services>;
    router?: boolean;
    bare?: boolean;
    started?: readonly number[];
  } = {},
): Promise<Site> {
  const lab = up(topologyOf(labName(what), kind, router, bare));
  const helpers: Helper[] = [];
  try {
    if (kind.offloads) for (const segment of ['front', 'back']) setAllOffloads(lab, segment, kind.offloads);
    helpers.push(
      ...(await Promise.all(
        [...started, ...(router && !bare ? [4] : [])].map((n) =>
          startRealServer(lab, `real${n}`, { name: `real${n}`, ...serve }),
        ),
      )),
    );
  } catch (error) {
    lab.down();
    throw error;
  }
  const pins = join(bpffsDirectory, String(lab.inside('director', netnsCookie)));
  const tryIpvsadm = (words: readonly string[], input?: string) =>
    lab.run('director', process.execPath, [launcher, ...words], {
      env,
      ...(input !== undefined && { input }),
    });
  const ipvsadm = (words: readonly string[], input?: string) => {
    const { status, stdout, stderr } = tryIpvsadm(words, input);
    if (status !== 0) throw new Error(`ipvsadm ${words.join(' ')}: status ${status}, ${stderr}${stdout}`);
    return stdout;
  };
  return {
    lab,
    pins,
    tryIpvsadm,
    ipvsadm: (...words) => ipvsadm(words),
    rules(...lines) {
      ipvsadm(['-R'], `${['-C', ...lines].join('\n')}\n`);
    },
    events: (event) => sumOverCpus(pins, 'map_events', numbers.event[event], 0),
    connectionsMade: () =>
      Array.from({ length: 64 }, (_, slot) =>
        sumOverCpus(pins, 'map_destination_counters', slot, records.counters.fields.connections.offset),
      ).reduce((sum, count) => sum + count),
    entries: () => onRecord(pins, 'runtime', (runtime) => runtime.get(0, 'entries')),
    setAllTimeouts: (seconds) =>
      onRecord(pins, 'settings', (settings) => {
        for (const state of Object.values(numbers.state))
          if (state < records.settings.fields.timeout.count)
            settings.set(0, 'timeout', seconds * settings.get(0, 'hz'), state);
      }),
    async down() {
      await Promise.all(helpers.map((helper) => helper.stop()));
      lab.down();
    },
  };
}

/** Reads or writes one of the data plane's global records. */
function onRecord<Name extends 'runtime' | 'settings', T>(
  pins: string,
  name: Name,
  work: (record: Records<Name>) => T,
): T {
  const map = openPinnedMap(join(pins, `map__data_${name}`));
  const record = mapRecords(map, name);
  try {
    return work(record);
  } finally {
    record.close();
    map.close();
  }
}

/** A 64-bit counter in a pinned per-CPU map. */
function sumOverCpus(pins: string, name: string, key: number, offset: number): number {
  const map = openPinnedMap(join(pins, name));
  try {
    const value = map.lookup(key)!;
    return splitPerCpu(map, value).reduce((sum, cpu) => sum + Number(cpu.readBigUInt64LE(offset)), 0);
  } finally {
    map.close();
  }
}

/** Sets the MTU of one device, on one end of its link. */
export function setMtu({ lab }: Site, node: string, device: string, mtu: number): void {
  withNetlink({ netns: netnsPath(lab.netns(node)) }, (netlink) => {
    setLink(netlink, linkIndex(netlink, device), { mtu });
  });
}

/** The ends of the links that lie in the bridge's own namespace. */
function setAllOffloads(lab: Lab, segment: string, offloads: Partial<Offloads>): void {
  const ports = withNetlink({ netns: netnsPath(lab.netns(segment)) }, listLinks);
  lab.inside(segment, () => {
    for (const { name } of ports) if (/^port\d+$/.test(name)) setOffloads(name, offloads);
  });
}
