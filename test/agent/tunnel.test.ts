import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/build.ts';
import { type Helper, startRealServer } from '../../src/lab/processes.ts';
import { addressToBytes, parseAddress } from '../../src/model/address.ts';
import { openFrameSocket } from '../../src/sys/raw.ts';
import { getSocketOption } from '../../src/sys/socket.ts';
import { writeSysctl } from '../../src/sys/sysctl.ts';
import { until } from '../ha/link.ts';
import { internetChecksum } from '../network/frames.ts';
import { closeSocket, connectOn, freshPort, outcome, receive } from '../network/sockets.ts';
import { requires } from '../requirements.ts';
import { agent, plans, run, snapshot, standUp, takeDown } from './site.ts';

const bytesOf = (address: string) => Buffer.from(addressToBytes(parseAddress(address)!));

/** RFC 791 and RFC 8200: a header before `payload`. */
function ip(
  source: string,
  destination: string,
  protocol: number,
  payload: Buffer,
  { tos = 0, fragment = 0, options = Buffer.alloc(0) } = {},
): Buffer {
  if (source.includes(':')) {
    const header = Buffer.alloc(40);
    header.writeUInt32BE((6 << 28) | (tos << 20));
    header.writeUInt16BE(options.length + payload.length, 4);
    header[6] = options.length > 0 ? 60 : protocol;
    header[7] = 64;
    return Buffer.concat([header.subarray(0, 8), bytesOf(source), bytesOf(destination), options, payload]);
  }
  const header = Buffer.alloc(20);
  header[0] = 0x45;
  header[1] = tos;
  header.writeUInt16BE(20 + payload.length, 2);
  header.writeUInt16BE(fragment, 6);
  header[8] = 64;
  header[9] = protocol;
  bytesOf(source).copy(header, 12);
  bytesOf(destination).copy(header, 16);
  header.writeUInt16BE(internetChecksum(header), 10);
  return Buffer.concat([header, payload]);
}

/** RFC 768, with the checksum that IPv6 asks for. */
function udp(source: string, destination: string, sourcePort: number, port: number, data: Buffer): Buffer {
  const datagram = Buffer.alloc(8 + data.length);
  datagram.writeUInt16BE(sourcePort, 0);
  datagram.writeUInt16BE(port, 2);
  datagram.writeUInt16BE(datagram.length, 4);
  data.copy(datagram, 8);
  const pseudo = Buffer.alloc(8);
  pseudo.writeUInt32BE(datagram.length);
  pseudo[7] = 17;
  const even = datagram.length % 2 ? Buffer.concat([datagram, Buffer.alloc(1)]) : datagram;
  datagram.writeUInt16BE(internetChecksum(bytesOf(source), bytesOf(destination), pseudo, even), 6);
  return datagram;
}

