import type { ConnectionFeed, TakeConnection } from '../../model/connection-feed.ts';
import type { SyncProgress, SyncSettings } from '../../model/connection-sync.ts';
import { type SyncSysctls, syncSysctlDefaults } from '../../model/sysctls.ts';
import { waitAnyReadable } from '../../sys/socket.ts';
import type { UdpReceiver } from '../../sys/udp-socket.ts';
import { decodeAgain, encodeAgain } from './again.ts';
import { openBatch } from './batch.ts';
import type { SyncExchange } from './exchange.ts';
import { decodeMessage, encodeEnd } from './message.ts';
import { type Outbox, openOutbox } from './outbox.ts';
import { openRepair } from './repair.ts';
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
const unsentMs = 1000;
/** What waits for a socket is tried again after this. */
const waitingMs = 2;
/** At the end what waits may still go out for so long, and what others lack is told again. */
const closingMs = 150;
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
  wait: typeof waitAnyReadable = waitAnyReadable,
): SyncWorker {
  const tally = newTally();
  const outboxes = senders.map(openOutbox);
  const batches = outboxes.map((outbox) =>
    openBatch(settings.id, maxLength - wire.overhead, (message, places) => send(outbox, message, places)),
  );
  const waiting = () => outboxes.reduce((sum, outbox) => sum + outbox.waiting(), 0);
  const take: TakeConnection = (connection, place) =>
    batches[portOf(connection, batches.length)]!.add(connection, place);
  const flush = () => {
    for (const batch of batches) batch.flush();
  };
  /** Where messages have numbers. */
  const repair =
    wire.sealed &&
    openRepair(
      (places) => {
        feed.again(places, take);
        flush();
      },
      (message) => send(outboxes[0]!, encodeAgain(settings.id, message), [], message.kind !== 'number'),
    );
  const [receiver] = receivers as readonly [UdpReceiver, ...UdpReceiver[]];
  let transferring = true;
  let again = false;
  let stepAtMs = now();
  let toldMs = Number.NEGATIVE_INFINITY;
  let unsentAtMs = Number.POSITIVE_INFINITY;
  let lost = feed.lost();
  let lags: { readonly atMs: number; readonly ms: number }[] = [];
  let roundMs = refreshRoundMs;
  follow(syncSysctlDefaults);

  function send(outbox: Outbox, message: Buffer, places: readonly number[], matters = true): void {
    const sealed = wire.seal(message);
    if (wire.sealed) repair?.sent(wire.sealed().number, places, now());
    trySending(() => {
      if (!outbox.send(sealed)) throw new Error(`${outbox.waiting()} messages wait already (sync_qlen_max)`);
      if (places.length > 0) tally.messages++;
      tally.connections += places.length;
    }, matters);
  }

  function trySending(work: () => void, matters = true): void {
    try {
      work();
    } catch (error) {
      if (!matters) return;
      refuse(tally, `cannot send: ${error instanceof Error ? error.message : error}`);
      unsentAtMs = Math.min(unsentAtMs, now() + unsentMs);
    }
  }

  /** What waits for a socket goes first; then what was lost. */
  function catchUp(): void {
    for (const outbox of outboxes) if (outbox.waiting() > 0) trySending(outbox.flush);
    if (waiting() === 0) repair?.turn(now());
  }

  /** A backup that comes says so by a message without connections, which IPVS does not mind. */
  function hear(): void {
    for (let arrived = receiver.receive(); arrived; arrived = receiver.receive()) {
      const opened = wire.open(arrived);
      const said = typeof opened === 'string' ? undefined : decodeAgain(opened);
      if (said?.kind === 'lost' && said.session === wire.sealed?.().session && !repair?.lost(said.spans))
        tellAll();
      const message = typeof opened === 'string' ? opened : decodeMessage(opened);
      if (typeof message === 'string' || message.version !== 1 || message.connections.length > 0) continue;
      if (message.refused.length > 0 || (message.id !== settings.id && message.id !== 0)) continue;
      tellAll();
    }
  }

  function tellAll(): void {
    if (transferring) again = true;
    transferring = true;
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
      if (!transferring)
        for (const outbox of outboxes) send(outbox, encodeEnd(settings.id, senders.length), []);
    }
    stepAtMs = now() + (transferring ? stepMs : refreshStepMs);
    if (now() < unsentAtMs) return;
    unsentAtMs = Number.POSITIVE_INFINITY;
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
    for (const outbox of outboxes) outbox.hold(sysctls.sync_qlen_max);
  }

  return {
    follow,
    turn(patienceMs) {
      const dueMs = Math.min(stepAtMs - now(), repair?.dueInMs(now()) ?? patienceMs);
      const waitMs = Math.min(patienceMs, waiting() > 0 ? waitingMs : Math.max(0, dueMs));
      if (wait([feed.fd, receiver.fd], waitMs)) {
        const sinceMs = now();
        hear();
        if (wait([feed.fd], 0)) {
          const gathersMs = toldMs + gatherMs - sinceMs;
          if (gathersMs > 0) wait([], gathersMs);
          drain(sinceMs);
          toldMs = now();
        }
      }
      catchUp();
      // What is told without hurry does not fill the place of what waits.
      if (waiting() === 0 && now() >= stepAtMs) step();
    },
    progress() {
      const recent = lags.filter(({ atMs }) => atMs > now() - lagWindowMs);
      return progressOf(tally, {
        encrypted: wire.encrypted,
        unbound: 0,
        waiting: waiting(),
        ...(repair && { toldAgain: repair.toldAgain() }),
        lagMs: Math.ceil(Math.max(0, ...recent.map(({ ms }) => ms))),
      });
    },
    close() {
      const endMs = now() + closingMs;
      do {
        drain(now());
        hear();
        catchUp();
        waitAnyReadable([receiver.fd], waitingMs);
      } while (now() < endMs && (repair || waiting() > 0));
      feed.end();
    },
  };
}
