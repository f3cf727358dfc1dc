import { afterAll, beforeAll, expect, it } from 'vitest';
import { readFd, writeFd } from '../../src/sys/ffi.ts';
import { withNetns } from '../../src/sys/netns.ts';
import { type FrameSocket, openFrameSocket } from '../../src/sys/raw.ts';
import { requires } from '../requirements.ts';
import { encode, ethernet, filler, icmp, type Packet, tcp, udp } from './frame.ts';
import { type Harness, inbound, openHarness } from './harness.ts';
import { additions, destination, servicePlan } from './services.ts';
import { type DeviceName, macs, smallMtu, wayTo } from './world.ts';

/*
 * The same programs where they are attached, with real packets: what a test run cannot show, the way after a
 * redirect. Frames go in at the far end of one interface and must come out of the far end of another, whole.
 */

const vip = '198.51.100.10';
const vip6 = '[2001:db8:100::10]';
const plans = [
  servicePlan(`tcp ${vip}:80`, 'rr', destination('10.1.0.11:8080')),
  servicePlan(`udp ${vip6}:53`, 'rr', destination('[fd10::12]:5353')),
  servicePlan(`tcp ${vip}:81`, 'rr', destination('10.1.0.11:81', 'direct-routing')),
  servicePlan(`tcp ${vip}:84`, 'rr'),
  servicePlan(`tcp ${vip6}:84`, 'rr'),
  servicePlan(`tcp ${vip}:86`, 'rr', destination('10.2.0.11:8080')),
];

const devices: readonly DeviceName[] = ['c0', 'r0', 'm0'];
let port = 50_000;

