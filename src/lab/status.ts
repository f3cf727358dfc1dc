import { setTimeout as sleep } from 'node:timers/promises';
import { findLink, type Link } from '../sys/netlink/link.ts';
import { withNetlink } from '../sys/netlink/socket.ts';
import { listNamedNetns, netnsPath, processesInNetns } from '../sys/netns.ts';
import { bridgePort } from './build.ts';
import {
  type Cluster,
  type ClusterService,
  endpoint,
  type NodeRole,
  portOf,
  workingDirector,
} from './cluster.ts';
import { namedPorts } from './cluster-topology.ts';
import { type Headgate, runHeadgate } from './director.ts';
import { nodeNetns } from './lifecycle.ts';
import { readListing, readTotals, type Totals } from './listing.ts';
import { listeningPorts } from './probe.ts';
import { servingOn } from './real-servers.ts';
import type { LabRecord } from './store.ts';

/** The two readings of the totals lie so far apart. */
const betweenReadingsMs = 1000;

export type Rates = { readonly connections: number; readonly packets: number; readonly bytes: number };

export type RealServerStatus = {
  readonly node: string;
  readonly address: string;
  readonly method: string;
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
  readonly realServers: readonly RealServerStatus[];
};

export type NodeStatus = {
  readonly name: string;
  readonly role: NodeRole;
  /** `gone`: its namespace is not there any more. */
  readonly state: 'up' | 'killed' | 'gone';
  readonly standby: boolean;
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
  const director = workingDirector(cluster).name;
  const present = new Set(listNamedNetns());
  const nodes = cluster.nodes.map((node) => nodeStatus(record, node.name, node.role, present));
  const problems: string[] = record.complete
    ? []
    : [`"up" was cut off half-way; next: headgate lab down ${lab}`];
  const services = present.has(nodeNetns(lab, director))
    ? await serviceStatus(record, nodeNetns(lab, director), headgate, problems)
    : [];
  return {
    lab,
    shows: cluster.summary,
    complete: record.complete,
    director,
    services,
    nodes,
    ports: portStatus(record, present),
    problems,
  };
}

function nodeStatus(record: LabRecord, name: string, role: NodeRole, present: Set<string>): NodeStatus {
  const { cluster, name: lab, faults } = record;
  const netns = nodeNetns(lab, name);
  const standby = role === 'director' && name !== workingDirector(cluster).name;
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
      realServers: service.realServers.map((server): RealServerStatus => {
        const where = endpoint(server.address, portOf(service, server));
        const row = entry?.destinations.find((destination) => destination.address === where);
        if (!row) return { node: server.node, address: where, method: service.method };
        const [before, after] = [first.totals, second.totals].map((map) => map.get(`${key} ${where}`));
        const { weight, active, inactive } = row;
        return {
          ...{ node: server.node, address: where, method: service.method, weight, active, inactive },
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

/** How the answers of a method travel. */
export const answersOf = (method: ClusterService['method']): string =>
  method === 'masquerade' ? 'answers return through the director' : 'answers go straight to the client';

/** The client's addresses, for the picture. */
export const clientsOf = (cluster: Cluster): string[] =>
  cluster.nodes.filter(({ role }) => role === 'client').map(({ name }) => name);
