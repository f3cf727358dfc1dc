import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Targets } from './load.ts';
import { plan, routedAddress, services, virtualAddress } from './plan.ts';
import { nginx, type Site } from './site.ts';

/** A way from the client to the real servers. */
export type Contestant = {
  readonly name: string;
  /** Whom its figures are compared with. */
  readonly base: string;
  readonly offloads?: 'off';
  readonly targets: Targets;
  /** Where one bulk transfer goes, and what asks one real server alone. */
  readonly alone: string;
  /** Sets it up; what it returns takes all of it away again. */
  start?(site: Site): Promise<() => Promise<void>>;
};

const headgate = [process.execPath, resolve(import.meta.dirname, '../../bin/headgate.js')] as const;
const [first, second] = plan.httpPorts;
const [real1, real2] = plan.realServers;

/** Both real servers half each, as a balancer has it. */
const halves = (one: string, other: string): Targets => [
  { address: one, port: first },
  { address: other, port: second },
];

const slowDirect = 'direct, without offloads';

type Start = (site: Site, vip: string) => Promise<() => Promise<void>>;

const balancers: readonly (readonly [string, Start])[] = [
  ['headgate DR', (site, vip) => startHeadgate(site, vip, 'direct-routing', 'tc')],
  ['headgate TUN', (site, vip) => startHeadgate(site, vip, 'tunnel', 'tc')],
  ['headgate NAT', (site, vip) => startHeadgate(site, vip, 'masquerade', 'tc')],
  ['nftables DNAT', startNftables],
  ['HAProxy, TCP mode', startHaproxy],
  ['nginx stream', startNginx],
];

/** XDP on a veth needs finished checksums and packets of one page: compared among themselves. */
const withoutOffloads: readonly (readonly [string, Start])[] = [
  ['DR at tc, without offloads', (site, vip) => startHeadgate(site, vip, 'direct-routing', 'tc')],
  ['DR at XDP, without offloads', (site, vip) => startHeadgate(site, vip, 'direct-routing', 'xdp')],
  ['NAT at tc, without offloads', (site, vip) => startHeadgate(site, vip, 'masquerade', 'tc')],
  ['NAT at XDP, without offloads', (site, vip) => startHeadgate(site, vip, 'masquerade', 'xdp')],
];

/** In the order of the table. */
export const contestants: readonly Contestant[] = [
  { name: 'direct', base: 'direct', targets: halves(real1.front, real2.front), alone: real1.front },
  {
    name: 'kernel forwarding, replies straight',
    base: 'direct',
    targets: halves(routedAddress(0), routedAddress(1)),
    alone: routedAddress(0),
  },
  {
    name: 'kernel forwarding, both ways',
    base: 'direct',
    targets: halves(real1.back, real2.back),
    alone: real1.back,
  },
  ...balancers.map(([name, start], n): Contestant => {
    const vip = virtualAddress(n);
    return { name, base: 'direct', targets: halves(vip, vip), alone: vip, start: (site) => start(site, vip) };
  }),
  {
    name: slowDirect,
    base: slowDirect,
    offloads: 'off',
    targets: halves(real1.front, real2.front),
    alone: real1.front,
  },
  ...withoutOffloads.map(([name, start], n): Contestant => {
    const vip = virtualAddress(balancers.length + n);
    return {
      name,
      base: slowDirect,
      offloads: 'off',
      targets: halves(vip, vip),
      alone: vip,
      start: (site) => start(site, vip),
    };
  }),
];

async function startHeadgate(
  site: Site,
  vip: string,
  method: 'direct-routing' | 'tunnel' | 'masquerade',
  hook: 'tc' | 'xdp',
): Promise<() => Promise<void>> {
  const onRealServers = (...words: string[]) => {
    if (method === 'masquerade') return;
    for (const { name } of plan.realServers) site.run(name, ...headgate, 'agent', ...words);
  };
  const stop = async () => {
    site.run('director', ...headgate, 'clean-up');
    onRealServers('down');
  };
  try {
    onRealServers('up', '--vip', vip, '--method', method);
    const flag = { 'direct-routing': '-g', tunnel: '-i', masquerade: '-m' }[method];
    const rules = services.flatMap(({ port, servers }) => [
      `-A -t ${vip}:${port} -s rr`,
      ...servers.map((server) => `-a -t ${vip}:${port} -r ${server}:${port} ${flag}`),
    ]);
    const variables = hook === 'xdp' ? ['HEADGATE_XDP=front,back'] : [];
    site.input('director', `${rules.join('\n')}\n`, 'env', ...variables, ...headgate, 'ipvsadm', '-R');
  } catch (error) {
    await stop();
    throw error;
  }
  return stop;
}

async function startNftables(site: Site, vip: string): Promise<() => Promise<void>> {
  const [all, alone] = [plan.realServers.length, 1].map((count) =>
    services.flatMap(({ port, servers }) => (servers.length === count ? [port] : [])).join(', '),
  );
  const rules = `table ip bench {
    chain incoming {
      type nat hook prerouting priority dstnat;
      ip daddr ${vip} tcp dport { ${all} } dnat to numgen inc mod 2 map { 0 : ${real1.back}, 1 : ${real2.back} }
      ip daddr ${vip} tcp dport { ${alone} } dnat to ${real1.back}
    }
  }\n`;
  site.input('director', rules, 'nft', '-f', '-');
  return async () => void site.run('director', 'nft', 'delete', 'table', 'ip', 'bench');
}

async function startHaproxy(site: Site, vip: string): Promise<() => Promise<void>> {
  const file = join(site.folder, 'haproxy.cfg');
  const listeners = services.map(
    ({ port, servers }) => `listen port${port}
  bind ${vip}:${port} backlog 4096
${servers.map((server, n) => `  server real${n + 1} ${server}:${port}\n`).join('')}`,
  );
  writeFileSync(
    file,
    `global
  maxconn 8000
defaults
  mode tcp
  balance roundrobin
  timeout connect 5s
  timeout client 60s
  timeout server 60s
${listeners.join('')}`,
  );
  return stopping(await site.start('director', 'haproxy', ['-db', '-f', file], first));
}

async function startNginx(site: Site, vip: string): Promise<() => Promise<void>> {
  const blocks = services.map(
    ({
      port,
      servers,
    }) => `upstream port${port} { ${servers.map((server) => `server ${server}:${port};`).join(' ')} }
server { listen ${vip}:${port} backlog=4096; proxy_pass port${port}; }`,
  );
  const [command, ...args] = nginx(
    site.folder,
    'stream',
    `load_module /usr/lib/nginx/modules/ngx_stream_module.so;
events { worker_connections 16384; }
stream { tcp_nodelay on; ${blocks.join('\n')} }`,
    'auto',
  ) as [string, ...string[]];
  return stopping(await site.start('director', command, args, first));
}

const stopping = (child: ChildProcess) => async (): Promise<void> => {
  const gone = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined;
  child.kill('SIGTERM');
  await gone;
};
