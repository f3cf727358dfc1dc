import type { Path } from '../config/tree.ts';
import { parseAddress } from '../model/address.ts';
import { parsePrefix } from '../sys/netlink/ip.ts';
import { type Cluster, type ClusterNode, endpoint } from './cluster.ts';
import { contains, namedPorts } from './cluster-topology.ts';

export type Mistake = { readonly path: Path; readonly sentence: string };

const longestDevice = 15;

/** Every mistake of a cluster whose values have the right types, each with the place it was made. */
export function clusterMistakes(cluster: Cluster): Mistake[] {
  return [
    ...nameMistakes(cluster),
    ...(cluster.nodes.some(({ role }) => role === 'director')
      ? []
      : [{ path: ['nodes'], sentence: 'wanted a node with the role "director", found none' }]),
    ...linkMistakes(cluster),
    ...gatewayMistakes(cluster),
    ...serviceMistakes(cluster),
  ];
}

function nameMistakes(cluster: Cluster): Mistake[] {
  const found: Mistake[] = [];
  const check = (name: string, path: Path) => {
    if (!/^[a-z0-9][a-z0-9-]{0,19}$/.test(name))
      found.push({
        path,
        sentence: `name "${name}": wanted 1 to 20 lower-case letters, digits and dashes, found ${name.length} characters`,
      });
  };
  check(cluster.name, ['name']);
  const taken = new Set<string>();
  for (const [list, entries] of [
    ['nodes', cluster.nodes],
    ['links', cluster.links],
  ] as const)
    entries.forEach(({ name }, i) => {
      const path = [list, i, 'name'];
      check(name, path);
      if (taken.has(name))
        found.push({ path, sentence: `name "${name}": used twice; nodes and links share one set of names` });
      taken.add(name);
    });
  return found;
}

function linkMistakes(cluster: Cluster): Mistake[] {
  const found: Mistake[] = [];
  const names = cluster.nodes.map(({ name }) => name);
  const holders = new Map<string, string>();
  const devices = new Set<string>();
  const named = namedPorts(cluster);
  cluster.links.forEach((link, l) => {
    if (link.ports.length < 2)
      found.push({
        path: ['links', l, 'ports'],
        sentence: `link "${link.name}": wanted two ports or more, found ${link.ports.length}`,
      });
    named[l]!.ports.forEach(({ node, device, addresses }, p) => {
      const path = ['links', l, 'ports', p];
      if (!names.includes(node)) found.push({ path: [...path, 'node'], sentence: missingNode(node, names) });
      const bytes = Buffer.byteLength(device);
      if (!/^[^\s/:]+$/.test(device) || device === '.' || device === '..' || bytes > longestDevice)
        found.push({
          path: [...path, 'device'],
          sentence: `interface name "${device}": wanted 1 to ${longestDevice} bytes without blanks, "/" and ":", found ${bytes} bytes`,
        });
      if (device === 'lo' || devices.has(`${node}/${device}`))
        found.push({ path: [...path, 'device'], sentence: `interface "${device}" of "${node}": used twice` });
      devices.add(`${node}/${device}`);
      addresses.forEach((prefix, a) => {
        const at = [...path, 'addresses', a];
        const mistake = prefixMistake(prefix);
        if (mistake !== undefined) {
          found.push({ path: at, sentence: mistake });
          return;
        }
        const address = prefix.split('/')[0]!;
        const holder = holders.get(address);
        if (holder !== undefined)
          found.push({ path: at, sentence: `address ${address} of "${node}": "${holder}" has it already` });
        holders.set(address, node);
      });
    });
  });
  return found;
}

const missingNode = (node: string, names: readonly string[]): string =>
  `node "${node}": there is none of that name; wanted one of ${names.join(', ')}`;

