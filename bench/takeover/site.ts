import { type ChildProcess, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { Cluster, ClusterNode } from '../../src/lab/cluster.ts';
import { nodeNetns } from '../../src/lab/cluster-topology.ts';
import type { Headgate } from '../../src/lab/director.ts';
import { killNode, restoreNode, switchCables } from '../../src/lab/faults.ts';
import { bringUp, takeDown } from '../../src/lab/lifecycle.ts';
import { mastersOf } from '../../src/lab/pair.ts';
import { logPath } from '../../src/lab/real-servers.ts';
import { netnsPath, processesInNetns, runInNetns, spawnInNetns } from '../../src/sys/netns.ts';
import { runInRealTime } from '../../src/sys/realtime.ts';
import { type LoadOrder, type LoadResult, ports } from './silence.ts';

export const methods = ['direct-routing', 'tunnel', 'masquerade'] as const;
export type Method = (typeof methods)[number];
export const contestants = ['headgate', 'keepalived'] as const;
/** Who keeps the virtual addresses; the data plane below is the same. */
export type Contestant = (typeof contestants)[number];
/** `end`: told to end. `failover`: a person hands the addresses over; nobody can with keepalived, whose VRRP has no such order. */
export const faults = ['kill', 'node', 'cut', 'stop', 'one-way', 'end', 'failover', 'fail-back'] as const;
export type Fault = (typeof faults)[number];
export const canMake = (contestant: Contestant, fault: Fault): boolean =>
  contestant === 'headgate' || fault !== 'failover';

const headgate: Headgate = [process.execPath, resolve(import.meta.dirname, '../../bin/headgate.js')];
const address = '10.9.0.100';
const gateway = '10.8.0.1';
const directors = ['director1', 'director2'] as const;
const [first] = directors;
const realServers = { rs1: 21, rs2: 22 };
/** Below what keeps addresses. */
const serverPriority = 4;
type Director = (typeof directors)[number];
const sleep = (ms: number) => new Promise<void>((done) => void setTimeout(done, ms));

function clusterOf(method: Method, lab: string, advertisementMs: number): Cluster {
  const inner = method === 'masquerade';
  const on = (network: string, members: Readonly<Record<string, number>>) =>
    Object.entries(members).map(([node, last]) => ({ node, addresses: [`${network}.${last}/24`] }));
  return {
    name: lab,
    advertisementMs,
    // It is started by hand for everybody alike.
    connectionSync: false,
    summary: 'Two directors that stand in for each other',
    nodes: [
      { name: 'client', role: 'client' },
      ...directors.map((name): ClusterNode => ({ name, role: 'director' })),
      ...Object.keys(realServers).map(
        (name): ClusterNode => ({ name, role: 'real-server', ...(inner && { gateway }) }),
      ),
    ],
    links: [
      {
        name: 'front',
        ports: on('10.9.0', { client: 9, director1: 2, director2: 3, ...(inner ? {} : realServers) }),
      },
      { name: 'back', ports: on('10.8.0', { director1: 2, director2: 3, ...(inner ? realServers : {}) }) },
    ],
    services: (['tcp', 'tcp', 'udp'] as const).map((protocol, i) => ({
      ...({
        protocol,
        address,
        scheduler: 'rr' as const,
        method,
        serves: i === 0 ? 'http' : 'greeting',
      } as const),
      port: [ports.http, ports.stream, ports.probe][i]!,
      realServers: Object.entries(realServers).map(([node, last]) => ({
        node,
        address: `${inner ? '10.8.0' : '10.9.0'}.${last}`,
      })),
    })),
  };
}

/** What the clients saw of a fault, and how long after it their silence began. */
export type Measured = LoadResult & { readonly afterMs?: number };

/** A pair of directors with its clients; `sync` tells connections to the other one. */
export type Site = {
  /** Puts load on, makes a fault, and says what the clients saw. The first director is master again when it resolves. */
  measure(fault: Fault, load: Omit<LoadOrder, 'address'>): Promise<Measured>;
  /** Puts load on for so long and does nothing; `changes`: what the directors said of changed roles meanwhile. */
  endure(
    minutes: number,
    load: Omit<LoadOrder, 'address'>,
  ): Promise<LoadResult & { readonly changes: readonly string[] }>;
  close(): Promise<void>;
};

export type SiteOptions = {
  readonly name: string;
  readonly method: Method;
  readonly contestant: Contestant;
  readonly intervalMs: number;
  readonly sync: boolean;
};

export async function openSite({
  name: lab,
  method,
  contestant,
  intervalMs,
  sync,
}: SiteOptions): Promise<Site> {
  const cluster = clusterOf(method, lab, intervalMs);
  const folder = mkdtempSync(join(tmpdir(), 'headgate-takeover-'));
  const netns = (node: string) => nodeNetns(lab, node);
  const run = (node: string, program: string, ...words: string[]) =>
    runInNetns(netns(node), program, words, { timeoutMs: 30_000 });
  const mustRun = (node: string, program: string, ...words: string[]) => {
    const { status, stderr } = run(node, program, ...words);
    if (status !== 0) throw new Error(`${program} ${words.join(' ')}: ${stderr}`);
  };
  await bringUp(cluster, lab, headgate);

  const masters = () =>
    mastersOf(
      cluster,
      lab,
      directors.map((name) => ({ name })),
    );
  async function until(holds: () => boolean, what: string, withinMs = 30_000): Promise<void> {
    const from = performance.now();
    while (!holds()) {
      if (performance.now() - from > withinMs) throw new Error(`not within ${withinMs} ms: ${what}`);
      await sleep(20);
    }
  }

  const pidsOf = (node: string, pattern: RegExp) =>
    processesInNetns(netnsPath(netns(node))).filter((pid) => {
      try {
        return pattern.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
      } catch {
        return false;
      }
    });
  /** Who has to do with the virtual addresses, and of them the one that is told to end. */
  const keepers = (node: Director) =>
    pidsOf(node, contestant === 'headgate' ? /\0run\0|keeper-process/ : /^keepalived/);
  const head = (node: Director) =>
    contestant === 'headgate' ? pidsOf(node, /\0run\0/)[0]! : Math.min(...keepers(node));

  function startSync(node: Director): void {
    if (!sync) return;
    for (const role of ['backup', 'master'])
      run(
        node,
        headgate[0]!,
        ...headgate.slice(1),
        'ipvsadm',
        '--start-daemon',
        role,
        '--mcast-interface',
        'eth1',
      );
  }

  const children: ChildProcess[] = [];
  const keepalivedLog = (node: Director) => join(folder, `${node}.log`);
  function startKeepalived(node: Director): void {
    const instance = (name: string, device: string, id: number, held: string) => `
vrrp_instance ${name} {
 state BACKUP
 interface ${device}
 virtual_router_id ${id}
 priority ${node === first ? 150 : 100}
 advert_int ${intervalMs / 1000}
 virtual_ipaddress {
  ${held}
 }
}`;
    const file = join(folder, `${node}.conf`);
    writeFileSync(
      file,
      [
        'global_defs {\n vrrp_version 3\n vrrp_rt_priority 10\n}',
        instance('front', 'eth0', 51, `${address}/32`),
        ...(method === 'masquerade'
          ? [
              instance('back', 'eth1', 52, `${gateway}/24`),
              'vrrp_sync_group both {\n group {\n front\n back\n }\n}',
            ]
          : []),
      ].join('\n'),
    );
    const log = openSync(keepalivedLog(node), 'a');
    const pid = (name: string) => join(folder, `${node}-${name}.pid`);
    children.push(
      spawnInNetns(
        netns(node),
        'keepalived',
        ['-n', '-l', '-P', '-f', file, '-p', pid('all'), '-r', pid('vrrp')],
        { stdio: ['ignore', log, log] },
      ),
    );
    closeSync(log);
  }

  /** The director as it was at first, whatever was done to it. */
  async function recover(node: Director): Promise<void> {
    for (const pid of keepers(node)) process.kill(pid, 'SIGKILL');
    run(node, 'ip', 'address', 'delete', `${address}/32`, 'dev', 'eth0');
    if (method === 'masquerade') run(node, 'ip', 'address', 'delete', `${gateway}/24`, 'dev', 'eth1');
    await restoreNode(lab, node, headgate);
    if (contestant === 'keepalived') {
      const daemon = pidsOf(node, /\0run\0/)[0]!;
      process.kill(daemon, 'SIGTERM');
      await until(() => pidsOf(node, /\0run\0|keeper-process/).length === 0, 'headgate gives way');
      startKeepalived(node);
    }
    startSync(node);
  }

  const steady = async () => {
    await until(() => masters().join() === first, 'the first director is master');
    // Sync begins with the whole table, gratuitous ARP is said once more.
    await sleep(1500);
  };

  /** Makes the fault; what it returns is done before the clients end. */
  async function strike(fault: Fault): Promise<() => void> {
    switch (fault) {
      case 'kill':
        for (const pid of keepers(first)) process.kill(pid, 'SIGKILL');
        return () => undefined;
      case 'node':
        killNode(lab, first);
        return () => undefined;
      case 'cut':
        switchCables(lab, `front:${first}`, false);
        return () => undefined;
      case 'stop': {
        const stopped = keepers(first);
        for (const pid of stopped) process.kill(pid, 'SIGSTOP');
        return () => {
          for (const pid of stopped) process.kill(pid, 'SIGCONT');
        };
      }
      case 'one-way':
        // A queue that takes nothing.
        mustRun(first, 'tc', 'qdisc', 'add', 'dev', 'eth0', 'root', 'pfifo', 'limit', '0');
        return () => undefined;
      case 'end':
        process.kill(head(first), 'SIGTERM');
        return () => undefined;
      case 'failover':
        mustRun(first, headgate[0]!, ...headgate.slice(1), 'failover', '--yes');
        return () => undefined;
      case 'fail-back':
        await recover(first);
        return () => undefined;
    }
  }

  function undo(fault: Fault): void {
    if (fault === 'one-way') mustRun(first, 'tc', 'qdisc', 'delete', 'dev', 'eth0', 'root');
    if (fault === 'cut') switchCables(lab, `front:${first}`, true);
  }

  /** Every change of a role that the directors tell of. */
  const changes = (): string[][] =>
    directors.map((node) => {
      const text = readFileSync(contestant === 'headgate' ? logPath(lab, node) : keepalivedLog(node), 'utf8');
      const told = text
        .split('\n')
        .filter((line) => /VRRP instance changed|Entering (MASTER|BACKUP|FAULT) STATE/.test(line));
      return told.map((line) => `${node}: ${line}`);
    });

  async function startLoad(order: LoadOrder): Promise<() => Promise<LoadResult>> {
    const script = resolve(import.meta.dirname, 'load.ts');
    const child = spawnInNetns(
      netns('client'),
      process.execPath,
      ['--import', 'tsx', script, JSON.stringify(order)],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    children.push(child);
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    const next = async () => {
      const { value, done } = await lines.next();
      if (done) throw new Error('the clients ended without a word');
      return JSON.parse(value) as unknown;
    };
    await next();
    return async () => {
      const ended = once(child, 'exit');
      child.stdin!.end();
      const result = (await next()) as LoadResult;
      await ended;
      if (result.answered === 0) throw new Error('no probe was answered, ever');
      return result;
    };
  }

  const site: Site = {
    async measure(fault, load) {
      if (fault === 'fail-back') {
        process.kill(head(first), 'SIGTERM');
        await until(() => masters().join() === 'director2', 'the second director is master');
        await sleep(1500);
      }
      const end = await startLoad({ address, ...load });
      await sleep(1500);
      const struckAt = Date.now();
      const relent = await strike(fault);
      await sleep(2500);
      relent();
      await sleep(1500);
      const result = await end();
      undo(fault);
      if (fault !== 'fail-back') await recover(first);
      await steady();
      const { silentAt } = result;
      return { ...result, ...(silentAt !== undefined && { afterMs: silentAt - struckAt }) };
    },
    async endure(minutes, load) {
      const before = changes();
      const end = await startLoad({ address, ...load });
      await sleep(minutes * 60_000);
      const result = await end();
      return { ...result, changes: changes().flatMap((said, i) => said.slice(before[i]!.length)) };
    },
    async close() {
      for (const child of children) child.kill('SIGKILL');
      await takeDown(lab, headgate);
      rmSync(folder, { recursive: true });
    },
  };
  try {
    // What clients wait for is the directors, not a server that others keep from answering.
    for (const node of Object.keys(realServers))
      for (const pid of pidsOf(node, /\0--udp\0|^[^\0]*nginx/)) runInRealTime(serverPriority, pid);
    if (contestant === 'keepalived') for (const node of directors) await recover(node);
    if (contestant === 'headgate') for (const node of directors) startSync(node);
    await sleep(500);
    await steady();
    return site;
  } catch (error) {
    await site.close();
    throw error;
  }
}

/** Whether keepalived is installed. */
export const hasKeepalived = (): boolean => spawnSync('keepalived', ['--version']).error === undefined;
