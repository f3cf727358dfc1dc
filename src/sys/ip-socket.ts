import { errnoName } from './errno.ts';
import { addressOf, bindLibc, closeFd, lastErrno, SystemError } from './ffi.ts';
import { joinGroup, socketAddress } from './internet-socket.ts';
import { familyInet, familyInet6, formatIp, parsePrefix } from './netlink/ip.ts';
import { bindSocket, openSocket, sendDatagram, setSocketOption, socketTypes } from './socket.ts';

/** Sockets for a protocol of IP that has no ports (raw(7), ipv6(7)). */

const solSocket = 1;
const bindToDevice = 25;
const ipLevel = 0;
const ip = {
  tos: 1,
  ttl: 2,
  headerIncluded: 3,
  multicastIf: 32,
  multicastTtl: 33,
  multicastLoop: 34,
} as const;
const ipv6Level = 41;
const ipv6 = {
  unicastHops: 16,
  multicastIf: 17,
  multicastHops: 18,
  multicastLoop: 19,
  receivePacketInfo: 49,
  packetInfo: 50,
  receiveHopLimit: 51,
  hopLimit: 52,
  trafficClass: 67,
} as const;
const doNotWait = 0x40;
const largestPacket = 65_535;
const controlBytes = 256;

const cRecvmsg = bindLibc('recvmsg', 'long', ['int', 'void *', 'int']);

/** What such a socket is opened with. */
export type IpSocketOptions = {
  readonly protocol: number;
  /** The device it is bound to: nothing of another one is received, nothing leaves by another one. */
  readonly device: { readonly name: string; readonly index: number };
};

/** A packet as it arrived. */
export type IpPacket = {
  /** What stands behind the IP header. */
  readonly payload: Buffer;
  readonly source: string;
  readonly destination: string;
  readonly hopLimit: number;
  /** The IP header; absent for IPv6, where the kernel does not show it. */
  readonly header?: Buffer;
};

export type IpReceiver = {
  /** For a poller; readable when a packet waits. */
  readonly fd: number;
  /** The next packet; undefined when none waits. Throws SystemError (ENETDOWN: the device went). */
  receive(): IpPacket | undefined;
  close(): void;
};

export type IpSender = {
  /** False: the queue is full. Throws SystemError (ENETDOWN, ENETUNREACH, EPERM, EADDRNOTAVAIL). */
  send(payload: Uint8Array, destination: string): boolean;
  close(): void;
};

