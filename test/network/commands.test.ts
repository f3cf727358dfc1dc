import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runToEnd } from '../../src/lab/processes.ts';
import { acquireLock } from '../../src/sys/lock.ts';
import { netnsCookie, netnsPath, processesInNetns } from '../../src/sys/netns.ts';
import { requires } from '../requirements.ts';
import { at, launcher, linkKinds, plans, type Site, smallTable, standUp } from './site.ts';
import { askTcp, closeSocket, connectOn, exchange, tally } from './sockets.ts';

const { vip, backOf } = plans[4];
const tcp = { address: vip, port: 7 };
const udp = { address: vip, port: 5300 };
const rules = [
  `-A -t ${at(vip, 7)} -s rr`,
  ...[1, 2, 3].map((n) => `-a -t ${at(vip, 7)} -r ${at(backOf(n), 7007)} -m`),
  `-A -u ${at(vip, 5300)} -s rr`,
  `-a -u ${at(vip, 5300)} -r ${at(backOf(1), 5353)} -m`,
];

requires(
  'root',
  'netns',
  'bpf',
)('forwarding without a process', () => {
  describe.each(linkKinds)('$links', (kind) => {
    let site: Site;
    beforeAll(async () => {
      site = await standUp('command', kind);
    });
    afterAll(() => site?.down());

    /** Three packets, and what was made of them so far; the limit counts from the last, and nothing is looked at meanwhile. */
    async function talk(fd: number) {
      const before = { made: site.connectionsMade(), entries: site.entries() };
      const counts = () => ({
        made: site.connectionsMade() - before.made,
        entries: site.entries() - before.entries,
      });
      const first = performance.now();
      exchange(fd, Buffer.from('one'));
      exchange(fd, Buffer.from('two'));
      const steps = [counts()];
      await setTimeout(700);
      const last = performance.now();
      exchange(fd, Buffer.from('three'));
      const answered = performance.now();
      steps.push(counts());
      await setTimeout(700);
      steps.push(counts());
      return { steps, counts, longestMs: Math.max(answered - first, performance.now() - last) };
    }

    it('needs no process of ours: connections are made and expire by themselves', async () => {
      site.rules(...rules, '--set 900 120 1');
      // What is not running cannot be needed: there is nothing to stop (SIGSTOP) on the director.
      expect(processesInNetns(netnsPath(site.lab.netns('director')))).toEqual([]);
      const names = Array.from({ length: 9 }, () => askTcp(site.lab, 'client', tcp));
      expect(tally(names)).toEqual({ real1: 3, real2: 3, real3: 3 });

      const fd = connectOn(site.lab, 'client', 'datagram', udp);
      try {
        let seen: Awaited<ReturnType<typeof talk>>;
        // A busy machine may wake us when the second is over: then nothing was tried.
        do {
          await setTimeout(1600);
          seen = await talk(fd);
        } while (seen.longestMs > 950);
        expect(seen.steps).toEqual([
          { made: 1, entries: 1 },
          { made: 1, entries: 1 },
          { made: 1, entries: 1 },
        ]);
        // 1 s after the last packet lookups find it no more, and counts follow.
        await expect.poll(() => seen.counts().entries).toBe(0);
        exchange(fd, Buffer.from('four'));
        expect(seen.counts().made).toBe(2);
      } finally {
        closeSocket(fd);
      }
      expect(processesInNetns(netnsPath(site.lab.netns('director')))).toEqual([]);
    });

    it('survives kill -9 of a command at any moment', async () => {
      site.rules(...rules);
      const held = connectOn(site.lab, 'client', 'datagram', udp);
      try {
        exchange(held, Buffer.from('before'));
        // Every step of a command is met once: start-up, reading, each of its changes, its end.
        for (let delayMs = 40; delayMs <= 360; delayMs += 20) {
          const child = site.lab.spawn('director', process.execPath, [launcher, '-R'], {
            stdio: ['pipe', 'ignore', 'ignore'],
            env: smallTable,
          });
          const ended = once(child, 'exit');
          child.stdin!.on('error', () => undefined);
          child.stdin!.end(changes);
          const cut = setTimeout(delayMs).then(() => child.kill('SIGKILL'));
          expect(askTcp(site.lab, 'client', tcp)).toMatch(/^real[123]$/);
          await cut;
          await ended;
          expect(askTcp(site.lab, 'client', tcp)).toMatch(/^real[123]$/);
          expect(exchange(held, Buffer.from(`after ${delayMs}`)).name).toBe('real1');
        }
      } finally {
        closeSocket(held);
      }
      // The table can be read and edited, and holds nothing half made.
      const listing = site.ipvsadm('-Ln');
      for (const line of listing.split('\n').filter((text) => text.startsWith('  -> 10')))
        expect(line).toMatch(/^ {2}-> 10\.72\.0\.[123]:\d+ +Masq {4}[15] +\d+ +\d+ *$/);
      site.rules(...rules);
      expect(site.ipvsadm('-S', '-n').trim().split('\n').length).toBe(rules.length);
      expect(tally(Array.from({ length: 6 }, () => askTcp(site.lab, 'client', tcp)))).toEqual({
        real1: 2,
        real2: 2,
        real3: 2,
      });
    });
  });
});

