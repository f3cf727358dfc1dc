import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync } from 'node:fs';

import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { ask } from './ask.ts';
import { follow, type Received } from './follower.ts';
import { launchers, openSite, type Site } from './site.ts';

const configuration = (scheduler: string, ...servers: string[]) => `
virtualServices:
  - name: web
    address: 192.0.2.10:80
    scheduler: ${scheduler}
    method: masquerade
    realServers: [${servers.map((server) => `{ address: ${server} }`).join(', ')}]
`;
const [one, two, three] = ['10.0.0.1:80', '10.0.0.2:80', '10.0.0.3:80'];
const ruled = (scheduler: string, ...servers: string[]) => [
  `-A -t 192.0.2.10:80 -s ${scheduler}`,
  ...servers.map((server) => `-a -t 192.0.2.10:80 -r ${server} -m -w 1`),
];

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('what a daemon tells and remembers', () => {
  let site: Site;
  let state: string;
  beforeEach(() => {
    state = mkdtempSync(join(tmpdir(), 'headgate-state-'));
    process.env.HEADGATE_STATE = state;
    site = openSite();
  });
  afterEach(() => {
    site.close();
    delete process.env.HEADGATE_STATE;
    rmSync(state, { recursive: true });
  });

  const setWeight = (weight: number) =>
    expect(
      site.run('ipvsadm', '-e', '-t', '192.0.2.10:80', '-r', one!, '-m', '-w', String(weight)),
    ).toMatchObject({ status: 0 });
  const events = () =>
    site
      .run('headgate', 'events', '-o', 'json')
      .stdout.trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
  const status = async () =>
    (JSON.parse((await ask(site.socket, 'GET', '/v1/status')).text) as { configuration: object })
      .configuration;
  const historyLines = () => JSON.parse(site.run('headgate', 'history', '-o', 'json').stdout);

  describe('events', () => {
    it('reach a follower, and say who made a change', async () => {
      site.write(configuration('rr', one, two));
      await site.start();
      const follower = await follow(site.socket);
      expect([follower.status, follower.type]).toEqual([200, 'text/event-stream']);
      setWeight(7);
      const change = await follower.until(({ event }) => event === 'runtime-change');
      expect(JSON.parse(change.data)).toMatchObject({
        kind: 'runtime-change',
        by: 'ipvsadm',
        operations: [`~ tcp 192.0.2.10:80/${one} masquerade, weight 7`],
        refused: 0,
        id: Number(change.id),
      });
      const id = { kind: 'address', protocol: 'tcp', address: '192.0.2.10', port: 80 };
      const operations = [
        { kind: 'delete-destination', id, destination: { address: '10.0.0.2', port: 80 } },
        { kind: 'delete-destination', id, destination: { address: '10.0.0.9', port: 80 } },
      ];
      await ask(site.socket, 'POST', '/v1/operations', { body: JSON.stringify({ operations }) });
      const second = await follower.until(({ id }) => id === String(Number(change.id) + 1));
      expect(JSON.parse(second.data)).toMatchObject({
        by: 'API',
        operations: [`- tcp 192.0.2.10:80/${two}`],
        refused: 1,
      });
      // What changes no rule is no event: counters to zero, and a file that says the same.
      site.run('ipvsadm', '-Z');
      site.run('headgate', 'reload');
      site.write(configuration('nonsense', one));
      const refused = await follower.until(({ event }) => event === 'configuration-refused');
      expect(Number(refused.id)).toBe(Number(second.id) + 1);
      expect(JSON.parse(refused.data)).toMatchObject({ file: site.file, by: 'reload' });
      follower.cut();
    });

    it('are all there after a cut, none twice', async () => {
      site.write(configuration('rr', one, two));
      await site.start();
      const first = await follow(site.socket);
      setWeight(2);
      const seen = await first.until(({ event }) => event === 'runtime-change');
      first.cut();
      for (const weight of [3, 4, 5]) setWeight(weight);
      const weightsOf = (all: Received[]) =>
        all.map(({ data }) => Number(/weight (\d+)/.exec(JSON.parse(data).what)?.[1]));
      const resumed = await follow(site.socket, { 'last-event-id': seen.id! });
      await resumed.until(({ data }) => data.includes('weight 5'));
      setWeight(6);
      await resumed.until(({ data }) => data.includes('weight 6'));
      expect(weightsOf(resumed.received())).toEqual([3, 4, 5, 6]);
      const asked = await follow(site.socket, {}, `/v1/events?since=${seen.id}`);
      await asked.until(({ data }) => data.includes('weight 6'));
      expect(asked.received()).toEqual(resumed.received());
      const page = await ask(site.socket, 'GET', `/v1/events?since=${seen.id}&limit=2`);
      expect(JSON.parse(page.text).events.map(({ id }: { id: number }) => id)).toEqual([
        Number(seen.id) + 1,
        Number(seen.id) + 2,
      ]);
      for (const path of ['/v1/events?since=x', '/v1/events?limit=-1'])
        expect(await ask(site.socket, 'GET', path)).toMatchObject({ status: 400 });
      expect((await follow(site.socket, { 'last-event-id': 'x' })).status).toBe(400);
      // No path at all: a refusal, and the daemon stays.
      expect((await follow(site.socket, {}, '//[')).status).toBe(404);
      expect((await ask(site.socket, 'GET', '/v1/status')).status).toBe(200);
      for (const follower of [resumed, asked]) follower.cut();
    });

    it('are told to 64 at a time, and each is told of the end', async () => {
      site.write(configuration('rr', one));
      const daemon = await site.start();
      const followers = await Promise.all(Array.from({ length: 64 }, () => follow(site.socket)));
      const refused = await follow(site.socket);
      await refused.ended;
      expect(refused.status).toBe(503);
      expect(refused.text()).toContain('HG_FOLLOWERS');
      followers[0]!.cut();
      let next = await follow(site.socket);
      // Its place is free when the daemon has seen that it left.
      for (let look = 0; next.status === 503 && look < 100; look++) {
        await sleep(100);
        next = await follow(site.socket);
      }
      expect(next.status).toBe(200);
      expect(await daemon.end('SIGTERM')).toBe(0);
      for (const follower of [next, ...followers.slice(1)]) {
        expect(await follower.ended).toEqual({ whole: true });
        expect(follower.received().map(({ event }) => event)).toEqual(['daemon-stopped', 'end']);
      }
    });

    it('outlive a killed daemon, and go on with the next number', async () => {
      site.write(configuration('rr', one));
      const daemon = await site.start();
      setWeight(9);
      await daemon.end('SIGKILL');
      const kinds = ['configuration-applied', 'daemon-started', 'runtime-change'];
      expect(events().map(({ kind }) => kind)).toEqual(kinds);
      // Without a daemon the command notes it itself.
      setWeight(8);
      await (await site.start()).end('SIGTERM');
      const all = events();
      expect(all.map(({ kind }) => kind)).toEqual([
        ...kinds,
        ...['runtime-change', 'daemon-started', 'daemon-stopped'],
      ]);
      expect(all.map(({ id }) => id)).toEqual([1, 2, 3, 4, 5, 6]);
    });

    it('are followed by a command over the end of a daemon', async () => {
      site.write(configuration('rr', one));
      const daemon = await site.start();
      const words = ['netns', 'exec', site.netns, process.execPath, launchers.headgate, 'events', '-f'];
      const command = spawn('ip', [...words, '-o', 'json'], { stdio: ['ignore', 'pipe', 'inherit'] });
      try {
        let said = '';
        command.stdout.on('data', (text) => {
          said += text;
        });
        const until = async (text: string) => {
          for (let tries = 0; !said.includes(text); tries++) {
            if (tries > 1200) throw new Error(`nothing says ${text}: ${said}`);
            await sleep(25);
          }
        };
        await until('daemon-started');
        setWeight(2);
        await until('weight 2');
        await daemon.end('SIGTERM');
        await until('daemon-stopped');
        setWeight(3);
        await until('weight 3');
        const ids = said
          .trimEnd()
          .split('\n')
          .map((line) => JSON.parse(line).id);
        expect(ids).toEqual(ids.map((_id: number, index: number) => index + 1));
      } finally {
        command.kill('SIGKILL');
        await once(command, 'exit');
      }
    });
  });

  describe('rollback', () => {
    it('brings back checks and failover, which are no rules of the data plane', async () => {
      const plain = configuration('rr', one);
      const watched = `${plain}    check: { type: tcp }
failover:
  vrrp: [{ name: front, interface: lo, routerId: 7, addresses: [192.0.2.10/32] }]
`;
      const found = async () => {
        const { members = [] } = JSON.parse((await ask(site.socket, 'GET', '/v1/checks')).text);
        const { vrrp = [] } = JSON.parse((await ask(site.socket, 'GET', '/v1/report')).text);
        return { checked: members.length, vrrp: vrrp.length };
      };
      site.write(plain);
      const daemon = await site.start();
      site.write(watched);
      await daemon.logged(/configuration in force .*generation=2 steps=0/);
      site.write(`# only a comment\n${watched}`);
      expect(site.run('headgate', 'reload').stdout).toMatch(/^Generation 2 /);
      expect(historyLines().generations[0].summary).toBe('+0 ~2 -0: failover vrrp; web check');
      await expect.poll(found).toEqual({ checked: 1, vrrp: 1 });
      const { stdout } = site.run('headgate', 'rollback', '1');
      expect(stdout).toMatch(/~ failover +vrrp\n~ web +check\n/);
      expect(stdout).toContain('Generation 3 is in force, a rollback to 1');
      await expect.poll(found).toEqual({ checked: 0, vrrp: 0 });
      site.run('headgate', 'rollback', '2');
      await expect.poll(found).toEqual({ checked: 1, vrrp: 1 });
      await daemon.end('SIGTERM');
    });

    it('puts an earlier generation in force until the file changes, also over the next start', async () => {
      site.write(configuration('rr', one, two));
      const daemon = await site.start();
      site.write(configuration('wlc', one, two, three));
      await daemon.logged(/configuration in force .*generation=2/);
      const { stdout } = site.run('headgate', 'rollback', '1');
      expect(stdout).toMatch(/~ web +scheduler wlc -> rr/);
      expect(stdout).toContain('Generation 3 is in force, a rollback to 1');
      expect(site.rules()).toEqual(ruled('rr', one!, two!));
      await daemon.logged(/rolled back, until the file changes generation=3 to=1/);
      expect(await status()).toMatchObject({ generation: 3, rolledBackTo: 1 });
      expect(site.run('headgate', 'rollback', '1').stdout).toMatch(/^Nothing to change/);
      expect(await status()).toMatchObject({ generation: 3 });
      // Looked at, saved again: not changed.
      utimesSync(site.file, new Date(), new Date());
      site.write(configuration('wlc', one, two, three));
      await sleep(1000);
      expect(site.rules()).toEqual(ruled('rr', one!, two!));
      await daemon.end('SIGKILL');
      const second = await site.start();
      expect(second.log()).toMatch(/stays rolled back, the file has not changed to=1/);
      expect(site.rules()).toEqual(ruled('rr', one!, two!));
      expect(await status()).toMatchObject({ generation: 3, rolledBackTo: 1 });
      // The plane is gone as after a reboot: numbers go on, and so does the rollback.
      await second.end('SIGTERM');
      site.run('headgate', 'clean-up');
      const third = await site.start();
      expect(site.rules()).toEqual(ruled('rr', one!, two!));
      expect(await status()).toMatchObject({ generation: 4, rolledBackTo: 1 });
      site.write(configuration('sed', one));
      await third.logged(/configuration in force .*generation=5/);
      expect(await status()).not.toHaveProperty('rolledBackTo');
      expect(site.rules()).toEqual(ruled('sed', one!));
      site.run('headgate', 'rollback', '2');
      expect(site.rules()).toEqual(ruled('wlc', one!, two!, three!));
      expect(site.run('headgate', 'reload', '--yes').status).toBe(0);
      expect(site.rules()).toEqual(ruled('sed', one!));
      const { inForce, generations } = historyLines();
      expect(inForce).toBe(7);
      expect(
        generations.map((entry: { by: string; rolledBackTo?: number }) => [entry.by, entry.rolledBackTo]),
      ).toEqual([
        ['reload', undefined],
        ['rollback', 2],
        ['reload', undefined],
        ['run', 1],
        ['rollback', 1],
        ['reload', undefined],
        ['run', undefined],
      ]);
      expect(site.run('headgate', 'history', '1', '--text').stdout).toBe(configuration('rr', one, two));
      await third.end('SIGTERM');
      // Taken at the next start, as the file was taken before.
      await (await site.start()).end('SIGTERM');
      expect(site.rules()).toEqual(ruled('sed', one!));
    });

    it('brings back services that are gone, and asks before it takes others away', async () => {
      site.write(`
virtualServices:
  - { name: dns, address: 192.0.2.11:53/udp, scheduler: rr, method: masquerade, realServers: [{ address: 10.0.0.5:53 }] }
  - { name: mail, address: 192.0.2.12:25, scheduler: lc, method: masquerade, realServers: [{ address: 10.0.0.6:25 }] }
`);
      const before = ['-A -u 192.0.2.11:53 -s rr', '-a -u 192.0.2.11:53 -r 10.0.0.5:53 -m -w 1'];
      const mail = ['-A -t 192.0.2.12:25 -s lc', '-a -t 192.0.2.12:25 -r 10.0.0.6:25 -m -w 1'];
      expect(site.run('headgate', 'apply', site.file).status).toBe(0);
      expect(site.rules().sort()).toEqual([...before, ...mail].sort());
      site.write(configuration('rr', one, two));
      expect(site.run('headgate', 'plan', site.file).stdout).toContain('Needs a word (--yes): ');
      const applied = site.run('headgate', 'apply', '--yes', site.file);
      expect(applied).toMatchObject({ status: 0, stdout: expect.stringMatching(/Applied\.\n$/) });
      expect(applied.stdout).not.toContain('--yes');
      expect(site.rules()).toEqual(ruled('rr', one!, two!));
      // Without a daemon.
      const refused = site.run('headgate', 'rollback', '1');
      expect(refused).toMatchObject({ status: 1, stderr: expect.stringContaining('HG_NEEDS_YES') });
      expect(refused.stderr).toContain('headgate rollback 1 --yes');
      expect(site.rules()).toEqual(ruled('rr', one!, two!));
      expect(site.run('headgate', 'rollback', '1', '--yes').status).toBe(0);
      expect(site.rules().sort()).toEqual([...before, ...mail].sort());
      // With one, which starts with the rollback, because the file is the one that was put aside.
      const daemon = await site.start();
      expect(site.rules().sort()).toEqual([...before, ...mail].sort());
      const asked = await ask(site.socket, 'POST', '/v1/rollback', { body: '{"generation":2}' });
      expect(asked).toMatchObject({ status: 409, text: expect.stringContaining('HG_NEEDS_YES') });
      const done = await ask(site.socket, 'POST', '/v1/rollback', { body: '{"generation":2,"yes":true}' });
      expect(JSON.parse(done.text)).toMatchObject({ generation: 4 });
      expect(site.rules()).toEqual(ruled('rr', one!, two!));
      const unknown = site.run('headgate', 'rollback', '99');
      expect(unknown).toMatchObject({
        status: 1,
        stderr: expect.stringContaining('Cannot find generation "99": there are 4, 3, 2, 1 [HG_GENERATION]'),
      });
      expect(await ask(site.socket, 'GET', '/v1/history/99')).toMatchObject({ status: 404 });
      expect(JSON.parse((await ask(site.socket, 'GET', '/v1/history/4')).text)).toMatchObject({
        ...{ generation: 4, by: 'rollback', rolledBackTo: 2, isInForce: true, before: 3 },
      });
      await daemon.end('SIGTERM');
    });

    it('a full disk keeps no configuration from coming into force, and is told', async () => {
      spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'headgate-test', state]);
      try {
        site.write(configuration('rr', one));
        const daemon = await site.start();
        const filler = spawnSync('dd', ['if=/dev/zero', `of=${join(state, 'filler')}`]);
        expect(String(filler.stderr)).toContain('No space left on device');
        site.write(configuration('wlc', one, two));
        await daemon.logged(/configuration in force .*generation=2/);
        expect(daemon.log()).toMatch(/error the generation is not kept .*no room on its file system/);
        expect(site.rules()).toEqual(ruled('wlc', one!, two!));
        // What is left of the last page of the log is soon full.
        const id = { kind: 'address', protocol: 'tcp', address: '192.0.2.10', port: 80 };
        const [address, port] = ['10.0.0.1', 80];
        const operations = Array.from({ length: 20 }, (_one, index) => ({
          ...{ kind: 'edit-destination', id },
          destination: {
            ...{ address, port, method: 'masquerade', weight: 20 - index },
            ...{ upperThreshold: 0, lowerThreshold: 0 },
          },
        }));
        for (let times = 0; times < 5; times++) {
          const { text } = await ask(site.socket, 'POST', '/v1/operations', {
            body: JSON.stringify({ operations }),
          });
          expect(JSON.parse(text).refusals).toEqual(operations.map(() => null));
        }
        expect(daemon.log().match(/error events are not kept .*ENOSPC/g)).toHaveLength(1);
        await daemon.end('SIGTERM');
        setWeight(5);
        site.write(configuration('sed', one, two));
        const applied = site.run('headgate', 'apply', site.file);
        expect(applied).toMatchObject({ status: 0, stderr: expect.stringContaining('Done, but cannot') });
        expect(site.rules()[0]).toBe('-A -t 192.0.2.10:80 -s sed');
        rmSync(join(state, 'filler'));
        site.write(configuration('rr', two));
        expect(site.run('headgate', 'apply', '--yes', site.file)).toMatchObject({ status: 0, stderr: '' });
        // No number was given twice, though 2 and 3 could not be kept.
        expect(
          historyLines().generations.map(({ generation }: { generation: number }) => generation),
        ).toEqual([4, 1]);
        const lines = readFileSync(join(state, 'events.jsonl'), 'utf8').trimEnd().split('\n');
        expect(JSON.parse(lines.at(-1)!)).toMatchObject({ kind: 'configuration-applied', generation: 4 });
        expect(readdirSync(join(state, 'generations')).filter((name) => name.endsWith('.new'))).toEqual([]);
      } finally {
        spawnSync('umount', [state]);
      }
    });
  });
});