/** Receives packets of a protocol that arrive at a device, those for multicast groups too. Throws SystemError. */
export function openIpReceiver(
  family: 4 | 6,
  { protocol, device, groups = [] }: IpSocketOptions & { readonly groups?: readonly string[] },
): IpReceiver {
  const fd = openSocket(family === 4 ? familyInet : familyInet6, socketTypes.raw, protocol);
  try {
    setSocketOption(fd, solSocket, bindToDevice, Buffer.from(`${device.name}\0`));
    for (const group of groups) joinGroup(fd, parsePrefix(group).bytes, device.index);
    if (family === 6) {
      setSocketOption(fd, ipv6Level, ipv6.receivePacketInfo, 1);
      setSocketOption(fd, ipv6Level, ipv6.receiveHopLimit, 1);
    }
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  const receive = messageReader(fd);
  return {
    fd,
    receive() {
      const message = receive();
      if (!message) return undefined;
      return family === 4 ? packet4(message.bytes) : packet6(message);
    },
    close: () => closeFd(fd),
  };
}

/**
 * Sends packets of a protocol from an address of the host, by one device. Those for a multicast group do not come back to
 * this host. Throws SystemError.
 */
export function openIpSender(
  source: string,
  {
    protocol,
    device,
    hopLimit,
    trafficClass,
    headerIncluded = false,
  }: IpSocketOptions & {
    readonly hopLimit: number;
    readonly trafficClass: number;
    /** IPv4: what is sent begins with its IP header, of which the kernel fills in the checksum. */
    readonly headerIncluded?: boolean;
  },
): IpSender {
  const { family } = parsePrefix(source);
  const fd = openSocket(family, socketTypes.raw, protocol);
  const set = (level: number, options: readonly (readonly [number, number])[]) => {
    for (const [option, value] of options) setSocketOption(fd, level, option, value);
  };
  try {
    setSocketOption(fd, solSocket, bindToDevice, Buffer.from(`${device.name}\0`));
    if (family === familyInet) {
      set(ipLevel, [
        [ip.tos, trafficClass],
        [ip.ttl, hopLimit],
        [ip.multicastTtl, hopLimit],
        [ip.multicastLoop, 0],
        [ip.headerIncluded, headerIncluded ? 1 : 0],
      ]);
      const where = Buffer.alloc(12);
      where.writeInt32LE(device.index, 8);
      setSocketOption(fd, ipLevel, ip.multicastIf, where);
    } else {
      set(ipv6Level, [
        [ipv6.trafficClass, trafficClass],
        [ipv6.unicastHops, hopLimit],
        [ipv6.multicastHops, hopLimit],
        [ipv6.multicastLoop, 0],
        [ipv6.multicastIf, device.index],
      ]);
    }
    bindSocket(fd, socketAddress(parsePrefix(source).bytes, 0, device.index));
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  return {
    send: (payload, destination) =>
      sendDatagram(fd, payload, socketAddress(parsePrefix(destination).bytes, 0, device.index)),
    close: () => closeFd(fd),
  };
}

type Message = { readonly bytes: Buffer; readonly from: Buffer; readonly control: Buffer };

/** recvmsg(2) with its buffers made once. */
function messageReader(fd: number): () => Message | undefined {
  const into = Buffer.allocUnsafeSlow(largestPacket);
  const from = Buffer.alloc(28);
  const control = Buffer.alloc(controlBytes);
  const vector = Buffer.alloc(16);
  vector.writeBigUInt64LE(BigInt(addressOf(into)), 0);
  vector.writeBigUInt64LE(BigInt(into.length), 8);
  const message = Buffer.alloc(56);
  const held = { into, from, control, vector, message };
  return () => {
    held.message.fill(0);
    held.message.writeBigUInt64LE(BigInt(addressOf(held.from)), 0);
    held.message.writeUInt32LE(held.from.length, 8);
    held.message.writeBigUInt64LE(BigInt(addressOf(held.vector)), 16);
    held.message.writeBigUInt64LE(1n, 24);
    held.message.writeBigUInt64LE(BigInt(addressOf(held.control)), 32);
    held.message.writeBigUInt64LE(BigInt(held.control.length), 40);
    for (;;) {
      const received: number = cRecvmsg(fd, held.message, doNotWait);
      if (received >= 0) {
        const used = Number(held.message.readBigUInt64LE(40));
        return {
          bytes: Buffer.from(held.into.subarray(0, received)),
          from: held.from,
          control: held.control.subarray(0, used),
        };
      }
      const errno = lastErrno();
      const code = errnoName(errno);
      if (code === 'EINTR') continue;
      if (code === 'EAGAIN') return undefined;
      throw new SystemError('recvmsg', errno);
    }
  };
}

/** The kernel has checked the header (RFC 791, 3.1): version, length and checksum hold. */
function packet4(bytes: Buffer): IpPacket {
  const headerLength = (bytes[0]! & 0xf) * 4;
  const header = bytes.subarray(0, headerLength);
  return {
    payload: bytes.subarray(headerLength),
    source: formatIp(header.subarray(12, 16)),
    destination: formatIp(header.subarray(16, 20)),
    hopLimit: header[8]!,
    header,
  };
}

function packet6({ bytes, from, control }: Message): IpPacket {
  const said = controlMessages(control);
  return {
    payload: bytes,
    source: formatIp(from.subarray(8, 24)),
    destination: formatIp(said.get(ipv6.packetInfo)?.subarray(0, 16) ?? Buffer.alloc(16)),
    hopLimit: said.get(ipv6.hopLimit)?.readInt32LE(0) ?? 0,
  };
}

/** cmsg(3): a length that counts its header, level, type, data, each aligned to eight bytes. */
function controlMessages(control: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at + 16 <= control.length; ) {
    const length = Number(control.readBigUInt64LE(at));
    if (length < 16) break;
    if (control.readInt32LE(at + 8) === ipv6Level)
      found.set(control.readInt32LE(at + 12), control.subarray(at + 16, at + length));
    at += Math.ceil(length / 8) * 8;
  }
  return found;
}
