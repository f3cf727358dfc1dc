import { Socket } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { patternBytes } from '../../src/lab/pattern.ts';
import { type Helper, startRealServer } from '../../src/lab/processes.ts';
import { getSocketOption } from '../../src/sys/socket.ts';
import { writeSysctl } from '../../src/sys/sysctl.ts';
import { agent, run } from '../agent/site.ts';
import { requires } from '../requirements.ts';
import {
  at,
  finishedByDirector,
  linkKinds,
  plans,
  type Site,
  setMtu,
  smallTable,
  standUp,
  verifiedByDirector,
} from './site.ts';
import { closeSocket, connectOn, exchange, freshPort } from './sockets.ts';
import { download, patternDigest, upload } from './transfer.ts';

/*
 * The whole tunnel: the director puts packets into it, a real server that the agent has set up takes them out, and
 * answers the client by itself.
 */

const megabytes5 = 5 * 1000 * 1000;
const whole = { bytes: megabytes5, sha256: patternDigest(megabytes5) };
/** Both ways take a tenth of a second here; a stream that stalls waits for timers of 200 ms, 400 ms and so on. */
const mostMs = 30_000;
const families = [4, 6] as const;
const pairs = families.flatMap((inner) => families.map((outer) => ({ inner, outer })));
/** The outer header (RFC 791, RFC 8200). */
const overhead = { 4: 20, 6: 40 };

/** What the kernel knows of a stream: struct tcp_info of linux/tcp.h. */
function tcpInfoOf(fd: number): { pathMtu: number; lost: number } {
  const tcp = 6;
  const option = 11;
  const info = getSocketOption(fd, tcp, option, 220);
  const [sentAgain, cameTwice] = [info.readUInt32LE(100), info.readUInt32LE(216)];
  return { pathMtu: info.readUInt32LE(60), lost: sentAgain - cameTwice };
}

/** IP_MTU_DISCOVER with IP_PMTUDISC_DONT (ip(7)): packets carry no "do not fragment". */
const mayFragment = [0, 10, 0] as const;

