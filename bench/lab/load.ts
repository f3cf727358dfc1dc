import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runToEnd } from '../../src/lab/processes.ts';
import { plan } from './plan.ts';
import { type Site, streamProgram } from './site.ts';

/** Where the client finds one of two equal halves of what it asks for. */
type Target = { readonly address: string; readonly port: number };
export type Targets = readonly [Target, Target];

/** A second or more above what a command was told to take, for its start and end. */
const graceMs = 20_000;

const requestSeconds = 2;
const connectionSeconds = 3;
const transferSeconds = 1;
const clients = 64;

/** HTTP requests a second on connections that stay. */
export async function requestsPerSecond(site: Site, targets: Targets): Promise<number> {
  const { requests, seconds } = await wrk(site, targets, requestSeconds);
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
  const { requests, seconds } = await wrk(site, targets, connectionSeconds, ['--header=Connection: close']);
  return { perSecond: requests / seconds, microseconds: (busyMicroseconds() - before) / requests };
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
 * wrk, of which each thread asks another target. It is leaner than any client in this project's language could be: what
 * the client burns, on the same CPUs, is in every contestant's bill and makes them look alike.
 */
async function wrk(
  site: Site,
  targets: Targets,
  duration: number,
  more: readonly string[] = [],
): Promise<{ readonly requests: number; readonly seconds: number }> {
  const script = join(site.folder, 'wrk.lua');
  writeFileSync(script, wrkScript(targets));
  const options = [`--threads=${targets.length}`, `--connections=${clients}`, `--duration=${duration}s`];
  const url = `http://${targets[0].address}:${targets[0].port}/`;
  const command = ['wrk', ...options, '--timeout=2s', `--script=${script}`, ...more, url];
  const { status, stdout, stderr } = await runToEnd(site.lab, 'client', command, {
    timeoutMs: duration * 1000 + graceMs,
    signal: site.signal,
  });
  const report = /^report (\d+) (\d+) (\d+)$/m.exec(stdout);
  if (status !== 0 || !report) throw new Error(`wrk: ${(stderr || stdout).trim() || `status ${status}`}`);
  const [requests, microseconds, errors] = report.slice(1).map(Number) as [number, number, number];
  if (requests === 0) throw new Error('no request was answered');
  if (errors > requests / 1000) throw new Error(`${errors} errors among ${requests} requests`);
  return { requests, seconds: microseconds / 1e6 };
}

const wrkScript = (targets: Targets): string => `
local targets = { ${targets.map(({ address, port }) => `{ "${address}", "${port}" }`).join(', ')} }
local thread_number = 0
function setup(thread)
  thread_number = thread_number + 1
  thread.addr = wrk.lookup(targets[thread_number][1], targets[thread_number][2])[1]
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
