import { Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Helper, startRealServer } from '../../src/lab/processes.ts';
import { getSocketOption } from '../../src/sys/socket.ts';
import { agent, run } from '../agent/site.ts';
import { requires } from '../requirements.ts';
import { at, finishedByDirector, linkKinds, plans, type Site, standUp, verifiedByDirector } from './site.ts';
import { connectOn, freshPort } from './sockets.ts';
import { download, patternDigest, upload } from './transfer.ts';

/*
 * The whole tunnel: the director puts packets into it, a real server that the agent has set up takes them out, and
 * answers the client by itself.
 */

const megabytes5 = 5 * 1000 * 1000;
const whole = { bytes: megabytes5, sha256: patternDigest(megabytes5) };
/** Both ways take a tenth of a second here; a stream that stalls waits for timers of 200 ms, 400 ms and so on. */
const mostMs = 6000;
const families = [4, 6] as const;
const pairs = families.flatMap((inner) => families.map((outer) => ({ inner, outer })));
/** The outer header (RFC 791, RFC 8200). */
const overhead = { 4: 20, 6: 40 };

/** What the kernel knows of a stream: struct tcp_info of linux/tcp.h. */
function tcpInfoOf(fd: number): { pathMtu: number; sentAgain: number } {
  const tcp = 6;
  const option = 11;
  const info = getSocketOption(fd, tcp, option, 104);
  return { pathMtu: info.readUInt32LE(60), sentAgain: info.readUInt32LE(100) };
}

const streamOf = (fd: number) => new Socket({ fd, readable: true, writable: true });

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('through the tunnel', () => {
  describe.each([...linkKinds, finishedByDirector, verifiedByDirector])('$links', (kind) => {
    let site: Site;
    let server: Helper | undefined;
    beforeAll(async () => {
      site = await standUp('tunnel', kind, { bare: true, started: [] });
      const vips = families.map((family) => plans[family].sharedVip);
      agent(site.lab, 'real1', 'up', '--vip', ...vips, '--method', 'tunnel');
      server = await startRealServer(site.lab, 'real1', { name: 'real1', http: [80] });
    });
    afterAll(async () => {
      await server?.stop();
      if (site) agent(site.lab, 'real1', 'down');
      await site?.down();
    });

    describe.each([
      { segments: 'the segment size of the agent', advertised: true },
      { segments: 'path MTU discovery', advertised: false },
    ])('$segments', ({ advertised }) => {
      beforeAll(() => {
        if (!advertised) dropSegmentSizes(site);
      });

      it.each(pairs)('five megabytes up and down, IPv$inner in IPv$outer', async ({ inner, outer }) => {
        const { sharedVip, client } = plans[inner];
        site.rules(
          `-A -t ${at(sharedVip, 80)} -s rr`,
          `-a -t ${at(sharedVip, 80)} -r ${at(plans[outer].backOf(1), 80)} -i`,
        );
        run(site.lab, 'client', 'ip', `-${inner}`, 'route', 'flush', 'cache');
        const tooBig = site.events('EVENT_TOO_BIG');
        const connect = () => {
          const from = { address: client, port: freshPort() };
          return connectOn(site.lab, 'client', 'stream', { address: sharedVip, port: 80 }, { from });
        };
        const start = performance.now();
        const fd = connect();
        const stream = streamOf(fd);
        expect(await upload(stream, megabytes5)).toEqual(whole);
        const { pathMtu, sentAgain } = tcpInfoOf(fd);
        stream.destroy();
        expect(await download(streamOf(connect()), megabytes5)).toEqual(whole);
        expect(performance.now() - start).toBeLessThan(mostMs);
        // A queue of the machine overflows now and then; one segment in ten would be a fault of the path.
        expect(sentAgain).toBeLessThan(megabytes5 / 1500 / 10);
        if (advertised) {
          expect(site.events('EVENT_TOO_BIG')).toBe(tooBig);
          expect(pathMtu).toBe(1500);
        } else {
          expect(site.events('EVENT_TOO_BIG')).toBeGreaterThan(tooBig);
          expect(pathMtu).toBe(1500 - overhead[outer]);
        }
      });
    });
  });
});

/** Takes the segment sizes that the agent has set off the routes of the real server. */
function dropSegmentSizes({ lab }: Site): void {
  for (const family of ['-4', '-6']) {
    const routes = run(lab, 'real1', 'ip', family, 'route', 'show', 'table', 'all').split('\n');
    const set = routes.filter((line) => line.includes(' advmss '));
    expect(set.length).toBeGreaterThan(0);
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
}
