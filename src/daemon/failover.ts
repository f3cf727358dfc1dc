import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { type KeeperMessage, lines, type OrderMessage } from '../ha/channel.ts';
import { keeperProgram } from '../ha/program.ts';
import type { Orders } from '../ha/settings.ts';
import type { VrrpStatus } from '../model/vrrp.ts';
import { type FailoverWanted, notActedOn, ordersOf } from './failover-orders.ts';
import type { Log } from './log.ts';
import { openScripts } from './track-scripts.ts';

/** The virtual addresses of a director, kept by a process of their own. */
export type Failover = {
  /** Does as a configuration says; without instances the process ends and gives the addresses up. */
  take(wanted: FailoverWanted | undefined): void;
  /** Virtual services that are down, by name, with the reason. */
  servicesChanged(faults: ReadonlyMap<string, string>): void;
  /** How every instance stood within the last second. */
  status(): readonly VrrpStatus[];
  /** Gives the addresses up, so that the other director takes them at once. */
  stop(): Promise<void>;
};

export type FailoverOptions = {
  /** Where the process listens. */
  readonly socket: string;
  readonly log: Log;
  /** An instance entered a state. */
  readonly entered: (change: Extract<KeeperMessage, { kind: 'entered' }>) => void;
};

const attempts = 250;
const attemptMs = 20;
/** From the end of a process nobody has told to end to the next one. */
const restartMs = 500;
const stopMs = 2000;

/** Starts nothing before it is told of an instance; a process that an earlier daemon left is taken over then. */
export function openFailover({ socket: path, log, entered }: FailoverOptions): Failover {
  let wanted: FailoverWanted | undefined;
  let services: ReadonlyMap<string, string> = new Map();
  let channel: Socket | undefined;
  let told: Orders | undefined;
  let statuses: readonly VrrpStatus[] = [];
  let opening: Promise<void> | undefined;
  let stopped = false;
  const scripts = openScripts(() => tell());

  /** Tells the process what is wanted now, where that is news. */
  function tell(): void {
    if (!wanted || !channel) return;
    const orders = ordersOf(wanted, {
      script: (name) => scripts.fault(name),
      service: (name) => services.get(name),
    });
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
    if (message.kind === 'status') statuses = message.instances;
    else if (message.kind === 'entered') {
      const { instance, state, reason } = message;
      log('info', 'VRRP instance changed', { instance, state, reason });
      entered(message);
    } else {
      const { instance, what, reason } = message;
      log('error', `cannot ${what}`, { instance, reason });
    }
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

  async function end(): Promise<void> {
    await opening;
    channel ??= await attempt(path);
    if (!channel) return;
    const closed = once(channel, 'close');
    channel.on('error', () => undefined).resume();
    send({ kind: 'stop' });
    await Promise.race([closed, sleepMs(stopMs)]);
    channel?.destroy();
    [channel, statuses, told] = [undefined, [], undefined];
  }

  return {
    take(next) {
      wanted = next && next.vrrp.length > 0 ? next : undefined;
      scripts.take(wanted?.scripts ?? []);
      const ignored = next ? notActedOn(next) : [];
      if (ignored.length > 0) log('error', 'this version does not act on part of failover', { ignored });
      if (wanted) ensure();
      else void end();
    },
    servicesChanged(faults) {
      services = faults;
      tell();
    },
    status: () => statuses,
    async stop() {
      stopped = true;
      scripts.take([]);
      await end();
    },
  };
}

const sleepMs = (ms: number) => new Promise<void>((resolve) => void setTimeout(resolve, ms));

/** A connection; undefined where nobody listens. */
function attempt(path: string): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => resolve(socket));
    socket.once('error', () => resolve(undefined));
  });
}
