import type { NewAddress } from '../sys/netlink/address.ts';
import { parsePrefix } from '../sys/netlink/ip.ts';
import { type Cluster, type ClusterLink, type ClusterPort, isPair, workingDirector } from './cluster.ts';
import type { Node, Segment, Topology } from './topology.ts';

/** What the namespaces of a lab's machines begin with; a dot ends it, so that no lab's name is the start of another's. */
export const namespacePrefix = (lab: string): string => `hglab-${lab}.`;

/** The namespace of a node or link of a lab. */
export const nodeNetns = (lab: string, name: string): string => `${namespacePrefix(lab)}${name}`;

/** A port with the device it got. */
export type NamedPort = ClusterPort & { readonly device: string };

/** The ports of a cluster by link, each with its device: those that name none are eth0, eth1, ... of their node. */
export function namedPorts(cluster: Cluster): { link: ClusterLink; ports: NamedPort[] }[] {
  const taken = new Set<string>();
  for (const { ports } of cluster.links)
    for (const { node, device } of ports) if (device !== undefined) taken.add(`${node}/${device}`);
  const free = (node: string): string => {
    let n = 0;
    while (taken.has(`${node}/eth${n}`)) n++;
    taken.add(`${node}/eth${n}`);
    return `eth${n}`;
  };
  return cluster.links.map((link) => ({
    link,
    ports: link.ports.map((port) => ({ ...port, device: port.device ?? free(port.node) })),
  }));
}

/**
 * The network of a cluster, named `lab`: its machines with their addresses and ways out, the virtual addresses at the
 * working director. What a real server needs beyond that is given to it later (`prepareRealServer`).
 */
export function topologyOf(cluster: Cluster, lab: string): Topology {
  const linked = namedPorts(cluster);
  const director = workingDirector(cluster).name;
  const masquerades = cluster.services.some(({ method }) => method === 'masquerade');
  // What moves is a director's own business.
  const virtual = isPair(cluster) ? new Map<string, NewAddress[]>() : virtualAddresses(cluster, director);
  return {
    name: lab,
    prefix: namespacePrefix(lab),
    nodes: cluster.nodes.map((node): Node => {
      const forwards = node.role === 'router' || (node.role === 'director' && masquerades);
      return {
        name: node.name,
        sysctls: {
          'net.ipv4.ip_forward': forwards ? 1 : 0,
          ...(node.role === 'router' ? { 'net.ipv6.conf.all.forwarding': 1 } : {}),
        },
        routes: node.gateway === undefined ? [] : [{ destination: 'default', gateway: node.gateway }],
      };
    }),
    segments: linked.map(
      ({ link, ports }): Segment => ({
        name: link.name,
        bridge: true,
        ...(link.mtu === undefined ? {} : { mtu: link.mtu }),
        ports: ports.map(({ node, device, addresses }) => ({
          node,
          device,
          addresses: [...addresses, ...(virtual.get(`${node}/${device}`) ?? [])],
        })),
      }),
    ),
  };
}

/** The virtual addresses by the director's device that is to hold them: the one whose network they lie in, or the first. */
export function virtualAddresses(cluster: Cluster, director: string): Map<string, NewAddress[]> {
  const ports = namedPorts(cluster)
    .flatMap(({ ports }) => ports)
    .filter(({ node }) => node === director);
  const held = new Map<string, NewAddress[]>();
  for (const address of new Set(cluster.services.map((service) => service.address))) {
    if (ports.some(({ addresses }) => addresses.some((own) => own.split('/')[0] === address))) continue;
    const near = ports.find(({ addresses }) => addresses.some((own) => contains(own, address))) ?? ports[0];
    if (!near) continue;
    const key = `${near.node}/${near.device}`;
    // Never the source of what the director itself sends: its real servers have the address as well.
    const held6 = { prefix: `${address}/128`, deprecated: true };
    held.set(key, [...(held.get(key) ?? []), address.includes(':') ? held6 : { prefix: `${address}/32` }]);
  }
  return held;
}

/** Whether an address lies in a prefix. */
export function contains(prefix: string, address: string): boolean {
  const net = parsePrefix(prefix);
  const host = parsePrefix(address);
  if (net.family !== host.family) return false;
  for (let bit = 0; bit < net.length; bit++) {
    const mask = 0x80 >> (bit & 7);
    if ((net.bytes[bit >> 3]! & mask) !== (host.bytes[bit >> 3]! & mask)) return false;
  }
  return true;
}
