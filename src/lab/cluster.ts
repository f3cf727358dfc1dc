import type { KernelMethod, SchedulerName } from '../model/virtual-service.ts';

/** A whole cluster as data: what `headgate lab up` reads from a file, or finds among the built-in ones. */
export type Cluster = {
  /** Lower-case letters, digits and dashes, at most 20. */
  readonly name: string;
  /** One sentence: what it shows. */
  readonly summary: string;
  readonly nodes: readonly ClusterNode[];
  readonly links: readonly ClusterLink[];
  readonly services: readonly ClusterService[];
  /** Milliseconds between two advertisements of directors that stand in for each other. Left out: 100. */
  readonly advertisementMs?: number;
  /** Whether these tell each other of connections. Left out: yes. */
  readonly connectionSync?: boolean;
};

export const nodeRoles = ['client', 'director', 'real-server', 'router'] as const;
export type NodeRole = (typeof nodeRoles)[number];

/** A machine. Several directors stand in for each other; the first one is master while it can be. */
export type ClusterNode = {
  readonly name: string;
  readonly role: NodeRole;
  /** Where it sends what is on none of its links. */
  readonly gateway?: string;
};

/** One Ethernet between two or more machines. */
export type ClusterLink = {
  readonly name: string;
  readonly mtu?: number;
  readonly ports: readonly ClusterPort[];
};

export type ClusterPort = {
  readonly node: string;
  /** Left out: eth0, eth1, ... in the order of the links. */
  readonly device?: string;
  /** With prefix length: 192.0.2.1/24. */
  readonly addresses: readonly string[];
};

export const contents = ['http', 'greeting'] as const;

/** A virtual service of the working director. */
export type ClusterService = {
  readonly protocol: 'tcp' | 'udp';
  readonly address: string;
  readonly port: number;
  readonly scheduler: SchedulerName;
  readonly method: KernelMethod;
  /** What its real servers answer over TCP: web pages, or a line with their name and then every byte back. */
  readonly serves: (typeof contents)[number];
  readonly realServers: readonly ClusterRealServer[];
};

export type ClusterRealServer = {
  /** The machine; a director may be one. */
  readonly node: string;
  readonly address: string;
  /** Left out: the service's. */
  readonly port?: number;
  /** Left out: 1. */
  readonly weight?: number;
};

/** The director that holds the virtual addresses, of a pair while it can. Throws RangeError when the cluster has none. */
export function workingDirector(cluster: Cluster): ClusterNode {
  const director = cluster.nodes.find(({ role }) => role === 'director');
  if (!director) throw new RangeError(`lab "${cluster.name}": wanted a node with the role "director"`);
  return director;
}

export const directorsOf = ({ nodes }: Cluster): ClusterNode[] =>
  nodes.filter(({ role }) => role === 'director');

/** Whether directors stand in for each other: there are several, and no virtual address is a machine's for good. */
export function isPair(cluster: Cluster): boolean {
  const own = new Set(
    cluster.links.flatMap(({ ports }) =>
      ports.flatMap(({ addresses }) => addresses.map((prefix) => prefix.split('/')[0])),
    ),
  );
  return directorsOf(cluster).length > 1 && !cluster.services.some(({ address }) => own.has(address));
}

/** `address:port`, an IPv6 address in brackets. */
export const endpoint = (address: string, port: number): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;

/** The port a real server serves a virtual service on. */
export const portOf = (service: ClusterService, server: ClusterRealServer): number =>
  server.port ?? service.port;

/** The nodes on which something serves. */
export function servingNodes(cluster: Cluster): string[] {
  return [
    ...new Set(cluster.services.flatMap(({ realServers }) => realServers.map(({ node }) => node))),
  ].sort();
}

/** The virtual addresses a node has to hold without answering ARP, with the method they are reached by. */
export function quietAddresses(cluster: Cluster, node: string): { address: string; method: KernelMethod }[] {
  if (node === workingDirector(cluster).name && !isPair(cluster)) return [];
  const found = new Map<string, KernelMethod>();
  for (const { address, method, realServers } of cluster.services)
    if (method !== 'masquerade' && realServers.some((server) => server.node === node))
      found.set(address, method);
  return [...found].map(([address, method]) => ({ address, method }));
}

/** A cluster's rules as `ipvsadm-restore` reads them. */
export function rulesOf(cluster: Cluster): string {
  const methods = { 'direct-routing': '-g', tunnel: '-i', masquerade: '-m' } as const;
  return cluster.services
    .flatMap((service) => {
      const { protocol, address, port, scheduler, method, realServers } = service;
      const virtual = `-${protocol === 'tcp' ? 't' : 'u'} ${endpoint(address, port)}`;
      return [
        `-A ${virtual} -s ${scheduler}`,
        ...realServers.map(
          (server) =>
            `-a ${virtual} -r ${endpoint(server.address, portOf(service, server))} ${methods[method]} -w ${server.weight ?? 1}`,
        ),
      ];
    })
    .map((line) => `${line}\n`)
    .join('');
}
