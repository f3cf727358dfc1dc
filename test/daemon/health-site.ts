import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { type Lab, up } from '../../src/lab/build.ts';
import { netnsCookie, netnsPath, withNetns } from '../../src/sys/netns.ts';
import { launchers } from './site.ts';

export const vip = '10.86.0.100';
/** Web servers behind the director, and one that stands in for them. */
export const addresses = { web1: '10.87.0.1', web2: '10.87.0.2', sorry: '10.87.0.3' } as const;
export type Node = keyof typeof addresses;
/** A port of every web server that nobody but checks asks for. */
export const probePort = 81;

/** A file with the service `web` and its two web servers; `service` and `servers` add to those or replace. */
export const webConfiguration = (
  service: Readonly<Record<string, unknown>>,
  servers: Readonly<Record<string, object>> = {},
): string =>
  JSON.stringify({
    virtualServices: [
      {
        name: 'web',
        address: `${vip}:80`,
        scheduler: 'rr',
        method: 'masquerade',
        realServers: (['web1', 'web2'] as const).map((name) => ({
          ...{ name, address: `${addresses[name]}:80`, weight: 3 },
          ...servers[name],
        })),
        ...service,
      },
    ],
  });

/** A real server as "get real-servers" has it. */
export type RealServerRow = {
  readonly name: string;
  readonly state: string;
  readonly reason: string;
  readonly weight: number;
  readonly check?: {
    readonly since: string;
    readonly word: string;
    readonly heldUntil?: string;
    readonly last?: { readonly result: { readonly detail?: string } };
  };
};

export type Ended = { readonly status: number; readonly stdout: string; readonly stderr: string };

/** A client, a director and real servers whose answers a test decides. */
export type HealthSite = {
  readonly lab: Lab;
  readonly file: string;
  write(text: string): void;
  /** Runs a command of ours on the director. */
  run(program: keyof typeof launchers, ...words: string[]): Ended;
  /** Starts the web server of a node; it answers /health with this status and everything else with its name. */
  serve(node: Node, health?: number): Promise<void>;
  /** Ends it: connections are refused from then on. */
  kill(node: Node): Promise<void>;
  /** Closes the port that only checks ask for; the web server goes on. */
  failProbe(node: Node): void;
  /** Opens a connection that goes on; what came over it so far. */
  hold(): () => string;
  /** Starts the daemon; resolves when it runs. */
  start(): Promise<void>;
  end(signal: NodeJS.Signals): Promise<void>;
  log(): string;
  /** A real server by its name, as the daemon tells of it. */
  stateOf(name: string): RealServerRow | undefined;
  /** The events so far: kind and what happened. */
  events(): string[];
  /** What GET /metrics of the daemon answers. */
  metrics(): string;
  /** What a GET of the client to the virtual address gets: the name of who answers. */
  get(): string;
  /** The rules in force by real server: its weight. */
  listed(): Record<string, number>;
  /** Waits until `found` gives what is wanted; the milliseconds that took. */
  until<T>(found: () => T, wanted: (value: T) => boolean, patienceMs?: number): Promise<number>;
  close(): void;
};

/**
 * Answers /health with a status, /slow with its name again and again, and everything else with its name; beside it a port
 * that can be closed alone.
 */
const web = (name: string, health: number) => `
const { createServer } = require('http');
createServer((q, a) => {
  a.writeHead(q.url === '/health' ? ${health} : 200);
  if (q.url === '/slow') setInterval(() => a.write('${name}\\n'), 100);
  else a.end(q.url === '/health' ? 'state' : '${name}');
}).listen(80, '0.0.0.0', () => {
  const probe = createServer().listen(${probePort}, '0.0.0.0', () => console.log('up'));
  process.on('SIGUSR2', () => { probe.close(); probe.closeAllConnections(); });
});`;

