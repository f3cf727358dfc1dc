import { closeFd } from './ffi.ts';
import { addressIn, joinGroup, socketAddress } from './internet-socket.ts';
import { familyInet, formatIp, type IpBytes, parseIp } from './netlink/ip.ts';
import {
  bindSocket,
  growBuffer,
  openSocket,
  receiveDatagram,
  sendDatagram,
  setSocketOption,
  socketTypes,
} from './socket.ts';

/** UDP sockets for a group on one device: without Node's event loop, so that a process can wait for them and for other things. */

const solSocket = 1;
const reuseAddress = 2;
const bindToDevice = 25;
const ipLevel = 0;
const ip = { multicastIf: 32, multicastTtl: 33, multicastLoop: 34 } as const;
const ipv6Level = 41;
const ipv6 = { multicastIf: 17, multicastHops: 18, multicastLoop: 19 } as const;
const largestDatagram = 65_535;

/** Where a group of directors meets. */
export type UdpPlace = {
  /** A multicast group, or the address of the one peer. */
  readonly group: string;
  readonly port: number;
  readonly device: { readonly name: string; readonly index: number };
};

export type UdpReceiver = {
  /** For a poller; readable when a datagram waits. */
  readonly fd: number;
  /** The next datagram, in memory that the next one overwrites; undefined when none waits. */
  receive(): Buffer | undefined;
  /** Who sent that one. */
  source(): string;
  close(): void;
};

export type UdpSender = {
  /** False: the queue is full. Throws SystemError (ENETUNREACH, ENETDOWN, EMSGSIZE). */
  send(datagram: Uint8Array): boolean;
  close(): void;
};

const isMulticast = ({ family, bytes }: IpBytes) =>
  family === familyInet ? (bytes[0]! & 0xf0) === 0xe0 : bytes[0] === 0xff;

/** Receives what is sent to a group; for a peer's address, what is sent to this host's own. Throws SystemError. */
export function openUdpReceiver({ group, port, device }: UdpPlace, bufferBytes: number): UdpReceiver {
  const address = parseIp(group);
  const { family } = address;
  const multicast = isMulticast(address);
  const fd = openSocket(family, socketTypes.datagram, 0);
  try {
    setSocketOption(fd, solSocket, reuseAddress, 1);
    setSocketOption(fd, solSocket, bindToDevice, Buffer.from(`${device.name}\0`));
    growBuffer(fd, 'receive', bufferBytes);
    const any = Buffer.alloc(address.bytes.length);
    bindSocket(fd, socketAddress(multicast ? address.bytes : any, port, device.index));
    if (multicast) joinGroup(fd, address.bytes, device.index);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  const into = Buffer.allocUnsafeSlow(largestDatagram);
  const from = Buffer.alloc(28);
  return {
    fd,
    receive() {
      const length = receiveDatagram(fd, into, { from });
      return length === undefined ? undefined : into.subarray(0, length);
    },
    source: () => formatIp(addressIn(from)),
    close: () => closeFd(fd),
  };
}

/**
 * Sends to a group by one device; a datagram for a multicast group does not come back to this host. `bufferBytes` may wait to be
 * sent, 0: as many as the system has it. Throws SystemError.
 */
export function openUdpSender(
  { group, port, device }: UdpPlace,
  hopLimit: number,
  bufferBytes = 0,
): UdpSender {
  const address = parseIp(group);
  const fd = openSocket(address.family, socketTypes.datagram, 0);
  const set = (level: number, options: readonly (readonly [number, number])[]) => {
    for (const [option, value] of options) setSocketOption(fd, level, option, value);
  };
  try {
    setSocketOption(fd, solSocket, bindToDevice, Buffer.from(`${device.name}\0`));
    if (bufferBytes > 0) growBuffer(fd, 'send', bufferBytes);
    if (address.family === familyInet) {
      set(ipLevel, [
        [ip.multicastTtl, hopLimit],
        [ip.multicastLoop, 0],
      ]);
      const where = Buffer.alloc(12);
      where.writeInt32LE(device.index, 8);
      setSocketOption(fd, ipLevel, ip.multicastIf, where);
    } else {
      set(ipv6Level, [
        [ipv6.multicastHops, hopLimit],
        [ipv6.multicastLoop, 0],
        [ipv6.multicastIf, device.index],
      ]);
    }
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  const to = socketAddress(address.bytes, port, device.index);
  return { send: (datagram) => sendDatagram(fd, datagram, to), close: () => closeFd(fd) };
}
