import type { KernelMethod, SchedulerName } from '../model/virtual-service.ts';
import { setOffloads } from '../sys/ethtool.ts';
import { netnsPath, withNetns } from '../sys/netns.ts';
import { bridgePort } from './build.ts';
import { type Cluster, rulesOf } from './cluster.ts';
import { namedPorts, nodeNetns } from './cluster-topology.ts';
import { type Headgate, mustRunHeadgate } from './director.ts';
import { bringUp, takeDown } from './lifecycle.ts';
import { whyUnanswered } from './service-probe.ts';
import { lockLab } from './store.ts';
import { expectedAnswers, testCluster } from './test-plan.ts';
import {
  askInTurn,
  isInstalled,
  type LoadResult,
  load,
  prepareTransfer,
  type TransferResult,
  transfer,
} from './test-traffic.ts';

/** What is run through every method, with offloads on and off, for every scheduler. */
export type TestOrder = {
  readonly methods: readonly KernelMethod[];
  readonly schedulers: readonly SchedulerName[];
  readonly offloads: readonly ('on' | 'off')[];
  readonly connections: number;
  readonly loadSeconds: number;
  readonly transferBytes: number;
  /** Load and transfer for every scheduler, or once for each method and offloads. */
  readonly everyScheduler: boolean;
};

export type TestRow = {
  readonly method: KernelMethod;
  readonly offloads?: 'on' | 'off';
  readonly scheduler?: SchedulerName;
  /** Who answered, in order. */
  readonly answers?: readonly string[];
  /** Who had to; absent where the choice is by lot. */
  readonly expected?: readonly string[];
  readonly load?: LoadResult;
  readonly transfer?: TransferResult;
  readonly ok: boolean;
  /** What is wrong, when something is. */
  readonly reason?: string;
};

const firstPort = 8000;
const offloadNames = ['rxChecksum', 'txChecksum', 'scatterGather', 'tso', 'gso', 'gro'] as const;

/**
 * Builds a lab for each method, runs everything through it and removes it; `onRow` hears of each row as it is done. Ends
 * early, in good order, when `signal` aborts. Throws HeadgateError when a lab cannot be built.
 */
export async function runLabTest(
  order: TestOrder,
  headgate: Headgate,
  onRow: (row: TestRow) => void,
  signal: AbortSignal,
): Promise<TestRow[]> {
  const rows: TestRow[] = [];
  const add = (row: TestRow): void => {
    rows.push(row);
    onRow(row);
  };
  const lock = lockLab('test');
  try {
    for (const method of order.methods) {
      if (signal.aborted) break;
      const cluster = clusterOfAll(method, order);
      const lab = cluster.name;
      await takeDown(lab, headgate);
      try {
        await bringUp(cluster, lab, headgate);
        await testMethod(method, cluster, order, headgate, add, signal);
      } finally {
        await takeDown(lab, headgate);
      }
    }
  } finally {
    lock.remove();
  }
  return rows;
}

/**
 * A port for each row: destinations that are added again begin with the connections they had, and the first of a row must
 * find nobody loaded.
 */
const portOfRow = (order: TestOrder, offloads: number, scheduler: number): number =>
  firstPort + offloads * order.schedulers.length + scheduler;

/** A cluster that serves on port 80 and on every row's port. */
function clusterOfAll(method: KernelMethod, order: TestOrder): Cluster {
  const rows = order.offloads.flatMap((_, o) =>
    order.schedulers.flatMap((name, s) => testCluster(method, name, portOfRow(order, o, s)).services),
  );
  const plain = testCluster(method, 'rr');
  return { ...plain, services: [...plain.services, ...rows] };
}

