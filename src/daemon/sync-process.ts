import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { setPriority } from 'node:os';
import { setImmediate as others } from 'node:timers/promises';
import { type OpenFeed, openFeed, startSyncAgain } from '../control/connection-sync.ts';
import { digestOf } from '../control/sync-digest.ts';
import { openBackup } from '../ha/sync/backup.ts';
import { openSyncExchange } from '../ha/sync/exchange.ts';
import { openMaster, type SyncWorker } from '../ha/sync/master.ts';
import { clearWire, sealedWire } from '../ha/sync/wire.ts';
import { isMulticast } from '../model/address.ts';
import type { SyncOrder, SyncRefusal } from '../model/connection-sync.ts';

/**
 * The connection sync process: one role, nothing else, so that what a daemon does delays no message. It outlives whoever
 * started it, and ends when it is told to or when the data plane goes. Its order (SyncOrder) comes on standard input; a line
 * on standard output says whether it works.
 */

/** How long signals and questions may wait for the network. */
const patienceMs = 20;
/** The data plane is looked for this often. */
const lookMs = 1000;

const lastPort = 65_535;

/** Before most of a host; failover itself runs in real time. */
const niceness = -15;

const now = () => performance.now();
const order = JSON.parse(readFileSync(0, 'utf8')) as SyncOrder;
const { settings, socket: path } = order;
let stopping = false;
const asking = new Set<Socket>();

function answer(refusal?: SyncRefusal): void {
  process.stdout.on('error', () => undefined);
  process.stdout.write(`${JSON.stringify({ refusal })}\n`);
}

type Opened = {
  readonly worker: SyncWorker;
  readonly feed: OpenFeed;
  readonly maxLength: number;
  close(): void;
};

function open(): Opened | SyncRefusal {
  const feed = openFeed();
  if (!feed) return { reason: 'invalid', detail: 'there is no data plane of this version' };
  const { sync_ports, sync_sock_size: bufferBytes } = feed.sysctls();
  // By unicast a second socket at the port of what directors say of themselves would take it all.
  const ports = isMulticast(settings.group) ? sync_ports : 1;
  if (settings.port + ports - 1 > lastPort) {
    feed.close();
    return { reason: 'invalid', detail: `there are no ${ports} ports from ${settings.port} on (sync_ports)` };
  }
  const exchange = openSyncExchange(settings, { ports, bufferBytes });
  if (!exchange) {
    feed.close();
    return { reason: 'no-interface', detail: `there is no interface ${settings.interface}` };
  }
  const { role, secret } = settings;
  const wire = secret === undefined ? clearWire : sealedWire(secret, Date.now);
  const worker =
    role === 'master'
      ? openMaster(settings, feed, feed.slots, exchange, wire, now)
      : openBackup(settings, feed, exchange, wire, now);
  worker.follow?.(feed.sysctls());
  return {
    worker,
    feed,
    maxLength: exchange.maxLength,
    close() {
      worker.close();
      feed.close();
      exchange.close();
    },
  };
}

async function serve({ worker, feed, maxLength, close }: Opened): Promise<void> {
  const server = createServer((socket) => {
    socket.setEncoding('utf8').on('error', () => socket.destroy());
    socket.on('data', (text) => {
      if (`${text}`.startsWith('stop')) {
        stopping = true;
        asking.add(socket);
        return;
      }
      const { secret, threshold, period, refreshSeconds, ...daemon } = settings;
      const digest = digestOf(settings);
      socket.end(`${JSON.stringify({ ...daemon, maxLength, digest, progress: worker.progress() })}\n`);
    });
  });
  rmSync(path, { force: true });
  server.listen(path);
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.on(signal, () => {
      stopping = true;
    });
  answer();
  let lookAtMs = now() + lookMs;
  while (!stopping) {
    worker.turn(patienceMs);
    // A question is heard, read and answered before the next wait.
    for (let i = 0; i < 3; i++) await others();
    if (now() < lookAtMs) continue;
    lookAtMs = now() + lookMs;
    if (!feed.isCurrent()) break;
    worker.follow?.(feed.sysctls());
  }
  close();
  rmSync(path, { force: true });
  server.close();
  // Another build has taken the plane over: its own process goes on.
  if (!stopping && feed.isThere()) await startSyncAgain(order);
  for (const socket of asking) socket.end();
}

/** Where the scheduler groups by session, a priority counts only within the session, whose own is set too. */
function takePrecedence(): void {
  try {
    setPriority(niceness);
    writeFileSync('/proc/self/autogroup', String(niceness));
  } catch {
    // Without the right to it, or without such groups, messages may be late where a host is busy.
  }
}

takePrecedence();
const opened = open();
if ('reason' in opened) answer(opened);
else await serve(opened);
process.exit();
