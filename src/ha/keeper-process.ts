import { rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { setImmediate as others } from 'node:timers/promises';
import { bootTimeMs } from '../sys/clock.ts';
import { runInRealTime } from '../sys/realtime.ts';
import { type KeeperMessage, lines, type OrderMessage } from './channel.ts';
import { openKeeper } from './keeper.ts';

/**
 * The failover process: VRRP and the leases of virtual addresses, and nothing else, so that nothing a daemon does delays an
 * advertisement. It outlives its daemon by a grace, in which the next one can take it over; then it gives its addresses up.
 *
 *     keeper-process SOCKET
 */

/** How long signals and orders may wait for the network. */
const patienceMs = 10;
const statusMs = 1000;
const graceMs = 10_000;
/** Above everything of a host that is not real-time, below what is. */
const priority = 10;

const path = process.argv[2]!;
/** A director that was suspended has to know it. */
const now = bootTimeMs;
let daemon: Socket | undefined;
let lonelySinceMs = now();
let stopping = false;

const tell = (message: KeeperMessage) => daemon?.write(`${JSON.stringify(message)}\n`);
/** The last change of every instance that no daemon has heard of. */
const missed = new Map<string, KeeperMessage>();

const keeper = openKeeper(now, {
  entered(instance, state, reason, priority) {
    const message: KeeperMessage = { kind: 'entered', instance, state, reason, priority };
    if (daemon) tell(message);
    else missed.set(instance, message);
    statusAtMs = 0;
  },
  failed: (instance, what, error) =>
    tell({ kind: 'failed', instance, what, reason: error instanceof Error ? error.message : String(error) }),
});
let statusAtMs = 0;

const server = createServer((socket) => {
  // The newest daemon is the one there is: it holds the lock.
  daemon?.destroy();
  daemon = socket;
  for (const message of missed.values()) tell(message);
  missed.clear();
  socket.on('error', () => socket.destroy());
  socket.on('close', () => {
    if (daemon !== socket) return;
    daemon = undefined;
    lonelySinceMs = now();
  });
  lines(socket, (line) => {
    const message = JSON.parse(line) as OrderMessage;
    if (message.kind === 'stop') stopping = true;
    else if (message.kind === 'orders') keeper.order(message.orders);
    else if (message.kind === 'hand-over') keeper.handOver(message.instances, message.reason);
    else keeper.takeBack(message.instances);
    statusAtMs = 0;
  });
});

rmSync(path, { force: true });
server.listen(path);
for (const signal of ['SIGTERM', 'SIGINT'] as const)
  process.on(signal, () => {
    stopping = true;
  });
const inRealTime = runInRealTime(priority);

while (!stopping) {
  keeper.turn(patienceMs);
  if (now() >= statusAtMs && daemon) {
    statusAtMs = now() + statusMs;
    tell({ kind: 'status', inRealTime, instances: keeper.status() });
  }
  if (!daemon && now() - lonelySinceMs > graceMs) stopping = true;
  await others();
}
keeper.resign();
while (keeper.isResigning()) {
  keeper.turn(patienceMs);
  await others();
}
keeper.stop();
rmSync(path, { force: true });
server.close();
daemon?.end();
