import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { vrrpProblems } from '../control/vrrp-problems.ts';
import { type KeeperMessage, lines, type OrderMessage } from '../ha/channel.ts';
import { keeperProgram } from '../ha/program.ts';
import type { LeaseMaps, Orders } from '../ha/settings.ts';
import { removeVirtualDevices } from '../ha/virtual-mac.ts';
import type { Table } from '../model/table.ts';
import type { VrrpStatus } from '../model/vrrp.ts';
import { type FailoverWanted, ordersOf } from './failover-orders.ts';
import type { Log } from './log.ts';
import { openNumberFiles } from './track-files.ts';
import { openProcesses } from './track-processes.ts';
import { openScripts } from './track-scripts.ts';
import { openNotices } from './vrrp-notices.ts';

/** The virtual addresses of a director, kept by a process of their own. */
export type Failover = {
  /**
   * Does as a configuration with these services says; without instances the process ends and gives the addresses up. In its
   * turn: resolves when the data plane knows.
   */
  take(wanted: FailoverWanted | undefined, table: Table): Promise<void>;
  /** Virtual services that are down, by name, with the reason. */
  servicesChanged(faults: ReadonlyMap<string, string>): void;
  /** Whether connections are still to be told of before addresses are taken from another director. */
  awaitConnections(awaits: boolean): void;
  /** These instances hand their addresses over, or take over again as their priorities say. */
  handOver(instances: readonly string[], reason: string): void;
  takeBack(instances: readonly string[]): void;
  /** The data plane is another one. Resolves when it knows. */
  planeChanged(): Promise<void>;
  /** What the configuration in force says of failover. */
  wanted(): FailoverWanted | undefined;
  /** How every instance stood within the last second. */
  status(): readonly VrrpStatus[];
  /** Gives the addresses up, so that the other director takes them at once. */
  stop(): Promise<void>;
};

export type FailoverOptions = {
  /** Where the process listens. */
  readonly socket: string;
  readonly log: Log;
  /** Where the data plane looks for leases (DataPlane.leases); false: there are none. Absent: it does not look. */
  readonly leases?: ((wanted: boolean) => Promise<LeaseMaps | undefined>) | undefined;
  /** An instance entered a state. */
  readonly entered: (change: Extract<KeeperMessage, { kind: 'entered' }>) => void;
  /** Something is wrong between an instance and others, or is put right. */
  readonly troubled: (instance: string, what: string, isOver: boolean) => void;
};

const attempts = 250;
const attemptMs = 20;
/** From the end of a process nobody has told to end to the next one. */
const restartMs = 500;
const stopMs = 2000;