/** Changes that leave one real server standing at every moment. */
const changes = `${Array.from({ length: 100 }, (_, i) => [
  `-e -t ${at(vip, 7)} -r ${at(backOf(2), 7007)} -m -w 5`,
  `-e -t ${at(vip, 7)} -r ${at(backOf(2), 7007)} -m -w 1`,
  `-A -t ${at(vip, 1000 + i)} -s wrr`,
  `-a -t ${at(vip, 1000 + i)} -r ${at(backOf(3), 80)} -m -w 5`,
  `-D -t ${at(vip, 1000 + i)}`,
])
  .flat()
  .join('\n')}\n`;

requires(
  'root',
  'netns',
  'bpf',
)('two commands at once', () => {
  let site: Site;
  beforeAll(async () => {
    site = await standUp('lock', linkKinds[0], { started: [] });
    site.rules(...rules);
  });
  afterAll(() => site?.down());

  const lockPath = () => join('/run/headgate', String(site.lab.inside('director', netnsCookie)), 'lock');
  const command = (...words: string[]) =>
    runToEnd(
      site.lab,
      'director',
      ['env', 'HEADGATE_CONNECTIONS=65536', process.execPath, launcher, ...words],
      {
        timeoutMs: 30_000,
      },
    );

  it('all take effect', async () => {
    const ports = Array.from({ length: 8 }, (_, i) => 2000 + i);
    const ends = await Promise.all(ports.map((port) => command('-A', '-t', at(vip, port), '-s', 'rr')));
    expect(ends.map(({ status, stderr }) => [status, stderr])).toEqual(ports.map(() => [0, '']));
    const listing = site.ipvsadm('-Ln');
    for (const port of ports) expect(listing).toContain(`TCP  ${at(vip, port)} rr\n`);
  });

  it('one waits for the lock', async () => {
    const lock = await acquireLock(lockPath(), { waitMs: 0 });
    let ended = false;
    const waiting = command('-A', '-t', at(vip, 3000), '-s', 'rr').finally(() => {
      ended = true;
    });
    await setTimeout(1500);
    expect(ended).toBe(false);
    lock.release();
    expect(await waiting).toMatchObject({ status: 0, stderr: '' });
    expect(site.ipvsadm('-Ln')).toContain(at(vip, 3000));
  });

  it('says who holds the lock when it does not come free', async () => {
    const before = site.ipvsadm('-Ln');
    const lock = await acquireLock(lockPath(), { waitMs: 0 });
    try {
      const { status, stdout, stderr } = await command('-A', '-t', at(vip, 4000), '-s', 'rr');
      expect(status).toBe(2);
      expect(stdout).toBe('');
      expect(stderr).toContain(String(process.pid));
      expect(stderr).toContain(lockPath());
      expect(stderr.trim().split('\n').length).toBeLessThanOrEqual(2);
    } finally {
      lock.release();
    }
    expect(site.ipvsadm('-Ln')).toBe(before);
  });
});
