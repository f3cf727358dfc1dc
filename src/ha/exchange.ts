import { type Address, type Family, parseAddress } from '../model/address.ts';
import { type IpReceiver, type IpSender, openIpReceiver, openIpSender } from '../sys/ip-socket.ts';
import {
  type Advertisement,
  type AuthenticationType,
  decodeAdvertisement,
  encodeAdvertisement,
  type Malformed,
  multicastGroup,
  type Received,
  vrrpHopLimit,
  vrrpProtocol,
} from './vrrp/packet.ts';

/** A device as sockets are bound to it. */
export type Device = { readonly name: string; readonly index: number };

/** What arrived: an advertisement, or why it is none. */
export type Arrived = {
  readonly from: Address;
  readonly to: Address;
  readonly hopLimit: number;
  readonly said: Received | Malformed;
};

/** The advertisements of one device and family, for all instances there. */
export type Exchange = {
  /** For a poller. */
  readonly fd: number;
  /** The next one; undefined when none waits. Throws SystemError where the device went. */
  receive(): Arrived | undefined;
  /** Tells every one of `to`, or with none the multicast group. False: not all of it left. */
  send(
    advertisement: Advertisement,
    source: Address,
    to: readonly Address[],
    authentication?: { readonly type: AuthenticationType; readonly secret: string },
  ): boolean;
  close(): void;
};

/** RFC 9568 has no word about it; keepalived marks advertisements as network control, and so do we. */
const networkControl = 0xc0;

/** Opens the sockets. Throws SystemError (EPERM without CAP_NET_RAW). */
export function openExchange(family: Family, device: Device): Exchange {
  const common = { protocol: vrrpProtocol, device };
  const receiver: IpReceiver = openIpReceiver(family, { ...common, groups: [multicastGroup[family]] });
  const senders = new Map<Address, IpSender>();
  const senderFrom = (source: Address): IpSender => {
    const sender =
      senders.get(source) ??
      openIpSender(source, { ...common, hopLimit: vrrpHopLimit, trafficClass: networkControl });
    senders.set(source, sender);
    return sender;
  };
  return {
    fd: receiver.fd,
    receive() {
      const packet = receiver.receive();
      if (!packet) return undefined;
      const [from, to] = [parseAddress(packet.source)!, parseAddress(packet.destination)!];
      const said = decodeAdvertisement(packet.payload, { source: from, destination: to });
      return { from, to, hopLimit: packet.hopLimit, said };
    },
    send(advertisement, source, to, authentication) {
      const sender = senderFrom(source);
      let all = true;
      for (const destination of to.length > 0 ? to : [multicastGroup[family]]) {
        const pdu = encodeAdvertisement(advertisement, { source, destination }, authentication);
        all = sender.send(pdu, destination) && all;
      }
      return all;
    },
    close() {
      receiver.close();
      for (const sender of senders.values()) sender.close();
    },
  };
}
