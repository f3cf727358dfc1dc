import { type Address, familyOf } from '../../model/address.ts';
import { isSystemError } from '../../sys/ffi.ts';
import { formatMac, parseIp, parseMac } from '../../sys/netlink/ip.ts';
import { findLink } from '../../sys/netlink/link.ts';
import { withNetlink } from '../../sys/netlink/socket.ts';
import { type FrameSocket, openFrameSocket } from '../../sys/raw.ts';
import type { HostSurvey, SurveyedInterface } from '../host-survey.ts';

const arpProtocol = 0x0806;
const [requestCode, replyCode] = [1, 2];
const waitMs = 400;
const pollMs = 20;

/** An ARP probe (RFC 5227, 2.1.1): who has it? Nobody learns anything from it. */
export function arpProbe(mac: Buffer, address: Buffer): Buffer {
  const frame = Buffer.alloc(42);
  frame.fill(255, 0, 6);
  mac.copy(frame, 6);
  frame.writeUInt16BE(arpProtocol, 12);
  Buffer.from([0, 1, 8, 0, 6, 4, 0, requestCode!]).copy(frame, 14);
  mac.copy(frame, 22);
  address.copy(frame, 38);
  return frame;
}

/** Who answers for which address; undefined for any other frame. */
export function readArpReply(frame: Buffer): { readonly mac: string; readonly address: Buffer } | undefined {
  if (frame.length < 42 || frame.readUInt16BE(12) !== arpProtocol || frame.readUInt16BE(20) !== replyCode)
    return undefined;
  return { mac: formatMac(frame.subarray(22, 28)), address: frame.subarray(28, 32) };
}

/**
 * Asks, on every Ethernet interface that is up and has an IPv4 address, whether another machine answers for a virtual
 * address this host has: a real server that is not silent about it takes packets past the director.
 */
export async function findClaims(
  interfaces: readonly SurveyedInterface[],
  virtual: readonly Address[],
): Promise<HostSurvey['claims']> {
  const held = virtual.filter(
    (vip) =>
      familyOf(vip) === 4 &&
      interfaces.some(({ addresses }) => addresses.some(({ address }) => address === vip)),
  );
  if (held.length === 0) return [];
  const sockets: { device: string; own: string; socket: FrameSocket }[] = [];
  try {
    for (const { name, index } of interfaces.filter(asks)) {
      const link = withNetlink({}, (netlink) => findLink(netlink, index));
      if (link?.arpType !== 1 || !/^..(:..){5}$/.test(link.mac)) continue;
      const socket = openFrameSocket(index, { protocol: arpProtocol });
      sockets.push({ device: name, own: link.mac, socket });
      for (const vip of held) send(socket, arpProbe(parseMac(link.mac), parseIp(vip).bytes));
    }
    return await answers(sockets, held, new Set(sockets.map(({ own }) => own)));
  } finally {
    for (const { socket } of sockets) socket.close();
  }
}

const asks = ({ up, carrier, arp, loopback, role, addresses }: SurveyedInterface): boolean =>
  up &&
  carrier &&
  arp &&
  !loopback &&
  role === 'covered' &&
  addresses.some(({ address }) => familyOf(address) === 4);

function send(socket: FrameSocket, frame: Buffer): void {
  try {
    socket.send(frame);
  } catch (error) {
    // The interface went down meanwhile.
    if (!isSystemError(error, 'ENETDOWN', 'ENXIO')) throw error;
  }
}

async function answers(
  sockets: readonly { device: string; socket: FrameSocket }[],
  held: readonly Address[],
  own: ReadonlySet<string>,
): Promise<HostSurvey['claims']> {
  const found = new Map<string, HostSurvey['claims'][number]>();
  const deadline = performance.now() + waitMs;
  while (performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, pollMs));
    for (const { device, socket } of sockets)
      for (let frame = socket.receive(); frame; frame = socket.receive()) {
        const reply = frame.outgoing ? undefined : readArpReply(frame.bytes);
        const address = reply && held.find((vip) => parseIp(vip).bytes.equals(reply.address));
        // The host's other interfaces may hear the question too.
        if (address && !own.has(reply.mac))
          found.set(`${address} ${reply.mac}`, { address, device, mac: reply.mac });
      }
  }
  return [...found.values()];
}
