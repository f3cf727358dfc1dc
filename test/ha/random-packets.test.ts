import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type KeeperMessage, lines } from '../../src/ha/channel.ts';
import { keeperProgram } from '../../src/ha/program.ts';
import type { Orders } from '../../src/ha/settings.ts';
import type { Address } from '../../src/model/address.ts';
import type { VrrpStatus } from '../../src/model/vrrp.ts';
import { openIpSender } from '../../src/sys/ip-socket.ts';
import { linkIndex } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { netnsPath, spawnInNetns, withNetns } from '../../src/sys/netns.ts';
import { requires } from '../requirements.ts';
import { layWire, until, type Wire } from './link.ts';

const vip = '10.77.0.100';
const packets = process.env.LONG ? 1_000_000 : 5_000;
/** So many at once; then what reads them may catch up. */
const burst = 200;

requires(
  'root',
  'netns',
  'ip',
)('random packets', () => {
  let wire: Wire;
  let folder: string;
  let ours: ChildProcess;
  let channel: Socket;
  beforeEach(() => {
    wire = layWire(`hgvra-${process.pid}`, `hgvrb-${process.pid}`, { make: true });
    folder = mkdtempSync(join(tmpdir(), 'headgate-vrrp-'));
  });
  afterEach(async () => {
    channel?.destroy();
    if (ours.exitCode === null && ours.signalCode === null) {
      const ended = once(ours, 'exit');
      ours.kill('SIGTERM');
      await ended;
    }
    wire.close();
    rmSync(folder, { recursive: true });
  });

  it('change no role, and end nothing', { timeout: 900_000 }, async () => {
    const socket = join(folder, 'failover.sock');
    ours = spawnInNetns(wire.a, process.execPath, keeperProgram(socket), {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    for (let i = 0; !channel; i++) {
      const opened = await new Promise<Socket | undefined>((resolve) => {
        const attempt = connect(socket, () => resolve(attempt)).once('error', () => resolve(undefined));
      });
      if (opened) channel = opened;
      else if (i > 500) throw new Error('the failover process does not listen');
      else await new Promise((done) => setTimeout(done, 20));
    }
    let last: VrrpStatus | undefined;
    const entered: string[] = [];
    lines(channel, (line) => {
      const message = JSON.parse(line) as KeeperMessage;
      if (message.kind === 'status') [last] = message.instances;
      else if (message.kind === 'entered') entered.push(message.state);
    });
    const orders: Orders = {
      instances: [
        {
          ...{ name: 'front', interface: 'eth0', version: 2, routerId: 51, advertisementInterval: 1000 },
          ...{ preempt: true, preemptDelay: 0, downAfter: 3, peers: [], excludedAddresses: [] },
          addresses: [{ address: vip as Address, length: 32 }],
          authentication: { type: 'password', secret: 'geheim' },
          announce: { repeat: 1, delay: 0, refresh: 0 },
          ...{ trackInterfaces: [], paths: { routes: [], rules: [] }, rival: 'defend' },
        },
      ],
      tracking: { front: { priority: 150, tracked: [] } },
      ...{ groups: {}, always: { routes: [], rules: [] } },
    };
    channel.write(`${JSON.stringify({ kind: 'orders', orders })}\n`);
    await until(() => wire.has(wire.a, vip), 'it is master');
    const sender = withNetns(netnsPath(wire.b), () =>
      openIpSender('10.77.0.2', {
        ...{ protocol: 112, hopLimit: 255, trafficClass: 0 },
        device: { name: 'eth0', index: withNetlink({}, (netlink) => linkIndex(netlink, 'eth0')) },
      }),
    );
    try {
      for (let i = 0; i < packets; i++) {
        const bytes = randomBytes(Math.floor(Math.random() * 64));
        // Half of them begin as an advertisement with priority 255 for this very router.
        if (i % 2 === 0 && bytes.length > 4) bytes.set([i % 4 === 0 ? 0x21 : 0x31, 51, 255]);
        sender.send(bytes, '224.0.0.18');
        if (i % burst === burst - 1) await new Promise((done) => setTimeout(done, 5));
      }
    } finally {
      sender.close();
    }
    const seen = () => Object.values(last?.rejected ?? {}).reduce((sum, number) => sum + number, 0);
    await until(() => seen() > packets / 4, 'they were refused and counted');
    expect(ours.exitCode).toBeNull();
    expect(entered).toEqual(['backup', 'master']);
    expect(last).toMatchObject({ state: 'master', received: 0 });
  });
});
