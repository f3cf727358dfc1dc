import { addressOf, closeFd } from './ffi.ts';
import {
  bindSocket,
  families,
  openSocket,
  receiveDatagram,
  sendDatagram,
  setReceiveBuffer,
  setSocketOption,
  socketTypes,
  waitReadable,
} from './socket.ts';

const allProtocols = 0x0003;
const packetOutgoing = 4;
const maximumFrame = 256 * 1024;
const [socketLevel, attachFilterOption] = [1, 26];
/** The sender's address in an ARP frame, with the Ethernet header (RFC 826). */
const arpSenderAt = 28;
/** In a neighbour advertisement, likewise (RFC 8200, 3; RFC 4861, 4.4): the last four bytes of its target. */
const [nextHeaderAt, icmpTypeAt, targetEndAt] = [20, 54, 74];
const [icmpv6, neighbourAdvertisement] = [58, 136];
/** A jump goes no further than 255 instructions. */
const mostFiltered = 240;

/** A frame as it passed the device. */
export type Frame = {
  readonly bytes: Buffer;
  /** The frame left through the device rather than arrived. */
  readonly outgoing: boolean;
};

/** Frames of one device, with their Ethernet header. */
export type FrameSocket = {
  /** For a poller; readable when a frame waits. */
  readonly fd: number;
  /** Sends a frame. False: the device's queue is full. Throws SystemError (ENETDOWN, EMSGSIZE). */
  send(frame: Uint8Array): boolean;
  /** The next frame; undefined when none waits, or none arrived within `timeoutMs` (which blocks the event loop). */
  receive(timeoutMs?: number): Frame | undefined;
  close(): void;
};

/** SO_ATTACH_FILTER takes a struct sock_fprog: a number of instructions, and where they are. */
function attachFilter(fd: number, filter: Buffer): void {
  const program = Buffer.alloc(16);
  program.writeUInt16LE(filter.length / 8);
  program.writeBigUInt64LE(BigInt(addressOf(filter)), 8);
  setSocketOption(fd, socketLevel, attachFilterOption, program);
}

/** Instructions of classic BPF (linux/filter.h). */
const [loadWord, loadByte, jumpIfEqual, give] = [0x20, 0x30, 0x15, 0x06];
/** SKF_AD_OFF + SKF_AD_PKTTYPE. */
const packetType = 0xfffff004;

function instruction(code: number, jumpTrue: number, jumpFalse: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16LE(code);
  bytes[2] = jumpTrue;
  bytes[3] = jumpFalse;
  bytes.writeUInt32LE(value >>> 0, 4);
  return bytes;
}

/**
 * Frames that others sent, with these bytes where they are wanted, and one of `words` at `wordAt`; of more than a jump can pass
 * over, the first ones.
 */
function arrivedFilter(
  bytes: readonly (readonly [at: number, value: number])[],
  wordAt: number,
  words: readonly Uint8Array[],
): Buffer {
  const wanted = words.slice(0, mostFiltered);
  return Buffer.concat([
    instruction(loadWord, 0, 0, packetType),
    instruction(jumpIfEqual, 2 * bytes.length + wanted.length + 1, 0, packetOutgoing),
    ...bytes.flatMap(([at, value], i) => [
      instruction(loadByte, 0, 0, at),
      instruction(jumpIfEqual, 0, 2 * (bytes.length - 1 - i) + wanted.length + 1, value),
    ]),
    instruction(loadWord, 0, 0, wordAt),
    ...wanted.map((one, i) =>
      instruction(jumpIfEqual, wanted.length - i, 0, Buffer.from(one).readUInt32BE(0)),
    ),
    instruction(give, 0, 0, 0),
    instruction(give, 0, 0, 0xffff),
  ]);
}

/** ARP frames that others sent with one of these IPv4 addresses, four bytes each, as theirs. */
export const arpSenderFilter = (addresses: readonly Uint8Array[]): Buffer =>
  arrivedFilter([], arpSenderAt, addresses);

/** Neighbour advertisements that others sent for one of these IPv6 addresses, or one that ends like it. */
export const advertisedTargetFilter = (addresses: readonly Uint8Array[]): Buffer =>
  arrivedFilter(
    [
      [nextHeaderAt, icmpv6],
      [icmpTypeAt, neighbourAdvertisement],
    ],
    targetEndAt,
    addresses.map((one) => one.subarray(12)),
  );

/** Opens a packet socket on the device with this ifindex, in the caller's network namespace. Needs CAP_NET_RAW. */
export function openFrameSocket(
  index: number,
  { protocol = allProtocols, filter }: { protocol?: number; filter?: Buffer } = {},
): FrameSocket {
  const wire = Buffer.alloc(2);
  wire.writeUInt16BE(protocol);
  // Opened for no protocol, so that nothing of another device arrives before it is bound.
  const fd = openSocket(families.packet, socketTypes.raw, 0);
  const address = Buffer.alloc(20);
  address.writeUInt16LE(families.packet, 0);
  wire.copy(address, 2);
  address.writeInt32LE(index, 4);
  try {
    if (filter) attachFilter(fd, filter);
    setReceiveBuffer(fd, 4 * 1024 * 1024);
    bindSocket(fd, address);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  let open = true;
  const buffer = Buffer.allocUnsafeSlow(maximumFrame);
  const from = Buffer.alloc(20);
  return {
    fd,
    send: (frame) => sendDatagram(fd, frame),
    receive(timeoutMs = 0) {
      if (timeoutMs > 0 && !waitReadable(fd, timeoutMs)) return undefined;
      const length = receiveDatagram(fd, buffer, { from });
      if (length === undefined) return undefined;
      return { bytes: Buffer.from(buffer.subarray(0, length)), outgoing: from[10] === packetOutgoing };
    },
    close() {
      if (open) closeFd(fd);
      open = false;
    },
  };
}
