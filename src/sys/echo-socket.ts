import { closeFd } from './ffi.ts';
import { addressIn, socketAddress } from './internet-socket.ts';
import {
  bindSocket,
  families,
  growBuffer,
  openSocket,
  receiveDatagram,
  sendDatagram,
  setSocketOption,
  socketTypes,
} from './socket.ts';

/** Raw ICMP sockets for echo requests (raw(7), RFC 3542, section 3.2). They need CAP_NET_RAW. */

const protocolIcmp = 1;
const protocolIcmpv6 = 58;
const solRaw = 255;
const filterOption = 1; // ICMP_FILTER, and ICMPV6_FILTER of its own level
/** Echo reply, destination unreachable, time exceeded. */
const heardTypes = { 4: [0, 3, 11], 6: [129, 1, 3] } as const;
/** A burst of 5,000 replies: a small packet costs 832 bytes of it. */
const receiveBuffer = 4 * 1024 * 1024;
/** More than any error carries of the packet it is about, and than the echo requests sent here. */
const longestPacket = 2048;

export type EchoSocket = {
  /** Sends an ICMP message; the kernel adds the checksum of ICMPv6, not that of ICMP. False: the queue is full. Throws SystemError. */
  send(message: Uint8Array, to: Uint8Array): boolean;
  /** The next packet that waits: from its IP header on for IPv4, without it for IPv6. Undefined when none waits. */
  receive(): { readonly packet: Buffer; readonly from: Uint8Array } | undefined;
  close(): void;
};

/** Opens one for a version of IP; addresses are in network byte order. With `source` its packets come from there. */
export function openEchoSocket(version: 4 | 6, source?: Uint8Array): EchoSocket {
  const isV4 = version === 4;
  const fd = openSocket(
    isV4 ? families.inet : families.inet6,
    socketTypes.raw,
    isV4 ? protocolIcmp : protocolIcmpv6,
  );
  try {
    setSocketOption(fd, isV4 ? solRaw : protocolIcmpv6, filterOption, filter(version));
    growBuffer(fd, 'receive', receiveBuffer);
    if (source) bindSocket(fd, socketAddress(source));
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  const into = Buffer.alloc(longestPacket);
  const from = Buffer.alloc(28);
  return {
    send: (message, to) => sendDatagram(fd, message, socketAddress(to)),
    receive() {
      const length = receiveDatagram(fd, into, { from });
      if (length === undefined) return undefined;
      return {
        packet: Buffer.from(into.subarray(0, Math.min(length, longestPacket))),
        from: Uint8Array.from(addressIn(from)),
      };
    },
    close: () => closeFd(fd),
  };
}

/** A bit for each type that is not heard: 32 of them for IPv4, 256 for IPv6. */
function filter(version: 4 | 6): Buffer {
  const bits = Buffer.alloc(version === 4 ? 4 : 32, 0xff);
  for (const type of heardTypes[version]) {
    const at = (type >> 5) * 4;
    bits.writeUInt32LE((bits.readUInt32LE(at) & ~(1 << (type & 31))) >>> 0, at);
  }
  return bits;
}
