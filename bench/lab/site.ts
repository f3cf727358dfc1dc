import { type ChildProcess, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { bridgePort, type Lab, up } from '../../src/lab/build.ts';
import { setOffloads } from '../../src/sys/ethtool.ts';
import { netnsPath, processesInNetns } from '../../src/sys/netns.ts';
import { plan, topologyOf } from './plan.ts';

/** The network with real servers that answer. */
export type Site = {
  readonly lab: Lab;
  /** Aborted when the run is to end; every wait heeds it. */
  readonly signal: AbortSignal;
  /** Of every device; off is what XDP on veth needs: finished checksums and packets no longer than a page. */
  setOffloads(state: 'on' | 'off'): void;
  /** For configuration files; removed with the site. */
  readonly folder: string;
  /** Runs a command on a node; throws with what it said when it fails. */
  run(node: string, command: string, ...args: string[]): string;
  /** The same for a command that reads. */
  input(node: string, text: string, command: string, ...args: string[]): string;
  /** Starts a program that goes on until it is killed, and waits until a TCP port answers where it listens. */
  start(node: string, command: string, args: readonly string[], port: number): Promise<ChildProcess>;
  /** Lets all that runs on the director and the real servers run on these CPUs only. */
  confine(cpus: readonly number[]): void;
  /** Microseconds of CPU that it has used so far. */
  used(): number;
  down(): void;
};

const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;

/** The words that start `stream.ts`. */
export const streamProgram = [process.execPath, '--import', tsx, resolve(import.meta.dirname, 'stream.ts')];

const startLimitMs = 10_000;

/** An HTTP server that answers 128 bytes, on every port of the plan. */
const httpServer = `
events { worker_connections 16384; }
http {
  access_log off; tcp_nodelay on; keepalive_requests 1000000000;
  client_body_temp_path TEMP; proxy_temp_path TEMP; fastcgi_temp_path TEMP; uwsgi_temp_path TEMP; scgi_temp_path TEMP;
  server {
    ${[...plan.httpPorts, ...plan.alonePorts].map((port) => `listen ${port} backlog=4096;`).join(' ')}
    location / { return 200 "${'headgate'.repeat(16)}"; }
  }
}
`;

/** Writes a configuration of nginx with paths of its own, and returns the words that start it. */
export function nginx(folder: string, name: string, configuration: string, workers: 1 | 'auto'): string[] {
  const file = join(folder, `${name}.conf`);
  const text =
    `${configuration}\nworker_processes ${workers}; daemon off; user root; pid PID; error_log stderr crit;\n`
      .replaceAll('PID', join(folder, `${name}.pid`))
      .replaceAll('TEMP', join(folder, `${name}-temp`));
  writeFileSync(file, text);
  return ['nginx', '-p', folder, '-c', file];
}

/** Builds the network and starts the real servers. Whatever was begun is gone when this rejects. */
export async function openSite(name: string, signal: AbortSignal): Promise<Site> {
  const folder = mkdtempSync(join(tmpdir(), 'headgate-bench-lab-'));
  let lab: Lab | undefined;
  const down = () => {
    lab?.down();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    lab = up(topologyOf(name));
    const site = siteOf(lab, folder, signal, down);
    // A plain bridge is no firewall.
    for (const bridge of ['front-net', 'back-net'])
      site.run(
        bridge,
        'sh',
        '-c',
        'cd /proc/sys/net/bridge 2>/dev/null && echo 0 >bridge-nf-call-iptables; true',
      );
    const [node, ...stream] = streamProgram as [string, ...string[]];
    await Promise.all(
      plan.realServers.flatMap(({ name: server }) => {
        const [command, ...args] = nginx(folder, server, httpServer, 1) as [string, ...string[]];
        return [
          site.start(server, command, args, plan.httpPorts[0]),
          site.start(server, node, [...stream, 'source', String(plan.sourcePort)], plan.sourcePort),
          site.start(server, node, [...stream, 'sink', String(plan.sinkPort)], plan.sinkPort),
        ];
      }),
    );
    return site;
  } catch (error) {
    down();
    throw error;
  }
}

function siteOf(lab: Lab, folder: string, signal: AbortSignal, down: () => void): Site {
  const input = (node: string, text: string | undefined, command: string, ...args: string[]) => {
    const options = text === undefined ? {} : { input: text };
    const { status, stdout, stderr, error } = lab.run(node, command, args, options);
    if (error) throw new Error(`${command}: ${error.message}`);
    if (status !== 0)
      throw new Error(`${[command, ...args].join(' ')}: ${stderr.trim() || `status ${status}`}`);
    return stdout;
  };
  let offloads: 'on' | 'off' = 'on';
  const processes = () =>
    ['director', ...plan.realServers.map(({ name }) => name)].flatMap((node) =>
      processesInNetns(netnsPath(lab.netns(node))),
    );
  return {
    lab,
    folder,
    signal,
    down,
    setOffloads(state) {
      if (state === offloads) return;
      offloads = state;
      switchOffloads(lab, state === 'on');
    },
    confine(cpus) {
      for (const pid of processes()) confineProcess(pid, cpus);
    },
    used: () => processes().reduce((sum, pid) => sum + microsecondsOf(pid), 0),
    run: (node, command, ...args) => input(node, undefined, command, ...args),
    input,
    async start(node, command, args, port) {
      const child = lab.spawn(node, command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
      let said = '';
      child.stderr!.on('data', (text) => {
        said += text;
      });
      let end: string | undefined;
      child.once('error', (error) => {
        end = error.message;
      });
      child.once('exit', (code, signal) => {
        end ??= `ended with ${signal ?? `status ${code}`}`;
      });
      const limit = performance.now() + startLimitMs;
      while (!isListening(lab, node, port)) {
        signal.throwIfAborted();
        if (end !== undefined || performance.now() > limit)
          throw new Error(
            `${command} on ${node}: ${said.trim() || end || `does not listen on port ${port}`}`,
          );
        await new Promise((tick) => setTimeout(tick, 20));
      }
      return child;
    },
  };
}

/** With all its threads; one that has ended meanwhile needs no more. */
function confineProcess(pid: number, cpus: readonly number[]): void {
  const { status, stderr, error } = spawnSync('taskset', ['-a', '-c', '-p', cpus.join(','), String(pid)], {
    encoding: 'utf8',
  });
  if (error) throw new Error(`taskset: ${error.message}`);
  if (status !== 0 && existsSync(`/proc/${pid}`)) throw new Error(`taskset: ${stderr.trim()}`);
}

/** What the threads of a process have run (Documentation/scheduler/sched-stats.rst). */
function microsecondsOf(pid: number): number {
  const threads = `/proc/${pid}/task`;
  return readdirSync(threads).reduce((sum, thread) => {
    const [nanoseconds = 0] = readFileSync(`${threads}/${thread}/schedstat`, 'utf8').split(' ').map(Number);
    return sum + nanoseconds / 1000;
  }, 0);
}

/** At both ends of every cable. The other end of one of the director's takes frames from XDP when it polls: with GRO. */
function switchOffloads(lab: Lab, on: boolean): void {
  for (const { name, ports } of lab.topology.segments) {
    ports.forEach(({ node, device }, n) => {
      const all = { txChecksum: on, tso: on, gso: on };
      lab.inside(node, () => setOffloads(device, all));
      lab.inside(name, () => setOffloads(bridgePort(n), node === 'director' ? { ...all, gro: !on } : all));
    });
  }
}

/** Whether something on a node listens on a TCP port. */
function isListening(lab: Lab, node: string, port: number): boolean {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return lab
    .run(node, 'cat', ['/proc/net/tcp', '/proc/net/tcp6'])
    .stdout.split('\n')
    .some((line) => {
      const [, local, , state] = line.trim().split(/\s+/);
      return state === '0A' && local?.endsWith(wanted) === true;
    });
}
