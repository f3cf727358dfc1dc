import { withNetns } from '../../src/sys/netns.ts';
import { type Frame, type FrameSocket, openFrameSocket } from '../../src/sys/raw.ts';
import { waitAnyReadable } from '../../src/sys/socket.ts';
import { type Decoded, decode, isTransport, type Packet } from '../packets/frame.ts';
import { inbound } from '../packets/harness.ts';
import type { DeviceName, World } from '../packets/world.ts';

/** A packet that left the director, and the MAC address it was sent to, in hexadecimal. */
export type Left = {
  readonly device: DeviceName;
  readonly to: string;
  readonly packet: Buffer;
  readonly ip: Decoded;
};

/** The far ends of a director's interfaces: real frames in, real frames out, whatever forwards between. */
export type Wire = {
  /**
   * Sends a packet to the director by an interface, and returns what leaves it in consequence: packets of TCP and UDP, also in
   * tunnels, and ICMP errors. On one processor all of it has happened when the call returns.
   */
  send(device: DeviceName, packet: Packet | Uint8Array): Left[];
  close(): void;
};

const devices: readonly DeviceName[] = ['c0', 'r0', 'm0'];
/** Where a packet is handled by another thread of the kernel after all, it comes within this time. */
const graceMs = 20;

/**
 * Opens the far ends of a world. `patient`: what leaves is looked at when the time that another thread of the kernel may take is
 * over, also where something has left before that; without it, only where nothing has.
 */
export function openWire(world: World, { patient = false } = {}): Wire {
  const sockets = withNetns(world.outside, () =>
    devices.map((device): [DeviceName, FrameSocket] => [device, openFrameSocket(world.farIndex[device])]),
  );
  const socketOf = new Map(sockets);
  const receive = (): Left[] =>
    sockets.flatMap(([device, socket]) => [...framesOf(socket)].flatMap((frame) => left(device, frame)));
  return {
    send(device, packet) {
      receive();
      socketOf.get(device)!.send(inbound(device, packet));
      if (patient) {
        pause(graceMs);
        return receive();
      }
      const found = receive();
      if (found.length > 0) return found;
      waitAnyReadable(
        sockets.map(([, { fd }]) => fd),
        graceMs,
      );
      return receive();
    },
    close() {
      for (const [, socket] of sockets) socket.close();
    },
  };
}

const nothing = new Int32Array(new SharedArrayBuffer(4));
/** Leaves the processor to others. */
const pause = (ms: number): unknown => Atomics.wait(nothing, 0, 0, ms);

function* framesOf(socket: FrameSocket): Generator<Frame> {
  for (let frame = socket.receive(); frame; frame = socket.receive()) yield frame;
}

/** Other than what the director says on its own account: neighbour and router discovery, group membership. */
function left(device: DeviceName, { bytes, outgoing }: Frame): Left[] {
  const packet = bytes.subarray(14);
  const ip = outgoing ? undefined : decode(packet);
  if (!ip) return [];
  const type = packet[ip.transport] ?? 0;
  const isError = ip.protocol === 1 ? type === 3 || type === 11 : ip.protocol === 58 && type < 128;
  const isTunnelled = ip.protocol === 4 || ip.protocol === 41 || ip.protocol === 47;
  return isError || isTunnelled || isTransport(ip.protocol)
    ? [{ device, to: bytes.toString('hex', 0, 6), packet, ip }]
    : [];
}
