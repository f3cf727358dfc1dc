import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { spawnInNetns } from '../../src/sys/netns.ts';
import { layWire, type Wire } from '../ha/link.ts';
import { openSite, type Running, type Site } from './site.ts';

/** Two sites on one wire: 10.77.0.1 and 10.77.0.2 at their `eth0`. */
export type Pair = {
  readonly a: Site;
  readonly b: Site;
  readonly wire: Wire;
  /** Runs the daemon of a site, with a state folder of its own. */
  start(site: Site): Promise<Running>;
  /** Runs the real keepalived at a site, its VRRP alone. */
  startKeepalived(site: Site, configuration: string): Keepalived;
  /** Runs a server at a site, on every address of it: who connects is told `served`. */
  serve(site: Site, ...ports: readonly number[]): void;
  /** What a client at a site is told; empty where nobody answers within 1.5 s. */
  ask(site: Site, address: string, port: number): string;
  /** Ends what the pair started, and the sites. */
  close(): void;
};

export type Keepalived = {
  readonly process: ChildProcess;
  /** What it has logged. */
  log(): string;
};

let pairs = 0;

export function openPair(): Pair {
  const id = pairs++;
  const [a, b] = [openSite(`a${id}`), openSite(`b${id}`)];
  const wire = layWire(a.netns, b.netns, { make: false });
  const started: ChildProcess[] = [];
  return {
    ...{ a, b, wire },
    start: (site) => site.start({ HEADGATE_STATE: `${site.folder}/state` }),
    startKeepalived({ netns, folder }, configuration) {
      const at = (name: string) => join(folder, name);
      writeFileSync(at('keepalived.conf'), configuration);
      const pids = ['-p', at('k.pid'), '-r', at('v.pid')];
      const words = ['-n', '-l', '-D', '-P', '-f', at('keepalived.conf'), ...pids];
      const daemon = spawn('ip', ['netns', 'exec', netns, 'keepalived', ...words], {
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      started.push(daemon);
      let log = '';
      for (const stream of [daemon.stdout, daemon.stderr])
        stream.on('data', (text) => {
          log += text;
        });
      return { process: daemon, log: () => log };
    },
    serve({ netns }, ...ports) {
      const server = `for (const port of [${ports}]) require('node:net').createServer((one) => one.end('served')).listen(port)`;
      started.push(spawnInNetns(netns, process.execPath, ['-e', server], { stdio: 'inherit' }));
    },
    ask({ netns }, address, port) {
      const client = `const one = require('node:net').connect(${port}, '${address}'); one.setTimeout(1500, () => process.exit(1)); one.on('error', () => process.exit(1)); one.pipe(process.stdout)`;
      const words = ['netns', 'exec', netns, process.execPath, '-e', client];
      return spawnSync('ip', words, { encoding: 'utf8' }).stdout;
    },
    close() {
      for (const child of started) child.kill('SIGKILL');
      a.close();
      b.close();
    },
  };
}

/** For tests that go at the same time, each with a pair of its own. */
export async function inPair(work: (pair: Pair) => Promise<void>): Promise<void> {
  const pair = openPair();
  try {
    await work(pair);
  } finally {
    pair.close();
  }
}

/** The virtual address of `configurationOf`. */
export const vip = '10.77.0.100';

/** One service at an address that moves, for whoever is silent for a second; `more` follows the VRRP instance. */
export const configurationOf = (priority: number, more = '') => `
virtualServices:
  - name: web
    address: ${vip}:80
    method: masquerade
    realServers: [{ address: 10.77.0.1:8080 }]
failover:
  vrrp:
    - name: front
      interface: eth0
      routerId: 51
      priority: ${priority}
      advertisementInterval: 300ms
      addresses: [${vip}]
${more}`;

/** The process that keeps the addresses of a site. */
export function keeperOf({ failoverSocket }: Site): number {
  const found = readdirSync('/proc').find((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return words.some((word) => word.endsWith('keeper-process.js')) && words.includes(failoverSocket);
    } catch {
      return false;
    }
  });
  return Number(found);
}
