import type { ChildProcess, SpawnOptions, SpawnSyncReturns } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { setOffloads } from '../sys/ethtool.ts';
import { isSystemError } from '../sys/ffi.ts';
import { addAddress, type NewAddress } from '../sys/netlink/address.ts';
import { createBridge, createVeth, linkIndex, type NewLink, setLink } from '../sys/netlink/link.ts';
import { addRoute } from '../sys/netlink/route.ts';
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

const prefixOf = (lab: string): string => `hg-${lab}-`;

/**
 * Builds a topology; everything lies in namespaces of its own, nothing in the caller's. Throws RangeError with every
 * mistake of the topology, an Error when a lab of that name stands already, and SystemError (EPERM) where namespaces
 * cannot be made; whatever was built by then is removed.
 */
export function up(topology: Topology): Lab {
  const mistakes = topologyMistakes(topology);
  if (mistakes.length > 0) throw new RangeError(`lab "${topology.name}": ${mistakes.join('; ')}`);
  const standing = namespacesOf(topology.name);
  if (standing.length > 0)
    throw new Error(`lab "${topology.name}": stands already (namespace ${standing[0]}); take it down first`);
  try {
    for (const { name } of topology.nodes) createMachine(`${prefixOf(topology.name)}${name}`);
    for (const segment of topology.segments) createSegment(topology.name, segment);
    for (const node of topology.nodes) configureNode(topology, node);
  } catch (error) {
    down(topology.name);
    throw error;
  }
  return labOf(topology);
}

/** Removes the lab of that name with every process in it, also after the process that built it has died. */
export function down(name: string): void {
  for (const netns of namespacesOf(name)) {
    for (const pid of processesInNetns(netnsPath(netns))) {
      if (pid === process.pid) continue;
      try {
        process.kill(pid, 'SIGKILL');
      } catch (error) {
        if (!isSystemError(error, 'ESRCH')) throw error;
      }
    }
    deleteNamedNetns(netns);
  }
}

function namespacesOf(lab: string): string[] {
  return listNamedNetns().filter((name) => name.startsWith(prefixOf(lab)));
}

function labOf(topology: Topology): Lab {
  const netns = (node: string) => {
    if (
      !topology.nodes.some(({ name }) => name === node) &&
      !topology.segments.some(({ name }) => name === node)
    )
      throw new RangeError(`lab "${topology.name}": no node is called "${node}"`);
    return `${prefixOf(topology.name)}${node}`;
  };
  return {
    topology,
    netns,
    spawn: (node, command, args, options) => spawnInNetns(netns(node), command, args, options),
    run: (node, command, args, options) => runInNetns(netns(node), command, args, options),
    inside: (node, work) => withNetns(netnsPath(netns(node)), work),
    down: () => down(topology.name),
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

function createSegment(lab: string, segment: Segment): void {
  const path = (name: string) => netnsPath(`${prefixOf(lab)}${name}`);
  const end = ({ device, mac }: Port): Omit<NewLink, 'netns'> => ({ name: device, mac, mtu: segment.mtu });
  const [first, second, ...more] = segment.ports as [Port, Port, ...Port[]];
  if (more.length === 0) {
    withNamespaceFd(path(second.node), (fd) =>
      withNetlink({ netns: path(first.node) }, (netlink) =>
        createVeth(netlink, { ...end(first), peer: { ...end(second), netns: { fd } } }),
      ),
    );
    return;
  }
  createMachine(`${prefixOf(lab)}${segment.name}`);
  withNetlink({ netns: path(segment.name) }, (netlink) => {
    createBridge(netlink, { name: 'bridge', mtu: segment.mtu });
    const bridge = linkIndex(netlink, 'bridge');
    segment.ports.forEach((port, i) => {
      const name = `port${i}`;
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
  const path = netnsPath(`${prefixOf(topology.name)}${node.name}`);
  const ports = topology.segments.flatMap((segment) =>
    segment.ports.filter((port) => port.node === node.name),
  );
  withNetns(path, () => {
    for (const { device, offloads } of ports) if (offloads) setOffloads(device, offloads);
    for (const [name, value] of Object.entries(node.sysctls ?? {})) writeSysctl(name, value);
  });
  withNetlink({ netns: path }, (netlink) => {
    addAddresses(netlink, 'lo', node.loopback);
    for (const port of ports) {
      setLink(netlink, linkIndex(netlink, port.device), { up: true });
      addAddresses(netlink, port.device, port.addresses);
    }
    for (const rule of node.rules ?? []) addRule(netlink, rule);
    for (const { device, ...route } of node.routes ?? [])
      addRoute(netlink, { ...route, ...(device === undefined ? {} : { index: linkIndex(netlink, device) }) });
  });
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
