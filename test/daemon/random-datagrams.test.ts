import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { linkIndex } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { netnsPath, withNetns } from '../../src/sys/netns.ts';
import { openUdpSender } from '../../src/sys/udp-socket.ts';
import { layWire, until, type Wire } from '../ha/link.ts';
import { requires } from '../requirements.ts';
import { openSite, type Site } from './site.ts';

const vip = '10.77.0.100';
const datagrams = process.env.LONG ? 1_000_000 : 4_000;
/** So many at once; then what reads them may catch up. */
const burst = 200;
/** How messages of connections, encrypted ones and statements of directors begin, but for their length. */
const beginnings = [
  [0, 3, 0, 0, 1, 1, 0, 0],
  [0, 3, 0, 0, 0, 0x48, 1, 0],
  [0, 3, 0, 0, 0, 0x50, 1, 0],
  [1, 3, 0, 0],
];

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('random datagrams at the ports of the connection sync', () => {
  let site: Site;
  let other: Site;
  let wire: Wire;
  beforeEach(() => {
    [site, other] = [openSite('a'), openSite('b')];
    wire = layWire(site.netns, other.netns, { make: false });
  });
  afterEach(() => {
    site.close();
    other.close();
  });

  it.each([
    ['in the clear', ''],
    ['with a key', ', key: "a key of sixteen or more"'],
  ])('end nothing and change no role, %s', { timeout: 900_000 }, async (_how, key) => {
    site.write(`
virtualServices: []
failover:
  vrrp:
    - { name: front, interface: eth0, routerId: 51, advertisementInterval: 1s, addresses: [${vip}] }
  connectionSync: { interface: eth0, id: 3, role: both${key} }
`);
    const running = await site.start();
    type Seen = {
      readonly sync?: readonly {
        readonly role: string;
        readonly progress: { readonly pid: number; readonly refused: number };
      }[];
    };
    const sync = () => (JSON.parse(site.run('headgate', 'status', '-o', 'json').stdout) as Seen).sync ?? [];
    await until(() => wire.has(site.netns, vip) && sync().length === 2, 'it is master, and both roles run');
    const before = sync().map(({ progress }) => progress.pid);
    const senders = [8848, 8849].map((port) =>
      withNetns(netnsPath(other.netns), () =>
        openUdpSender(
          {
            ...{ group: '224.0.0.81', port },
            device: { name: 'eth0', index: withNetlink({}, (netlink) => linkIndex(netlink, 'eth0')) },
          },
          1,
        ),
      ),
    );
    for (let i = 0; i < datagrams; i++) {
      const bytes = randomBytes(8 + Math.floor(Math.random() * 200));
      // Most begin as what is listened to, and say how long they are.
      if (i % 5 > 0) {
        bytes.set(beginnings[i % beginnings.length]!);
        bytes.writeUInt16BE(bytes.length, 2);
      }
      senders[i % 2]!.send(bytes);
      if (i % burst === burst - 1) await new Promise((done) => setTimeout(done, 5));
    }
    for (const one of senders) one.close();
    await until(
      () => sync().some(({ progress }) => progress.refused > datagrams / 20),
      'they were refused and counted',
    );
    expect(sync().map(({ progress }) => progress.pid)).toEqual(before);
    expect(running.process.exitCode).toBeNull();
    expect(running.log().match(/state=\w+/g)).toEqual(['state=backup', 'state=master']);
    expect(wire.has(site.netns, vip)).toBe(true);
  });
});