const innerProtocols = { 4: 4, 6: 41 } as const;
const outerAddresses = {
  4: { from: '10.91.0.1', to: plans[4].real },
  6: { from: 'fd91::1', to: plans[6].real },
} as const;
const pairs = [
  [4, 4],
  [6, 6],
  [4, 6],
  [6, 4],
] as const;
const service = 5300;

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('agent up --method tunnel', () => {
  let lab: Lab;
  let server: Helper | undefined;
  let untouched: Record<string, string>;
  const vips = [plans[4].vip, plans[6].vip];

  beforeAll(() => {
    lab = standUp('tunnel');
    untouched = snapshot(lab, 'real');
  });
  afterEach(async () => {
    await server?.stop();
    server = undefined;
    agent(lab, 'real', 'down');
    expect(snapshot(lab, 'real')).toEqual(untouched);
  });
  afterAll(() => takeDown(lab));

  /** Serves on the addresses there are: UDP services listen on each by itself. */
  const start = async (...words: string[]) => {
    const lines = agent(lab, 'real', 'up', '--vip', ...vips, '--method', 'tunnel', ...words);
    server = await startRealServer(lab, 'real', { name: 'real', udp: [service], tcp: [7] });
    return lines;
  };

  const linkOf = (node: string) => JSON.parse(run(lab, node, 'ip', '-j', 'link', 'show', 'dev', 'net'))[0];

  /** Puts IP packets in frames from the client's `net` to the real server's, one right after the other. */
  const send = (...packets: Buffer[]) => {
    const [from, to] = [linkOf('client'), linkOf('real')];
    const mac = ({ address }: { address: string }) => Buffer.from(address.replaceAll(':', ''), 'hex');
    const frames = packets.map((packet) => {
      const type = Buffer.from(packet[0]! >> 4 === 4 ? '0800' : '86dd', 'hex');
      return Buffer.concat([mac(to), mac(from), type, packet]);
    });
    const socket = lab.inside('client', () => openFrameSocket(from.ifindex));
    for (const frame of frames) socket.send(frame);
    socket.close();
  };

  /** An answer may take as long as a busy machine needs; that there is none is seen sooner. */
  const [answerMs, silenceMs] = [10_000, 600];
  let patienceMs = answerMs;
  /** What answers a datagram in a tunnel; the far client asks the virtual address. */
  const ask = (
    outer: 4 | 6,
    inner: 4 | 6,
    { outside = {}, inside = {}, to = outerAddresses[outer].to as string, text = 'who' } = {},
  ): string => {
    const { far, vip } = plans[inner];
    const port = freshPort();
    const from = { address: far, port };
    const fd = connectOn(
      lab,
      'client',
      'datagram',
      { address: vip, port: service },
      { from, timeoutMs: patienceMs },
    );
    try {
      const packet = ip(far, vip, 17, udp(far, vip, port, service, Buffer.from(text)), inside);
      send(ip(outerAddresses[outer].from, to, innerProtocols[inner], packet, outside));
      return receive(fd).toString();
    } finally {
      closeSocket(fd);
    }
  };
  const silence = (work: () => unknown) => {
    patienceMs = silenceMs;
    expect(outcome(work)).toBe('EAGAIN');
    patienceMs = answerMs;
  };
  const outcomes = () => JSON.parse(agent(lab, 'real', 'status', '-o', 'json').join()).outcomes;

  it.each(pairs)('takes IPv%s in IPv%s, outer first', async (outer, inner) => {
    await start();
    expect(ask(outer, inner)).toBe('real who');
    // Shorter than an Ethernet frame may be, and longer than most.
    expect(ask(outer, inner, { text: '' })).toBe('real ');
    expect(ask(outer, inner, { text: 'x'.repeat(1300) })).toBe(`real ${'x'.repeat(1300)}`);
    expect(outcomes()).toEqual({ decapsulated: 3, fragments: 0, dropped: 0 });
  });

  it.each(pairs)('does nothing of it without the agent, or after it: IPv%s, IPv%s', async (outer, inner) => {
    for (const vip of vips) run(lab, 'real', 'ip', 'address', 'add', vip, 'dev', 'lo');
    server = await startRealServer(lab, 'real', { name: 'real', udp: [service] });
    silence(() => ask(outer, inner));
    agent(lab, 'real', 'up', '--vip', ...vips, '--method', 'tunnel');
    expect(ask(outer, inner)).toBe('real who');
    agent(lab, 'real', 'down');
    silence(() => ask(outer, inner));
    for (const vip of vips)
      run(lab, 'real', 'ip', 'address', 'del', `${vip}/${vip.includes(':') ? 128 : 32}`, 'dev', 'lo');
  });

  it('takes the encapsulation limit that Linux puts before the inner packet', async () => {
    await start();
    // RFC 2473, 4.1.1, padded by RFC 8200, 4.2.
    const options = (next: number) => Buffer.from([next, 0, 4, 1, 4, 1, 1, 0]);
    expect(ask(6, 4, { outside: { options: options(4) } })).toBe('real who');
    expect(ask(6, 6, { outside: { options: options(41) } })).toBe('real who');
  });

  it('leaves alone what is not for a virtual address of its own', async () => {
    await start();
    agent(lab, 'real', 'up', '--vip', plans[6].vip, '--method', 'tunnel');
    run(lab, 'real', 'ip', 'address', 'add', plans[4].vip, 'dev', 'lo');
    silence(() => ask(4, 4));
    expect(ask(4, 6)).toBe('real who');
    run(lab, 'real', 'ip', 'address', 'del', `${plans[4].vip}/32`, 'dev', 'lo');
  });

  describe('on a host that forwards', () => {
    const forward = (value: number) =>
      lab.inside('real', () => {
        for (const name of ['net.ipv4.ip_forward', 'net.ipv6.conf.all.forwarding']) writeSysctl(name, value);
      });

    it.each(pairs)('leaves alone what passes through: IPv%s, IPv%s', async (outer, inner) => {
      await start();
      forward(1);
      try {
        silence(() => ask(outer, inner, { to: { 4: '10.92.0.77', 6: 'fd92::77' }[outer] }));
        expect(ask(outer, inner)).toBe('real who');
      } finally {
        forward(0);
        // Forwarding resets these.
        run(lab, 'real', 'sysctl', '-q', '-w', 'net.ipv4.conf.all.accept_redirects=1');
      }
      expect(outcomes().decapsulated).toBe(1);
    });

    it.each(pairs)('tells it from what arrived a moment before: IPv%s, IPv%s', async (outer, inner) => {
      await start();
      forward(1);
      try {
        const { far, vip } = plans[inner];
        const { from, to } = outerAddresses[outer];
        const packet = (outside: string, inside: string) =>
          ip(from, outside, innerProtocols[inner], ip(far, inside, 17, Buffer.alloc(8)));
        const own = packet(to, vip);
        // Addresses with the same end: what the program remembers of one lies where that of the other would.
        const passing = packet({ 4: '10.92.0.27', 6: 'fd92::21' }[outer], vip);
        const other = packet(to, { 4: '10.92.0.100', 6: 'fd92::100' }[inner]);
        send(own, passing, own, other, own);
        await until(() => outcomes().decapsulated >= 3, 'those for it are out');
        expect(outcomes()).toEqual({ decapsulated: 3, fragments: 0, dropped: 0 });
      } finally {
        forward(0);
        run(lab, 'real', 'sysctl', '-q', '-w', 'net.ipv4.conf.all.accept_redirects=1');
      }
    });
  });

  it('counts outer fragments, and packets that are not whole, and leaves them to the kernel', async () => {
    await start();
    const moreFragments = 0x2000;
    silence(() => ask(4, 4, { outside: { fragment: moreFragments } }));
    expect(outcomes()).toEqual({ decapsulated: 0, fragments: 1, dropped: 0 });
    const packet = ip(
      outerAddresses[4].from,
      outerAddresses[4].to,
      4,
      ip(plans[4].far, plans[4].vip, 17, Buffer.alloc(8)),
    );
    packet[10]! ^= 1;
    send(packet);
    expect(outcomes()).toEqual({ decapsulated: 0, fragments: 1, dropped: 0 });
  });

  // RFC 6040, 4.2, figure 4: not-ECT inside, CE outside is dropped; ECT inside becomes CE.
  it.each(pairs)('carries congestion marks inwards, or drops: IPv%s, IPv%s', async (outer, inner) => {
    await start();
    silence(() => ask(outer, inner, { outside: { tos: 3 }, inside: { tos: 0 } }));
    expect(outcomes()).toEqual({ decapsulated: 0, fragments: 0, dropped: 1 });
    const seen = congestionSeen(lab);
    expect(ask(outer, inner, { outside: { tos: 1 }, inside: { tos: 2 } })).toBe('real who');
    expect(congestionSeen(lab)).toBe(seen);
    expect(ask(outer, inner, { outside: { tos: 3 }, inside: { tos: 2 } })).toBe('real who');
    expect(congestionSeen(lab)).toBe(seen + 1);
  });

  it('asks clients for segments that leave room for the outer header', async () => {
    await start();
    const tcp = 6;
    const maximumSegment = 2;
    const timestamps = 12;
    for (const [family, room] of [
      [4, 1500 - 40 - 40],
      [6, 1500 - 40 - 60],
    ] as const) {
      const { vip, real } = plans[family];
      const length = family === 4 ? 32 : 128;
      run(lab, 'client', 'ip', 'route', 'add', `${vip}/${length}`, 'via', real);
      try {
        for (const address of [`${family === 4 ? '10.91.0.1' : 'fd91::1'}`, plans[family].far]) {
          const fd = connectOn(lab, 'client', 'stream', { address: vip, port: 7 }, { from: { address } });
          expect(getSocketOption(fd, tcp, maximumSegment, 4).readInt32LE(0)).toBe(room - timestamps);
          closeSocket(fd);
        }
      } finally {
        run(lab, 'client', 'ip', 'route', 'del', `${vip}/${length}`);
      }
    }
  });

  it('is put on interfaces that came later by the next up', async () => {
    await start();
    run(lab, 'real', 'ip', 'link', 'add', 'late', 'type', 'veth', 'peer', 'name', 'later');
    expect(agent(lab, 'real', 'up', '--vip', ...vips, '--method', 'tunnel')[0]).toBe(
      `decapsulation of IP in IP: incomplete -> ${[...vips].sort().join(' ')}`,
    );
    run(lab, 'real', 'ip', 'link', 'del', 'late');
    expect(ask(4, 4)).toBe('real who');
  });
});

/** IpExt's InCEPkts and Ip6InCEPkts: packets that came with "congestion experienced" (net/ipv4/proc.c, net/ipv6/proc.c). */
function congestionSeen(lab: Lab): number {
  const four = run(lab, 'real', 'cat', '/proc/net/netstat')
    .split('\n')
    .filter((line) => line.startsWith('IpExt:'));
  const [names, values] = four.map((line) => line.split(' ')) as [string[], string[]];
  const six = /^Ip6InCEPkts\s+(\d+)$/m.exec(run(lab, 'real', 'cat', '/proc/net/snmp6'))?.[1] ?? '0';
  return Number(values[names.indexOf('InCEPkts')]) + Number(six);
}