const streamOf = (fd: number) => new Socket({ fd, readable: true, writable: true });

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('through the tunnel', () => {
  describe.each([...linkKinds, finishedByDirector, verifiedByDirector])('$links', (kind) => {
    let site: Site;
    let end: Helper | undefined;
    beforeAll(async () => {
      site = await standUp('tunnel', kind, { bare: true, started: [] });
      end = await startTunnelEnd(site);
    });
    afterAll(() => takeDown(site, end));

    // What the client has learned of the path to the virtual address.
    beforeEach(() => {
      for (const family of families) run(site.lab, 'client', 'ip', `-${family}`, 'route', 'flush', 'cache');
    });

    describe.each([
      { segments: 'the segment size of the agent', advertised: true },
      { segments: 'path MTU discovery', advertised: false },
    ])('$segments', ({ advertised }) => {
      beforeAll(() => {
        if (!advertised) expect(dropSegmentSizes(site)).toBeGreaterThan(0);
      });

      it.each(pairs)('five megabytes up and down, IPv$inner in IPv$outer', async ({ inner, outer }) => {
        const { sharedVip, client } = plans[inner];
        site.rules(
          `-A -t ${at(sharedVip, 80)} -s rr`,
          `-a -t ${at(sharedVip, 80)} -r ${at(plans[outer].backOf(1), 80)} -i`,
        );
        const tooBig = site.events('EVENT_TOO_BIG');
        const connect = () => {
          const from = { address: client, port: freshPort() };
          return connectOn(site.lab, 'client', 'stream', { address: sharedVip, port: 80 }, { from });
        };
        const start = performance.now();
        const fd = connect();
        const stream = streamOf(fd);
        expect(await upload(stream, megabytes5)).toEqual(whole);
        const { pathMtu, lost } = tcpInfoOf(fd);
        stream.destroy();
        expect(await download(streamOf(connect()), megabytes5)).toEqual(whole);
        expect(performance.now() - start).toBeLessThan(mostMs);
        // A queue of the machine overflows now and then; one segment in ten would be a fault of the path. What only overtook another
        // segment, on another processor, was sent again for nothing, and the receiver says so (RFC 2883).
        expect(lost).toBeLessThan(megabytes5 / 1500 / 10);
        if (advertised) {
          expect(site.events('EVENT_TOO_BIG')).toBe(tooBig);
          expect(pathMtu).toBe(1500);
        } else {
          expect(site.events('EVENT_TOO_BIG')).toBeGreaterThan(tooBig);
          expect(pathMtu).toBe(1500 - overhead[outer]);
        }
      });
    });

    describe.each(families)('a client that lets its packets be fragmented, IPv4 in IPv%i', (outer) => {
      const { sharedVip, client } = plans[4];
      const connect = (type: 'stream' | 'datagram', port: number) =>
        connectOn(
          site.lab,
          'client',
          type,
          { address: sharedVip, port },
          { from: { address: client, port: freshPort() }, set: [mayFragment] },
        );
      beforeAll(() => {
        site.rules(
          ...['-t 80', '-u 5300'].flatMap((service) => {
            const [type, port] = service.split(' ') as [string, string];
            const name = `${type} ${at(sharedVip, Number(port))}`;
            return [`-A ${name} -s rr`, `-a ${name} -r ${at(plans[outer].backOf(1), Number(port))} -i`];
          }),
        );
        dropSegmentSizes(site);
      });

      // The longest of a frame, one that the client cuts up itself, the longest there is.
      it.each([1472, 8000, 60_000])('a datagram of %i bytes', (length) => {
        const before = site.events('EVENT_FRAGMENTED');
        const fd = connect('datagram', 5300);
        const datagram = patternBytes(0, length);
        try {
          const { name, echo } = exchange(fd, datagram);
          expect(name).toBe('real1');
          expect(echo.equals(datagram)).toBe(true);
        } finally {
          closeSocket(fd);
        }
        expect(site.events('EVENT_FRAGMENTED')).toBe(before + Math.floor((length + 8) / 1480));
      });

      it('five megabytes up', async () => {
        const before = site.events('EVENT_FRAGMENTED');
        const fd = connect('stream', 80);
        const start = performance.now();
        expect(await upload(streamOf(fd), megabytes5)).toEqual(whole);
        expect(performance.now() - start).toBeLessThan(mostMs);
        expect(site.events('EVENT_FRAGMENTED')).toBeGreaterThan(before + 10);
        // What arrives at the end of the tunnel is never a fragment outside.
        const { outcomes } = JSON.parse(agent(site.lab, 'real1', 'status', '-o', 'json').join());
        expect(outcomes).toMatchObject({ fragments: 0, dropped: 0 });
      });
    });
  });

  describe('a narrower link behind a router on the way to the real server', () => {
    const narrow = 1400;
    let site: Site;
    let end: Helper | undefined;
    beforeAll(async () => {
      site = await standUp('tunnel', linkKinds[0], { bare: true, started: [], router: true });
      end = await startTunnelEnd(site, 'real4');
      setMtu(site, 'router', 'far', narrow);
      // This real server answers through the director, which has its answers' source address itself.
      site.lab.inside('director', () => {
        for (const name of ['conf.all.accept_local', 'ip_forward']) writeSysctl(`net.ipv4.${name}`, 1);
        writeSysctl('net.ipv6.conf.all.forwarding', 1);
      });
    });
    afterAll(() => takeDown(site, end, 'real4'));

    it.each(pairs)('is learned and an upload completes, IPv$inner in IPv$outer', async ({ inner, outer }) => {
      const { sharedVip, client } = plans[inner];
      const service = `-t ${at(sharedVip, 80)}`;
      site.rules(`-A ${service} -s rr`, `-a ${service} -r ${at(plans[outer].far, 80)} -i`);
      run(site.lab, 'client', 'ip', `-${inner}`, 'route', 'flush', 'cache');
      const from = { address: client, port: freshPort() };
      const fd = connectOn(site.lab, 'client', 'stream', { address: sharedVip, port: 80 }, { from });
      const start = performance.now();
      expect(await upload(streamOf(fd), megabytes5)).toEqual(whole);
      expect(performance.now() - start).toBeLessThan(mostMs);
      expect(tcpInfoOf(fd).pathMtu).toBe(narrow - overhead[outer]);
    });
  });

  it('fragments what does not fit where the director was told not to discover path MTUs', async () => {
    const env = { ...smallTable, HEADGATE_PMTU_DISC: '0' };
    const site = await standUp('tunnel', linkKinds[0], { bare: true, started: [], env });
    let end: Helper | undefined;
    try {
      end = await startTunnelEnd(site);
      dropSegmentSizes(site);
      const { sharedVip, client, backOf } = plans[4];
      site.rules(`-A -t ${at(sharedVip, 80)} -s rr`, `-a -t ${at(sharedVip, 80)} -r ${at(backOf(1), 80)} -i`);
      const from = { address: client, port: freshPort() };
      const fd = connectOn(site.lab, 'client', 'stream', { address: sharedVip, port: 80 }, { from });
      expect(await upload(streamOf(fd), megabytes5)).toEqual(whole);
      expect(tcpInfoOf(fd).pathMtu).toBe(1500);
      expect(site.events('EVENT_TOO_BIG')).toBe(0);
      expect(site.events('EVENT_FRAGMENTED')).toBeGreaterThan(10);
    } finally {
      await takeDown(site, end);
    }
  });
});

/** Makes a real server the end of a tunnel that serves on both virtual addresses. */
async function startTunnelEnd({ lab }: Site, node = 'real1'): Promise<Helper> {
  const vips = families.map((family) => plans[family].sharedVip);
  agent(lab, node, 'up', '--vip', ...vips, '--method', 'tunnel');
  return startRealServer(lab, node, { name: node, http: [80], udp: [5300] });
}

async function takeDown(site: Site | undefined, end: Helper | undefined, node = 'real1'): Promise<void> {
  await end?.stop();
  if (site) agent(site.lab, node, 'down');
  await site?.down();
}

/** Takes the segment sizes that the agent has set off the routes of the real server; how many there were. */
function dropSegmentSizes({ lab }: Site): number {
  let count = 0;
  for (const family of ['-4', '-6']) {
    const routes = run(lab, 'real1', 'ip', family, 'route', 'show', 'table', 'all').split('\n');
    const set = routes.filter((line) => line.includes(' advmss '));
    count += set.length;
    for (const route of set)
      run(
        lab,
        'real1',
        'ip',
        family,
        'route',
        'replace',
        ...route
          .trim()
          .replace(/ advmss \d+/, '')
          .split(/\s+/),
      );
  }
  return count;
}