async function testMethod(
  method: KernelMethod,
  cluster: Cluster,
  order: TestOrder,
  headgate: Headgate,
  add: (row: TestRow) => void,
  signal: AbortSignal,
): Promise<void> {
  const lab = cluster.name;
  const unanswered = await whyUnanswered(cluster, lab, cluster.services[0]!);
  if (unanswered !== undefined) return add({ method, ok: false, reason: unanswered });
  const sha256 =
    order.transferBytes > 0 && isInstalled('curl') ? prepareTransfer(lab, order.transferBytes) : '';
  for (const [o, offloads] of order.offloads.entries()) {
    switchOffloads(cluster, lab, offloads === 'on');
    for (const [s, scheduler] of order.schedulers.entries()) {
      if (signal.aborted) return;
      const heavy = order.everyScheduler || s === 0;
      add(
        await testScheduler({ method, offloads, scheduler }, portOfRow(order, o, s), headgate, {
          connections: order.connections,
          loadSeconds: heavy && isInstalled('wrk') ? order.loadSeconds : 0,
          transferred: heavy && sha256 !== '' ? { bytes: order.transferBytes, sha256 } : undefined,
        }),
      );
    }
  }
}

async function testScheduler(
  { method, offloads, scheduler }: { method: KernelMethod; offloads: 'on' | 'off'; scheduler: SchedulerName },
  port: number,
  headgate: Headgate,
  traffic: {
    connections: number;
    loadSeconds: number;
    transferred: { bytes: number; sha256: string } | undefined;
  },
): Promise<TestRow> {
  const cluster = testCluster(method, scheduler, port);
  const lab = cluster.name;
  const { address } = cluster.services[0]!;
  const client = nodeNetns(lab, 'client');
  await freshRules(cluster, lab, headgate);
  const answers = await askInTurn(client, address, port, traffic.connections);
  const expected = expectedAnswers(cluster, traffic.connections);
  const loaded = traffic.loadSeconds > 0 ? await load(client, address, port, traffic.loadSeconds) : undefined;
  const transferred = traffic.transferred && (await transfer(client, address, port, traffic.transferred));
  const reason =
    whyWrong(answers, expected, traffic.connections) ??
    (loaded && loaded.errors > 0 ? `${loaded.errors} errors under load` : undefined) ??
    (loaded?.requestsPerSecond === 0 ? 'no answer under load' : undefined) ??
    (transferred?.intact === false ? 'the transfer is not what was sent' : undefined);
  return {
    ...{ method, offloads, scheduler, answers, ok: reason === undefined },
    ...(expected && { expected }),
    ...(loaded && { load: loaded }),
    ...(transferred && { transfer: transferred }),
    ...(reason !== undefined && { reason }),
  };
}

/** The first difference between what came and what had to, in a sentence. */
export function whyWrong(
  answers: readonly string[],
  expected: readonly string[] | undefined,
  connections: number,
): string | undefined {
  const failed = answers.filter((answer) => answer.startsWith('('));
  if (failed.length > 0) return `${failed.length} of ${connections} connections had no answer ${failed[0]}`;
  if (answers.length !== connections) return `${answers.length} answers to ${connections} connections`;
  const at = expected?.findIndex((name, i) => name !== answers[i]) ?? -1;
  if (at < 0) return undefined;
  return `connection ${at + 1} went to ${answers[at]}, the reference says ${expected![at]}`;
}

/** The cluster's rules alone, in a table that was cleared before. */
async function freshRules(cluster: Cluster, lab: string, headgate: Headgate): Promise<void> {
  const netns = nodeNetns(lab, 'director');
  await mustRunHeadgate(headgate, netns, ['ipvsadm', '-C']);
  // One command a rule: the order and number of changes is part of what a scheduler remembers.
  for (const rule of rulesOf(cluster).trimEnd().split('\n'))
    await mustRunHeadgate(headgate, netns, ['ipvsadm', ...rule.split(' ')]);
}

/** Switches all offloads of every interface of a lab's nodes and links. */
function switchOffloads(cluster: Cluster, lab: string, on: boolean): void {
  const offloads = Object.fromEntries(offloadNames.map((name) => [name, on]));
  for (const { link, ports } of namedPorts(cluster))
    ports.forEach(({ node, device }, i) => {
      withNetns(netnsPath(nodeNetns(lab, node)), () => setOffloads(device, offloads));
      withNetns(netnsPath(nodeNetns(lab, link.name)), () => setOffloads(bridgePort(i), offloads));
    });
}
