import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { tcxProgramIds } from '../sys/bpf/link.ts';
import { bpfAccess } from '../sys/bpf/probe.ts';
import { isSystemError } from '../sys/ffi.ts';
import { type Lock, tryLock } from '../sys/lock.ts';
import { linkIndex } from '../sys/netlink/link.ts';
import { withNetlink } from '../sys/netlink/socket.ts';
import { listBpfFilters } from '../sys/netlink/tc.ts';
import { down, type Lab, up } from './build.ts';
import { type Flow, type Listing, parseListing, picture, splitMistakes } from './demo-picture.ts';
import { type DemoDirector, type DemoPlan, demoPlan } from './demo-plan.ts';
import { runToEnd, startRealServer, startTraffic } from './processes.ts';
import type { TrafficOrder } from './traffic-report.ts';

const perSecond = 30;
/** A multiple of the weights' sum (6) and of the servers' number (3), so that every scheduler's split is exact. */
const requestsWhenOnce = 60;
const commandTimeoutMs = 20_000;
const repaintMs = 1000;
const concurrentDemos = 9;
/** The director's device on the clients' side, as the plan names it. */
const clientDevice = 'eth0';
const farewell = 'Ctrl-C ends the demonstration and removes everything.';

export type DemoOptions = {
  readonly write: (text: string) => void;
  /** A terminal gets the live picture, anything else one run and its table. */
  readonly isTTY: boolean;
  /** Ends the demonstration and removes everything: Ctrl-C. */
  readonly signal: AbortSignal;
  readonly director: DemoDirector;
  /** The lab's name, `demo` unless told otherwise; a second one at the same time gets a number behind it. */
  readonly name?: string;
  readonly columns?: () => number;
  readonly colour?: boolean;
};

/**
 * The demonstration: a client, a director and three real servers in network namespaces, real traffic through two virtual
 * services. On a terminal it paints who serves what until `signal`; elsewhere it runs once. Resolves to the exit status:
 * 0, or 1 when an answer was missing or the split was not the scheduler's. A machine where it cannot run is no failure: it
 * says what is missing and resolves to 0.
 */
export async function demo(options: DemoOptions): Promise<number> {
  const { write } = options;
  const obstacle = platformObstacle() ?? bpfObstacle();
  if (obstacle !== undefined) return cannotRun(write, obstacle);
  let place: { name: string; lock: Lock };
  let lab: Lab;
  const plan = (name: string) => demoPlan(name);
  try {
    place = freePlace(options.name ?? 'demo');
  } catch (error) {
    return cannotRun(write, namespaceObstacle(error));
  }
  try {
    write('Building a client, a director and three real servers in network namespaces\n');
    down(place.name);
    lab = up(plan(place.name).topology);
  } catch (error) {
    place.lock.remove();
    if (!isSystemError(error, 'EPERM', 'EACCES', 'EROFS', 'ENOSYS', 'EINVAL', 'EOPNOTSUPP', 'ENOSPC'))
      throw error;
    return cannotRun(write, namespaceObstacle(error));
  }
  try {
    return await run(lab, plan(place.name), options);
  } catch (error) {
    if (!options.signal.aborted) throw error;
    return options.isTTY ? 0 : 130;
  } finally {
    for (const command of options.director.cleanUp?.(plan(place.name)) ?? [])
      await runToEnd(lab, 'director', command, { timeoutMs: commandTimeoutMs }).catch(() => undefined);
    lab.down();
    place.lock.remove();
    write('Removed everything the demonstration made\n');
  }
}

function cannotRun(write: (text: string) => void, obstacle: string): number {
  write(`The demonstration cannot run here: ${obstacle}\n`);
  return 0;
}

function platformObstacle(): string | undefined {
  if (process.platform === 'linux') return undefined;
  return `it needs Linux, this is ${process.platform}; run it in a Linux machine or a privileged container`;
}

/** The director's program runs in the kernel; whether it may is tried, not guessed from the user's name. */
function bpfObstacle(): string | undefined {
  const access = bpfAccess();
  if (access.state === 'allowed') return undefined;
  if (access.state === 'absent')
    return `this kernel does not run BPF programs (${access.code}); it takes Linux 6.1 or later with CONFIG_BPF_SYSCALL`;
  return `the kernel refuses BPF programs (${access.code}); run it as root (sudo), in a container with --privileged`;
}

function namespaceObstacle(error: unknown): string {
  const detail = error instanceof Error ? error.message : String(error);
  const help = isSystemError(error, 'EPERM', 'EACCES', 'EROFS')
    ? 'run it as root (sudo), in a container with --privileged'
    : 'it takes a kernel with network namespaces, veth and bridge';
  return `a network namespace cannot be made (${detail}); ${help}`;
}

/** A lab name no other demonstration is using now. */
function freePlace(base: string): { name: string; lock: Lock } {
  for (let i = 1; i <= concurrentDemos; i++) {
    const name = i === 1 ? base : `${base}${i}`;
    const outcome = tryLock(`/run/headgate/lab-${name}.lock`);
    if ('release' in outcome) return { name, lock: outcome };
  }
  throw new Error(`${concurrentDemos} demonstrations are running already; end one of them`);
}

