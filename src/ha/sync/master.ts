import type { ConnectionFeed } from '../../model/connection-feed.ts';
import type { SyncedConnection, SyncProgress, SyncSettings } from '../../model/connection-sync.ts';
import { type SyncSysctls, syncSysctlDefaults } from '../../model/sysctls.ts';
import { waitAnyReadable } from '../../sys/socket.ts';
import type { UdpReceiver, UdpSender } from '../../sys/udp-socket.ts';
import { openBatch } from './batch.ts';
import type { SyncExchange } from './exchange.ts';
import { decodeMessage, encodeEnd } from './message.ts';
import { portOf, ruleOf } from './rules.ts';
import { newTally, progressOf, refuse } from './tally.ts';
import type { Wire } from './wire.ts';

/**
 * From one message to the next: what comes meanwhile goes together. Kept well below ten milliseconds. Who has told nothing for so
 * long tells at once, for the next packet of that connection may come to the other director.
 */
const gatherMs = 4;
/** The whole table is told this many slots at a time, once every `stepMs`: about 50,000 connections a second. */
const transferSlots = 250;
const stepMs = 5;
/** Connections in use are looked for in the whole table once in this time. */
const refreshRoundMs = 10_000;
const refreshStepMs = 100;
/** After something could not be sent, all is told again. */
const repairMs = 1000;
const lagWindowMs = 10_000;

/** One turn after another, for a loop that does nothing else. */
export type SyncWorker = {
  /** Waits until something is due, at most `patienceMs`, and does it. */
  turn(patienceMs: number): void;
  /** The parameters of connection sync are these now; the defaults until then. Absent: it goes by none of them. */
  follow?(sysctls: SyncSysctls): void;
  progress(): SyncProgress;
  close(): void;
};

/** Tells other directors of this one's connections. `slots` is the size of its table; `now` monotonic milliseconds. */
export function openMaster(
  settings: SyncSettings,
  feed: ConnectionFeed,
  slots: () => number,
  { receivers, senders, maxLength }: SyncExchange,
  wire: Wire,
  now: () => number,
): SyncWorker {
  const tally = newTally();
  const batches = senders.map((sender) =>
    openBatch(settings.id, maxLength - wire.overhead, (message, count) => send(sender, message, count)),
  );
  const take = (connection: SyncedConnection) => batches[portOf(connection, batches.length)]!.add(connection);
  const flush = () => {
    for (const batch of batches) batch.flush();
  };
  const [receiver] = receivers as readonly [UdpReceiver, ...UdpReceiver[]];
  let transferring = true;
  let again = false;
  let stepAtMs = now();
  let repairAtMs = Number.POSITIVE_INFINITY;
  let toldMs = Number.NEGATIVE_INFINITY;
  let lost = feed.lost();
  let lags: { readonly atMs: number; readonly ms: number }[] = [];
  let roundMs = refreshRoundMs;
  follow(syncSysctlDefaults);

  function send(sender: UdpSender, message: Buffer, connections: number): void {
    try {
      if (!sender.send(wire.seal(message))) throw new Error('the queue of the interface is full');
      tally.messages++;
      tally.connections += connections;
    } catch (error) {
      refuse(tally, `cannot send: ${error instanceof Error ? error.message : error}`);
      repairAtMs = Math.min(repairAtMs, now() + repairMs);
    }
  }

  /** A backup that comes says so by a message without connections, which IPVS does not mind. */
  function hear(): void {
    for (let arrived = receiver.receive(); arrived; arrived = receiver.receive()) {
      const opened = wire.open(arrived);
      const message = typeof opened === 'string' ? opened : decodeMessage(opened);
      if (typeof message === 'string' || message.version !== 1 || message.connections.length > 0) continue;
      if (message.refused.length > 0 || (message.id !== settings.id && message.id !== 0)) continue;
      if (transferring) again = true;
      transferring = true;
    }
  }

  function drain(sinceMs: number): void {
    if (feed.drain(take) > 0) {
      flush();
      const ms = now() - sinceMs;
      lags = [
        ...lags.filter(({ atMs, ms: other }) => atMs > now() - lagWindowMs && other > ms),
        { atMs: now(), ms },
      ];
    }
    if (feed.lost() === lost) return;
    lost = feed.lost();
    refuse(tally, 'more connections came at once than the feed holds; the whole table is told instead');
    transferring = true;
  }

  /** The next part of the table: all of it, or what was used since it was told of. */
  function step(): void {
    const part = transferring ? transferSlots : Math.ceil((slots() * refreshStepMs) / roundMs);
    const done = feed.walk(Math.max(part, 1), transferring, take);
    flush();
    if (transferring && done) {
      [transferring, again] = [again, false];
      if (!transferring) for (const sender of senders) send(sender, encodeEnd(settings.id), 0);
    }
    stepAtMs = now() + (transferring ? stepMs : refreshStepMs);
    if (now() < repairAtMs) return;
    repairAtMs = Number.POSITIVE_INFINITY;
    transferring = true;
  }

  function follow(sysctls: SyncSysctls): void {
    const rule = ruleOf(settings, sysctls);
    const { refreshSeconds, retries } = rule;
    // Who tells once more after an eighth of the refresh time looks that often.
    roundMs =
      refreshSeconds && retries
        ? Math.min(refreshRoundMs, Math.max(125 * refreshSeconds, 1000))
        : refreshRoundMs;
    feed.begin(rule);
    for (const batch of batches) batch.speak(sysctls.sync_version === 0 ? 0 : 1);
  }

  return {
    follow,
    turn(patienceMs) {
      const waitMs = Math.min(patienceMs, Math.max(0, stepAtMs - now()));
      if (waitAnyReadable([feed.fd, receiver.fd], waitMs)) {
        const sinceMs = now();
        hear();
        if (waitAnyReadable([feed.fd], 0)) {
          const gathersMs = toldMs + gatherMs - sinceMs;
          if (gathersMs > 0) waitAnyReadable([], gathersMs);
          drain(sinceMs);
          toldMs = now();
        }
      }
      if (now() >= stepAtMs) step();
    },
    progress() {
      const recent = lags.filter(({ atMs }) => atMs > now() - lagWindowMs);
      return progressOf(tally, {
        encrypted: wire.encrypted,
        unbound: 0,
        lagMs: Math.ceil(Math.max(0, ...recent.map(({ ms }) => ms))),
      });
    },
    close() {
      feed.drain(take);
      flush();
      feed.end();
    },
  };
}
