import { type Address, parseAddress } from '../model/address.ts';
import { startScheduler } from '../model/schedulers/by-name.ts';
import type { DestinationView } from '../model/schedulers/scheduler.ts';
import type { KernelMethod, SchedulerName } from '../model/virtual-service.ts';
import { schedulerNames } from '../model/virtual-service.ts';
import type { Cluster, ClusterNode } from './cluster.ts';

/** What `lab test` runs, and what the reference schedulers say must come of it. */

export const testMethods = ['masquerade', 'direct-routing', 'tunnel'] as const;
export const quickSchedulers: readonly SchedulerName[] = ['rr', 'wrr', 'wlc', 'sh'];
export const testSchedulers: readonly SchedulerName[] = schedulerNames;

/** A scheduler whose choices are drawn by lot has no sequence that could be foretold. */
const byLot: readonly SchedulerName[] = ['twos'];

const servers = ['rs1', 'rs2', 'rs3'] as const;
const weights = [3, 2, 1] as const;
const testClient = '10.78.1.2';
const virtual = {
  masquerade: '10.78.1.100',
  'direct-routing': '10.78.1.101',
  tunnel: '10.78.1.102',
} as const;

/** A cluster for one method and scheduler: three real servers of the weights 3, 2 and 1, behind a service on `port`. */
export function testCluster(method: KernelMethod, scheduler: SchedulerName, port = 80): Cluster {
  const masquerade = method === 'masquerade';
  const network = masquerade ? '10.78.2' : '10.78.1';
  const addressOf = (i: number) => `${network}.${11 + i}`;
  const serverPorts = servers.map((node, i) => ({ node, addresses: [`${addressOf(i)}/24`] }));
  return {
    name: `test-${method}`,
    summary: `What "lab test" runs through ${method}`,
    nodes: [
      { name: 'client', role: 'client' },
      { name: 'director', role: 'director' },
      ...servers.map(
        (name): ClusterNode => ({
          name,
          role: 'real-server',
          ...(masquerade ? { gateway: '10.78.2.1' } : {}),
        }),
      ),
    ],
    links: [
      {
        name: 'front',
        ports: [
          { node: 'client', addresses: [`${testClient}/24`] },
          { node: 'director', addresses: ['10.78.1.1/24'] },
          ...(masquerade ? [] : serverPorts),
        ],
      },
      ...(masquerade
        ? [{ name: 'back', ports: [{ node: 'director', addresses: ['10.78.2.1/24'] }, ...serverPorts] }]
        : []),
    ],
    services: [
      {
        protocol: 'tcp',
        address: virtual[method],
        port,
        scheduler,
        method,
        serves: 'http',
        realServers: servers.map((node, i) => ({ node, address: addressOf(i), weight: weights[i]! })),
      },
    ],
  };
}

/**
 * The nodes that answer `connections` connections to a new service, one after another, each closed before the next, as the reference
 * scheduler chooses: a closed connection counts as inactive from then on. Undefined where the choice is by lot.
 */
export function expectedAnswers(cluster: Cluster, connections: number): readonly string[] | undefined {
  const service = cluster.services[0]!;
  if (byLot.includes(service.scheduler)) return undefined;
  const scheduling = startScheduler(service.scheduler, [], 4);
  const inactive = new Map<string, number>();
  const view = (server: (typeof service.realServers)[number]): DestinationView => {
    const weight = server.weight ?? 1;
    return {
      ...{ address: addressed(server.address), port: service.port, weight, lastWeight: weight },
      ...{ active: 0, total: inactive.get(server.address) ?? 0, overloaded: false, available: true },
    };
  };
  // A data plane hears of the servers one by one, and keeps the newest first.
  const newestFirst: (typeof service.realServers)[number][] = [];
  for (const server of service.realServers) {
    newestFirst.unshift(server);
    scheduling.changed(newestFirst.map(view));
  }
  return Array.from({ length: connections }, () => {
    const choice = scheduling.choose(newestFirst.map(view), {
      packet: {
        ...{ source: addressed(testClient), sourcePort: 0 },
        ...{ destination: addressed(service.address), destinationPort: service.port, inverse: false },
      },
      flags: { flag1: false, flag2: false, flag3: false },
      nowMs: 0,
      random: () => 0,
    });
    if (choice === undefined) return 'nobody';
    const { node, address } = newestFirst[choice]!;
    inactive.set(address, (inactive.get(address) ?? 0) + 1);
    return node;
  });
}

const addressed = (text: string): Address => parseAddress(text)!;
