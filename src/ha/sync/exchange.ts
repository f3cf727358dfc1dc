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

/** The sockets of a sync process. */
export type SyncExchange = {
  readonly receiver: UdpReceiver;
  readonly sender: UdpSender;
  /** Longest message. */
  readonly maxLength: number;
  close(): void;
};

/** Opens them; undefined where there is no such interface. Throws SystemError. */
export function openSyncExchange(daemon: SyncDaemon): SyncExchange | undefined {
  const found = placeOf(daemon);
  if (!found) return undefined;
  const { place, maxLength } = found;
  const receiver = openUdpReceiver(place, receiveBufferBytes);
  try {
    const sender = openUdpSender(place, daemon.ttl);
    return {
      receiver,
      sender,
      maxLength,
      close() {
        receiver.close();
        sender.close();
      },
    };
  } catch (error) {
    receiver.close();
    throw error;
  }
}

/** For who hears nothing. */
export function openSyncSender(daemon: SyncDaemon): Omit<SyncExchange, 'receiver'> | undefined {
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
