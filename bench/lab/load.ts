import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runToEnd } from '../../src/lab/processes.ts';
import { plan } from './plan.ts';
import { type Site, streamProgram } from './site.ts';

/** Where the client asks in turn. */
type Target = { readonly address: string; readonly port: number };
export type Targets = readonly [Target, Target];

/** A second or more above what a command was told to take, for its start and end. */
const graceMs = 20_000;

const requestSeconds = 2;
const connectionSeconds = 3;
const transferSeconds = 1;
const aloneSeconds = 3;
const aloneClients = 32;
const common = { threads: 2, clients: 64 };

type Run = {
  readonly seconds: number;
  readonly kind: 'lasting' | 'fresh';
  readonly threads: number;
  readonly clients: number;
};

/** By their numbers in /proc/stat. */
const availableCpus = (): number[] =>
  Array.from(readFileSync('/proc/stat', 'utf8').matchAll(/^cpu(\d+) /gm), ([, number]) => Number(number));

/** HTTP requests a second on connections that stay. */
export async function requestsPerSecond(site: Site, targets: Targets): Promise<number> {
  const { requests, seconds } = await wrk(site, targets, {
    seconds: requestSeconds,
    kind: 'lasting',
    ...common,
  });
  return requests / seconds;
}

/**
 * New connections a second, one request each, and the microseconds of CPU each of them costs the whole machine. Both at
 * saturation: then what the CPUs do is all for these connections, and no cost of falling asleep and waking is in it.
 */
export async function newConnections(
  site: Site,
  targets: Targets,
): Promise<{ readonly perSecond: number; readonly microseconds: number }> {
  const before = busyMicroseconds();
  const { requests, seconds } = await wrk(site, targets, {
    seconds: connectionSeconds,
    kind: 'fresh',
    ...common,
  });
  return { perSecond: requests / seconds, microseconds: (busyMicroseconds() - before) / requests };
}

/**
 * Microseconds of CPU that client, director and one real server use for each new connection when they share one CPU, by the
 * scheduler's own count: what else runs meanwhile is not in it. The kernel handles packets in the midst of whoever sends
 * them, so their way is. On several CPUs, and with several real servers, the figure of `newConnections` also has what those
 * do to each other: how often one wakes another up, on another CPU at that, and how many closed sockets wait to be freed.
 * That depends on how a contestant deals connections out, not only on what it does for each.
 */
export async function onOneCpu(site: Site, address: string): Promise<number> {
  const cpu = availableCpus().at(-1)!;
  const [one, other] = plan.alonePorts;
  site.confine([cpu]);
  try {
    const before = site.used() + usedByChildren();
    const { requests } = await wrk(
      site,
      [
        { address, port: one },
        { address, port: other },
      ],
      { seconds: aloneSeconds, kind: 'fresh', threads: 1, clients: aloneClients },
      ['taskset', '-c', String(cpu)],
    );
    return (site.used() + usedByChildren() - before) / requests;
  } finally {
    site.confine(availableCpus());
  }
}

/** Gbit/s of one TCP connection. */
export async function throughput(site: Site, direction: 'down' | 'up', address: string): Promise<number> {
  const port = direction === 'down' ? plan.sourcePort : plan.sinkPort;
  const words = [direction, address, port, transferSeconds].map(String);
  const { status, stdout, stderr } = await runToEnd(site.lab, 'client', [...streamProgram, ...words], {
    timeoutMs: transferSeconds * 1000 + graceMs,
    signal: site.signal,
  });
  if (status !== 0) throw new Error(/^\w*Error: .*$/m.exec(stderr)?.[0] ?? `ended with status ${status}`);
  const { bytes, seconds } = JSON.parse(stdout) as { bytes: number; seconds: number };
  return (bytes * 8) / seconds / 1e9;
}

/**
 * wrk, which is leaner than any client in this project's language could be: what the client burns, on the same CPUs, is
 * in every contestant's bill and makes them look alike. Its threads ask the targets in turn, connection by connection: a
 * thread that kept to one real server would share a CPU with it, which a balancer takes away.
 */
async function wrk(
  site: Site,
  targets: Targets,
  run: Run,
  before: readonly string[] = [],
): Promise<{ readonly requests: number; readonly seconds: number }> {
  const script = join(site.folder, 'wrk.lua');
  writeFileSync(script, wrkScript(targets, run));
  const options = [`--threads=${run.threads}`, `--connections=${run.clients}`, `--duration=${run.seconds}s`];
  const url = `http://${targets[0].address}:${targets[0].port}/`;
  const command = [...before, 'wrk', ...options, '--timeout=2s', `--script=${script}`, url];
  const { status, stdout, stderr } = await runToEnd(site.lab, 'client', command, {
    timeoutMs: run.seconds * 1000 + graceMs,
    signal: site.signal,
  });
  const report = /^report (\d+) (\d+) (\d+)$/m.exec(stdout);
  if (status !== 0 || !report) throw new Error(`wrk: ${(stderr || stdout).trim() || `status ${status}`}`);
  const [requests, microseconds, errors] = report.slice(1).map(Number) as [number, number, number];
  if (requests === 0) throw new Error('no request was answered');
  if (errors > requests / 1000) throw new Error(`${errors} errors among ${requests} requests`);
  return { requests, seconds: microseconds / 1e6 };
}

/** The first request of a lasting connection ends it as well: the one that follows goes to the next target. */
const wrkScript = (targets: Targets, { kind, threads, clients }: Run): string => `
local targets = { ${targets.map(({ address, port }) => `{ "${address}", "${port}" }`).join(', ')} }
local closing = ${kind === 'fresh' ? 'math.huge' : clients / threads}
local addresses, last, ending, plain = {}, 1, nil, nil
function init()
  for index, target in ipairs(targets) do addresses[index] = wrk.lookup(target[1], target[2])[1] end
  plain = wrk.format()
  ending = wrk.format(nil, nil, { Connection = "close" })
end
function request()
  if closing <= 0 then return plain end
  closing = closing - 1
  last = last % #addresses + 1
  wrk.thread.addr = addresses[last]
  return ending
end
function done(summary)
  local e = summary.errors
  print(string.format('report %d %d %d', summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout))
end
`;

/**
 * Microseconds the CPUs were not idle, since some moment. Idle time is what the kernel keeps exactly (NO_HZ); what CPUs
 * did instead it only samples by ticks.
 */
function busyMicroseconds(): number {
  const cpus = readFileSync('/proc/stat', 'utf8').match(/^cpu\d.*$/gm) ?? [];
  const now = Number(process.hrtime.bigint() / 1000n);
  return cpus.reduce((busy, line) => {
    const [, , , , idle = 0, waiting = 0, , , stolen = 0] = line.split(/\s+/).map(Number);
    return busy + now - (idle + waiting + stolen) * 10_000;
  }, 0);
}

/** Microseconds of CPU used by children that have ended, in steps of 10 ms (proc(5): cutime and cstime). */
function usedByChildren(): number {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  const [user = 0, system = 0] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(13, 15)
    .map(Number);
  return (user + system) * 10_000;
}
