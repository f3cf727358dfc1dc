import type { ChildProcess, SpawnOptions, SpawnSyncReturns } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { setOffloads } from '../sys/ethtool.ts';
import { isSystemError } from '../sys/ffi.ts';
import { addAddress, listAddresses, type NewAddress } from '../sys/netlink/address.ts';
import { createBridge, createVeth, linkIndex, type NewLink, setLink } from '../sys/netlink/link.ts';
import { addRoute, listRoutes, tables } from '../sys/netlink/route.ts';
import { addRule } from '../sys/netlink/rule.ts';
import { type Netlink, withNetlink } from '../sys/netlink/socket.ts';
import {
  createNamedNetns,
  deleteNamedNetns,
  listNamedNetns,
  netnsPath,
  processesInNetns,
  runInNetns,
  spawnInNetns,
  withNetns,
} from '../sys/netns.ts';
import { readSysctl, writeSysctl } from '../sys/sysctl.ts';
import { type Node, type Port, type Segment, type Topology, topologyMistakes } from './topology.ts';

/** A topology that stands. */
export type Lab = {
  readonly topology: Topology;
  /** The namespace of a node, as `ip netns` names it. */
  netns(node: string): string;
  /** Starts a process on a node. */
  spawn(node: string, command: string, args: readonly string[], options?: SpawnOptions): ChildProcess;
  /** Runs a process on a node to its end; blocks. */
  run(
    node: string,
    command: string,
    args: readonly string[],
    options?: { timeoutMs?: number; input?: string; env?: NodeJS.ProcessEnv },
  ): SpawnSyncReturns<string>;
  /** Runs synchronous work, sockets and all, on a node. */
  inside<T>(node: string, work: () => T): T;
  /** Ends every process in the lab and removes it. Idempotent. */
  down(): void;
};

const mostRounds = 1000;
const addressesWaitMs = 5_000;

const prefixOf = (lab: string): string => `hg-${lab}-`;

/** The namespace of a node or segment. */
export const namespaceOf = (topology: Topology, name: string): string =>
  `${topology.prefix ?? prefixOf(topology.name)}${name}`;

/** Something `up` is about to make. */
export type BuildStep = { readonly step: 'namespace' | 'segment' | 'node'; readonly name: string };

/**
 * Builds a topology; everything lies in namespaces of its own, nothing in the caller's. Throws RangeError with every
 * mistake of the topology, an Error when a lab of that name stands already, and SystemError (EPERM) where namespaces
 * cannot be made; whatever was built by then is removed. `before` hears of each step before it is taken.
 */
export function up(topology: Topology, before: (step: BuildStep) => void = () => undefined): Lab {
  const mistakes = topologyMistakes(topology);
  if (mistakes.length > 0) throw new RangeError(`lab "${topology.name}": ${mistakes.join('; ')}`);
  const standing = namespacesOf(topology);
  if (standing.length > 0)
    throw new Error(`lab "${topology.name}": stands already (namespace ${standing[0]}); take it down first`);
  try {
    for (const { name } of topology.nodes) {
      before({ step: 'namespace', name: namespaceOf(topology, name) });
      createMachine(namespaceOf(topology, name));
    }
    for (const segment of topology.segments) {
      if (hasBridge(segment)) before({ step: 'namespace', name: namespaceOf(topology, segment.name) });
      before({ step: 'segment', name: segment.name });
      createSegment(topology, segment);
    }
    for (const node of topology.nodes) {
      before({ step: 'node', name: node.name });
      configureNode(topology, node);
    }
    for (const { name } of topology.nodes) waitForAddresses(netnsPath(namespaceOf(topology, name)));
  } catch (error) {
    removeNamespaces(namespacesOf(topology));
    throw error;
  }
  return standingLab(topology);
}

/** Removes the lab of that name with every process in it, also after the process that built it has died. */
export function down(name: string): void {
  removeNamespaces(namespacesOf({ name }));
}

/** Ends every process in these namespaces and removes them; those that are not there are passed over. */
export function removeNamespaces(names: readonly string[]): void {
  const present = new Set(listNamedNetns());
  for (const netns of new Set(names.filter((name) => present.has(name)))) {
    emptyOfProcesses(netns);
    deleteNamedNetns(netns);
  }
}

/** Kills until nobody is left: a process that was starting another one may have left it behind. */
export function emptyOfProcesses(netns: string): void {
  for (let round = 1; endProcesses(netns) > 0; round++) {
    if (round === mostRounds)
      throw new Error(`namespace "${netns}": a process in it does not end when killed`);
    sleep(5);
  }
}

/** Kills every process in a namespace but this one. Returns how many there were. */
export function endProcesses(netns: string): number {
  let ended = 0;
  for (const pid of processesInNetns(netnsPath(netns))) {
    if (pid === process.pid) continue;
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if (!isSystemError(error, 'ESRCH')) throw error;
    }
    ended++;
  }
  return ended;
}

function namespacesOf({ name, prefix }: Pick<Topology, 'name' | 'prefix'>): string[] {
  return listNamedNetns().filter((netns) => netns.startsWith(prefix ?? prefixOf(name)));
}

/** A topology that was built before, by this process or another. */
function standingLab(topology: Topology): Lab {
  const netns = (node: string) => {
    if (
      !topology.nodes.some(({ name }) => name === node) &&
      !topology.segments.some(({ name }) => name === node)
    )
      throw new RangeError(`lab "${topology.name}": no node is called "${node}"`);
    return namespaceOf(topology, node);
  };
  return {
    topology,
    netns,
    spawn: (node, command, args, options) => spawnInNetns(netns(node), command, args, options),
    run: (node, command, args, options) => runInNetns(netns(node), command, args, options),
    inside: (node, work) => withNetns(netnsPath(netns(node)), work),
    down: () => removeNamespaces(namespacesOf(topology)),
  };
}

