import { setTimeout } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { listLinks } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { netnsPath } from '../../src/sys/netns.ts';
import type { FrameSocket } from '../../src/sys/raw.ts';
import { requires } from '../requirements.ts';
import { arrived, icmpErrorOf, watch } from './frames.ts';
import { at, linkKinds, plans, type Site, setMtu, standUp } from './site.ts';
import {
  askTcp,
  askUdp,
  closeSocket,
  connectOn,
  exchange,
  freshPort,
  neverFragment,
  outcome,
  pathMtu,
  receive,
  sendAll,
  streamOn,
  timeToLive,
} from './sockets.ts';
import { download, patternDigest, upload } from './transfer.ts';

const megabytes5 = 5 * 1000 * 1000;
const digest = { bytes: megabytes5, sha256: patternDigest(megabytes5) };

/** Type and code by family: RFC 792, RFC 1191, RFC 4443. */
const portUnreachable = { 4: { type: 3, code: 3 }, 6: { type: 1, code: 4 } };
const timeExceeded = { 4: { type: 11, code: 0 }, 6: { type: 3, code: 0 } };
const tooBig = { 4: { type: 3, code: 4 }, 6: { type: 2, code: 0 } };
const protocols = { tcp: 6, udp: 17 };

requires(
  'root',
  'netns',
  'bpf',
)('ICMP', () => {
  describe.each(linkKinds)('$links', (kind) => {
    let site: Site;
    let wire: FrameSocket;
    let address = 0;
    beforeAll(async () => {
      site = await standUp('icmp', kind, { router: true, started: [1, 2] });
    });
    afterAll(() => site?.down());
    beforeEach(() => {
      address++;
      forgetPaths(site);
      wire = watch(site, 'client', 'front');
    });
    afterEach(() => wire.close());

    describe.each([4, 6] as const)('IPv%i', (family) => {
      const plan = plans[family];
      const { vip, sharedVip } = plan;
      /** Each test is a receiver of its own: ICMP errors are rationed by receiver. */
      const own = () => ({ address: plan.clientOf(address), port: freshPort() });
      const errors = (port: number) =>
        arrived(wire, (packet) => {
          const error = icmpErrorOf(packet);
          return error?.quoted.sourcePort === port ? error : undefined;
        });

      it.each(['tcp', 'udp'] as const)('no destination: %s gets port unreachable', (protocol) => {
        const type = protocol === 'tcp' ? '-t' : '-u';
        site.rules(
          `-A ${type} ${at(vip, 5300)} -s rr`,
          `-a ${type} ${at(vip, 5300)} -r ${at(plan.backOf(1), 5353)} -m -w 0`,
        );
        const from = own();
        const before = site.events('EVENT_NO_DESTINATION');
        const target = { address: vip, port: 5300 };
        const ask =
          protocol === 'tcp'
            ? () => askTcp(site.lab, 'client', target, { from })
            : () => askUdp(site.lab, 'client', target, undefined, { from });
        expect(outcome(ask)).toBe('ECONNREFUSED');
        const seen = errors(from.port);
        // The first error may find the connecting call at work on its socket; TCP then gives up at its second SYN.
        expect([1, 2]).toContain(seen.length);
        for (const error of seen)
          expect(error).toMatchObject({
            ...portUnreachable[family],
            source: vip,
            destination: from.address,
            headerChecksumRight: true,
            checksumRight: true,
            rest: 0,
            quoted: {
              protocol: protocols[protocol],
              source: from.address,
              destination: vip,
              destinationPort: 5300,
              ttl: 64,
            },
          });
        expect(site.events('EVENT_NO_DESTINATION') - before).toBe(seen.length);
      });

      it('no destination: the errors are rationed', async () => {
        site.rules(`-A -u ${at(vip, 5300)} -s rr`);
        const from = own();
        const fd = connectOn(site.lab, 'client', 'datagram', { address: vip, port: 5300 }, { from });
        const before = site.events('EVENT_NO_DESTINATION');
        for (let i = 0; i < 40; i++) outcome(() => sendAll(fd, Buffer.from('x')));
        closeSocket(fd);
        const refused = site.events('EVENT_NO_DESTINATION') - before;
        // A send that reports the error of an earlier one sends nothing.
        expect(refused).toBeGreaterThan(20);
        // XRLIM_BURST_FACTOR of net/ipv4/icmp.c: six at once, then one a second.
        const seen = errors(from.port).length;
        expect(seen).toBeGreaterThanOrEqual(6);
        expect(seen).toBeLessThanOrEqual(7);
        await setTimeout(1100);
        const next = own();
        expect(
          outcome(() =>
            askUdp(site.lab, 'client', { address: vip, port: 5300 }, undefined, {
              from: { ...from, port: next.port },
            }),
          ),
        ).toBe('ECONNREFUSED');
      });

      const ways = [
        {
          method: 'masquerade',
          vip,
          to: (port: number) => at(plan.backOf(1), port === 7 ? 7007 : 5353),
          flag: '-m',
        },
        {
          method: 'direct-routing',
          vip: sharedVip,
          to: (port: number) => at(plan.backOf(1), port),
          flag: '-g',
        },
      ];
      const rulesOf = (way: (typeof ways)[number]) =>
        (['-t 7', '-u 5300'] as const).flatMap((service) => {
          const [type, port] = service.split(' ') as [string, string];
          const name = `${type} ${at(way.vip, Number(port))}`;
          return [`-A ${name} -s rr`, `-a ${name} -r ${way.to(Number(port))} ${way.flag}`];
        });

      it.each(ways)('time to live 1 ends at the director, 2 does not: $method', (way) => {
        site.rules(...rulesOf(way));
        for (const protocol of ['tcp', 'udp'] as const) {
          const target = { address: way.vip, port: protocol === 'tcp' ? 7 : 5300 };
          const from = own();
          const ask = (hops: number, port: number) => {
            const options = {
              from: { ...from, port },
              set: [timeToLive(family, hops)],
              timeoutMs: protocol === 'tcp' ? 2500 : 500,
            };
            return outcome(() =>
              protocol === 'tcp'
                ? askTcp(site.lab, 'client', target, options)
                : askUdp(site.lab, 'client', target, undefined, options),
            );
          };
          // Linux reports time exceeded to a connecting socket, not to a UDP one that did not ask for it.
          expect(ask(1, from.port)).toBe(protocol === 'tcp' ? 'EHOSTUNREACH' : 'EAGAIN');
          expect(errors(from.port)[0]).toMatchObject({
            ...timeExceeded[family],
            source: way.vip,
            headerChecksumRight: true,
            checksumRight: true,
            quoted: { destination: way.vip, destinationPort: target.port, protocol: protocols[protocol] },
          });
          expect(ask(2, freshPort())).toBe('ok');
        }
      });

      it.each(ways)('a next hop of MTU 1300 is learned and an upload completes: $method', async (way) => {
        setMtu(site, 'director', 'back', 1300);
        try {
          site.rules(
            ...rulesOf(way),
            `-A -t ${at(way.vip, 80)} -s rr`,
            `-a -t ${at(way.vip, 80)} -r ${at(plan.backOf(1), 80)} ${way.flag}`,
          );
          await expectLearned(way.vip, way.vip);
        } finally {
          setMtu(site, 'director', 'back', 1500);
        }
      });

      it('a packet of 9,000 bytes gets its answer too', () => {
        setJumbo(site, 9000);
        try {
          site.rules(
            `-A -u ${at(vip, 5300)} -s rr`,
            `-a -u ${at(vip, 5300)} -r ${at(plan.backOf(1), 5353)} -m`,
          );
          const from = own();
          const options = { from, set: [neverFragment(family)], timeoutMs: 500 };
          const fd = connectOn(site.lab, 'client', 'datagram', { address: vip, port: 5300 }, options);
          sendAll(fd, Buffer.alloc(8000));
          expect(errors(from.port)).toMatchObject([{ ...tooBig[family], rest: 1500, checksumRight: true }]);
          closeSocket(fd);
        } finally {
          setJumbo(site, 1500);
        }
      });

      it('a link of MTU 1300 behind a router behind the director is learned and an upload completes', async () => {
        setMtu(site, 'router', 'far', 1300);
        site.rules(
          `-A -t ${at(vip, 80)} -s rr`,
          `-a -t ${at(vip, 80)} -r ${at(plan.far, 8080)} -m`,
          `-A -u ${at(vip, 5300)} -s rr`,
          `-a -u ${at(vip, 5300)} -r ${at(plan.far, 5353)} -m`,
        );
        await expectLearned(vip, vip);
      });

      /** A datagram and a stream that are too long at first: the client learns 1300 from errors about `target`. */
      async function expectLearned(target: string, source: string): Promise<void> {
        const from = own();
        const options = { from, set: [neverFragment(family)], timeoutMs: 500 };
        const fd = connectOn(site.lab, 'client', 'datagram', { address: target, port: 5300 }, options);
        try {
          expect(pathMtu(fd, family)).toBe(1500);
          sendAll(fd, Buffer.alloc(1400));
          expect(errors(from.port)).toMatchObject([
            {
              ...tooBig[family],
              source,
              headerChecksumRight: true,
              checksumRight: true,
              rest: 1300,
              quoted: { source: from.address, destination: target, destinationPort: 5300 },
            },
          ]);
          expect(outcome(() => receive(fd))).toBe('EMSGSIZE');
          expect(pathMtu(fd, family)).toBe(1300);
          const fits = Buffer.alloc(1200, 'f');
          expect(exchange(fd, fits).echo).toEqual(fits);
        } finally {
          closeSocket(fd);
        }
        // The stream must find out for itself.
        forgetPaths(site);
        const socket = streamOn(site.lab, 'client', { address: target, port: 80 }, { from: own() });
        expect(await upload(socket, megabytes5)).toEqual(digest);
      }

      it('a way back of MTU 1300 is learned by the real server and a download completes', async () => {
        setMtu(site, 'director', 'front', 1300);
        try {
          site.rules(`-A -t ${at(vip, 80)} -s rr`, `-a -t ${at(vip, 80)} -r ${at(plan.backOf(2), 8080)} -m`);
          const before = site.events('EVENT_TOO_BIG');
          const socket = streamOn(site.lab, 'client', { address: vip, port: 80 }, { from: own() });
          expect(await download(socket, megabytes5)).toEqual(digest);
          expect(site.events('EVENT_TOO_BIG')).toBeGreaterThan(before);
        } finally {
          setMtu(site, 'director', 'front', 1500);
        }
      });

      it('port unreachable from a real server reaches the client as from the virtual address', () => {
        site.rules(`-A -u ${at(vip, 5300)} -s rr`, `-a -u ${at(vip, 5300)} -r ${at(plan.backOf(1), 9)} -m`);
        const from = own();
        expect(
          outcome(() => askUdp(site.lab, 'client', { address: vip, port: 5300 }, undefined, { from })),
        ).toBe('ECONNREFUSED');
        expect(errors(from.port)).toMatchObject([
          {
            ...portUnreachable[family],
            source: vip,
            destination: from.address,
            headerChecksumRight: true,
            checksumRight: true,
            quoted: {
              protocol: protocols.udp,
              source: from.address,
              destination: vip,
              destinationPort: 5300,
              headerChecksumRight: true,
            },
          },
        ]);
      });
    });
  });
});

/** Sets the MTU of the whole way from the client to the director. */
function setJumbo(site: Site, mtu: number): void {
  const names = withNetlink({ netns: netnsPath(site.lab.netns('front')) }, listLinks).map(({ name }) => name);
  for (const name of names) if (name !== 'lo') setMtu(site, 'front', name, mtu);
  for (const node of ['client', 'director']) setMtu(site, node, 'front', mtu);
}

/** What the client and the real servers have learned about paths; the kernel keeps it by the other end's address. */
function forgetPaths({ lab }: Site): void {
  for (const node of ['client', 'real1', 'real2']) {
    for (const family of ['-4', '-6']) lab.run(node, 'ip', [family, 'route', 'flush', 'cache']);
  }
}
