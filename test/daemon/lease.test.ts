import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Address, addressToBytes } from '../../src/model/address.ts';
import { listLinks } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { netnsPath, processesInNetns, withNetns } from '../../src/sys/netns.ts';
import { type FrameSocket, openFrameSocket } from '../../src/sys/raw.ts';
import { layWire, until, type Wire } from '../ha/link.ts';
import { encode, ethernet, icmp } from '../packets/frame.ts';
import { requires } from '../requirements.ts';
import { openSite, type Running, type Site } from './site.ts';

/*
 * Who does not take over any more must be silent before somebody else may have done so: at 100 ms that is 300 ms and the
 * skew after the last advertisement (RFC 9568, 6.1), while the kernel keeps an address for up to two seconds.
 */

const vip = '10.77.0.100';
const gateway = '10.77.0.254';
const vip6 = 'fe80::100';
const intervalMs = 100;
const configuration = `
virtualServices:
  - { name: web, address: "${vip}:80", method: masquerade, realServers: [{ address: 10.77.0.1:8080 }] }
failover:
  vrrp:
    - { name: front, interface: eth0, routerId: 51, priority: 150, advertisementInterval: 100ms, addresses: [${vip}] }
    - { name: back, interface: eth0, routerId: 52, priority: 150, advertisementInterval: 100ms, addresses: [${gateway}] }
    - { name: six, interface: eth0, routerId: 53, priority: 150, version: 3, advertisementInterval: 100ms, addresses: ["${vip6}"] }
  groups: [{ name: both, instances: [front, back] }]
`;

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('a master that is killed or stopped', () => {
  const other = `hglease-${process.pid}`;
  let site: Site;
  let wire: Wire;
  let running: Running;
  let socket: FrameSocket;
  let mac: Buffer;
  beforeEach(async () => {
    site = openSite();
    wire = layWire(other, site.netns, { make: 'a' });
    site.write(configuration);
    running = await site.start({ HEADGATE_STATE: `${site.folder}/state` });
    const link = withNetlink({ netns: netnsPath(other) }, listLinks).find(({ name }) => name === 'eth0')!;
    mac = Buffer.from(link.mac.replaceAll(':', ''), 'hex');
    socket = withNetns(netnsPath(other), () => openFrameSocket(link.index));
    await until(() => [vip, gateway, vip6].every((one) => wire.has(site.netns, one)), 'it is master');
  });
  afterEach(() => {
    socket.close();
    // One that is stopped would stay where a test fails.
    for (const pid of keeper()) process.kill(pid, 'SIGKILL');
    site.close();
    wire.close();
  });

  const keeper = () => processesInNetns(netnsPath(site.netns)).filter((pid) => pid !== running.process.pid);

  /** Asks for addresses all the time, and says for how long each of them was answered. */
  async function answeredFor(forMs: number, during: () => void = () => undefined): Promise<number[]> {
    const asked = [arpRequest(vip), arpRequest(gateway), solicitation(vip6)];
    const last = asked.map(() => Number.NEGATIVE_INFINITY);
    during();
    const from = performance.now();
    for (;;) {
      // The kernel answers as it is asked: when that was counts, and not when this process comes to read it.
      const askedMs = performance.now() - from;
      if (askedMs >= forMs) return last;
      for (const frame of asked) socket.send(frame);
      await new Promise((done) => setTimeout(done, 2));
      for (let frame = socket.receive(); frame; frame = socket.receive()) {
        if (frame.outgoing) continue;
        [vip, gateway, vip6].forEach((address, i) => {
          if (isAnswer(frame.bytes, address)) last[i] = askedMs;
        });
      }
    }
  }

  function arpRequest(target: string): Buffer {
    const head = Buffer.from([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    const [own, asked] = [bytes('10.77.0.1'), bytes(target)];
    return Buffer.concat([Buffer.alloc(6, 0xff), mac, head, mac, own, Buffer.alloc(6), asked]);
  }

  /** RFC 4861, 4.3: to the solicited-node address, with the asker's own for the answer. */
  function solicitation(target: string): Buffer {
    const payload = Buffer.concat([bytes(target), Buffer.from([1, 1]), mac]);
    const message = { type: 135, code: 0, payload };
    const packet = icmp('fe80::1', 'ff02::1:ff00:100', message, { ttl: 255 });
    const from = mac.toString('hex').replace(/..(?!$)/g, '$&:');
    return ethernet(encode(packet), { to: '33:33:ff:00:01:00', from });
  }

  it.each([
    ['killed', 'SIGKILL'],
    ['stopped', 'SIGSTOP'],
  ] as const)('is silent before its successor speaks: %s', async (_how, signal) => {
    for (const ms of await answeredFor(500)) expect(ms).toBeGreaterThanOrEqual(0);
    const hit = [running.process.pid!, ...keeper()];
    expect(hit).toHaveLength(2);
    const answered = await answeredFor(900, () => {
      for (const pid of hit) process.kill(pid, signal);
    });
    // A peer of priority 100 waits 361 ms.
    for (const ms of answered) expect(ms).toBeLessThan(3 * intervalMs + 50);
    // The kernel by itself would go on for another second.
    expect(wire.has(site.netns, vip)).toBe(true);
    if (signal === 'SIGKILL') return;
    for (const pid of hit) process.kill(pid, 'SIGCONT');
    await running.logged(/instance=front state=backup reason="it did not run for \d+ ms"/);
    await until(() => wire.has(site.netns, vip), 'it takes over again');
    for (const ms of await answeredFor(500)) expect(ms).toBeGreaterThan(400);
  });
});

const bytes = (address: string) => Buffer.from(addressToBytes(address as Address));

/** Whether a frame says where an address is: an ARP reply (RFC 826), a neighbour advertisement (RFC 4861, 4.4). */
function isAnswer(frame: Buffer, address: string): boolean {
  if (address.includes(':'))
    return (
      frame.readUInt16BE(12) === 0x86dd && frame[54] === 136 && frame.subarray(62, 78).equals(bytes(address))
    );
  return (
    frame.readUInt16BE(12) === 0x0806 && frame[21] === 2 && frame.subarray(28, 32).equals(bytes(address))
  );
}
