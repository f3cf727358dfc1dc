import type { ConnectionFeed } from '../../model/connection-feed.ts';
import { backupFlags, type SyncedConnection, type SyncSettings } from '../../model/connection-sync.ts';
import { travelKey } from '../../model/travel.ts';
import { waitAnyReadable } from '../../sys/socket.ts';
import { decodeAgain, encodeAgain } from './again.ts';
import type { SyncExchange } from './exchange.ts';
import { openGaps } from './gaps.ts';
import type { SyncWorker } from './master.ts';
import { decodeMessage, encodeMessage, isEnd, portsOfEnd } from './message.ts';
import { newTally, progressOf, refuse } from './tally.ts';
import type { Wire } from './wire.ts';

/** A backup asks for the whole table until something arrives. */
const askAtMs = [0, 300, 1500, 5000];
/** After more was lost than is asked for piece by piece, it asks for the whole table, at most once in this time. */
const wholeMs = 60_000;
/** Destinations that have come are looked for this often while connections wait for one. */
const bindMs = 100;
/** Connections that wait for a destination; more are kept without it until they are told of again. */
const mostWaiting = 1 << 20;
/** Datagrams between two looks at everything else. */
const datagramsATurn = 256;

/** Enters what other directors tell of. `now` is monotonic, milliseconds. */
export function openBackup(
  settings: SyncSettings,
  feed: ConnectionFeed,
  { receivers, senders }: SyncExchange,
  wire: Wire,
  now: () => number,
): SyncWorker {
  const tally = newTally();
  const startedMs = now();
  const asking = [...askAtMs];
  const waiting = new Map<string, SyncedConnection>();
  /** Where messages have numbers. */
  const gaps = wire.opened && openGaps();
  let wholeWanted = false;
  let wholeAtMs = startedMs;
  let heardMs: number | undefined;
  let bindAtMs = 0;
  let came = false;
  /** Of each port: what is told there in order ends with it. And by how many of them the table came. */
  const ended = receivers.map(() => false);
  let portsTold = receivers.length;
  let whole = false;
  const fds = receivers.map(({ fd }) => fd);

  function hear(datagram: Buffer, port: number): void {
    const opened = wire.open(datagram);
    const message = typeof opened === 'string' ? opened : decodeMessage(opened);
    if (typeof message === 'string') {
      refuse(tally, message);
      return;
    }
    if (settings.id !== 0 && message.id !== settings.id) return;
    for (const why of message.refused) refuse(tally, why);
    if (typeof opened !== 'string') notice(opened, message.connections.length);
    if (typeof opened !== 'string' && isEnd(opened)) {
      [ended[port], heardMs, asking.length] = [true, now(), 0];
      portsTold = portsOfEnd(opened) || receivers.length;
    }
    if (message.connections.length === 0) return;
    [heardMs, asking.length] = [now(), 0];
    tally.messages++;
    for (const connection of message.connections) enter(connection);
  }

  /** Once true it stays so: what is lost later is no part of it. */
  function isWhole(): boolean {
    const told = ended.length >= portsTold && ended.slice(0, portsTold).every((one) => one);
    whole ||= told && !gaps?.counts().missing;
    return whole;
  }

  /** What tells, and what is said of that, has numbers without a gap; who asks has numbers of its own. */
  function notice(opened: Buffer, connections: number): void {
    const said = gaps && decodeAgain(opened);
    if (!gaps || !wire.opened || said?.kind === 'lost') return;
    if (connections === 0 && !said && !isEnd(opened)) return;
    const at = wire.opened();
    heardMs = now();
    gaps.heard(at, heardMs);
    if (said?.kind === 'told-again') gaps.answered(at.session, said.spans);
  }

  function enter(told: SyncedConnection): void {
    const connection = { ...told, flags: told.flags & backupFlags };
    const entered = feed.enter(connection);
    if (entered === 'refused') {
      refuse(tally, `a connection that cannot be entered (protocol ${told.protocol}, state ${told.state})`);
      return;
    }
    tally.connections++;
    if (entered === 'bound' && waiting.size === 0) return;
    const key = travelKey(connection);
    if (entered === 'bound') waiting.delete(key);
    else if (waiting.size < mostWaiting) waiting.set(key, connection);
  }

  /** Destinations have come: connections without one are entered once more. */
  function bind(): void {
    bindAtMs = now() + bindMs;
    // A destination may still be on its way into the list when it is first noticed.
    const before = came;
    came = feed.destinationsCame();
    if (!came && !before) return;
    for (const [key, connection] of waiting) if (feed.enter(connection) !== 'unbound') waiting.delete(key);
  }

  function ask(): void {
    for (const { session, spans } of gaps?.due(now()) ?? [])
      say(encodeAgain(settings.id, { kind: 'lost', session, spans }));
    if (gaps?.beyond()) wholeWanted = true;
    const again = wholeWanted && now() >= wholeAtMs;
    if (!again && (asking.length === 0 || now() < startedMs + asking[0]!)) return;
    if (again) [wholeWanted, wholeAtMs] = [false, now() + wholeMs];
    else asking.shift();
    say(encodeMessage(settings.id, []));
  }

  function say(message: Buffer): void {
    try {
      senders[0]!.send(wire.seal(message));
    } catch (error) {
      refuse(tally, `cannot ask for connections: ${error instanceof Error ? error.message : error}`);
    }
  }

  return {
    turn(patienceMs) {
      ask();
      const waitMs = waiting.size > 0 ? Math.min(patienceMs, bindMs) : patienceMs;
      if (waitAnyReadable(fds, waitMs)) {
        for (const [port, receiver] of receivers.entries())
          for (let i = 0; i < datagramsATurn; i++) {
            const arrived = receiver.receive();
            if (!arrived) break;
            hear(arrived, port);
          }
      }
      if (waiting.size > 0 && now() >= bindAtMs) bind();
    },
    progress: () =>
      progressOf(tally, {
        encrypted: wire.encrypted,
        unbound: waiting.size,
        ...gaps?.counts(),
        whole: isWhole(),
        ...(heardMs !== undefined && { silentMs: Math.round(now() - heardMs) }),
      }),
    // What came before the end is entered.
    close() {
      for (const [port, receiver] of receivers.entries())
        for (let arrived = receiver.receive(); arrived; arrived = receiver.receive()) hear(arrived, port);
    },
  };
}
