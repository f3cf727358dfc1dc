import type { Address } from '../../model/address.ts';
import { type SyncSettings, syncDefaults } from '../../model/connection-sync.ts';
import { type PeerStatement, peerPort } from '../../model/peer.ts';
import { findLink } from '../../sys/netlink/link.ts';
import { withNetlink } from '../../sys/netlink/socket.ts';
import { openUdpReceiver, openUdpSender } from '../../sys/udp-socket.ts';
import { clearWire, sealedWire } from '../sync/wire.ts';
import { encodeStatement, statementAmongMessages } from './statement.ts';

/** Where directors meet: what their connection sync has. */
export type PeersPlace = Pick<SyncSettings, 'interface' | 'id' | 'port' | 'ttl'> & {
  readonly group?: Address;
  readonly secret?: string;
};

/** Another director. */
export type HeardPeer = {
  readonly source: Address;
  readonly heardMs: number;
  readonly statement: PeerStatement;
};

/** Tells other directors of this one, and keeps what they say. */
export type Peers = {
  /** Throws SystemError (ENETDOWN). */
  say(statement: PeerStatement): void;
  /** Reads what has come. Why the last thing that did not count did not; undefined: all counted. */
  hear(): string | undefined;
  close(): void;
};

/** Whoever speaks from ever new addresses fills nothing. */
const mostPeers = 16;
const mostAtOnce = 200;
const receiveBufferBytes = 1 << 20;

/**
 * Opens the sockets; undefined where there is no such interface. What is heard goes into `peers`. `now` is monotonic, `wallMs`
 * is not; milliseconds. Throws SystemError.
 */
export function openPeers(
  place: PeersPlace,
  peers: Map<Address, HeardPeer>,
  now: () => number,
  wallMs: () => number,
): Peers | undefined {
  const { interface: name, id, port, ttl, group = syncDefaults.group, secret } = place;
  const link = withNetlink({}, (netlink) => findLink(netlink, name));
  if (!link) return undefined;
  const where = { group, port: peerPort(port), device: { name, index: link.index } };
  const receiver = openUdpReceiver(where, receiveBufferBytes);
  const sender = (() => {
    try {
      return openUdpSender(where, ttl);
    } catch (error) {
      receiver.close();
      throw error;
    }
  })();
  const wire = secret === undefined ? clearWire : sealedWire(secret, wallMs);

  function take(datagram: Buffer, source: Address): string | undefined {
    const opened = wire.open(datagram);
    const said = typeof opened === 'string' ? opened : statementAmongMessages(opened);
    if (said === undefined) return undefined;
    if (typeof said === 'string') return `${source}: ${said}`;
    if (said.id !== id) return undefined;
    if (!peers.has(source) && peers.size >= mostPeers) {
      const [longest] = [...peers.values()].toSorted((a, b) => a.heardMs - b.heardMs);
      peers.delete(longest!.source);
    }
    peers.set(source, { source, heardMs: now(), statement: said.statement });
    return undefined;
  }

  return {
    say: (statement) => void sender.send(wire.seal(encodeStatement(id, statement))),
    hear() {
      let refused: string | undefined;
      for (let i = 0; i < mostAtOnce; i++) {
        const datagram = receiver.receive();
        if (!datagram) break;
        refused = take(datagram, receiver.source() as Address) ?? refused;
      }
      return refused;
    },
    close() {
      receiver.close();
      sender.close();
    },
  };
}
