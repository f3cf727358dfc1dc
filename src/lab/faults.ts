import { HeadgateError } from '../model/errors.ts';
import { findLink, listLinks, setLink } from '../sys/netlink/link.ts';
import { withNetlink } from '../sys/netlink/socket.ts';
import { listNamedNetns, netnsPath } from '../sys/netns.ts';
import { bridgePort, bringUpDevices, endProcesses } from './build.ts';
import { isPair } from './cluster.ts';
import { namedPorts, nodeNetns, topologyOf } from './cluster-topology.ts';
import type { Headgate } from './director.ts';
import { startDirector } from './pair.ts';
import { prepareRealServer, startServing } from './real-servers.ts';
import { type Faults, type LabRecord, lockLab, readLab, writeLabFile } from './store.ts';

/** Faults made on purpose, and their undoing. Every function throws HeadgateError; doing one twice is no error. */

/** Ends every process of a node and takes its links down: the machine without power. */
export function killNode(lab: string, node: string): void {
  change(lab, (record) => {
    const netns = presentNetns(record, node);
    const devices = devicesOf(record, node);
    withNetlink({ netns: netnsPath(netns) }, (netlink) => {
      for (const index of devices) setLink(netlink, index, { up: false });
    });
    endProcesses(netns);
    return { ...record.faults, killed: [...new Set([...record.faults.killed, node])] };
  });
}

/** The machine again, with its links, its ways out and what it serves. A director's rules have outlived it in the kernel. */
export async function restoreNode(lab: string, node: string, headgate: Headgate): Promise<void> {
  await changeLater(lab, async (record) => {
    const { cluster, faults } = record;
    const netns = presentNetns(record, node);
    // Before anything changes: every interface must still be the one it was.
    devicesOf(record, node);
    const topology = topologyOf(cluster, lab);
    const machine = topology.nodes.find(({ name }) => name === node)!;
    withNetlink({ netns: netnsPath(netns) }, (netlink) => bringUpDevices(netlink, topology, machine));
    endProcesses(netns);
    await prepareRealServer(cluster, lab, node, headgate);
    await startServing(cluster, lab, [node]);
    if (isPair(cluster) && cluster.nodes.some(({ name, role }) => name === node && role === 'director'))
      await startDirector(cluster, lab, { name: node }, headgate);
    return { ...faults, killed: faults.killed.filter((name) => name !== node) };
  });
}

/** A link's cables to every node, or to one of them: `link` or `link:node`. */
export function switchCables(lab: string, which: string, connected: boolean): void {
  change(lab, (record) => {
    const ports = portsOf(record, which);
    for (const { link, position } of ports) {
      const netns = presentNetns(record, link);
      withNetlink({ netns: netnsPath(netns) }, (netlink) =>
        setLink(netlink, deviceIndex(record, link, bridgePort(position)), { up: connected }),
      );
    }
    const names = ports.map(({ link, node }) => `${link}:${node}`);
    const others = record.faults.cut.filter((name) => !names.includes(name));
    return { ...record.faults, cut: connected ? others : [...others, ...names] };
  });
}

function change(lab: string, work: (record: LabRecord) => Faults): void {
  const lock = lockLab(lab);
  try {
    writeLabFile(lab, 'faults.json', work(readLab(lab)!));
  } finally {
    lock.remove();
  }
}

async function changeLater(lab: string, work: (record: LabRecord) => Promise<Faults>): Promise<void> {
  const lock = lockLab(lab);
  try {
    writeLabFile(lab, 'faults.json', await work(readLab(lab)!));
  } finally {
    lock.remove();
  }
}

function portsOf(
  { name: lab, cluster }: LabRecord,
  which: string,
): { link: string; node: string; position: number }[] {
  const all = namedPorts(cluster).flatMap(({ link, ports }) =>
    ports.map(({ node }, position) => ({ link: link.name, node, position })),
  );
  const found = all.filter(({ link, node }) => which === link || which === `${link}:${node}`);
  if (found.length > 0) return found;
  const links = cluster.links.map(
    ({ name, ports }) => `${name} (${ports.map(({ node }) => node).join(', ')})`,
  );
  throw new HeadgateError(
    'HG_LAB_UNKNOWN',
    `Cannot find the link "${which}" in the lab "${lab}": there is ${links.join('; ')}`,
    { hint: `a whole link, or one cable of it: ${all[0]!.link}:${all[0]!.node}` },
  );
}

/** The numbers of a node's interfaces. */
function devicesOf(record: LabRecord, node: string): number[] {
  return namedPorts(record.cluster)
    .flatMap(({ ports }) => ports)
    .filter((port) => port.node === node)
    .map(({ device }) => deviceIndex(record, node, device));
}

function presentNetns(record: LabRecord, node: string): string {
  const netns = nodeNetns(record.name, node);
  if (listNamedNetns().includes(netns)) return netns;
  throw new HeadgateError('HG_LAB_FAILED', `Cannot reach "${node}": the namespace "${netns}" is gone`, {
    hint: `headgate lab down ${record.name}`,
  });
}

/** The device's number in the kernel. A device that has another name now is an error that says which. */
function deviceIndex(record: LabRecord, node: string, device: string): number {
  const netns = netnsPath(nodeNetns(record.name, node));
  const link = withNetlink({ netns }, (netlink) => findLink(netlink, device));
  if (link) return link.index;
  throw new HeadgateError(
    'HG_LAB_FAILED',
    `Cannot change interface "${device}" of "${node}": ${missingDevice(record, node, device)}`,
    { hint: `Undo that, or build the lab anew: headgate lab down ${record.name}` },
  );
}

/** What became of a device that is not found by its name any more. */
export function missingDevice({ name: lab, devices }: LabRecord, node: string, device: string): string {
  const index = devices[`${node}/${device}`];
  const links = withNetlink({ netns: netnsPath(nodeNetns(lab, node)) }, listLinks);
  const renamed = links.find((link) => link.index === index);
  return renamed ? `it was renamed to "${renamed.name}"` : 'it was removed';
}
