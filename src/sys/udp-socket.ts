import { closeFd } from './ffi.ts';
import { familyInet, familyInet6, formatIp, type IpBytes, parseIp } from './netlink/ip.ts';
import {
  bindSocket,
  openSocket,
  receiveDatagram,
  sendDatagram,
  setReceiveBuffer,
  setSocketOption,
  socketTypes,
} from './socket.ts';

/** UDP sockets for a group on one device: without Node's event loop, so that a process can wait for them and for other things. */

const solSocket = 1;
const reuseAddress = 2;
const bindToDevice = 25;
const receiveBufferForce = 33;
const ipLevel = 0;
const ip = { multicastIf: 32, multicastTtl: 33, multicastLoop: 34, addMembership: 35 } as const;
const ipv6Level = 41;
const ipv6 = { multicastIf: 17, multicastHops: 18, multicastLoop: 19, joinGroup: 20 } as const;
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
    growReceiveBuffer(fd, bufferBytes);
    const any = { family, bytes: Buffer.alloc(address.bytes.length) };
    bindSocket(fd, socketAddress(multicast ? address : any, port, device.index));
    if (multicast) join(fd, address, device.index);
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
    // sockaddr_in, sockaddr_in6.
    source: () => formatIp(family === familyInet ? from.subarray(4, 8) : from.subarray(8, 24)),
    close: () => closeFd(fd),
  };
}

/** Sends to a group by one device; a datagram for a multicast group does not come back to this host. Throws SystemError. */
export function openUdpSender({ group, port, device }: UdpPlace, hopLimit: number): UdpSender {
  const address = parseIp(group);
  const fd = openSocket(address.family, socketTypes.datagram, 0);
  const set = (level: number, options: readonly (readonly [number, number])[]) => {
    for (const [option, value] of options) setSocketOption(fd, level, option, value);
  };
  try {
    setSocketOption(fd, solSocket, bindToDevice, Buffer.from(`${device.name}\0`));
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
  const to = socketAddress(address, port, device.index);
  return { send: (datagram) => sendDatagram(fd, datagram, to), close: () => closeFd(fd) };
}

/** Beyond net.core.rmem_max where this process may (CAP_NET_ADMIN), else up to it. */
function growReceiveBuffer(fd: number, bytes: number): void {
  try {
    setSocketOption(fd, solSocket, receiveBufferForce, bytes);
  } catch {
    setReceiveBuffer(fd, bytes);
  }
}

/** ip_mreqn of ip(7), ipv6_mreq of ipv6(7). */
function join(fd: number, { family, bytes }: IpBytes, index: number): void {
  const request = Buffer.alloc(family === familyInet ? 12 : 20);
  bytes.copy(request);
  request.writeInt32LE(index, request.length - 4);
  if (family === familyInet) setSocketOption(fd, ipLevel, ip.addMembership, request);
  else setSocketOption(fd, ipv6Level, ipv6.joinGroup, request);
}

/** sockaddr_in, sockaddr_in6 with the device as scope. */
function socketAddress({ family, bytes }: IpBytes, port: number, index: number): Buffer {
  const out = Buffer.alloc(family === familyInet ? 16 : 28);
  out.writeUInt16LE(family);
  out.writeUInt16BE(port, 2);
  bytes.copy(out, family === familyInet ? 4 : 8);
  if (family === familyInet6 && (bytes[0] === 0xff || bytes[0] === 0xfe)) out.writeUInt32LE(index, 24);
  return out;
}
