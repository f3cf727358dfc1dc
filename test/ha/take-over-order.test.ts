import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { keeperProgram } from '../../src/ha/program.ts';
import type { InstanceSettings, Orders } from '../../src/ha/settings.ts';
import { type Address, addressToBytes } from '../../src/model/address.ts';
import { linkIndex } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { netnsPath, spawnInNetns, withNetns } from '../../src/sys/netns.ts';
import { type FrameSocket, openFrameSocket } from '../../src/sys/raw.ts';
import { requires } from '../requirements.ts';
import { layWire, until, type Wire } from './link.ts';

/*
 * What a group that takes over says, in the order in which the wire has it. Announcements by RFC 5227, 3; advertisements are IP
 * protocol 112 (RFC 9568, 5.1.1.4). A master that yields serves until it hears of its successor, so the network has to know by then.
 */

const allProtocols = 3;
const vips = ['10.77.0.100', '10.77.0.200'] as const;
const order: Orders = {
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

requires(
  'root',
  'netns',
  'ip',
)('a group that takes over', () => {
  let wire: Wire;
  let folder: string;
  let path: string;
  let ours: ChildProcess;
  let channel: Socket | undefined;
  let frames: FrameSocket;
  beforeEach(() => {
    wire = layWire(`hgoa-${process.pid}`, `hgob-${process.pid}`, { make: true });
    folder = mkdtempSync(join(tmpdir(), 'headgate-order-'));
    path = join(folder, 'failover.sock');
    frames = withNetns(netnsPath(wire.b), () =>
      openFrameSocket(
        withNetlink({}, (netlink) => linkIndex(netlink, 'eth0')),
        { protocol: allProtocols },
      ),
    );
    ours = spawnInNetns(wire.a, process.execPath, keeperProgram(path), {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
  });
  afterEach(async () => {
    channel?.destroy();
    const ended = once(ours, 'exit');
    ours.kill('SIGTERM');
    await ended;
    frames.close();
    wire.close();
    rmSync(folder, { recursive: true });
  });

  it('tells the network of all of its addresses before it tells the other director', async () => {
    await until(() => existsSync(path), 'it listens');
    channel = connect(path);
    await once(channel, 'connect');
    channel.write(`${JSON.stringify({ kind: 'orders', orders: order })}\n`);
    const said: string[] = [];
    await until(() => {
      for (let frame = frames.receive(); frame; frame = frames.receive()) {
        const word = frame.outgoing ? undefined : wordOf(frame.bytes);
        if (word !== undefined && said.at(-1) !== word) said.push(word);
      }
      return said.includes('advertisement 51') && said.includes('advertisement 52');
    }, 'both were advertised');
    const firstAdvertised = said.findIndex((word) => word.startsWith('advertisement'));
    expect(said.slice(0, firstAdvertised).toSorted()).toEqual(vips.map((vip) => `announcement ${vip}`));
  });
});

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
