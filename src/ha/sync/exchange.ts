import { type SyncDaemon, syncMaxLength } from '../../model/connection-sync.ts';
import { findLink } from '../../sys/netlink/link.ts';
import { withNetlink } from '../../sys/netlink/socket.ts';
import {
  openUdpReceiver,
  openUdpSender,
  type UdpPlace,
  type UdpReceiver,
  type UdpSender,
} from '../../sys/udp-socket.ts';

/** What a burst may fill while this process is at something else: about 3,500 messages. */
const receiveBufferBytes = 8 << 20;

/** The sockets of a sync process: one of each for every port, the first one being its own. */
export type SyncExchange = {
  readonly receivers: readonly UdpReceiver[];
  readonly senders: readonly UdpSender[];
  /** Longest message. */
  readonly maxLength: number;
  close(): void;
};

export type SyncSockets = {
  /** Ports, one after the other (sync_ports). */
  readonly ports?: number;
  /** Bytes that a socket holds (sync_sock_size); 0 or absent: our own size. */
  readonly bufferBytes?: number;
};

/** Opens them; undefined where there is no such interface. Throws SystemError. */
export function openSyncExchange(
  daemon: SyncDaemon,
  { ports = 1, bufferBytes = 0 }: SyncSockets = {},
): SyncExchange | undefined {
  const found = placeOf(daemon);
  if (!found) return undefined;
  const { place, maxLength } = found;
  const opened: { close(): void }[] = [];
  const close = () => {
    for (const one of opened.splice(0)) one.close();
  };
  const each = <Socket extends { close(): void }>(open: (at: UdpPlace) => Socket): readonly Socket[] =>
    Array.from({ length: ports }, (_, i) => {
      const socket = open({ ...place, port: place.port + i });
      opened.push(socket);
      return socket;
    });
  try {
    const receivers = each((at) => openUdpReceiver(at, bufferBytes || receiveBufferBytes));
    const senders = each((at) => openUdpSender(at, daemon.ttl, bufferBytes));
    return { receivers, senders, maxLength, close };
  } catch (error) {
    close();
    throw error;
  }
}

/** For who hears nothing. */
export function openSyncSender(
  daemon: SyncDaemon,
): { readonly sender: UdpSender; readonly maxLength: number; close(): void } | undefined {
  const found = placeOf(daemon);
  if (!found) return undefined;
  const sender = openUdpSender(found.place, daemon.ttl);
  return { sender, maxLength: found.maxLength, close: sender.close };
}

/** Where its messages go, and how long they may be. */
function placeOf(daemon: SyncDaemon): { readonly place: UdpPlace; readonly maxLength: number } | undefined {
  const { group, port, interface: name } = daemon;
  const link = withNetlink({}, (netlink) => findLink(netlink, name));
  if (!link) return undefined;
  const { index, mtu } = link;
  return { place: { group, port, device: { name, index } }, maxLength: syncMaxLength(daemon, mtu) };
}