/**
 * A namespace with its loopback up. Settings a new namespace copies from the host are put where a lab wants them:
 * no reverse path filter, no waiting for duplicate address detection, no redirects, every ICMP error sent.
 */
function createMachine(netns: string): void {
  createNamedNetns(netns);
  const path = netnsPath(netns);
  withNetlink({ netns: path }, (netlink) => setLink(netlink, linkIndex(netlink, 'lo'), { up: true }));
  withNetns(path, () => {
    writeSysctl('net.ipv4.icmp_ratelimit', 0);
    if (readSysctl('net.ipv6.icmp.ratelimit') !== undefined) writeSysctl('net.ipv6.icmp.ratelimit', 0);
    for (const which of ['all', 'default', 'lo']) {
      writeSysctl(`net.ipv4.conf.${which}.rp_filter`, 0);
      writeSysctl(`net.ipv4.conf.${which}.send_redirects`, 0);
      if (readSysctl(`net.ipv6.conf.${which}.accept_dad`) !== undefined)
        writeSysctl(`net.ipv6.conf.${which}.accept_dad`, 0);
    }
  });
}

const hasBridge = ({ ports, bridge }: Segment): boolean => bridge === true || ports.length > 2;

/** The device in a segment's own namespace that leads to its n-th port. */
export const bridgePort = (n: number): string => `port${n}`;

function createSegment(topology: Topology, segment: Segment): void {
  const path = (name: string) => netnsPath(namespaceOf(topology, name));
  const end = ({ device, mac }: Port): Omit<NewLink, 'netns'> => ({ name: device, mac, mtu: segment.mtu });
  const [first, second] = segment.ports as [Port, Port, ...Port[]];
  if (!hasBridge(segment)) {
    withNamespaceFd(path(second.node), (fd) =>
      withNetlink({ netns: path(first.node) }, (netlink) =>
        createVeth(netlink, { ...end(first), peer: { ...end(second), netns: { fd } } }),
      ),
    );
    return;
  }
  createMachine(namespaceOf(topology, segment.name));
  withNetlink({ netns: path(segment.name) }, (netlink) => {
    createBridge(netlink, { name: 'bridge', mtu: segment.mtu });
    const bridge = linkIndex(netlink, 'bridge');
    segment.ports.forEach((port, i) => {
      const name = bridgePort(i);
      withNamespaceFd(path(port.node), (fd) =>
        createVeth(netlink, { name, mtu: segment.mtu, peer: { ...end(port), netns: { fd } } }),
      );
      setLink(netlink, linkIndex(netlink, name), { master: bridge, up: true, addrGenMode: 'none' });
    });
    setLink(netlink, bridge, { up: true, addrGenMode: 'none' });
  });
}

function withNamespaceFd<T>(path: string, work: (fd: number) => T): T {
  const fd = openSync(path, 'r');
  try {
    return work(fd);
  } finally {
    closeSync(fd);
  }
}

function configureNode(topology: Topology, node: Node): void {
  const path = netnsPath(namespaceOf(topology, node.name));
  const ports = topology.segments.flatMap((segment) =>
    segment.ports.filter((port) => port.node === node.name),
  );
  withNetns(path, () => {
    for (const { device, offloads } of ports) if (offloads) setOffloads(device, offloads);
    for (const [name, value] of Object.entries(node.sysctls ?? {})) writeSysctl(name, value);
  });
  withNetlink({ netns: path }, (netlink) => {
    addAddresses(netlink, 'lo', node.loopback);
    for (const rule of node.rules ?? []) addRule(netlink, rule);
    bringUpDevices(netlink, topology, node);
  });
}

/**
 * Brings a node's devices up, with their addresses and the routes; what is there already stays. The kernel forgets IPv6
 * addresses and all routes when a device goes down.
 */
export function bringUpDevices(netlink: Netlink, topology: Topology, node: Node): void {
  for (const { ports } of topology.segments)
    for (const port of ports.filter((one) => one.node === node.name)) {
      setLink(netlink, linkIndex(netlink, port.device), { up: true });
      addAddresses(netlink, port.device, port.addresses);
    }
  for (const { device, ...route } of node.routes ?? [])
    try {
      addRoute(netlink, { ...route, ...(device === undefined ? {} : { index: linkIndex(netlink, device) }) });
    } catch (error) {
      if (!isSystemError(error, 'EEXIST')) throw error;
    }
}

/**
 * Waits until the kernel takes packets for every IPv6 address of a namespace: its worker (addrconf_dad_work in
 * net/ipv6/addrconf.c) puts the route to an address in after the address. Gives up after five seconds.
 */
function waitForAddresses(path: string): void {
  withNetlink({ netns: path }, (netlink) => {
    const isReady = () => {
      const local = new Set(
        listRoutes(netlink)
          .filter(({ table, type }) => table === tables.local && type === 'local')
          .map(({ destination }) => destination),
      );
      return listAddresses(netlink).every(
        ({ family, address, tentative }) => family === 'ipv4' || (!tentative && local.has(`${address}/128`)),
      );
    };
    const deadline = performance.now() + addressesWaitMs;
    while (!isReady() && performance.now() < deadline) sleep(2);
  });
}

function sleep(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

function addAddresses(
  netlink: Netlink,
  device: string,
  addresses: readonly (string | NewAddress)[] = [],
): void {
  if (addresses.length === 0) return;
  const index = linkIndex(netlink, device);
  for (const address of addresses)
    addAddress(netlink, index, {
      noDad: true,
      ...(typeof address === 'string' ? { prefix: address } : address),
    });
}
