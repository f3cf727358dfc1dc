import { setTimeout as sleep } from 'node:timers/promises';
import type { KernelMethod } from '../model/virtual-service.ts';
import { findLink, type Link } from '../sys/netlink/link.ts';
import { listNeighbours } from '../sys/netlink/neighbour.ts';
import { withNetlink } from '../sys/netlink/socket.ts';
import { listNamedNetns, netnsPath, processesInNetns } from '../sys/netns.ts';
import { bridgePort } from './build.ts';
import { directorsOf, endpoint, isPair, type NodeRole, portOf, workingDirector } from './cluster.ts';
import { namedPorts, nodeNetns } from './cluster-topology.ts';
import { type Headgate, runHeadgate } from './director.ts';
import { missingDevice } from './faults.ts';
import { readListing, readTotals, type Totals } from './listing.ts';
import { mastersOf } from './pair.ts';
import { listeningPorts, probe } from './probe.ts';
import { servingOn } from './real-servers.ts';
import type { LabRecord } from './store.ts';

/** The two readings of the totals lie so far apart. */
const betweenReadingsMs = 1000;
const probeTimeoutMs = 900;

export type Rates = { readonly connections: number; readonly packets: number; readonly bytes: number };

export type RealServerStatus = {
  readonly node: string;
  readonly address: string;
  /** Absent when the director does not list it (any more). */
  readonly weight?: number;
  readonly active?: number;
  readonly inactive?: number;
  readonly connections?: number;
  /** A second, between two readings. */
  readonly rates?: Rates;
};

export type ServiceStatus = {
  readonly protocol: string;
  readonly address: string;
  readonly scheduler: string;
  readonly method: KernelMethod;
  readonly realServers: readonly RealServerStatus[];
};

export type NodeStatus = {
  readonly name: string;
  readonly role: NodeRole;
  /** `gone`: its namespace is not there any more. */
  readonly state: 'up' | 'killed' | 'gone';
  readonly standby: boolean;
  /** Of directors that stand in for each other: who has the virtual addresses. */
  readonly vrrp?: 'master' | 'backup';
  readonly processes: number;
  /** Ports on which something should listen and does not. */
  readonly silentPorts: readonly number[];
};

export type PortStatus = {
  readonly link: string;
  readonly node: string;
  readonly device: string;
  readonly addresses: readonly string[];
  readonly state: 'up' | 'cut' | 'down' | 'missing';
};

export type LabStatus = {
  readonly lab: string;
  readonly shows: string;
  readonly complete: boolean;
  readonly director: string;
  readonly services: readonly ServiceStatus[];
  readonly nodes: readonly NodeStatus[];
  readonly ports: readonly PortStatus[];
  /** What is wrong, one sentence each. */
  readonly problems: readonly string[];
};

/** Looks at a lab: machines and links as the kernel has them, the director's table, its rates over one second. */
export async function statusOf(record: LabRecord, headgate: Headgate): Promise<LabStatus> {
  const { cluster, name: lab } = record;
  const present = new Set(listNamedNetns());
  const masters = pairMasters(record, present);
  const director = masters?.[0] ?? workingDirector(cluster).name;
  const nodes = cluster.nodes.map((node) => ({
    ...nodeStatus(record, node.name, node.role, present),
    ...(node.role === 'director' && { standby: node.name !== director }),
    ...(masters &&
      node.role === 'director' && {
        vrrp: masters.includes(node.name) ? ('master' as const) : ('backup' as const),
      }),
  }));
  const ports = portStatus(record, present);
  const problems = [
    ...(record.complete ? [] : [`"up" was cut off half-way; next: headgate lab down ${lab}`]),
    ...(masters === undefined || masters.length === 1
      ? []
      : masters.length === 0
        ? ['no director has the virtual addresses']
        : [`${masters.join(' and ')} have the virtual addresses at the same time`]),
    ...nodes.flatMap(nodeProblems),
    ...ports.flatMap((port) => portProblems(record, port, present)),
  ];
  let services: ServiceStatus[] = [];
  if (present.has(nodeNetns(lab, director))) {
    const [found, unreachable] = await Promise.all([
      serviceStatus(record, nodeNetns(lab, director), headgate, problems),
      unreachableServers(record, director, present, nodes, ports),
    ]);
    services = found;
    problems.push(...unreachable);
  }
  return {
    lab,
    shows: cluster.summary,
    complete: record.complete,
    director,
    services,
    nodes,
    ports,
    problems,
  };
}

/** The directors that have the virtual addresses; undefined where they do not move. */
function pairMasters({ cluster, name: lab, faults }: LabRecord, present: Set<string>): string[] | undefined {
  if (!isPair(cluster)) return undefined;
  const alive = directorsOf(cluster).filter(
    ({ name }) => present.has(nodeNetns(lab, name)) && !faults.killed.includes(name),
  );
  return mastersOf(cluster, lab, alive);
}

function nodeStatus(record: LabRecord, name: string, role: NodeRole, present: Set<string>): NodeStatus {
  const { cluster, name: lab, faults } = record;
  const netns = nodeNetns(lab, name);
  const standby = false;
  if (!present.has(netns)) return { name, role, state: 'gone', standby, processes: 0, silentPorts: [] };
  const { http, greeting } = servingOn(cluster, name);
  const listening = listeningPorts(netns);
  return {
    name,
    role,
    standby,
    state: faults.killed.includes(name) ? 'killed' : 'up',
    processes: processesInNetns(netnsPath(netns)).filter((pid) => pid !== process.pid).length,
    silentPorts: [...http, ...greeting].filter((port) => !listening.has(port)),
  };
}

