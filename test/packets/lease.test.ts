import { connect } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Leased, type Leases, openLeases } from '../../src/ha/leases.ts';
import { addressToBytes } from '../../src/model/address.ts';
import { bootTimeMs } from '../../src/sys/clock.ts';
import { until } from '../ha/link.ts';
import { requires } from '../requirements.ts';
import { address, encode, ethernet, icmp, mac, tcp, udp } from './frame.ts';
import { type Harness, openHarness } from './harness.ts';
import { additions, destination, servicePlan } from './services.ts';
import { type DeviceName, macs } from './world.ts';

/*
 * What the program does with packets for virtual addresses on a lease. Frames of ARP by RFC 826, of neighbour discovery by
 * RFC 4861, sections 4.3, 4.4 and 7.2; who must be silent when is docs/failover.md.
 */

const vip = '198.51.100.10';
const vip6 = '2001:db8:100::10';
const other = '198.51.100.20';
const client = '203.0.113.5';
const plans = [
  servicePlan(`tcp ${vip}:80`, 'rr', destination('10.1.0.11:8080')),
  servicePlan(`udp ${vip}:53`, 'rr', destination('10.1.0.11:5353')),
  servicePlan(`tcp [${vip6}]:80`, 'rr', destination('[fd10::11]:8080')),
  servicePlan(`tcp ${other}:80`, 'rr', destination('10.1.0.11:8080')),
];

const broadcast = 'ff:ff:ff:ff:ff:ff';
const requestsAndReplies = { request: 1, reply: 2 } as const;

/** An ARP frame; to everybody, or to one device. */
function arp(
  kind: keyof typeof requestsAndReplies,
  { to = broadcast, sender = client, target }: { to?: string; sender?: string; target: string },
): Buffer {
  const from = mac('02:00:00:00:01:c0');
  return Buffer.concat([
    mac(to),
    from,
    Buffer.from([8, 6, 0, 1, 8, 0, 6, 4, 0, requestsAndReplies[kind]]),
    from,
    addressToBytes(address(sender)),
    Buffer.alloc(6),
    addressToBytes(address(target)),
  ]);
}

/** A neighbour solicitation (135) or advertisement (136). */
function neighbour(type: 135 | 136, source: string, destination: string, target: string): Buffer {
  const payload = Buffer.concat([addressToBytes(address(target)), Buffer.from([1, 1]), Buffer.alloc(6)]);
  const packet = icmp(source, destination, { type, code: 0, payload }, { ttl: 255 });
  return encodeAt('33:33:ff:00:00:10', packet);
}

function encodeAt(to: string, packet: ReturnType<typeof icmp>): Buffer {
  return ethernet(encode(packet), { to, from: '02:00:00:00:01:c0' });
}

