import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listLinks } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { requires } from '../requirements.ts';
import { at, linkKinds, plans, type Site, standUp } from './site.ts';
import { closeSocket, connectOn, echoLine, outcome, readLine } from './sockets.ts';

/*
 * SYNs nobody means, more than the table has places: connections that are there go on, and clients get new ones. With
 * LONG=1 as many and as fast as it is promised (docs/limits.md), on the table that is made when nobody says otherwise.
 */

type Flood = {
  readonly connections: number;
  readonly sources: number;
  readonly count: number;
  readonly rate: number;
  readonly established: number;
  readonly comers: number;
};
const small: Flood = {
  ...{ connections: 4096, sources: 3000, count: 9000, rate: 3000 },
  ...{ established: 20, comers: 5 },
};
const promised: Flood = {
  ...{ connections: 1 << 20, sources: 1 << 20, count: 2_500_000, rate: 50_000 },
  ...{ established: 500, comers: 400 },
};

requires(
  'root',
  'netns',
  'bpf',
)('a flood of SYNs', () => {
  describe.each(process.env.LONG ? [small, promised] : [small])('$count of them', (flood) => {
    const { vip, backOf } = plans[4];
    let site: Site;
    beforeAll(async () => {
      site = await standUp('flood', linkKinds[0], {
        env: { ...process.env, HEADGATE_CONNECTIONS: String(flood.connections) },
      });
      site.rules(
        `-A -t ${at(vip, 7)} -s rr`,
        ...[1, 2].map((n) => `-a -t ${at(vip, 7)} -r ${at(backOf(n), 7007)} -m`),
      );
      // Real servers do not answer the flood: what that does to them is another matter.
      for (const n of [1, 2])
        for (const table of ['main', '100'])
          site.lab.run(`real${n}`, 'ip', ['route', 'add', 'blackhole', '100.64.0.0/10', 'table', table]);
    });
    afterAll(() => site?.down());

    const open = (timeoutMs: number) =>
      connectOn(site.lab, 'client', 'stream', { address: vip, port: 7 }, { timeoutMs });

    it('costs no connection that is there, and keeps nobody out', async () => {
      const held = Array.from({ length: flood.established }, () => open(10_000));
      for (const fd of held) expect(readLine(fd)).toMatch(/^real[12]$/);
      const { mac } = site.lab.inside('director', () =>
        withNetlink({}, (netlink) => listLinks(netlink).find(({ name }) => name === 'front')!),
      );
      const words = ['front', mac, at(vip, 7), flood.sources, flood.count, flood.rate].map(String);
      const sender = site.lab.spawn(
        'client',
        process.execPath,
        ['--import', 'tsx', join(import.meta.dirname, 'flood-process.ts'), ...words],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      let said = '';
      sender.stdout!.on('data', (text) => {
        said += text;
      });
      const ended = once(sender, 'close');
      let over = false;
      ended.then(() => {
        over = true;
      });
      // Of those who come meanwhile: a SYN that is lost comes again after a second, and the next time after three.
      const came: string[] = [];
      while (flood === promised && !over && came.length < flood.comers) {
        came.push(outcome(() => closeSocket(open(2900))));
        await setTimeout(100);
      }
      await ended;
      const [sent, tookMs] = said.trim().split(' ').map(Number);
      expect(sent).toBe(flood.count);
      while (flood === small && came.length < flood.comers)
        came.push(outcome(() => closeSocket(open(10_000))));
      const served = came.filter((one) => one === 'ok').length;
      const rate = Math.round((sent! / tookMs!) * 1000);
      if (flood === promised)
        console.log(
          `${sent} SYNs at ${rate} a second; ${served} of ${came.length} clients were served, ${held.length} connections held`,
        );
      expect(served).toBeGreaterThanOrEqual(came.length * 0.99);
      held.forEach((fd, i) => {
        expect(echoLine(fd, `line ${i}`)).toBe(`line ${i}`);
      });
      for (const fd of held) closeSocket(fd);
      expect(site.events('EVENT_HALF_OPEN_ENDED')).toBeGreaterThan(flood.count / 4);
      // A slot rests for a moment before it is used again, which a small table has no time for.
      if (flood === promised) expect(site.events('EVENT_TABLE_FULL')).toBe(0);
    }, 300_000);
  });
});