requires(
  'root',
  'netns',
  'bpf',
)('packets on the wire', () => {
  let harness: Harness;
  let far: Record<DeviceName, FrameSocket>;
  beforeAll(async () => {
    harness = await openHarness('wire');
    await harness.apply(...additions(plans));
    const { outside, farIndex } = harness.world;
    const open = (device: DeviceName) => withNetns(outside, () => openFrameSocket(farIndex[device]));
    far = { c0: open('c0'), r0: open('r0'), m0: open('m0') };
  });
  afterAll(async () => {
    for (const device of devices) far?.[device].close();
    await harness?.close();
  });

  /** The next frame that comes out at a device within the time; the director's own IPv6 multicast is no news. */
  function next(device: DeviceName, timeoutMs: number): string | undefined {
    const until = performance.now() + timeoutMs;
    for (;;) {
      const frame = far[device].receive(Math.max(0, until - performance.now()));
      if (!frame) return undefined;
      const bytes = frame.bytes;
      const chatter = bytes.readUInt16BE(0) === 0x3333;
      if (!frame.outgoing && !chatter) return bytes.toString('hex');
    }
  }

  const nothingComes = (timeoutMs = 50) => {
    for (const device of devices) expect(next(device, timeoutMs), device).toBeUndefined();
  };

  /** The frame as it must leave towards where `out` is to go. */
  function leaving(out: Packet, to: string = out.destination): { device: DeviceName; frame: string } {
    const way = wayTo(to);
    if (way.kind !== 'neighbour') throw new Error(`no way to ${to}`);
    const { device } = way;
    return { device, frame: ethernet(encode(out), { to: way.mac, from: macs[device].own }).toString('hex') };
  }

  function comesOut(out: Packet, to?: string): void {
    const { device, frame } = leaving(out, to);
    expect(next(device, 1000)).toBe(frame);
  }

  it('requests and replies, by the neighbour layer first and by the cache after', () => {
    const at = `203.0.113.5:${++port}`;
    const at6 = `[2001:db8:c::5]:${++port}`;
    for (let time = 0; time < 3; time++) {
      far.c0.send(inbound('c0', tcp(at, `${vip}:80`, 'S')));
      comesOut(tcp(at, '10.1.0.11:8080', 'S', { ttl: 63 }));
      far.r0.send(inbound('r0', tcp('10.1.0.11:8080', at, 'SA')));
      comesOut(tcp(`${vip}:80`, at, 'SA', { ttl: 63 }));
      far.c0.send(inbound('c0', udp(at6, `${vip6}:53`)));
      comesOut(udp(at6, '[fd10::12]:5353', { ttl: 63 }));
      far.r0.send(inbound('r0', udp('[fd10::12]:5353', at6)));
      comesOut(udp(`${vip6}:53`, at6, { ttl: 63 }));
      far.c0.send(inbound('c0', tcp(at, `${vip}:81`, 'S')));
      comesOut(tcp(at, `${vip}:81`, 'S', { ttl: 63 }), '10.1.0.11');
    }
    nothingComes();
  });

  it('ICMP errors of our own', () => {
    harness.clearIcmpLimits();
    const at = `203.0.113.5:${++port}`;
    const error = (about: Packet, message: { type: number; code: number; rest?: number }, from: string) =>
      icmp(from, about.source, { ...message, payload: encode(about).subarray(0, 548) }, { tos: 0xc0, id: 0 });
    const refused = tcp(at, `${vip}:84`, 'S');
    far.c0.send(inbound('c0', refused));
    comesOut(error(refused, { type: 3, code: 3 }, vip));
    const old = tcp(at, `${vip}:80`, 'S', { ttl: 1 });
    far.c0.send(inbound('c0', old));
    comesOut(error(old, { type: 11, code: 0 }, vip));
    far.c0.send(inbound('c0', tcp(at, `${vip}:86`, 'S')));
    comesOut(tcp(at, '10.2.0.11:8080', 'S', { ttl: 63 }));
    const big = tcp(at, `${vip}:86`, 'A', { payload: filler(1400), doNotFragment: true });
    far.c0.send(inbound('c0', big));
    comesOut(error(big, { type: 3, code: 4, rest: smallMtu }, vip));
    const refused6 = tcp(`[2001:db8:c::5]:${++port}`, `${vip6}:84`, 'S');
    far.c0.send(inbound('c0', refused6));
    comesOut(icmp('2001:db8:100::10', '2001:db8:c::5', { type: 1, code: 4, payload: encode(refused6) }));
    // To a real server, about its reply: from the virtual address, which is ours.
    const reply = tcp('10.1.0.11:8080', at, 'A', { ttl: 1 });
    far.c0.send(inbound('c0', tcp(at, `${vip}:80`, 'S')));
    comesOut(tcp(at, '10.1.0.11:8080', 'S', { ttl: 63 }));
    far.r0.send(inbound('r0', reply));
    comesOut(error(reply, { type: 11, code: 0 }, vip));
    nothingComes();
  });

  it('ICMP errors from others, both ways', () => {
    const at = `203.0.113.5:${++port}`;
    far.c0.send(inbound('c0', tcp(at, `${vip}:80`, 'S')));
    comesOut(tcp(at, '10.1.0.11:8080', 'S', { ttl: 63 }));
    const quote = (packet: Packet) => encode(packet).subarray(0, 24);
    far.r0.send(
      inbound(
        'r0',
        icmp('10.1.0.99', '203.0.113.5', {
          type: 11,
          code: 0,
          payload: quote(tcp(at, '10.1.0.11:8080', 'S')),
        }),
      ),
    );
    comesOut(
      icmp(vip, '203.0.113.5', { type: 11, code: 0, payload: quote(tcp(at, `${vip}:80`, 'S')) }, { ttl: 63 }),
    );
    far.c0.send(
      inbound(
        'c0',
        icmp('203.0.113.5', vip, { type: 3, code: 3, payload: quote(tcp(`${vip}:80`, at, 'A')) }),
      ),
    );
    comesOut(
      icmp(
        '203.0.113.5',
        '10.1.0.11',
        { type: 3, code: 3, payload: quote(tcp('10.1.0.11:8080', at, 'A')) },
        { ttl: 63 },
      ),
    );
    nothingComes();
  });

  it('through a device without Ethernet headers, and back', () => {
    harness.clearIcmpLimits();
    const { fd } = harness.world.tun;
    const buffer = Buffer.alloc(2048);
    const read = (): Buffer | undefined => {
      const until = performance.now() + 1000;
      while (performance.now() < until) {
        const length = readFd(fd, buffer);
        const isIpv4 = length !== undefined && buffer[0]! >> 4 === 4;
        if (isIpv4) return Buffer.from(buffer.subarray(0, length));
      }
      return undefined;
    };
    // Any source will do here: it is a real device.
    const at = `8.0.9.9:${++port}`;
    for (let time = 0; time < 2; time++) {
      writeFd(fd, encode(tcp(at, `${vip}:80`, 'S')));
      comesOut(tcp(at, '10.1.0.11:8080', 'S', { ttl: 63 }));
      far.r0.send(inbound('r0', tcp('10.1.0.11:8080', at, 'SA')));
      expect(read()?.toString('hex')).toBe(encode(tcp(`${vip}:80`, at, 'SA', { ttl: 63 })).toString('hex'));
    }
    const refused = tcp(at, `${vip}:84`, 'S');
    writeFd(fd, encode(refused));
    const error = icmp(vip, '8.0.9.9', { type: 3, code: 3, payload: encode(refused) }, { tos: 0xc0, id: 0 });
    expect(read()?.toString('hex')).toBe(encode(error).toString('hex'));
    nothingComes();
  });

  it('tagged frames and those for another host go nowhere', async () => {
    const before = (await harness.connections()).length;
    const good = inbound('c0', tcp(`203.0.113.5:${++port}`, `${vip}:80`, 'S'));
    const tagged = Buffer.concat([good.subarray(0, 12), Buffer.from([0x81, 0, 0, 7]), good.subarray(12)]);
    const foreign = Buffer.from(good);
    foreign[5]! ^= 1;
    for (const frame of [tagged, foreign]) far.c0.send(frame);
    nothingComes();
    expect(await harness.connections()).toHaveLength(before);
  });

  it('frames cut off anywhere go nowhere', async () => {
    const before = (await harness.connections()).length;
    const malformed = harness.event('EVENT_MALFORMED');
    for (const packet of [
      tcp(`203.0.113.5:${++port}`, `${vip}:80`, 'S', { tcpOptions: filler(20) }),
      udp(`[2001:db8:c::5]:${++port}`, `${vip6}:53`, {
        extensions: [{ kind: 'hop-by-hop', bytes: Buffer.from([1, 4, 0, 0, 0, 0]) }],
      }),
    ]) {
      const whole = inbound('c0', packet);
      for (let length = 15; length < whole.length; length++) far.c0.send(whole.subarray(0, length));
    }
    nothingComes();
    expect(await harness.connections()).toHaveLength(before);
    expect(harness.event('EVENT_MALFORMED')).toBeGreaterThan(malformed);
  });
});