async function run(lab: Lab, plan: DemoPlan, options: DemoOptions): Promise<number> {
  const { write, signal, director } = options;
  write('Starting three real servers\n');
  const serverNodes = [...new Set(plan.services.flatMap(({ servers }) => servers.map(({ name }) => name)))];
  const ports = [...new Set(plan.services.flatMap(({ servers }) => servers.map(({ port }) => port)))];
  await Promise.all(serverNodes.map((name) => startRealServer(lab, name, { name, http: ports })));

  write('Configuring the director\n');
  for (const command of director.configure(plan)) {
    signal.throwIfAborted();
    write(`  ${command.join(' ')}\n`);
    const { status, stderr } = await runToEnd(lab, 'director', command, {
      timeoutMs: commandTimeoutMs,
      signal,
    });
    if (status !== 0) {
      write(`This command failed with status ${status}:\n${stderr.trim()}\n`);
      return 1;
    }
  }
  return options.isTTY ? live(lab, plan, options) : once(lab, plan, options);
}

const orderOf = ({ address, port }: { address: string; port: number }): TrafficOrder => ({
  protocol: 'tcp',
  address,
  port,
  perSecond,
});

/** Sends a fixed number of connections, prints the picture they leave and judges it. */
async function once(lab: Lab, plan: DemoPlan, { write, signal, director }: DemoOptions): Promise<number> {
  write(`Sending ${requestsWhenOnce} connections to each virtual service\n`);
  const runs = plan.services.map((service) =>
    startTraffic(lab, 'client', { ...orderOf(service), total: requestsWhenOnce }),
  );
  const stop = () => {
    for (const { child } of runs) child.kill('SIGKILL');
  };
  signal.addEventListener('abort', stop, { once: true });
  const reports = await Promise.all(runs.map(({ finished }) => finished));
  signal.removeEventListener('abort', stop);
  const listing = await readListing(lab, plan, director);
  const flows = reports.map((now) => ({ now }));
  write(
    `\n${picture(plan, flows, listing, { ebpf: hasEbpfPlane(lab), colour: false, columns: 120 }).join('\n')}\n\n`,
  );
  const mistakes = plan.services.flatMap((service, i) => splitMistakes(service, reports[i]!));
  if (mistakes.length > 0) {
    write(`NOT as it should be:\n${mistakes.map((mistake) => `  ${mistake}\n`).join('')}`);
    return 1;
  }
  write("As it should be: every server answered, and the split is the scheduler's.\n");
  return 0;
}

/**
 * Paints the picture once a second until `signal`. Only the picture is painted over: it fits 24 lines, and the commands
 * to type stay above it where they can be scrolled to and copied.
 */
async function live(lab: Lab, plan: DemoPlan, options: DemoOptions): Promise<number> {
  const { write, signal, director } = options;
  const flows: Flow[] = plan.services.map(() => ({}));
  plan.services.forEach((service, i) => {
    startTraffic(lab, 'client', { ...orderOf(service), reportEveryMs: repaintMs }, (now) => {
      flows[i] = { now, ...(flows[i]?.now ? { before: flows[i].now } : {}) };
    });
  });
  const colour = options.colour ?? !process.env.NO_COLOR;
  const columns = options.columns ?? (() => process.stdout.columns || 80);
  let height = 0;
  let listing: Listing | undefined;
  write(`${hintLines(plan, director).join('\n')}\n\n`);
  while (!signal.aborted) {
    const lines = picture(plan, flows, listing, { ebpf: hasEbpfPlane(lab), colour, columns: columns() });
    write(`${height > 0 ? `\x1b[${height}A\x1b[J` : ''}${lines.join('\n')}\n\n${farewell}\n`);
    height = lines.length + 2;
    const pause = sleep(repaintMs, undefined, { signal }).catch(() => undefined);
    listing = (await readListing(lab, plan, director, signal).catch(() => undefined)) ?? listing;
    await pause;
  }
  write('\nRemoving everything\n');
  return 0;
}

/** Whether the kernel runs a program on what comes from the clients into the director. */
function hasEbpfPlane(lab: Lab): boolean {
  return lab.inside('director', () =>
    withNetlink({}, (netlink) => {
      const index = linkIndex(netlink, clientDevice);
      return (
        tcxProgramIds(index, 'ingress').length > 0 || listBpfFilters(netlink, index, 'ingress').length > 0
      );
    }),
  );
}

/** The director's own table; undefined where it has no such command or the command fails. */
async function readListing(
  lab: Lab,
  plan: DemoPlan,
  director: DemoDirector,
  signal?: AbortSignal,
): Promise<Listing | undefined> {
  const command = director.list?.(plan);
  if (!command) return undefined;
  const { status, stdout } = await runToEnd(lab, 'director', command, {
    timeoutMs: commandTimeoutMs,
    ...(signal ? { signal } : {}),
  });
  return status === 0 ? parseListing(stdout) : undefined;
}

function hintLines(plan: DemoPlan, director: DemoDirector): string[] {
  const enter = existsSync('/usr/sbin/ip') || existsSync('/sbin/ip') || existsSync('/usr/bin/ip');
  const inside = (netns: string) => (enter ? `ip netns exec ${netns}` : `nsenter --net=/run/netns/${netns}`);
  const lines = ['', 'Type these in another terminal, as root, and watch:'];
  for (const { command, shows } of director.suggestions?.(plan) ?? [])
    lines.push(`  # ${shows}`, `  ${inside(plan.directorNetns)} ${command}`);
  const [service] = plan.services;
  if (service)
    lines.push(
      '  # ask for yourself',
      `  ${inside(plan.clientNetns)} curl -s http://${service.address}:${service.port}/`,
    );
  return lines;
}
