import type { Offloads } from '../sys/ethtool.ts';
import type { NewAddress } from '../sys/netlink/address.ts';
import type { NewRoute } from '../sys/netlink/route.ts';
import type { Rule } from '../sys/netlink/rule.ts';

/** A network as data: machines (network namespaces) and the segments between them. `build.ts` makes it real. */
export type Topology = {
  /** Lower-case letters and digits, at most 12; two labs of different names stand side by side. */
  readonly name: string;
  /** What its namespaces' names begin with, where that is not `hg-NAME-`; the name may then have dashes. */
  readonly prefix?: string;
  readonly nodes: readonly Node[];
  readonly segments: readonly Segment[];
};

/** A machine. */
export type Node = {
  /** Letters, digits and dashes, at most 24; the namespace is `hg-LAB-NODE`, or what the prefix says. */
  readonly name: string;
  /** Addresses on the loopback device, besides its own. */
  readonly loopback?: readonly (string | NewAddress)[];
  /** `ip route` in data; `device` names one of the node's own. */
  readonly routes?: readonly (Omit<NewRoute, 'index'> & { readonly device?: string })[];
  readonly rules?: readonly Rule[];
  /** By sysctl name, set once the devices are there. */
  readonly sysctls?: Readonly<Record<string, string | number>>;
};

/** One Ethernet: a veth pair between two ports, a bridge in a namespace of its own between more. */
export type Segment = {
  /** Letters, digits and dashes, at most 24, no node's name. */
  readonly name: string;
  readonly mtu?: number;
  /** A bridge also between two ports, so that each can lose its carrier while its device stays up. */
  readonly bridge?: boolean;
  readonly ports: readonly Port[];
};

/** A machine's device on a segment. */
export type Port = {
  readonly node: string;
  /** Device name, at most 15 characters. */
  readonly device: string;
  readonly addresses?: readonly (string | NewAddress)[];
  readonly mac?: string;
  /** What differs from the kernel's choice. */
  readonly offloads?: Partial<Offloads>;
};

/** Every mistake in a topology that can be seen before anything is built, one sentence each. */
export function topologyMistakes(topology: Topology): string[] {
  const mistakes: string[] = [];
  if (topology.prefix === undefined && !/^[a-z0-9]{1,12}$/.test(topology.name))
    mistakes.push(`lab name "${topology.name}": wanted 1 to 12 lower-case letters and digits`);
  const names = [...topology.nodes, ...topology.segments].map(({ name }) => name);
  for (const name of names)
    if (!/^[a-z0-9][a-z0-9-]{0,23}$/.test(name))
      mistakes.push(`name "${name}": wanted 1 to 24 lower-case letters, digits and dashes`);
  for (const name of new Set(names.filter((name, i) => names.indexOf(name) !== i)))
    mistakes.push(`name "${name}": used twice; nodes and segments share one set of names`);
  const nodes = new Set(topology.nodes.map(({ name }) => name));
  const devices = new Set<string>(topology.nodes.map(({ name }) => `${name}/lo`));
  for (const segment of topology.segments) {
    if (segment.ports.length < 2)
      mistakes.push(`segment "${segment.name}": has ${segment.ports.length} ports, wanted two or more`);
    for (const port of segment.ports) {
      const device = `${port.node}/${port.device}`;
      if (!nodes.has(port.node)) mistakes.push(`segment "${segment.name}": no node is called "${port.node}"`);
      if (devices.has(device)) mistakes.push(`device "${device}": used twice`);
      if (!/^[^\s/:]{1,15}$/.test(port.device))
        mistakes.push(`device "${device}": wanted 1 to 15 characters`);
      devices.add(device);
    }
  }
  for (const node of topology.nodes)
    for (const { device } of node.routes ?? [])
      if (device !== undefined && !devices.has(`${node.name}/${device}`))
        mistakes.push(`node "${node.name}": a route names device "${device}", which it does not have`);
  return mistakes;
}