requires(
  'root',
  'netns',
  'bpf',
)('virtual addresses on a lease', () => {
  let harness: Harness;
  let leases: Leases;
  let port = 2000;
  beforeAll(async () => {
    harness = await openHarness('lease');
    await harness.apply(...additions(plans));
  });
  beforeEach(async () => {
    await harness.plane.leases!(false);
    leases = openLeases();
    leases.use(await harness.plane.leases!(true));
    port += 1;
  });
  afterAll(() => harness?.close());

  const lease = (text: string, { resident = false, device = 'c0' as DeviceName } = {}): Leased => ({
    ...{ instance: 'front', address: address(text), resident },
    ifindex: harness.world.index[device],
  });
  const hold = (ms: number) => leases.hold('front', bootTimeMs() + ms, bootTimeMs());
  const comes = (frame: Uint8Array, device: DeviceName = 'c0') =>
    harness.run('headgate_ethernet', frame, { ifindex: harness.world.index[device] }).verdict;
  const goes = (frame: Uint8Array, device: DeviceName = 'c0') =>
    harness.run('headgate_egress', frame, { ifindex: harness.world.index[device] }).verdict;
  const giveUp = () => {
    hold(10_000);
    leases.hold('front', 0, bootTimeMs());
  };
  const syn = (to = `${vip}:80`, from = `${client}:${port}`) =>
    harness.receive('c0', tcp(from, to, 'S')).verdict;
  const ack = (to = `${vip}:80`, from = `${client}:${port}`) =>
    harness.receive('c0', tcp(from, to, 'A')).verdict;
  const ask = (target: string, to = broadcast) => comes(arp('request', { to, target }));
  const solicit = (target: string, device: DeviceName = 'c0') =>
    comes(neighbour(135, '2001:db8:c::5', 'ff02::1:ff00:10', target), device);

  it('without a lease there is no difference', () => {
    expect([syn(), ask(vip), solicit(vip6)]).toEqual(['redirect', 'pass', 'pass']);
  });

  it('who holds it answers and schedules', () => {
    leases.assign([lease(vip), lease(vip6)]);
    hold(10_000);
    expect([syn(), syn(`[${vip6}]:80`, `[2001:db8:c::5]:${port}`)]).toEqual(['redirect', 'redirect']);
    expect([ask(vip), ask(vip, macs.c0.own), solicit(vip6)]).toEqual(['pass', 'pass', 'pass']);
    expect(goes(arp('request', { sender: vip, target: client }))).toBe('pass');
  });

  describe.each([
    ['never held', () => undefined],
    ['lapsed a moment ago', () => hold(-0.001)],
    ['given up', giveUp],
  ])('%s', (_name, end) => {
    it('nobody hears of it, and nothing new is scheduled', () => {
      leases.assign([lease(vip), lease(vip6)]);
      end();
      const before = harness.event('EVENT_LEASE_LAPSED');
      expect([syn(), syn(`[${vip6}]:80`, `[2001:db8:c::5]:${port}`)]).toEqual(['drop', 'drop']);
      expect(harness.receive('c0', udp(`${client}:${port}`, `${vip}:53`)).verdict).toBe('drop');
      expect(harness.event('EVENT_LEASE_LAPSED')).toBe(before + 3);
      expect([ask(vip), ask(vip, macs.c0.own), solicit(vip6)]).toEqual(['drop', 'drop', 'drop']);
      // The kernel names an address that it still has in its own requests.
      expect(goes(arp('request', { sender: vip, target: client }))).toBe('drop');
      expect(goes(arp('reply', { sender: vip, target: client }))).toBe('drop');
      expect(goes(neighbour(135, vip6, 'ff02::1:ff00:5', '2001:db8:c::5'))).toBe('drop');
      expect(goes(neighbour(136, '2001:db8:2::1', '2001:db8:c::5', vip6))).toBe('drop');
    });

    it('what is not leased is as ever', () => {
      leases.assign([lease(vip), lease(vip6)]);
      end();
      expect([syn(`${other}:80`), ask(other), ask('192.0.2.1')]).toEqual(['redirect', 'pass', 'pass']);
      expect(comes(arp('reply', { to: macs.c0.own, sender: vip, target: '192.0.2.1' }))).toBe('pass');
      expect(goes(arp('request', { sender: '192.0.2.1', target: vip }))).toBe('pass');
      expect(solicit('2001:db8:2::1')).toBe('pass');
      expect(goes(neighbour(135, '2001:db8:2::1', 'ff02::1:ff00:10', vip6))).toBe('pass');
    });
  });

  it('a connection goes on when the lease is over', () => {
    leases.assign([lease(vip)]);
    hold(10_000);
    expect(syn()).toBe('redirect');
    leases.hold('front', 0, bootTimeMs());
    expect([ack(), syn()]).toEqual(['redirect', 'redirect']);
    expect(syn(`${vip}:80`, `${client}:${port + 10_000}`)).toBe('drop');
  });

  it('what a new master does not know yet is neither refused nor passed on, for a moment', async () => {
    const answer = () => harness.receive('r0', tcp('10.1.0.11:8080', `${client}:${port}`, 'SA')).verdict;
    leases.assign([lease(vip)]);
    hold(10_000);
    const before = harness.event('EVENT_AWAITED');
    expect([ack(), answer()]).toEqual(['drop', 'drop']);
    expect(harness.event('EVENT_AWAITED')).toBe(before + 2);
    // What is no service's, and what opens a connection.
    expect([ack(`${vip}:81`), ack('192.0.2.1:80'), syn()]).toEqual(['pass', 'pass', 'redirect']);
    expect([ack(), answer()]).toEqual(['redirect', 'redirect']);
    port += 1;
    // Longer than it waits, by a lease that goes on and on.
    await until(() => {
      hold(10_000);
      return ack() === 'pass';
    }, 'it waits no longer');
    expect(answer()).toBe('pass');
  });

  it.each([
    ['10.1.0.11', '10.1.0.1'],
    ['[fd10::11]', '[fd10::1]'],
  ])('what a program here has asked the real server %s is answered meanwhile', async (server, here) => {
    leases.assign([lease(vip)]);
    hold(10_000);
    const localPort = 40_000 + port;
    const socket = connect({ host: server.replace(/[[\]]/g, ''), port: 8080, localPort });
    const answer = (to: number) =>
      harness.receive('r0', tcp(`${server}:8080`, `${here}:${to}`, 'SA')).verdict;
    try {
      await setImmediate();
      expect([answer(localPort), answer(localPort + 1)]).toEqual(['pass', 'drop']);
    } finally {
      socket.destroy();
    }
  });

  it('a link-local address is leased at its interface only', () => {
    const gateway = 'fe80::10';
    leases.assign([lease(gateway, { device: 'c0' })]);
    expect([solicit(gateway, 'c0'), solicit(gateway, 'r0')]).toEqual(['drop', 'pass']);
  });

  describe('on a real server', () => {
    it('what its director sends is for the server here, whatever the table remembers', () => {
      leases.assign([lease(vip, { resident: true })]);
      hold(10_000);
      expect([syn(), ack()]).toEqual(['redirect', 'redirect']);
      const datagram = udp(`${client}:${port}`, `${vip}:53`);
      expect(harness.receive('c0', datagram).verdict).toBe('redirect');
      leases.hold('front', 0, bootTimeMs());
      // The clients of before, whose frames still come here.
      expect(ack()).toBe('redirect');
      // Another one, or the same port anew, scheduled elsewhere.
      expect(syn(`${vip}:80`, `${client}:${port + 10_000}`)).toBe('pass');
      expect([syn(), ack()]).toEqual(['pass', 'pass']);
      expect(harness.receive('c0', datagram).verdict).toBe('pass');
      expect(ask(vip)).toBe('drop');
    });

    it('who ends in good order leaves that, and nothing else', async () => {
      const servers = [lease(vip, { resident: true }), lease(other)];
      leases.assign(servers);
      hold(10_000);
      leases.close();
      expect([syn(), ask(vip)]).toEqual(['pass', 'drop']);
      expect([syn(`${other}:80`), ask(other)]).toEqual(['redirect', 'pass']);
      await harness.plane.leases!(false);
      expect([syn(), ask(vip)]).toEqual(['redirect', 'pass']);
    });
  });

  it('who ends before it has looked where its addresses are leaves nothing of one that was killed', async () => {
    leases.assign([lease(vip), lease(other, { resident: true })]);
    hold(-1);
    expect([ask(vip), syn()]).toEqual(['drop', 'drop']);
    const next = openLeases();
    next.use(await harness.plane.leases!(true));
    next.close();
    expect([ask(vip), syn()]).toEqual(['pass', 'redirect']);
    // A real server stays one.
    expect([ask(other), syn(`${other}:80`)]).toEqual(['drop', 'pass']);
  });

  it('instances come and go, and those that stay keep their leases', async () => {
    const back = { ...lease(other), instance: 'back' };
    leases.assign([lease(vip), back]);
    hold(10_000);
    leases.hold('back', bootTimeMs() + 10_000, bootTimeMs());
    leases.assign([back]);
    expect([ask(vip), ask(other)]).toEqual(['pass', 'pass']);
    leases.hold('back', 0, bootTimeMs());
    expect(ask(other)).toBe('drop');
    leases.hold('back', bootTimeMs() + 10_000, bootTimeMs());
    leases.assign([lease(vip), back]);
    expect([ask(vip), ask(other)]).toEqual(['drop', 'pass']);
    // The next daemon says where the maps are.
    leases.use(await harness.plane.leases!(true));
    leases.assign([lease(vip), back]);
    expect([ask(vip), ask(other)]).toEqual(['drop', 'pass']);
  });
});
