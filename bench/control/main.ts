/**
 * The control plane at the size of 1,000 services with 10 real servers each: whole commands in a bare network namespace,
 * the daemon's way from a changed file to the kernel's map, its answers and its memory. Beside each command stands a bare
 * `node -e 0` of the same round, so that the machine's load shows, and the processor time of all threads, in user space and
 * in the kernel, which load changes less. Medians; needs root and dist/ (npm run build).
 *
 * Usage: npm run bench:control [-- --rounds N --services N]
 */
import { type ChildProcess, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openInstance } from '../../src/dataplane/ebpf/instance.ts';
import { mapRecords } from '../../src/dataplane/ebpf/records.ts';
import { bpffsDirectory } from '../../src/sys/mount.ts';
import {
  createNamedNetns,
  deleteNamedNetns,
  netnsCookie,
  netnsPath,
  spawnInNetns,
  withNetns,
} from '../../src/sys/netns.ts';
import { readArguments } from '../arguments.ts';
import { machine, printTable, sampleOf, takePrecedence } from '../machine.ts';

const { rounds, services } = readArguments(import.meta.filename, { rounds: 7, services: 1000 });
const realServers = 10;
/** V8 gives back what was garbage when a process has done nothing for some 20 seconds. */
const idleMs = 45_000;
/** The real server whose weight is changed: somewhere in the middle. */
const changed = { service: Math.floor(services / 2), realServer: 5 };

const bin = resolve(import.meta.dirname, '../../bin');
const headgate = join(bin, 'headgate.js');
const folder = mkdtempSync(join(tmpdir(), 'headgate-bench-control-'));
const file = join(folder, 'headgate.yaml');
const environment = { ...process.env, HEADGATE_STATE: join(folder, 'state'), HEADGATE_CONNECTIONS: '4096' };

const vip = (service: number) => `192.0.${service >> 8}.${service & 255}`;
const real = (service: number, realServer: number) => `10.${service >> 8}.${service & 255}.${realServer + 1}`;
const isChanged = (service: number, realServer: number) =>
  service === changed.service && realServer === changed.realServer;
const each = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, i) => make(i));

function configuration(weight: number): string {
  const lines = each(services, (s) => [
    `  - name: service-${s}`,
    `    address: ${vip(s)}:80`,
    '    scheduler: wlc',
    '    method: masquerade',
    '    realServers:',
    ...each(
      realServers,
      (r) =>
        `      - { name: server-${s}-${r}, address: ${real(s, r)}:8080, weight: ${isChanged(s, r) ? weight : 1} }`,
    ),
  ]);
  return `virtualServices:\n${lines.flat().join('\n')}\n`;
}

const rules = each(services, (s) => [
  `-A -t ${vip(s)}:80 -s wlc`,
  ...each(realServers, (r) => `-a -t ${vip(s)}:80 -r ${real(s, r)}:8080 -m -w 1`),
])
  .flat()
  .join('\n');

const figures = new Map<string, number[]>();
const note = (name: string, value: number) => figures.set(name, [...(figures.get(name) ?? []), value]);
const cpuOf = (name: string) => `${name}: processor time`;

/** Milliseconds of processor time, by the fields of proc_pid_stat(5) from its 14th on: user, system, of ended children both. */
function cpuTimes(pid: number | 'self'): { readonly own: number; readonly children: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const [user, system, childUser, childSystem] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 15)
    .map((ticks) => Number(ticks) * (1000 / ticksPerSecond));
  return { own: user! + system!, children: childUser! + childSystem! };
}

/** USER_HZ, which no Linux machine has otherwise. */
const ticksPerSecond = 100;

