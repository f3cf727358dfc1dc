import { type SyncDaemon, syncMaxLength } from '../../model/connection-sync.ts';
import { findLink } from '../../sys/netlink/link.ts';
import { withNetlink } from '../../sys/netlink/socket.ts';
import { openUdpReceiver, openUdpSender, type UdpReceiver, type UdpSender } from '../../sys/udp-socket.ts';

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
  const { group, port, ttl, interface: name } = daemon;
  const link = withNetlink({}, (netlink) => findLink(netlink, name));
  if (!link) return undefined;
  const { index, mtu } = link;
  const place = { group, port, device: { name, index } };
  const receiver = openUdpReceiver(place, receiveBufferBytes);
  try {
    const sender = openUdpSender(place, ttl);
    return {
      receiver,
      sender,
      maxLength: syncMaxLength(daemon, mtu),
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
