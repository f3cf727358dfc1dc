import type { InstanceSettings, Orders } from '../../src/ha/settings.ts';
import { type Address, addressToBytes } from '../../src/model/address.ts';
import { linkIndex } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { type FrameSocket, openFrameSocket } from '../../src/sys/raw.ts';

/*
 * A group of two VRRP instances, and what it says on the wire. Announcements by RFC 5227, 3; advertisements are IP protocol 112
 * (RFC 9568, 5.1.1.4).
 */

const allProtocols = 3;
export const vips = ['10.77.0.100', '10.77.0.200'] as const;
export const order: Orders = {
  instances: vips.map(
    (vip, i): InstanceSettings => ({
      ...{
        name: `instance${i}`,
        interface: 'eth0',
        version: 3,
        routerId: 51 + i,
        advertisementInterval: 100,
      },
      ...{ preempt: true, preemptDelay: 0, downAfter: 3, peers: [], excludedAddresses: [] },
      ...{ trackInterfaces: [], paths: { routes: [], rules: [] }, rival: 'defend' },
      addresses: [{ address: vip as Address, length: 32 }],
      authentication: { type: 'none', secret: '' },
      announce: { repeat: 2, delay: 0, refresh: 0 },
    }),
  ),
  tracking: Object.fromEntries(vips.map((_, i) => [`instance${i}`, { priority: 150, tracked: [] }])),
  groups: { both: vips.map((_, i) => `instance${i}`) },
  always: { routes: [], rules: [] },
};

/** Hears everything on eth0 of this network namespace. */
export const openEar = (): FrameSocket =>
  openFrameSocket(
    withNetlink({}, (netlink) => linkIndex(netlink, 'eth0')),
    { protocol: allProtocols },
  );

/** What has been said since the last call, each word once in a row; by this namespace or by others. */
export function wordsHeard(frames: FrameSocket, by: 'us' | 'others'): string[] {
  const said: string[] = [];
  for (let frame = frames.receive(); frame; frame = frames.receive()) {
    const word = frame.outgoing === (by === 'us') ? wordOf(frame.bytes) : undefined;
    if (word !== undefined && said.at(-1) !== word) said.push(word);
  }
  return said;
}

function wordOf(frame: Buffer): string | undefined {
  if (frame.readUInt16BE(12) === 0x0806) {
    const [sender, target] = [frame.subarray(28, 32), frame.subarray(38, 42)];
    const vip = vips.find((one) => sender.equals(Buffer.from(addressToBytes(one as Address))));
    return vip !== undefined && sender.equals(target) ? `announcement ${vip}` : undefined;
  }
  if (frame.readUInt16BE(12) !== 0x0800 || frame[14 + 9] !== 112) return undefined;
  // Behind an IPv4 header without options: version and type, and the router's number.
  return `advertisement ${frame[14 + 20 + 1]}`;
}
