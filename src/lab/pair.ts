import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HeadgateError } from '../model/errors.ts';
import { listAddresses } from '../sys/netlink/address.ts';
import { linkIndex } from '../sys/netlink/link.ts';
import { withNetlink } from '../sys/netlink/socket.ts';
import { netnsPath } from '../sys/netns.ts';
import { type Cluster, type ClusterNode, directorsOf, endpoint, isPair, portOf } from './cluster.ts';
import { contains, namedPorts, nodeNetns, virtualAddresses } from './cluster-topology.ts';
import type { Headgate } from './director.ts';
import { logPath, nodeDirectory, start } from './real-servers.ts';

/** Directors of a lab that stand in for each other: each runs `headgate run` with a file of its own. */

const readyTimeoutMs = 20_000;
const pollMs = 20;
const [highestPriority, priorityStep] = [150, 50];
const firstRouterId = 51;
/** A take-over is to be seen, not waited for. */
const defaultAdvertisementMs = 100;

type Held = { readonly device: string; readonly link: string; readonly addresses: readonly string[] };

/** What moves from director to director, by the device of this one: virtual addresses, and gateways that nobody has for good. */
function heldBy(cluster: Cluster, director: string): Held[] {
  const ports = namedPorts(cluster).flatMap(({ link, ports }) =>
    ports.filter(({ node }) => node === director).map((port) => ({ ...port, link: link.name })),
  );
  const taken = new Set(
    cluster.links.flatMap(({ ports }) => ports.flatMap(({ addresses }) => addresses.map(addressOf))),
  );
  const gateways = new Set(
    cluster.nodes.flatMap(({ gateway }) => (gateway !== undefined && !taken.has(gateway) ? [gateway] : [])),
  );
  const virtual = virtualAddresses(cluster, director);
  return ports.flatMap(({ device, link, addresses }) => {
    const inner = [...gateways].flatMap((gateway) => {
      const own = addresses.find((prefix) => contains(prefix, gateway));
      return own === undefined ? [] : [`${gateway}/${own.split('/')[1]}`];
    });
    const all = [...(virtual.get(`${director}/${device}`) ?? []).map(({ prefix }) => prefix), ...inner];
    // An instance speaks one family.
    return [all.filter((one) => !one.includes(':')), all.filter((one) => one.includes(':'))].flatMap(
      (some, six) => (some.length > 0 ? [{ device, link: six ? `${link}-v6` : link, addresses: some }] : []),
    );
  });
}

const addressOf = (prefix: string): string => prefix.split('/')[0]!;

/** The file of one director of a pair. */
export function configurationOf(cluster: Cluster, director: string): object {
  const place = directorsOf(cluster).findIndex(({ name }) => name === director);
  const held = heldBy(cluster, director);
  return {
    virtualServices: cluster.services.map((service) => ({
      name: `${service.protocol}-${service.address.replaceAll(/[.:]+/g, '-')}-${service.port}`,
      address: `${endpoint(service.address, service.port)}/${service.protocol}`,
      scheduler: service.scheduler,
      method: service.method,
      realServers: service.realServers.map((server) => ({
        address: endpoint(server.address, portOf(service, server)),
        weight: server.weight ?? 1,
      })),
    })),
    failover: {
      vrrp: held.map(({ device, link, addresses }, i) => ({
        ...{ name: link, interface: device, routerId: firstRouterId + i },
        ...{
          priority: Math.max(1, highestPriority - place * priorityStep),
          advertisementInterval: `${cluster.advertisementMs ?? defaultAdvertisementMs}ms`,
          addresses,
          // One whose words are lost must not hold on to its inner addresses.
          rival: 'yield',
        },
      })),
      ...(held.length > 1 && { groups: [{ name: 'all', instances: held.map(({ link }) => link) }] }),
      ...(cluster.connectionSync !== false && { connectionSync: { interface: held.at(-1)!.device } }),
    },
  };
}

/** Starts a director of a pair. Resolves when it runs; rejects with what it said last. */
export async function startDirector(
  cluster: Cluster,
  lab: string,
  { name }: Pick<ClusterNode, 'name'>,
  headgate: Headgate,
): Promise<void> {
  const [program, ...words] = headgate as [string, ...string[]];
  const file = join(nodeDirectory(lab, name), 'headgate.yaml');
  const before = textOf(lab, name).length;
  const child = start(lab, name, program, [...words, 'run', file], () =>
    writeFileSync(file, `${JSON.stringify(configurationOf(cluster, name), null, 2)}\n`),
  );
  const deadline = performance.now() + readyTimeoutMs;
  while (!/ info running /.test(textOf(lab, name).slice(before))) {
    if (performance.now() > deadline || child.exitCode !== null)
      throw new HeadgateError(
        'HG_LAB_FAILED',
        `Cannot start the director "${name}": it said: ${textOf(lab, name).slice(before).trim().split('\n').slice(-3).join(' ')}`,
      );
    await sleep(pollMs);
  }
}

function textOf(lab: string, name: string): string {
  try {
    return readFileSync(logPath(lab, name), 'utf8');
  } catch {
    return '';
  }
}

/** Starts every director of a pair; resolves when the first one has what moves. Where there is no pair, that is nothing. */
export async function startPair(cluster: Cluster, lab: string, headgate: Headgate): Promise<void> {
  if (!isPair(cluster)) return;
  const directors = directorsOf(cluster);
  await Promise.all(directors.map((one) => startDirector(cluster, lab, one, headgate)));
  const deadline = performance.now() + readyTimeoutMs;
  const [first] = directors as [ClusterNode];
  while (mastersOf(cluster, lab, directors).join() !== first.name) {
    if (performance.now() > deadline)
      throw new HeadgateError(
        'HG_LAB_FAILED',
        `Cannot set up the lab "${lab}": "${first.name}" is not master after ${readyTimeoutMs / 1000} s`,
      );
    await sleep(pollMs);
  }
}

/** Those of these directors that hold all of what moves, as the kernel has it. */
export function mastersOf(
  cluster: Cluster,
  lab: string,
  among: readonly { readonly name: string }[],
): string[] {
  return among
    .map(({ name }) => name)
    .filter((name) =>
      withNetlink({ netns: netnsPath(nodeNetns(lab, name)) }, (netlink) =>
        heldBy(cluster, name).every(({ device, addresses }) => {
          const found = listAddresses(netlink, linkIndex(netlink, device)).map(({ address }) => address);
          return addresses.every((prefix) => found.includes(addressOf(prefix)));
        }),
      ),
    );
}
