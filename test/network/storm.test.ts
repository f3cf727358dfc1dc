import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runToEnd } from '../../src/lab/processes.ts';
import { requires } from '../requirements.ts';
import { at, linkKinds, plans, type Site, smallTable, standUp } from './site.ts';
import { closeSocket, connectOn, echoLine, outcome, readLine } from './sockets.ts';

const stormSeconds = 2;

requires(
  'root',
  'netns',
  'bpf',
  'wrk',
)('a storm of connections', () => {
  describe.each(linkKinds)('$links', (kind) => {
    let site: Site;
    beforeAll(async () => {
      site = await standUp('storm', kind, { serve: { http: [80, 8080] } });
      const { vip, backOf } = plans[4];
      site.rules(
        `-A -t ${at(vip, 80)} -s wlc`,
        ...[1, 2, 3].map((n) => `-a -t ${at(vip, 80)} -r ${at(backOf(n), 8080)} -m`),
      );
    });
    afterAll(() => site?.down());

    /** Opens and closes connections as fast as two threads can, more than 1000; how many the director has made of it. */
    async function storm(): Promise<number> {
      const before = site.connectionsMade();
      const made = () => site.connectionsMade() - before;
      do await blow();
      while (made() <= 1000);
      return made();
    }

    async function blow(): Promise<void> {
      const words = [
        'wrk',
        '-t2',
        '-c100',
        `-d${stormSeconds}s`,
        '--timeout',
        '10s',
        '-H',
        'Connection: close',
      ];
      const run = await runToEnd(site.lab, 'client', [...words, `http://${at(plans[4].vip, 80)}/`], {
        timeoutMs: 30_000,
      });
      expect(run.stdout, run.stderr).toMatch(/requests in/);
      expect(run.stdout).not.toMatch(/Socket errors: connect [1-9]/);
    }

    it('leaves nothing once all has expired', async () => {
      site.setAllTimeouts(1);
      await storm();
      // A second after the last packet of each, which a busy real server may still have to send.
      await expect.poll(() => site.entries()).toBe(0);
      expect(countsOf(site.ipvsadm('-Ln'))).toEqual({ active: 0, inactive: 0 });
      expect(site.ipvsadm('-Lnc')).not.toContain('TCP');
    });

    it('leaves counts that agree with the entries of the table', async () => {
      // Nothing may expire between the two listings.
      site.setAllTimeouts(300);
      const made = await storm();
      const { active, inactive } = countsOf(site.ipvsadm('-Ln'));
      const entries = site
        .ipvsadm('-Lnc')
        .split('\n')
        .filter((line) => line.startsWith('TCP '));
      expect(active + inactive).toBe(entries.length);
      expect(active).toBe(entries.filter((line) => /ESTABLISHED|SYN_SENT|SYN_RECV/.test(line)).length);
      expect(site.entries()).toBe(entries.length);
      // A client's port that comes back soon enough continues its entry (conn_reuse_mode), so there can be fewer.
      expect(entries.length).toBeGreaterThan(1000);
      expect(entries.length).toBeLessThanOrEqual(made);
      expect(site.events('EVENT_CONTENTION')).toBe(0);
    });
  });
});

requires(
  'root',
  'netns',
  'bpf',
)('a full table', () => {
  describe.each(linkKinds)('$links', (kind) => {
    const size = 256;
    let site: Site;
    beforeAll(async () => {
      site = await standUp('full', kind, { env: { ...smallTable, HEADGATE_CONNECTIONS: String(size) } });
    });
    afterAll(() => site?.down());

    it('refuses and counts new connections and loses none that is there', async () => {
      const { vip, backOf } = plans[4];
      site.rules(
        `-A -t ${at(vip, 7)} -s rr`,
        ...[1, 2, 3].map((n) => `-a -t ${at(vip, 7)} -r ${at(backOf(n), 7007)} -m`),
      );
      const open = (timeoutMs: number) =>
        connectOn(site.lab, 'client', 'stream', { address: vip, port: 7 }, { timeoutMs });
      const held = Array.from({ length: size }, () => open(3000));
      try {
        for (const fd of held) expect(readLine(fd)).toMatch(/^real[123]$/);
        expect(site.entries()).toBe(size);
        const refused = Array.from({ length: 20 }, () => outcome(() => closeSocket(open(30))));
        expect(refused).toEqual(Array(20).fill('EINPROGRESS'));
        expect(site.events('EVENT_TABLE_FULL')).toBeGreaterThanOrEqual(20);
        held.forEach((fd, i) => {
          expect(echoLine(fd, `line ${i}`)).toBe(`line ${i}`);
        });
        const { active, inactive } = countsOf(site.ipvsadm('-Ln'));
        expect([active, inactive]).toEqual([size, 0]);
        // Room comes back with the first that ends.
        site.setAllTimeouts(1);
        for (const fd of held.splice(0, 10)) closeSocket(fd);
        await expect.poll(() => site.entries()).toBe(size - 10);
        // A place rests for a moment before it is used again.
        await setTimeout(500);
        for (let i = 0; i < 10; i++) held.push(open(10_000));
      } finally {
        for (const fd of held) closeSocket(fd);
      }
    });
  });
});

/** Sums over the destinations of a listing. */
function countsOf(listing: string): { active: number; inactive: number } {
  const rows = listing.split('\n').filter((line) => /^ {2}-> \S+:\d/.test(line));
  const column = (from: number) => rows.reduce((sum, row) => sum + Number(row.trim().split(/\s+/)[from]), 0);
  return { active: column(4), inactive: column(5) };
}
