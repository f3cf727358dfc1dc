import type { ChildProcess } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HeadgateError } from '../model/errors.ts';
import { spawnInNetns } from '../sys/netns.ts';
import { moduleProgram } from '../sys/program.ts';
import { type Cluster, portOf, quietAddresses, servingNodes } from './cluster.ts';
import { nodeNetns } from './cluster-topology.ts';
import { directorEnvironment, type Headgate, mustRunHeadgate } from './director.ts';
import { listeningPorts } from './probe.ts';
import { journal, labDirectory } from './store.ts';

const readyTimeoutMs = 20_000;
const pollMs = 20;

/** What one node serves, by port. */
export type Serving = {
  readonly http: readonly number[];
  readonly greeting: readonly number[];
  readonly udp: readonly number[];
};

/** What the real servers on a node listen on. */
export function servingOn(cluster: Cluster, node: string): Serving {
  const ports = (wanted: (service: Cluster['services'][number]) => boolean) => [
    ...new Set(
      cluster.services
        .filter(wanted)
        .flatMap((service) =>
          service.realServers
            .filter((server) => server.node === node)
            .map((server) => portOf(service, server)),
        ),
    ),
  ];
  return {
    http: ports(({ protocol, serves }) => protocol === 'tcp' && serves === 'http'),
    greeting: ports(({ protocol, serves }) => protocol === 'tcp' && serves === 'greeting'),
    udp: ports(({ protocol }) => protocol === 'udp'),
  };
}

/** Makes a node what the agent makes of a real server that answers clients itself; one that need not is left as it is. */
export async function prepareRealServer(
  cluster: Cluster,
  lab: string,
  node: string,
  headgate: Headgate,
): Promise<void> {
  const addresses = quietAddresses(cluster, node);
  if (addresses.length === 0) return;
  const namespace = nodeNetns(lab, node);
  journal(lab, { step: 'real-server', name: node, namespace });
  // What a tunnel needs is what direct routing needs, and more.
  const method = addresses.some((address) => address.method === 'tunnel') ? 'tunnel' : 'direct-routing';
  const vips = addresses.map(({ address }) => address);
  await mustRunHeadgate(headgate, namespace, ['agent', 'up', '--method', method, '--vip', ...vips]);
}

/** nginx, where this machine has it. */
export function findNginx(): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  return folders.map((folder) => join(folder, 'nginx')).find((path) => existsSync(path));
}

/** Starts what a node serves; the processes stay when this one ends. Resolves when every port listens. */
export async function startServing(cluster: Cluster, lab: string, nodes: readonly string[]): Promise<void> {
  const nginx = findNginx();
  for (const node of nodes) {
    const { http, greeting, udp } = servingOn(cluster, node);
    if (nginx !== undefined && http.length > 0) startNginx(lab, node, nginx, http);
    const own = [
      ...(nginx === undefined ? http.map((port) => ['--http', port]) : []),
      ...greeting.map((port) => ['--tcp', port]),
      ...udp.map((port) => ['--udp', port]),
    ].flat();
    if (own.length > 0)
      start(lab, node, process.execPath, [
        // No work is left to threads that a busy machine lets wait where this one may run.
        '--single-threaded',
        ...moduleProgram('lab/real-server'),
        ...['--stay', '--name', node, ...own.map(String)],
      ]);
  }
  const deadline = performance.now() + readyTimeoutMs;
  for (const node of nodes) {
    const { http, greeting } = servingOn(cluster, node);
    for (;;) {
      const listening = listeningPorts(nodeNetns(lab, node));
      const missing = [...http, ...greeting].find((port) => !listening.has(port));
      if (missing === undefined) break;
      if (performance.now() > deadline) throw notReady(lab, node, missing);
      await sleep(pollMs);
    }
  }
}

/** Every node that serves something. */
export const startAllServing = (cluster: Cluster, lab: string): Promise<void> =>
  startServing(cluster, lab, servingNodes(cluster));

function notReady(lab: string, node: string, port: number): HeadgateError {
  const said = readFileSync(logPath(lab, node), 'utf8').trim().split('\n').slice(-3).join(' ');
  return new HeadgateError(
    'HG_LAB_FAILED',
    `Cannot start the real server "${node}": nothing listens on port ${port} after ${readyTimeoutMs / 1000} s${said ? `; it said: ${said}` : ''}`,
  );
}

/** Where a node keeps its files. */
export const nodeDirectory = (lab: string, node: string): string => join(labDirectory(lab), 'nodes', node);
/** What its processes say. */
export const logPath = (lab: string, node: string): string => join(nodeDirectory(lab, node), 'log');

/** Starts a process on a node that stays when this one ends; `prepare` finds the node's folder there. */
export function start(
  lab: string,
  node: string,
  program: string,
  args: readonly string[],
  prepare: () => void = () => undefined,
): ChildProcess {
  const directory = nodeDirectory(lab, node);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  prepare();
  const log = openSync(logPath(lab, node), 'a', 0o600);
  try {
    journal(lab, { step: 'process', name: node });
    const child = spawnInNetns(nodeNetns(lab, node), program, args, {
      detached: true,
      stdio: ['ignore', log, log],
      cwd: directory,
      env: directorEnvironment(),
    });
    child.unref();
    return child;
  } finally {
    closeSync(log);
  }
}

function startNginx(lab: string, node: string, nginx: string, ports: readonly number[]): void {
  const directory = nodeDirectory(lab, node);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const file = join(directory, 'nginx.conf');
  writeFileSync(file, nginxConfiguration(node, directory, ports));
  start(lab, node, nginx, ['-e', 'stderr', '-p', `${directory}/`, '-c', file]);
}

/** One process that answers every path with the node's name, except files under `/files/`. */
function nginxConfiguration(node: string, directory: string, ports: readonly number[]): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const lines = [
    'daemon off;',
    'master_process off;',
    'pid nginx.pid;',
    'events { worker_connections 1024; }',
    'http {',
    '  access_log off;',
    '  sendfile on;',
    '  keepalive_requests 1000000;',
    ...temporary.map((name) => `  ${name}_temp_path temporary-${name};`),
    '  server {',
    ...ports.flatMap((port) => [`    listen ${port};`, `    listen [::]:${port};`]),
    `    location / { default_type text/plain; return 200 "${node}\\n"; }`,
    `    location /files/ { alias ${directory}/../../files/; }`,
    '  }',
    '}',
  ];
  return `${lines.join('\n')}\n`;
}