/** Runs a program to its end in a namespace and notes how long it took, in ms; with the processor time of `daemon` to it. */
function timed(
  name: string,
  netns: string,
  words: readonly string[],
  { input = '', daemon }: { readonly input?: string; readonly daemon?: ChildProcess } = {},
): void {
  const cpu = () => cpuTimes('self').children + (daemon ? cpuTimes(daemon.pid!).own : 0);
  const before = cpu();
  const started = performance.now();
  const { status, stderr } = spawnSync('ip', ['netns', 'exec', netns, process.execPath, ...words], {
    encoding: 'utf8',
    env: environment,
    input,
    maxBuffer: 1 << 28,
  });
  note(name, performance.now() - started);
  note(cpuOf(name), cpu() - before);
  // `status` says by 1 and 2 that services are degraded or down: here no virtual address is on an interface.
  const isDone = status === 0 || (words.includes('status') && (status === 1 || status === 2));
  if (!isDone) throw new Error(`${words.join(' ')} ended with ${status}: ${stderr}`);
}

const netnsOf = (round: number, what: string) => `hgbench-control-${process.pid}-${round}-${what}`;

async function inNetns(name: string, work: (netns: string) => void | Promise<void>): Promise<void> {
  createNamedNetns(name);
  try {
    await work(name);
  } finally {
    spawnSync('ip', ['netns', 'exec', name, process.execPath, headgate, 'clean-up'], { env: environment });
    deleteNamedNetns(name);
  }
}

const names = {
  node: 'node -e 0',
  validate: 'headgate validate',
  plan: 'headgate plan, into a bare namespace',
  apply: 'headgate apply, into a bare namespace',
  restore: 'ipvsadm -R of the same rules, into a bare namespace',
  again: 'headgate apply, one weight',
  start: 'headgate run over what is there, until it serves',
  edit: 'the daemon: file written in place, until the map has the weight',
  move: 'the daemon: file moved into place, until the map has the weight',
  reload: 'headgate reload, one weight',
  status: 'GET /v1/status',
  report: 'headgate status, with the daemon',
  table: 'GET /v1/table',
  memory: 'memory of the daemon (RSS), after these reloads',
  idle: 'the same, when it has been idle for a while',
} as const;

async function round(number: number): Promise<void> {
  writeFileSync(file, configuration(1));
  await inNetns(netnsOf(number, 'r'), (netns) =>
    timed(names.restore, netns, [join(bin, 'ipvsadm.js'), '-R'], { input: rules }),
  );
  await inNetns(netnsOf(number, 'a'), async (netns) => {
    timed(names.node, netns, ['-e', '0']);
    timed(names.validate, netns, [headgate, 'validate', file]);
    timed(names.plan, netns, [headgate, 'plan', file]);
    timed(names.apply, netns, [headgate, 'apply', file]);
    writeFileSync(file, configuration(2));
    timed(names.again, netns, [headgate, 'apply', file]);
    await withDaemon(netns);
  });
}

async function withDaemon(netns: string): Promise<void> {
  const instance = String(withNetns(netnsPath(netns), netnsCookie));
  const started = performance.now();
  const daemon = spawnInNetns(netns, process.execPath, [headgate, 'run', file], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: environment,
  });
  try {
    await logged(daemon, / info running /);
    note(names.start, performance.now() - started);
    note(cpuOf(names.start), cpuTimes(daemon.pid!).own);
    const weight = weightInMap(instance);
    try {
      for (const next of [3, 4, 5, 6, 7, 8]) {
        const inPlace = next % 2 === 0;
        writeFileSync(inPlace ? file : `${file}.new`, configuration(next));
        const before = cpuTimes(daemon.pid!).own;
        if (!inPlace) renameSync(`${file}.new`, file);
        const saved = performance.now();
        while (weight.now() !== next) {
          if (performance.now() - saved > 20_000) throw new Error('The daemon does not take the file');
          await sleep(0);
        }
        note(inPlace ? names.edit : names.move, performance.now() - saved);
        // Its notice of the same file is over before the next one is saved.
        await sleep(700);
        note(cpuOf(inPlace ? names.edit : names.move), cpuTimes(daemon.pid!).own - before);
      }
      for (const next of [9, 10]) {
        writeFileSync(file, configuration(next));
        timed(names.reload, netns, [headgate, 'reload'], { daemon });
        if (weight.now() !== next) throw new Error('"headgate reload" ended before the map had it');
        await sleep(700);
      }
    } finally {
      weight.close();
    }
    const socketPath = `/run/headgate/${instance}/control.sock`;
    for (let i = 0; i < 3; i++) {
      note(names.status, await ask(socketPath, '/v1/status'));
      note(names.table, await ask(socketPath, '/v1/table'));
    }
    note(names.memory, memoryOf(daemon));
    for (let i = 0; i < 3; i++) timed(names.report, netns, [headgate, 'status'], { daemon });
    await sleep(idleMs);
    note(names.idle, memoryOf(daemon));
  } finally {
    daemon.kill('SIGTERM');
    if (daemon.exitCode === null) await new Promise((done) => daemon.once('exit', done));
  }
}

