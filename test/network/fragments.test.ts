import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { patternBytes } from '../../src/lab/pattern.ts';
import { startRealServer } from '../../src/lab/processes.ts';
import { findLink } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { netnsPath } from '../../src/sys/netns.ts';
import type { FrameSocket } from '../../src/sys/raw.ts';
import { requires } from '../requirements.ts';
import { arrived, bytesOf6, type IpPacket, internetChecksum, watch } from './frames.ts';
import { at, linkKinds, plans, type Site, standUp } from './site.ts';
import { askUdp, freshPort } from './sockets.ts';

const datagram = patternBytes(0, 8000);
/** IPv6 leaves fewer bytes to a fragment of 1,500: 1,448 of 8,008 (datagram and UDP header), as IPv4 has 1,480. */
const fragmentsOf8000 = 6;
/** In the first fragment of a datagram made here; a multiple of eight. */
const firstBytes = 1448;
const udp = 17;

requires(
  'root',
  'netns',
  'bpf',
)('fragments', () => {
  describe.each(linkKinds)('$links', (kind) => {
    let site: Site;
    beforeAll(async () => {
      site = await standUp('fragment', kind, { started: [1] });
    });
    afterAll(() => site?.down());

    describe.each([4, 6] as const)('IPv%i', (family) => {
      const plan = plans[family];
      const ways = [
        { method: 'masquerade', vip: plan.vip, real: at(plan.backOf(1), 5353), flag: '-m' },
        { method: 'direct-routing', vip: plan.sharedVip, real: at(plan.backOf(1), 5300), flag: '-g' },
      ];

      it.each(ways)('8,000 bytes go there and back: $method', ({ vip, real, flag }) => {
        site.rules(`-A -u ${at(vip, 5300)} -s rr`, `-a -u ${at(vip, 5300)} -r ${real} ${flag}`);
        const there = watch(site, 'real1', 'back');
        const back = watch(site, 'client', 'front');
        try {
          for (let i = 0; i < 3; i++) {
            const from = { address: plan.client, port: freshPort() };
            const answer = askUdp(site.lab, 'client', { address: vip, port: 5300 }, datagram, { from });
            expect(answer.name).toBe('real1');
            expect(answer.echo.equals(datagram)).toBe(true);
          }
          expect(fragmentsSeen(there).length).toBe(3 * fragmentsOf8000);
          expect(fragmentsSeen(back).length).toBe(3 * fragmentsOf8000);
        } finally {
          there.close();
          back.close();
        }
      });

      it.each(ways)(
        'a later fragment before its first is dropped and counted: $method',
        ({ vip, real, flag }) => {
          site.rules(`-A -u ${at(vip, 5300)} -s rr`, `-a -u ${at(vip, 5300)} -r ${real} ${flag}`);
          // Resolves the neighbours, and shows that whole datagrams pass.
          askUdp(site.lab, 'client', { address: vip, port: 5300 });
          const wire = watch(site, 'real1', 'back');
          const out = watch(site, 'client', 'front');
          try {
            const [first, second] = fragmentsOf(plan.client, vip, ethernetHeader(site, family));
            const before = site.events('EVENT_FRAGMENT_LOST');
            out.send(second);
            out.send(first);
            out.send(second);
            const offsets = fragmentsSeen(wire).map(({ fragment }) => fragment!.offset);
            expect(offsets).toEqual([0, firstBytes]);
            expect(site.events('EVENT_FRAGMENT_LOST') - before).toBe(1);
          } finally {
            wire.close();
            out.close();
          }
        },
      );

      it('8,000 bytes for the director itself pass by', async () => {
        site.rules(
          `-A -u ${at(plan.vip, 53)} -s rr`,
          `-a -u ${at(plan.vip, 53)} -r ${at(plan.backOf(1), 53)} -m`,
        );
        const own = await startRealServer(site.lab, 'director', { name: 'director', udp: [5300] });
        try {
          const answer = askUdp(site.lab, 'client', { address: plan.vip, port: 5300 }, datagram);
          expect(answer.name).toBe('director');
          expect(answer.echo.equals(datagram)).toBe(true);
        } finally {
          await own.stop();
        }
      });
    });
  });
});

/** The fragments that have arrived on a device. */
function fragmentsSeen(wire: FrameSocket): IpPacket[] {
  return arrived(wire, (packet) => (packet.fragment && packet.protocol === udp ? packet : undefined));
}

/** A UDP datagram of 2,000 bytes in two fragments, as frames. */
function fragmentsOf(source: string, destination: string, header: Buffer): [Buffer, Buffer] {
  const body = Buffer.concat([Buffer.alloc(8), patternBytes(0, 2000)]);
  body.writeUInt16BE(freshPort(), 0);
  body.writeUInt16BE(5300, 2);
  body.writeUInt16BE(body.length, 4);
  const six = source.includes(':');
  const ends = [source, destination].map((text) =>
    six ? bytesOf6(text) : Buffer.from(text.split('.').map(Number)),
  );
  const pseudo = Buffer.alloc(4);
  pseudo.writeUInt8(udp, 1);
  pseudo.writeUInt16BE(body.length, 2);
  body.writeUInt16BE(internetChecksum(...ends, pseudo, body), 6);
  const identification = freshPort();
  const fragment = (from: number, to: number) =>
    Buffer.concat([
      header,
      (six ? ipv6Header : ipv4Header)(ends, identification, from, to < body.length, to - from),
      body.subarray(from, to),
    ]);
  return [fragment(0, firstBytes), fragment(firstBytes, body.length)];
}

/** RFC 791, 3.1. */
function ipv4Header(
  ends: Buffer[],
  identification: number,
  offset: number,
  more: boolean,
  length: number,
): Buffer {
  const head = Buffer.from([0x45, 0, 0, 0, 0, 0, 0, 0, 64, udp, 0, 0]);
  head.writeUInt16BE(20 + length, 2);
  head.writeUInt16BE(identification, 4);
  head.writeUInt16BE((more ? 0x2000 : 0) | (offset >> 3), 6);
  head.writeUInt16BE(internetChecksum(head, ...ends), 10);
  return Buffer.concat([head, ...ends]);
}

/** RFC 8200, 3 and 4.5. */
function ipv6Header(
  ends: Buffer[],
  identification: number,
  offset: number,
  more: boolean,
  length: number,
): Buffer {
  const head = Buffer.from([0x60, 0, 0, 0, 0, 0, 44, 64]);
  head.writeUInt16BE(8 + length, 4);
  const fragment = Buffer.from([udp, 0, 0, 0, 0, 0, 0, 0]);
  fragment.writeUInt16BE(offset | (more ? 1 : 0), 2);
  fragment.writeUInt32BE(identification, 4);
  return Buffer.concat([head, ...ends, fragment]);
}

/** From the client to the director. */
function ethernetHeader({ lab }: Site, family: 4 | 6): Buffer {
  const [to, from] = ['director', 'client'].map((node) =>
    withNetlink({ netns: netnsPath(lab.netns(node)) }, (netlink) =>
      Buffer.from(findLink(netlink, 'front')!.mac!.replaceAll(':', ''), 'hex'),
    ),
  ) as [Buffer, Buffer];
  return Buffer.concat([to, from, Buffer.from(family === 4 ? '0800' : '86dd', 'hex')]);
}