function prefixMistake(prefix: string): string | undefined {
  const [address, length] = prefix.split('/');
  if (parseAddress(address!) !== undefined && length !== undefined)
    try {
      parsePrefix(prefix);
      return undefined;
    } catch {
      // The sentence below covers a wrong length as well.
    }
  return `address "${prefix}": wanted an address with its prefix length, such as 192.0.2.1/24`;
}

/** The addresses of a node, with prefix lengths; those that are none are left out. */
const prefixesOf = (cluster: Cluster, node: string): string[] =>
  cluster.links
    .flatMap(({ ports }) => ports)
    .filter((port) => port.node === node)
    .flatMap(({ addresses }) => addresses)
    .filter((prefix) => prefixMistake(prefix) === undefined);

function gatewayMistakes(cluster: Cluster): Mistake[] {
  return cluster.nodes.flatMap(({ name, gateway }, n): Mistake[] => {
    if (gateway === undefined) return [];
    const path = ['nodes', n, 'gateway'];
    if (parseAddress(gateway) === undefined)
      return [{ path, sentence: `gateway "${gateway}": wanted an address such as 192.0.2.1` }];
    if (prefixesOf(cluster, name).some((prefix) => contains(prefix, gateway))) return [];
    return [{ path, sentence: `gateway ${gateway}: no link of "${name}" leads to its network` }];
  });
}

function serviceMistakes(cluster: Cluster): Mistake[] {
  const seen = new Set<string>();
  const names = cluster.nodes.map(({ name }) => name);
  const directors = new Set(cluster.nodes.filter(({ role }) => role === 'director').map(({ name }) => name));
  return cluster.services.flatMap((service, s): Mistake[] => {
    const found: Mistake[] = [];
    const at = (...rest: (string | number)[]): Path => ['services', s, ...rest];
    if (parseAddress(service.address) === undefined)
      found.push({
        path: at('address'),
        sentence: `address "${service.address}": wanted one such as 192.0.2.10`,
      });
    const key = `${service.protocol} ${endpoint(service.address, service.port)}`;
    if (seen.has(key)) found.push({ path: at(), sentence: `virtual service ${key}: defined twice` });
    seen.add(key);
    for (const { name } of cluster.nodes)
      if (
        !directors.has(name) &&
        prefixesOf(cluster, name).some((own) => own.split('/')[0] === service.address)
      )
        found.push({
          path: at('address'),
          sentence: `virtual address ${service.address}: "${name}" has it already; only a director may`,
        });
    const members = new Set<string>();
    service.realServers.forEach((server, r) => {
      const place = (key: string) => at('realServers', r, key);
      const node = cluster.nodes.find(({ name }) => name === server.node);
      if (!node) {
        found.push({ path: place('node'), sentence: missingNode(server.node, names) });
        return;
      }
      const port = server.port ?? service.port;
      const where = endpoint(server.address, port);
      if (members.has(where))
        found.push({ path: place('address'), sentence: `real server ${where}: named twice` });
      members.add(where);
      found.push(...memberMistakes(cluster, service.method, node, server.address, place));
      if (service.method !== 'masquerade' && port !== service.port)
        found.push({
          path: place('port'),
          sentence: `port ${port}: ${service.method} cannot change the port, wanted ${service.port}`,
        });
    });
    return found;
  });
}

function memberMistakes(
  cluster: Cluster,
  method: Cluster['services'][number]['method'],
  node: ClusterNode,
  address: string,
  place: (key: string) => Path,
): Mistake[] {
  const own = prefixesOf(cluster, node.name).map((prefix) => prefix.split('/')[0]!);
  if (!own.includes(address))
    return [
      {
        path: place('address'),
        sentence: `real server ${address}: node "${node.name}" has no such address; it has ${own.join(', ') || 'none'}`,
      },
    ];
  if (method !== 'masquerade' || node.role === 'director' || node.gateway !== undefined) return [];
  return [
    {
      path: place('node'),
      sentence: `masqueraded real server "${node.name}": wanted a gateway, the director, because its answers must pass there`,
    },
  ];
}
