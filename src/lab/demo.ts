import { existsSync } from 'node:fs';
import type { ErrorCode } from '../model/errors.ts';
import { tcxProgramIds } from '../sys/bpf/link.ts';
import { type BpfAccess, bpfAccess } from '../sys/bpf/probe.ts';
import { isSystemError } from '../sys/ffi.ts';
import { type Lock, tryLock } from '../sys/lock.ts';
import { linkIndex } from '../sys/netlink/link.ts';
import { withNetlink } from '../sys/netlink/socket.ts';
import { listBpfFilters } from '../sys/netlink/tc.ts';
import { down, type Lab, up } from './build.ts';
import { type Listing, parseListing } from './demo-picture.ts';
import { type DemoDirector, type DemoPlan, demoPlan } from './demo-plan.ts';
import { type ShowOptions, show } from './demo-show.ts';
import { runToEnd, startRealServer, startTraffic } from './processes.ts';

const commandTimeoutMs = 20_000;
const concurrentDemos = 9;
/** The director's device on the clients' side, as the plan names it. */
const clientDevice = 'eth0';

export type DemoOptions = ShowOptions & {
  readonly director: DemoDirector;
  /** The lab's name, `demo` unless told otherwise; a second one at the same time gets a number behind it. */
  readonly name?: string;
};

/** Why the demonstration cannot run in network namespaces here: two halves of a sentence, the cause and the next step. */
export type Obstacle = { readonly code: ErrorCode; readonly cause: string; readonly help: string };

/**
 * The demonstration: a client, a director and three real servers in network namespaces, real traffic through two virtual
 * services. On a terminal it paints who serves what until `signal`; elsewhere it runs once. Resolves to the exit status:
 * 0, or 1 when an answer was missing or the split was not the scheduler's. On a machine where it cannot run it does
 * nothing and resolves to the obstacle.
 */
export async function demo(options: DemoOptions): Promise<number | Obstacle> {
  const { write } = options;
  const obstacle = bpfObstacle();
  if (obstacle !== undefined) return obstacle;
  let place: { name: string; lock: Lock };
  let lab: Lab;
  const plan = (name: string) => demoPlan(name);
  try {
    place = freePlace(options.name ?? 'demo');
  } catch (error) {
    return namespaceObstacle(error);
  }
  try {
    write('Building a client, a director and three real servers in network namespaces\n');
    down(place.name);
    lab = up(plan(place.name).topology);
  } catch (error) {
    place.lock.remove();
    if (!isSystemError(error, 'EPERM', 'EACCES', 'EROFS', 'ENOSYS', 'EINVAL', 'EOPNOTSUPP', 'ENOSPC'))
      throw error;
    return namespaceObstacle(error);
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

const asRoot = 'run it as root (sudo), in a container with --privileged';

/** The director's program runs in the kernel; whether it may is tried, not guessed from the user's name. */
function bpfObstacle(): Obstacle | undefined {
  let access: BpfAccess;
  try {
    access = bpfAccess();
  } catch (error) {
    const detail = String(error instanceof Error ? error.message : error).split('\n')[0];
    return {
      code: 'HG_NO_BPF',
      cause: `the library that calls the kernel does not load (${detail})`,
      help: 'install the package again on this machine (npm ci)',
    };
  }
  if (access.state === 'allowed') return undefined;
  if (access.state === 'forbidden')
    return { code: 'HG_NOT_ROOT', cause: `the kernel refuses BPF programs (${access.code})`, help: asRoot };
  return {
    code: 'HG_NO_BPF',
    cause: `this kernel does not run BPF programs (${access.code})`,
    help: 'it takes Linux 6.1 or later with CONFIG_BPF_SYSCALL',
  };
}

function namespaceObstacle(error: unknown): Obstacle {
  const detail = error instanceof Error ? error.message : String(error);
  const forbidden = isSystemError(error, 'EPERM', 'EACCES', 'EROFS');
  return {
    code: forbidden ? 'HG_NOT_ROOT' : 'HG_LAB_FAILED',
    cause: `a network namespace cannot be made (${detail})`,
    help: forbidden ? asRoot : 'it takes a kernel with network namespaces, veth and bridge',
  };
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
  const status = await show(
    {
      scene: plan,
      plane: () => (hasEbpfPlane(lab) ? 'ebpf' : 'none'),
      traffic(order, onReport) {
        const { child, finished } = startTraffic(lab, 'client', order, onReport);
        return { finished, stop: () => child.kill('SIGKILL') };
      },
      list: (signal) => readListing(lab, plan, director, signal),
      hints: hintLines(plan, director),
      farewell: 'Ctrl-C ends the demonstration and removes everything.',
    },
    options,
  );
  if (options.isTTY) write('\nRemoving everything\n');
  return status;
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