function logged(daemon: ChildProcess, what: RegExp): Promise<void> {
  return new Promise((resolve, reject) => {
    let log = '';
    daemon.stderr!.on('data', (text) => {
      log += text;
      if (what.test(log)) resolve();
    });
    daemon.once('exit', () => reject(new Error(`The daemon ended: ${log}`)));
  });
}

/** The changed real server's weight as the kernel's program reads it. */
function weightInMap(instance: string): { now(): number; close(): void } {
  const opened = openInstance(join(bpffsDirectory, instance))!;
  const destinations = mapRecords(opened.map('destinations'), 'destination');
  const bytes = real(changed.service, changed.realServer).split('.').map(Number);
  const slot = each(opened.settings.get(0, 'destination_slots') + 1, (i) => i).find((i) =>
    bytes.every((byte, place) => destinations.address(i, 'address').subarray(12)[place] === byte),
  )!;
  return {
    now: () => destinations.get(slot, 'weight'),
    close() {
      destinations.close();
      opened.close();
    },
  };
}

/** Milliseconds until the whole answer is there. */
function ask(socketPath: string, path: string): Promise<number> {
  const started = performance.now();
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, path }, (response) => {
      response.on('end', () => resolve(performance.now() - started)).resume();
    });
    outgoing.on('error', reject).end();
  });
}

function memoryOf({ pid }: ChildProcess): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)![1]) / 1024;
}

takePrecedence();
if (!existsSync(resolve(bin, '../dist/bundle'))) throw new Error('There is no dist/bundle: npm run build');
try {
  for (let i = 0; i < rounds; i++) {
    await round(i);
    process.stderr.write(`round ${i + 1} of ${rounds}\n`);
  }
} finally {
  rmSync(folder, { recursive: true });
}
const median = (name: string) => sampleOf(figures.get(name)!).median;
const node = median(names.node);
const nodeCpu = median(cpuOf(names.node));
process.stdout.write(
  `${machine()}\n${services} services with ${realServers} real servers each, ${rounds} rounds\n\n`,
);
printTable(
  ['', 'median', 'least', 'x node -e 0', 'CPU', 'least', 'x node -e 0'],
  Object.values(names).map((name) => {
    const { minimum, median } = sampleOf(figures.get(name)!);
    if (name === names.memory || name === names.idle)
      return [name, `${median.toFixed(0)} MB`, `${minimum.toFixed(0)} MB`];
    const ms = (value: number) => `${value.toFixed(value < 10 ? 1 : 0)} ms`;
    const wall = [name, ms(median), ms(minimum), (median / node).toFixed(2)];
    if (!figures.has(cpuOf(name))) return wall;
    const cpu = sampleOf(figures.get(cpuOf(name))!);
    return [...wall, ms(cpu.median), ms(cpu.minimum), (cpu.median / nodeCpu).toFixed(2)];
  }),
);