export function openHealthSite(name: string): HealthSite {
  const folder = mkdtempSync(join(tmpdir(), 'hghealth-'));
  for (const [word, path] of Object.entries(launchers)) {
    writeFileSync(join(folder, word), `#!/bin/sh\nexec ${process.execPath} ${path} "$@"\n`);
    chmodSync(join(folder, word), 0o755);
  }
  chmodSync(folder, 0o755);
  const env = {
    ...process.env,
    PATH: `${folder}${delimiter}${process.env.PATH}`,
    HEADGATE_CONNECTIONS: '4096',
    HEADGATE_STATE: join(folder, 'state'),
  };
  const port = (node: string, device: string, ...list: string[]) => ({ node, device, addresses: list });
  const behind = { routes: [{ destination: 'default', gateway: '10.87.0.254', family: 'ipv4' }] } as const;
  const nodes = Object.keys(addresses) as Node[];
  const lab = up({
    name: `${name}${process.pid.toString(36)}`,
    nodes: [
      { name: 'client' },
      { name: 'director', sysctls: { 'net.ipv4.ip_forward': 1 } },
      ...nodes.map((node) => ({ name: node, ...behind })),
    ],
    segments: [
      {
        name: 'front',
        ports: [
          port('client', 'eth0', '10.86.0.1/24'),
          port('director', 'front', '10.86.0.254/24', `${vip}/32`),
        ],
      },
      {
        name: 'back',
        ports: [
          port('director', 'back', '10.87.0.254/24'),
          ...nodes.map((node) => port(node, 'eth0', `${addresses[node]}/24`)),
        ],
      },
    ],
  });
  const file = join(folder, 'headgate.yaml');
  const servers = new Map<Node, ChildProcess>();
  const held: ChildProcess[] = [];
  let daemon: ChildProcess | undefined;
  let log = '';

  const run: HealthSite['run'] = (program, ...words) => {
    const { status, stdout, stderr } = lab.run('director', process.execPath, [launchers[program], ...words], {
      env,
      timeoutMs: 60_000,
      input: '',
    });
    return { status: status ?? -1, stdout, stderr };
  };
  async function kill(node: Node): Promise<void> {
    const server = servers.get(node);
    if (!server) return;
    servers.delete(node);
    const ended = once(server, 'exit');
    server.kill('SIGKILL');
    await ended;
  }
  return {
    ...{ lab, file, run, kill },
    write: (text) => writeFileSync(file, text),
    async serve(node, health = 200) {
      await kill(node);
      const server = lab.spawn(node, process.execPath, ['-e', web(node, health)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      servers.set(node, server);
      await once(server.stdout!, 'data');
    },
    failProbe: (node) => void servers.get(node)!.kill('SIGUSR2'),
    hold() {
      const child = lab.spawn('client', 'curl', ['-sN', `http://${vip}/slow`], {
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      held.push(child);
      let text = '';
      child.stdout!.on('data', (chunk) => {
        text += chunk;
      });
      return () => text;
    },
    async start() {
      daemon = lab.spawn('director', process.execPath, [launchers.headgate, 'run', file], {
        stdio: ['ignore', 'ignore', 'pipe'],
        env,
      });
      const before = log.length;
      for await (const text of daemon.stderr!.iterator({ destroyOnReturn: false })) {
        log += text;
        if (/ info running /.test(log.slice(before))) break;
      }
      if (!/ info running /.test(log.slice(before))) throw new Error(`the daemon ended: ${log}`);
      daemon.stderr!.on('data', (text) => {
        log += text;
      });
    },
    async end(signal) {
      if (!daemon) return;
      const ended = once(daemon, 'exit');
      daemon.kill(signal);
      await ended;
      daemon = undefined;
    },
    log: () => log,
    stateOf(name) {
      const { stdout, stderr, status } = run('headgate', 'get', 'real-servers', '-o', 'json');
      if (status !== 0) throw new Error(`get real-servers: status ${status}, ${stderr}`);
      return (JSON.parse(stdout) as RealServerRow[]).find((one) => one.name === name);
    },
    events: () =>
      run('headgate', 'events', '-o', 'json')
        .stdout.trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as { kind: string; what: string })
        .map(({ kind, what }) => `${kind} ${what}`),
    metrics() {
      const cookie = withNetns(netnsPath(lab.netns('director')), netnsCookie);
      const socket = `/run/headgate/${cookie}/control.sock`;
      return lab.run('director', 'curl', ['-s', '--unix-socket', socket, 'http://headgate/metrics']).stdout;
    },
    get() {
      const { stdout } = lab.run('client', 'curl', ['-s', '-m', '20', `http://${vip}/`]);
      return stdout;
    },
    listed: () =>
      Object.fromEntries(
        [...run('ipvsadm', '-Ln').stdout.matchAll(/-> ([\d.]+):\d+ +\w+ +(\d+)/g)].map(
          ([, address, weight]) => [
            nodes.find((node) => addresses[node] === address) ?? address,
            Number(weight),
          ],
        ),
      ),
    async until(found, wanted, patienceMs = 60_000) {
      const startedMs = performance.now();
      for (;;) {
        const value = found();
        const tookMs = performance.now() - startedMs;
        if (wanted(value)) return tookMs;
        if (tookMs > patienceMs) throw new Error(`still ${JSON.stringify(value)}: ${log}`);
        await new Promise((done) => setTimeout(done, 20));
      }
    },
    close() {
      for (const child of held) child.kill('SIGKILL');
      daemon?.kill('SIGKILL');
      for (const server of servers.values()) server.kill('SIGKILL');
      run('headgate', 'clean-up');
      lab.down();
      rmSync(folder, { recursive: true });
    },
  };
}