/** Starts nothing before it is told of an instance; a process that an earlier daemon left is taken over then. */
export function openFailover({ socket: path, log, leases, entered, troubled }: FailoverOptions): Failover {
  let wanted: FailoverWanted | undefined;
  let table: Table = { services: [] };
  let services: ReadonlyMap<string, string> = new Map();
  let awaits = false;
  let channel: Socket | undefined;
  let told: Orders | undefined;
  let places: LeaseMaps | undefined;
  let statuses: readonly VrrpStatus[] = [];
  let troubles: ReadonlyMap<string, { readonly instance: string; readonly what: string }> = new Map();
  let opening: Promise<void> | undefined;
  let stopped = false;
  const scripts = openScripts(() => tell());
  const files = openNumberFiles(() => tell());
  const processes = openProcesses(() => tell());
  const notices = openNotices(log);

  /** Tells the process what is wanted now, where that is news. */
  function tell(): void {
    if (!wanted || !channel) return;
    const faults = {
      script: (name: string) => scripts.fault(name),
      service: (name: string) => services.get(name),
      process: (name: string) => processes.fault(name),
      number: (name: string) => files.number(name),
    };
    const orders = ordersOf(wanted, faults, places, table, awaits);
    if (isDeepStrictEqual(orders, told)) return;
    told = orders;
    send({ kind: 'orders', orders });
  }

  const send = (message: OrderMessage) => channel?.write(`${JSON.stringify(message)}\n`);

  /** A channel to the process: one that runs, else a new one. */
  async function open(): Promise<void> {
    let found = await attempt(path);
    if (!found) {
      const child = spawn(process.execPath, keeperProgram(path), {
        detached: true,
        stdio: ['ignore', 'ignore', 'inherit'],
      });
      child.unref();
      for (let i = 0; i < attempts && !found && child.exitCode === null; i++) {
        await sleepMs(attemptMs);
        found = await attempt(path);
      }
    }
    if (!found) throw new Error(`the failover process does not listen at ${path}`);
    use(found);
  }

  function use(found: Socket): void {
    channel = found;
    told = undefined;
    lines(found, (line) => hear(JSON.parse(line) as KeeperMessage));
    found.on('error', () => found.destroy());
    found.on('close', () => {
      if (channel !== found) return;
      [channel, statuses] = [undefined, []];
      if (!wanted || stopped) return;
      log('error', 'the failover process ended, another one is started', { socket: path });
      setTimeout(ensure, restartMs).unref();
    });
    tell();
  }

  function hear(message: KeeperMessage): void {
    if (message.kind === 'status') {
      statuses = message.instances;
      notices.found(statuses);
      noteTrouble();
    } else if (message.kind === 'entered') {
      const { instance, state, reason } = message;
      log('info', 'VRRP instance changed', { instance, state, reason });
      entered(message);
      notices.entered(message);
    } else {
      const { instance, what, reason } = message;
      log('error', `cannot ${what}`, { instance, reason });
    }
  }

  /** Notes what has become wrong between directors, and what is put right. */
  function noteTrouble(): void {
    const now = new Map<string, { readonly instance: string; readonly what: string }>(
      statuses.flatMap((one) =>
        vrrpProblems(one).map(({ what }) => [`${one.name}: ${what}`, { instance: one.name, what }] as const),
      ),
    );
    for (const [key, one] of now) if (!troubles.has(key)) troubled(one.instance, one.what, false);
    for (const [key, one] of troubles) if (!now.has(key)) troubled(one.instance, one.what, true);
    troubles = now;
  }

  function ensure(): void {
    if (channel) {
      tell();
      return;
    }
    opening ??= open()
      .catch((error: Error) => {
        log('error', 'no failover process', { reason: error.message });
        if (!stopped) setTimeout(ensure, restartMs).unref();
      })
      .finally(() => {
        opening = undefined;
      });
  }

  async function placesFor(wish: boolean): Promise<LeaseMaps | undefined> {
    try {
      return await leases?.(wish);
    } catch (error) {
      log('error', 'virtual addresses are not leased in the data plane', {
        reason: error instanceof Error ? error.message : String(error),
      });
      return undefined;
    }
  }

  function takeTracked(of: FailoverWanted | undefined): void {
    const { user, group } = of ?? {};
    scripts.take((of?.scripts ?? []).map((script) => ({ user, group, ...script })));
    files.take(of?.files ?? []);
    processes.take(of?.processes ?? []);
  }

  async function end(): Promise<void> {
    await opening;
    channel ??= await attempt(path);
    if (!channel) {
      removeLeft(path);
      return;
    }
    const closed = once(channel, 'close');
    channel.on('error', () => undefined).resume();
    send({ kind: 'stop' });
    await Promise.race([closed, sleepMs(stopMs)]);
    channel?.destroy();
    [channel, statuses, told] = [undefined, [], undefined];
  }

  return {
    async take(next, services) {
      table = services;
      const wish = next && (next.vrrp.length > 0 || next.always) ? next : undefined;
      if (!wish) {
        wanted = undefined;
        await end();
      }
      places = await placesFor(wish !== undefined && wish.vrrp.length > 0);
      wanted = wish;
      notices.take(next);
      takeTracked(wanted);
      if (wanted) ensure();
    },
    servicesChanged(faults) {
      services = faults;
      tell();
    },
    awaitConnections(next) {
      awaits = next;
      tell();
    },
    async planeChanged() {
      if (!wanted) return;
      places = await placesFor(wanted.vrrp.length > 0);
      tell();
    },
    handOver: (instances, reason) => void send({ kind: 'hand-over', instances, reason }),
    takeBack: (instances) => void send({ kind: 'take-back', instances }),
    wanted: () => wanted,
    status: () => statuses,
    async stop() {
      stopped = true;
      takeTracked(undefined);
      await end();
      await notices.stop();
    },
  };
}

const sleepMs = (ms: number) => new Promise<void>((resolve) => void setTimeout(resolve, ms));

/** What a failover process left that was killed for good: its devices, and its socket. */
function removeLeft(path: string): void {
  rmSync(path, { force: true });
  removeVirtualDevices();
}

/** The same for a command, which asks first whether one listens at `path`: that one has what it has. */
export async function removeLeftOfFailover(path: string): Promise<void> {
  const found = await attempt(path);
  if (found) found.destroy();
  else removeLeft(path);
}

/** A connection; undefined where nobody listens. */
function attempt(path: string): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => resolve(socket));
    socket.once('error', () => resolve(undefined));
  });
}
