import { closeFd } from './ffi.ts';
import {
  bindSocket,
  families,
  openSocket,
  receiveDatagram,
  sendDatagram,
  setReceiveBuffer,
  socketTypes,
  waitReadable,
} from './socket.ts';

const allProtocols = 0x0003;
const packetOutgoing = 4;
const maximumFrame = 256 * 1024;

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

/** Opens a packet socket on the device with this ifindex, in the caller's network namespace. Needs CAP_NET_RAW. */
export function openFrameSocket(
  index: number,
  { protocol = allProtocols }: { protocol?: number } = {},
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
