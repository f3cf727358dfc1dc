import type { Topology } from './topology.ts';

/** A real server of the demonstration as one virtual service sees it. */
export type DemoServer = {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly weight: number;
};

export type DemoService = {
  readonly address: string;
  readonly port: number;
  readonly method: 'masquerade' | 'direct-routing';
  readonly scheduler: 'rr' | 'wrr';
  readonly servers: readonly DemoServer[];
};

/** What a demonstration shows, wherever it runs. */
export type DemoScene = {
  readonly clientAddress: string;
  /** Where the director is: its namespace, or its process. */
  readonly directorName: string;
  readonly services: readonly DemoService[];
};

/** What the demonstration in network namespaces consists of. */
export type DemoPlan = DemoScene & {
  readonly topology: Topology;
  readonly clientNetns: string;
  readonly directorNetns: string;
};

const serverNames = ['rs1', 'rs2', 'rs3'] as const;
const weights = [3, 2, 1] as const;
const clientAddress = '10.77.1.2';
const masqueradeAddress = '10.77.1.100';
const directAddress = '10.77.1.101';
const backTable = 77;

/**
 * One client, one director, three real servers. Clients, director and servers share the network `front`, where a server
 * answers direct-routing clients itself; behind it the director and the servers share `back`, whose way out is the
 * director, so that it sees and translates the answers of masquerading.
 */
export function demoPlan(lab: string): DemoPlan {
  const topology: Topology = {
    name: lab,
    nodes: [
      { name: 'client' },
      { name: 'director', sysctls: { 'net.ipv4.ip_forward': 1 } },
      ...serverNames.map((name) => ({
        name,
        loopback: [{ prefix: `${directAddress}/32`, scope: 'host' as const }],
        // The virtual address is everyone's; only the director may say so on the wire.
        sysctls: { 'net.ipv4.conf.all.arp_ignore': 1, 'net.ipv4.conf.all.arp_announce': 2 },
        rules: [{ family: 'ipv4' as const, priority: 100, source: '10.77.2.0/24', table: backTable }],
        routes: [{ destination: 'default', gateway: '10.77.2.1', table: backTable, device: 'eth1' }],
      })),
    ],
    segments: [
      {
        name: 'front',
        ports: [
          { node: 'client', device: 'eth0', addresses: [`${clientAddress}/24`] },
          {
            node: 'director',
            device: 'eth0',
            addresses: ['10.77.1.1/24', `${masqueradeAddress}/32`, `${directAddress}/32`],
          },
          ...serverNames.map((node, i) => ({ node, device: 'eth0', addresses: [`10.77.1.${11 + i}/24`] })),
        ],
      },
      {
        name: 'back',
        ports: [
          { node: 'director', device: 'eth1', addresses: ['10.77.2.1/24'] },
          ...serverNames.map((node, i) => ({ node, device: 'eth1', addresses: [`10.77.2.${11 + i}/24`] })),
        ],
      },
    ],
  };
  return {
    topology,
    clientNetns: `hg-${lab}-client`,
    directorNetns: `hg-${lab}-director`,
    directorName: `hg-${lab}-director`,
    clientAddress,
    services: [
      {
        address: masqueradeAddress,
        port: 80,
        method: 'masquerade',
        scheduler: 'wrr',
        servers: serverNames.map((name, i) => ({
          name,
          address: `10.77.2.${11 + i}`,
          port: 8080,
          weight: weights[i]!,
        })),
      },
      {
        address: directAddress,
        port: 80,
        method: 'direct-routing',
        scheduler: 'rr',
        servers: serverNames.map((name, i) => ({ name, address: `10.77.1.${11 + i}`, port: 80, weight: 1 })),
      },
    ],
  };
}

/** How the demonstration's director is worked: command lines run inside its namespace. */
export type DemoDirector = {
  /** Run in order, each to its end; the first that fails ends the demonstration. */
  configure(plan: DemoPlan): readonly (readonly string[])[];
  /** Prints the director's table in ipvsadm's numeric listing; the picture then follows changes made by hand. */
  list?(plan: DemoPlan): readonly string[];
  /** Run before the namespaces go, to take away what lies outside of them. */
  cleanUp?(plan: DemoPlan): readonly (readonly string[])[];
  /** Commands to suggest, each with what it shows; as typed inside the director's namespace. */
  suggestions?(plan: DemoPlan): readonly { readonly command: string; readonly shows: string }[];
};

/** The director run by `headgate ipvsadm`; `headgate` is how to start it, such as [node, '/path/bin/headgate.js']. */
export function headgateDirector(headgate: readonly string[]): DemoDirector {
  const ipvsadm = (...args: readonly (string | number)[]) => [...headgate, 'ipvsadm', ...args.map(String)];
  const virtual = ({ address, port }: DemoService) => `${address}:${port}`;
  return {
    configure: (plan) =>
      plan.services.flatMap((service) => [
        ipvsadm('-A', '-t', virtual(service), '-s', service.scheduler),
        ...service.servers.map(({ address, port, weight }) =>
          ipvsadm(
            ...['-a', '-t', virtual(service), '-r', `${address}:${port}`],
            ...[service.method === 'masquerade' ? '-m' : '-g', '-w', weight],
          ),
        ),
      ]),
    list: () => ipvsadm('-L', '-n'),
    cleanUp: () => [ipvsadm('-C')],
    suggestions: (plan) => {
      const service = plan.services[0]!;
      const server = service.servers[0]!;
      const edit = ['-e', '-t', virtual(service), '-r', `${server.address}:${server.port}`, '-m', '-w'];
      return [
        { command: ipvsadm('-L', '-n').join(' '), shows: "the director's table" },
        { command: ipvsadm(...edit, 0).join(' '), shows: `${server.name} gets nothing new` },
        { command: ipvsadm(...edit, server.weight).join(' '), shows: `${server.name} is back` },
        { command: ipvsadm('-L', '-n', '--rate').join(' '), shows: 'what flows now' },
      ];
    },
  };
}
