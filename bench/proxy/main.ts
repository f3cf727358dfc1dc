/**
 * The proxy data plane beside nginx's stream module and haproxy: each one process with one thread, on loopback, before
 * the same real server, in interleaved rounds of which the median counts. What the machine does meanwhile moves all
 * figures of a round alike, so the ratios say more than the figures. Needs nginx and wrk; haproxy is left out where it
 * is missing.
 *
 * Usage: npm run bench:proxy [-- --rounds N --seconds N --connections N]
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readArguments } from '../arguments.ts';
import { machine, printTable, sampleOf, takePrecedence } from '../machine.ts';
import { type Contender, startContenders, startRealServer } from './contenders.ts';

const options = readArguments(import.meta.filename, { rounds: 7, seconds: 2, connections: 4000 });
const { rounds, seconds, connections: idleConnections } = options;

type Load = {
  readonly name: string;
  readonly unit: string;
  readonly cost: string;
  /** How many connections at a time, and wrk's other arguments. */
  readonly wrk: readonly string[];
  readonly path: string;
  /** Units a second, from what wrk says. */
  read(said: WrkResult): number;
  /** What the cost is counted by, a second. */
  per(said: WrkResult): number;
};

type WrkResult = { readonly requests: number; readonly bytes: number; readonly errors: number };

const loads: readonly Load[] = [
  {
    name: 'requests on 64 kept connections',
    unit: 'requests/s',
    cost: 'CPU us a request',
    wrk: ['-c', '64'],
    path: '/',
    read: ({ requests }) => requests,
    per: ({ requests }) => requests,
  },
  {
    name: 'a connection for each request',
    unit: 'connections/s',
    cost: 'CPU us a connection',
    wrk: ['-c', '64', '-H', 'Connection: close'],
    path: '/',
    read: ({ requests }) => requests,
    per: ({ requests }) => requests,
  },
  {
    name: 'downloads of 16 MiB, 4 at a time',
    unit: 'Gbit/s',
    cost: 'CPU us a MiB',
    wrk: ['-c', '4'],
    path: '/big',
    read: ({ bytes }) => (bytes * 8) / 1e9,
    per: ({ bytes }) => bytes / 2 ** 20,
  },
];

/** One run of wrk; rates are a second. Throws when a request failed. */
function runWrk(load: Load, port: number): WrkResult {
  const args = ['-t', '1', '-d', `${seconds}s`, '--timeout', '10s', ...load.wrk, '-s', script];
  const { stdout, stderr, status } = spawnSync('wrk', [...args, `http://127.0.0.1:${port}${load.path}`], {
    encoding: 'utf8',
  });
  const found = /^result (\S+) (\S+) (\S+) (\S+)$/m.exec(stdout);
  if (status !== 0 || !found) throw new Error(`wrk on port ${port}: ${stdout}${stderr}`);
  const [us, requests, bytes, errors] = found.slice(1).map(Number) as [number, number, number, number];
  return { requests: (requests / us) * 1e6, bytes: (bytes / us) * 1e6, errors };
}

const script = join(import.meta.dirname, 'result.lua');

/** Resident KiB a connection in the contender's process, each after one request. */
async function memoryEach(contender: Contender): Promise<number> {
  const before = contender.residentKiB();
  const sockets: Socket[] = [];
  for (let i = 0; i < idleConnections; i++) {
    const socket = connect(contender.port, '127.0.0.1');
    sockets.push(socket);
    socket.write('GET / HTTP/1.1\r\nHost: bench\r\n\r\n');
    await once(socket, 'data');
  }
  const open = sockets.filter(({ readyState }) => readyState === 'open').length;
  if (open < idleConnections)
    throw new Error(`${contender.name} closed ${idleConnections - open} connections`);
  const each = (contender.residentKiB() - before) / idleConnections;
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  return each;
}

// Every process started here inherits it.
takePrecedence();
const folder = mkdtempSync(join(tmpdir(), 'headgate-bench-proxy-'));
const realServer = await startRealServer(folder);
const contenders = await startContenders(folder, realServer.port);
try {
  // Before the rounds, while every process is as it started.
  const memory = [];
  for (const contender of contenders) memory.push(await memoryEach(contender));

  const all: readonly Contender[] = [realServer, ...contenders];
  const speeds = loads.map(() => all.map((): number[] => []));
  const costs = loads.map(() => all.map((): number[] => []));
  for (let round = -1; round < rounds; round++) {
    for (const [i, load] of loads.entries()) {
      for (let turn = 0; turn < all.length; turn++) {
        const which = (turn + round + 1) % all.length;
        const contender = all[which]!;
        const cpuBefore = contender.cpuUs();
        const said = runWrk(load, contender.port);
        if (said.errors > 0) throw new Error(`${contender.name}, ${load.name}: ${said.errors} failed`);
        // The first round warms up.
        if (round < 0) continue;
        speeds[i]![which]!.push(load.read(said));
        costs[i]![which]!.push((contender.cpuUs() - cpuBefore) / (load.per(said) * seconds));
      }
    }
    process.stderr.write(`round ${round + 1} of ${rounds}\r`);
  }

  const shown = (value: number) => (value >= 100 ? value.toFixed(0) : value.toFixed(1));
  const proxyAt = all.findIndex(({ name }) => name === 'proxy');
  const row = (what: string, values: readonly (number | undefined)[]) => [
    what,
    ...values.map((value) => (value === undefined ? '' : shown(value))),
    ...all.slice(proxyAt + 1).map((_, i) => (values[proxyAt]! / values[proxyAt + 1 + i]!).toFixed(2)),
  ];
  const median = (values: readonly number[]) => sampleOf(values).median;
  process.stdout.write(`${machine()}\n${rounds} rounds of ${seconds} s, medians\n\n`);
  printTable(
    ['', ...all.map(({ name }) => name), ...all.slice(proxyAt + 1).map(({ name }) => `proxy : ${name}`)],
    [
      ...loads.flatMap((load, i) => [
        row(`${load.name}: ${load.unit}`, speeds[i]!.map(median)),
        row(`  ${load.cost}`, [undefined, ...costs[i]!.slice(1).map(median)]),
      ]),
      row(`${idleConnections} idle connections: KiB each`, [undefined, ...memory]),
    ],
  );
} finally {
  await Promise.all([realServer, ...contenders].map((contender) => contender.stop()));
  rmSync(folder, { recursive: true });
}
