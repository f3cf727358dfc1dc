/**
 * Runs in a guest, which is the director: real servers in namespaces behind a bridge; then for each file and contestant the
 * first one dies and comes back, so many times. `ROUNDS FOLDER LAUNCHER CONTESTANTS FILES`: where the files are, what
 * starts headgate, and which of them. Prints a round (plan.ts) a line.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openRemote, type Remote } from '../../src/api/client.ts';
import {
  type Contestant,
  contestants,
  director,
  type Fault,
  faults,
  type Round,
  realServers,
  type Sheet,
  sheets,
} from './plan.ts';

const [rounds = '', folder = '', launcher = '', wantedContestants = '', wantedFiles = ''] =
  process.argv.slice(2);
const controlSocket = '/run/bench.sock';
const [lookEveryMs, limitMs, settleMs] = [20, 120_000, 1500];

function run(command: string, ...args: string[]): void {
  const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ended with ${status}: ${error ?? stderr}`);
}

/** Ports of one bridge, whose carrier stays when one of them loses its cable. */
function buildNetwork(): void {
  run('modprobe', '-a', 'veth', 'bridge', 'ip_vs', 'ip_vs_rr');
  run('ip', 'link', 'add', 'lan', 'type', 'bridge');
  run('ip', 'address', 'add', `${director}/24`, 'dev', 'lan');
  run('ip', 'address', 'add', '192.0.2.10/32', 'dev', 'lo');
  run('ip', 'link', 'set', 'lan', 'up');
  realServers.forEach((address, i) => {
    run('ip', 'netns', 'add', `real${i}`);
    run('ip', 'link', 'add', `port${i}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', `real${i}`);
    run('ip', 'link', 'set', `port${i}`, 'master', 'lan', 'up');
    run('ip', '-n', `real${i}`, 'link', 'set', 'eth0', 'up');
    run('ip', '-n', `real${i}`, 'address', 'add', `${address}/24`, 'dev', 'eth0');
    run('ip', '-n', `real${i}`, 'route', 'add', 'default', 'via', director);
  });
}

/** Starts a real server; resolves with it and the time when it began to answer. */
async function serve(i: number): Promise<{ process: ChildProcess; since: number }> {
  const words = [
    'netns',
    'exec',
    `real${i}`,
    process.execPath,
    join(folder, 'real-server.mjs'),
    realServers[i]!,
  ];
  const server = spawn('ip', words, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [since] = await once(server.stdout, 'data');
  return { process: server, since: Number(since) };
}

async function kill(program: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const gone = once(program, 'exit');
  program.kill(signal);
  await gone;
}

type Running = { readonly isIn: () => Promise<boolean[]>; end(): Promise<void> };

/** Which real servers get new clients, by the kernel's own list of IPVS: address and port are hexadecimal there. */
async function inKernel(): Promise<boolean[]> {
  const listed = readFileSync('/proc/net/ip_vs', 'latin1');
  return realServers.map((address) => {
    const digits = address.split('.').map((part) => Number(part).toString(16).padStart(2, '0'));
    const weight = new RegExp(`-> ${digits.join('')}:0050 +\\w+ +(\\d+)`, 'i').exec(listed)?.[1];
    return Number(weight ?? 0) > 0;
  });
}

/** The same by the list of a daemon, which reads its data plane for it. */
async function inPlane(daemon: Remote): Promise<boolean[]> {
  const { services } = await daemon.read();
  const destinations = services.flatMap((service) => service.destinations.map((one) => one.destination));
  return realServers.map((address) => destinations.some((one) => one.address === address && one.weight > 0));
}

async function start(contestant: Contestant, { file, peer }: Sheet): Promise<Running> {
  const path = join(folder, file);
  const [command, args, env] =
    contestant !== 'peer'
      ? [
          launcher,
          ['run', '--stop-forwarding', path],
          { HEADGATE_PLANE: contestant, HEADGATE_CONNECTIONS: '4096', HEADGATE_SOCKET: controlSocket },
        ]
      : peer === 'keepalived'
        ? ['keepalived', ['--check', '--dont-fork', '--log-console', '--use-file', path], {}]
        : ['ldirectord', [path, 'start'], {}];
  let said = '';
  const program = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  for (const stream of [program.stdout, program.stderr]) stream.on('data', (chunk) => (said += chunk));
  let isIn = inKernel;
  await until(
    async () => {
      if (program.exitCode !== null) throw new Error(`${command} ended with ${program.exitCode}: ${said}`);
      if (contestant !== 'ebpf') return (await isIn()).every(Boolean);
      const daemon = existsSync(controlSocket) ? await openRemote(controlSocket) : undefined;
      if (!daemon) return false;
      isIn = () => inPlane(daemon);
      return (await isIn()).every(Boolean);
    },
    () => said,
  );
  return {
    isIn: () => isIn(),
    async end() {
      await kill(program, 'SIGTERM');
      run('ipvsadm', '--clear');
    },
  };
}

/** Resolves with the time when it is so. */
async function until(isSo: () => Promise<boolean>, said: () => string = () => ''): Promise<number> {
  const begun = Date.now();
  while (!(await isSo())) {
    if (Date.now() - begun > limitMs) throw new Error(`waited ${limitMs} ms in vain; ${said()}`);
    await sleep(lookEveryMs);
  }
  return Date.now();
}

buildNetwork();
const servers = await Promise.all(realServers.map((_, i) => serve(i)));

/** One fault from the death of the first real server to its return, in milliseconds. */
async function suffer(fault: Fault, isIn: Running['isIn']): Promise<{ outMs: number; backMs: number }> {
  // Anywhere in an interval.
  await sleep(settleMs + Math.random() * 1000);
  const died = Date.now();
  if (fault === 'killed') await kill(servers[0]!.process, 'SIGKILL');
  else run('ip', 'link', 'set', 'port0', 'down');
  const out = await until(async () => !(await isIn())[0]);
  await sleep(settleMs + Math.random() * 1000);
  let recovered = 0;
  if (fault === 'killed') {
    servers[0] = await serve(0);
    recovered = servers[0].since;
  } else {
    run('ip', 'link', 'set', 'port0', 'up');
    recovered = Date.now();
  }
  const back = await until(async () => (await isIn()).every(Boolean));
  return { outMs: out - died, backMs: back - recovered };
}

for (const sheet of sheets.filter(({ file }) => wantedFiles.split(',').includes(file))) {
  for (const contestant of contestants.filter((one) => wantedContestants.split(',').includes(one))) {
    const running = await start(contestant, sheet);
    for (let round = 0; round < Number(rounds); round++) {
      for (const fault of faults) {
        const line: Round = { file: sheet.file, contestant, fault, ...(await suffer(fault, running.isIn)) };
        process.stdout.write(`${JSON.stringify(line)}\n`);
      }
    }
    await running.end();
  }
}
for (const server of servers) server.process.kill('SIGKILL');
