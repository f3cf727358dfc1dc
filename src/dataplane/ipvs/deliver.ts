import { readFileSync } from 'node:fs';
import { openBatch } from '../../ha/sync/batch.ts';
import { type SyncedConnection, syncDefaults } from '../../model/connection-sync.ts';
import { HeadgateError } from '../../model/errors.ts';
import { SystemError } from '../../sys/ffi.ts';
import { findLink } from '../../sys/netlink/link.ts';
import { NetlinkError, withNetlink } from '../../sys/netlink/socket.ts';
import { openUdpSender } from '../../sys/udp-socket.ts';
import { openKernel } from './kernel.ts';

/*
 * Connections get into the kernel's table by packets, or by a backup sync daemon that is told of them (ip_vs_proc_conn): so one
 * is started at the loopback device, told, and stopped again.
 */

/** Hands connections over to the kernel's IPVS. */
export type Delivery = {
  /** Those that are known already take on what is said of them. Some may be lost on the way: who must know looks. */
  tell(connections: Iterable<SyncedConnection>): void;
  /** The daemon ends. */
  close(): void;
};

/** Where the daemon that is told listens; nobody's connection sync does. */
export const deliveryDevice = 'lo';
const device = deliveryDevice;
/** Nobody else speaks on the loopback device, but ids tell. */
const syncId = 255;
/** As much as fits one packet of Ethernet: the receive buffer counts whole pages of a longer one. */
const messageBytes = 1472;
/** Another one than that of connection sync, which may run here, too. */
const port = 48_848;
/** Messages after which the daemon, a thread of the kernel's, gets time to empty its buffer of some ninety. */
const burst = 32;
const pauseMs = 1;
/** A buffer that is not emptied by then belongs to a daemon that does not work. */
const patienceMs = 10_000;

/** Opens the way. Throws HG_MOVE: another backup daemon runs, or there is no loopback device to speak on. */
export function openDelivery(): Delivery {
  const kernel = openKernel();
  if (!kernel) throw new HeadgateError('HG_IPVS', 'Cannot tell IPVS of connections: this kernel has none');
  const link = withNetlink({}, (netlink) => findLink(netlink, device));
  const daemon = { ...syncDefaults, port, role: 'backup', interface: device, id: syncId } as const;
  try {
    if (!link?.up)
      throw new HeadgateError('HG_MOVE', 'Cannot tell IPVS of connections: the loopback device is down', {
        hint: 'ip link set lo up',
      });
    const running = kernel.daemons().find(({ role }) => role === 'backup');
    if (running && running.interface !== device)
      throw new HeadgateError(
        'HG_MOVE',
        `Cannot tell IPVS of connections: its backup sync daemon listens on ${running.interface} already, and there can be one`,
        { hint: 'ipvsadm --stop-daemon backup' },
      );
    // One that a command that was cut off has left.
    if (running) kernel.stopDaemon('backup');
    kernel.startDaemon(daemon);
  } catch (error) {
    kernel.close();
    if (!(error instanceof NetlinkError)) throw error;
    throw new HeadgateError('HG_MOVE', `Cannot tell IPVS of connections: ${error.message}`, { cause: error });
  }
  const place = { ...syncDefaults, port, device: { name: device, index: link.index } };
  let sender: ReturnType<typeof openUdpSender>;
  try {
    sender = openUdpSender(place, 1);
  } catch (error) {
    kernel.stopDaemon('backup');
    kernel.close();
    throw error;
  }
  return {
    tell(connections) {
      let sent = 0;
      const batch = openBatch(syncId, messageBytes, (message) => {
        sender.send(message);
        if (++sent % burst === 0) untilHeard();
      });
      try {
        for (const connection of connections) batch.add(connection);
        batch.flush();
      } catch (error) {
        if (!(error instanceof SystemError)) throw error;
        throw new HeadgateError('HG_MOVE', `Cannot tell IPVS of connections: ${error.message}`, {
          cause: error,
        });
      }
      untilHeard();
    },
    close() {
      sender.close();
      try {
        kernel.stopDaemon('backup');
      } finally {
        kernel.close();
      }
    },
  };
}

/** Waits until nothing is left in the daemon's buffer, which /proc/net/udp tells (udp4_format_sock). */
function untilHeard(): void {
  const deadline = performance.now() + patienceMs;
  do Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs);
  while (waiting() > 0 && performance.now() < deadline);
}

function waiting(): number {
  const place = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const lines = readFileSync('/proc/thread-self/net/udp', 'latin1').split('\n');
  const queues = lines.map((line) => line.trim().split(/\s+/)).filter(([, local]) => local?.endsWith(place));
  return queues.reduce((sum, fields) => sum + Number.parseInt(fields[4]?.split(':')[1] ?? '0', 16), 0);
}
