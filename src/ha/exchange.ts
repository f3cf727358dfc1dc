import { type Address, type Family, isMulticast, parseAddress } from '../model/address.ts';
import {
  type IpPacket,
  type IpReceiver,
  type IpSender,
  openIpReceiver,
  openIpSender,
} from '../sys/ip-socket.ts';
import { parseMac } from '../sys/netlink/ip.ts';
import { type FrameSocket, openFrameSocket } from '../sys/raw.ts';
import { type Authenticated, encloseIn, headerProtocol, takeHeader } from './vrrp/authentication-header.ts';
import { ipPacket, multicastFrame, networkControl, withChecksum } from './vrrp/frame.ts';
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
  /** The authentication header it came behind. */
  readonly header?: Authenticated;
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
    /** Of what is behind an authentication header. */
    sequence?: number,
    /** The MAC address that multicast comes from; absent: that of the device. */
    mac?: string,
  ): boolean;
  close(): void;
};

/** What a packet is to VRRP; `authenticated`: with an authentication header. Never throws, whatever it holds. */
export function readArrived(
  { source, destination, hopLimit, payload, header }: IpPacket,
  authenticated: boolean,
): Arrived {
  const [from, to] = [parseAddress(source)!, parseAddress(destination)!];
  const ends = { source: from, destination: to };
  if (!authenticated) return { from, to, hopLimit, said: decodeAdvertisement(payload, ends) };
  const taken = header && takeHeader(header, payload);
  if (!taken) return { from, to, hopLimit, said: 'authentication-type' };
  return { from, to, hopLimit, said: decodeAdvertisement(taken.pdu, ends), header: taken };
}

/**
 * Opens the sockets; `authenticated`: for what is behind an authentication header, and nothing else (IPv4). Throws SystemError
 * (EPERM without CAP_NET_RAW).
 */
export function openExchange(family: Family, device: Device, authenticated = false): Exchange {
  const common = { protocol: authenticated ? headerProtocol : vrrpProtocol, device };
  const receiver: IpReceiver = openIpReceiver(family, { ...common, groups: [multicastGroup[family]] });
  const senders = new Map<Address, IpSender>();
  let frames: FrameSocket | undefined;
  const sendFrame = (packet: Buffer, mac: string, group: Address): boolean => {
    frames ??= openFrameSocket(device.index, { protocol: 0 });
    return frames.send(multicastFrame(packet, parseMac(mac), group));
  };
  const senderFrom = (source: Address): IpSender => {
    const sender =
      senders.get(source) ??
      openIpSender(source, {
        ...common,
        ...{ hopLimit: vrrpHopLimit, trafficClass: networkControl, headerIncluded: authenticated },
      });
    senders.set(source, sender);
    return sender;
  };
  return {
    fd: receiver.fd,
    receive() {
      const packet = receiver.receive();
      return packet && readArrived(packet, authenticated);
    },
    send(advertisement, source, to, authentication, sequence = 0, mac) {
      let all = true;
      for (const destination of to.length > 0 ? to : [multicastGroup[family]]) {
        const pdu = encodeAdvertisement(advertisement, { source, destination }, authentication);
        const whole = authenticated
          ? encloseIn(pdu, { source, destination }, { secret: authentication?.secret ?? '', sequence })
          : pdu;
        const left =
          mac !== undefined && isMulticast(destination)
            ? sendFrame(
                authenticated ? withChecksum(whole) : ipPacket(whole, { source, destination }, vrrpProtocol),
                mac,
                destination,
              )
            : senderFrom(source).send(whole, destination);
        all = left && all;
      }
      return all;
    },
    close() {
      receiver.close();
      frames?.close();
      for (const sender of senders.values()) sender.close();
    },
  };
}