function portStatus({ cluster, name: lab }: LabRecord, present: Set<string>): PortStatus[] {
  const link = (node: string, device: string): Link | undefined =>
    present.has(nodeNetns(lab, node))
      ? withNetlink({ netns: netnsPath(nodeNetns(lab, node)) }, (netlink) => findLink(netlink, device))
      : undefined;
  return namedPorts(cluster).flatMap(({ link: { name }, ports }) =>
    ports.map(({ node, device, addresses }, i): PortStatus => {
      const near = link(node, device);
      const far = link(name, bridgePort(i));
      const state = !near || !far ? 'missing' : !near.up ? 'down' : !far.up ? 'cut' : 'up';
      return { link: name, node, device, addresses, state };
    }),
  );
}

function nodeProblems({ name, state, silentPorts }: NodeStatus): string[] {
  if (state === 'gone') return [`node ${name}: its namespace was removed; next: headgate lab down`];
  if (state === 'killed') return [`node ${name}: killed; next: headgate lab restore ${name}`];
  return silentPorts.map(
    (port) => `node ${name}: nothing listens on port ${port}; next: headgate lab restore ${name}`,
  );
}

function portProblems(record: LabRecord, port: PortStatus, present: Set<string>): string[] {
  const { link, node, device, state } = port;
  if (state === 'up' || record.faults.killed.includes(node) || !present.has(nodeNetns(record.name, node)))
    return [];
  const where = `interface ${device} of ${node}`;
  if (state === 'cut') return [`${where}: cut off; next: headgate lab mend ${link}:${node}`];
  if (state === 'down') return [`${where}: down; next: headgate lab restore ${node}`];
  return [`${where}: ${missingDevice(record, node, device)}; undo that, or build the lab anew`];
}

/** Connects from the director to each real server that should answer, by its own address. */
async function unreachableServers(
  { cluster, name: lab }: LabRecord,
  director: string,
  present: Set<string>,
  nodes: readonly NodeStatus[],
  ports: readonly PortStatus[],
): Promise<string[]> {
  const netns = nodeNetns(lab, director);
  const impaired = (node: string) =>
    nodes.some(
      ({ name, state, silentPorts }) => name === node && (state !== 'up' || silentPorts.length > 0),
    ) || ports.some((port) => port.node === node && port.state !== 'up');
  if (impaired(director)) return [];
  const servers = new Map<string, { node: string; address: string; port: number; http: boolean }>();
  for (const service of cluster.services)
    for (const server of service.realServers)
      if (
        service.protocol === 'tcp' &&
        server.node !== director &&
        present.has(nodeNetns(lab, server.node)) &&
        !impaired(server.node)
      )
        servers.set(endpoint(server.address, portOf(service, server)), {
          ...{ node: server.node, address: server.address, port: portOf(service, server) },
          http: service.serves === 'http',
        });
  const found = await Promise.all(
    [...servers.values()].map(async ({ node, address, port, http }) => {
      const result = await probe(netns, { address, port, http, timeoutMs: probeTimeoutMs });
      if ('answer' in result) return [];
      const where = `real server ${node} ${endpoint(address, port)}`;
      const neighbour = withNetlink({ netns: netnsPath(netns) }, (netlink) =>
        listNeighbours(netlink).find((entry) => entry.address === address),
      );
      const silent = neighbour?.state === 'failed' || neighbour?.state === 'incomplete';
      return [
        silent
          ? `${where}: unreachable, nobody answers ${director}'s ARP for ${address}`
          : `${where}: does not answer ${director} (${result.reason})`,
      ];
    }),
  );
  return found.flat();
}

async function serviceStatus(
  { cluster }: LabRecord,
  netns: string,
  headgate: Headgate,
  problems: string[],
): Promise<ServiceStatus[]> {
  const totals = async () => {
    const { stdout } = await runHeadgate(headgate, netns, ['ipvsadm', '-L', '-n', '--stats', '--exact']);
    return { at: performance.now(), totals: readTotals(stdout) };
  };
  const first = await totals();
  const listing = await runHeadgate(headgate, netns, ['ipvsadm', '-L', '-n']);
  if (listing.status !== 0) problems.push(`the director's table cannot be read: ${listing.stderr.trim()}`);
  await sleep(Math.max(0, betweenReadingsMs - (performance.now() - first.at)));
  const second = await totals();
  const seconds = (second.at - first.at) / 1000;
  const listed = readListing(listing.stdout);
  return cluster.services.map((service) => {
    const address = endpoint(service.address, service.port);
    const key = `${service.protocol} ${address}`;
    const entry = listed.get(key);
    if (!entry) problems.push(`the director has no virtual service ${key} any more`);
    return {
      protocol: service.protocol,
      address,
      scheduler: entry?.scheduler ?? service.scheduler,
      method: service.method,
      realServers: service.realServers.map((server): RealServerStatus => {
        const where = endpoint(server.address, portOf(service, server));
        const row = entry?.destinations.find((destination) => destination.address === where);
        if (!row) return { node: server.node, address: where };
        const [before, after] = [first.totals, second.totals].map((map) => map.get(`${key} ${where}`));
        const { weight, active, inactive } = row;
        return {
          ...{ node: server.node, address: where, weight, active, inactive },
          ...(after ? { connections: after.connections } : {}),
          ...(before && after ? { rates: ratesOf(before, after, seconds) } : {}),
        };
      }),
    };
  });
}

function ratesOf(before: Totals, after: Totals, seconds: number): Rates {
  const per = (pick: (totals: Totals) => number) => Math.max(0, (pick(after) - pick(before)) / seconds);
  return {
    connections: per(({ connections }) => connections),
    packets: per(({ packetsIn, packetsOut }) => packetsIn + packetsOut),
    bytes: per(({ bytesIn, bytesOut }) => bytesIn + bytesOut),
  };
}
