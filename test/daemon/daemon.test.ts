import { spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { randomNumbers, startOf } from '../packets/random.ts';
import { requires } from '../requirements.ts';
import { ask } from './ask.ts';
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
const ruled = (scheduler: string, ...servers: [string, number][]) => [
  `-A -t 192.0.2.10:80 -s ${scheduler}`,
  ...servers.map(([server, weight]) => `-a -t 192.0.2.10:80 -r ${server} -m -w ${weight}`),
];

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('the daemon', () => {
  let site: Site;
  beforeEach(() => {
    site = openSite();
  });
  afterEach(() => site.close());

  it('puts its file in force, takes changes of it, and goes on forwarding when it ends', async () => {
    site.write(configuration('rr', one, two));
    const daemon = await site.start();
    expect(site.rules()).toEqual(ruled('rr', [one, 1], [two, 1]));
    site.write(configuration('wlc', one, two, three));
    await daemon.logged(/configuration in force .*generation=2/);
    expect(site.rules()).toEqual(ruled('wlc', [one, 1], [two, 1], [three, 1]));
    // Whether the file's change was noticed or the signal was: one of them takes it, the other finds nothing to do.
    site.write(configuration('sed', one, two, three));
    daemon.process.kill('SIGHUP');
    await daemon.logged(/configuration in force .*generation=3/);
    expect(site.rules()[0]).toBe('-A -t 192.0.2.10:80 -s sed');
    expect(await daemon.end('SIGTERM')).toBe(0);
    expect(daemon.log()).toMatch(/info stopped dataPlane=ebpf/);
    expect(existsSync(site.socket)).toBe(false);
    expect(site.rules()).toEqual(ruled('sed', [one, 1], [two, 1], [three, 1]));
  });

  it('takes what ipvsadm changes, and keeps it over the next file and the next daemon', async () => {
    site.write(configuration('rr', one, two));
    const daemon = await site.start();
    for (const words of [
      `-e -t 192.0.2.10:80 -r ${one} -m -w 0`,
      `-a -t 192.0.2.10:80 -r ${three} -m -w 5`,
      '-A -u 192.0.2.10:53 -s rr',
    ])
      expect(site.run('ipvsadm', ...words.split(' '))).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(site.run('ipvsadm', '-d', '-t', '192.0.2.10:80', '-r', '10.0.0.9:80')).toMatchObject({
      status: 255,
      stderr: expect.stringContaining('No such destination'),
    });
    const changed = [...ruled('rr', [one, 0], [two, 1], [three, 5]), '-A -u 192.0.2.10:53 -s rr'];
    expect(site.rules()).toEqual(changed);
    site.write(configuration('wlc', one, two));
    await daemon.logged(/configuration in force .*kept=2/);
    expect(await daemon.end('SIGKILL')).toBe('SIGKILL');
    expect(existsSync(site.socket)).toBe(true);
    const next = await site.start();
    const kept = [...ruled('wlc', [one, 0], [two, 1], [three, 5]), '-A -u 192.0.2.10:53 -s rr'];
    expect(site.rules()).toEqual(kept);
    expect(site.run('headgate', 'plan', site.file).stdout).toMatch(/Nothing to change[\s\S]*weight 0/);
    expect(site.run('headgate', 'reload', '--drop-runtime-changes', '--yes').stdout).toMatch(
      /^Generation 2 of /,
    );
    expect(site.rules()).toEqual([...ruled('wlc', [one, 1], [two, 1]), '-A -u 192.0.2.10:53 -s rr']);
    await next.end('SIGTERM');
  });

  it('leaves all as it is when its file has a mistake or takes too much away', async () => {
    site.write(configuration('rr', one, two));
    const daemon = await site.start();
    site.write(configuration('nonsense', one));
    await daemon.logged(/error configuration not in force.*wanted one of rr/);
    const { status, stderr } = site.run('headgate', 'reload');
    expect(status).toBe(1);
    expect(stderr).toContain(`${site.file}:5:16: "scheduler": wanted one of rr`);
    expect(stderr).toContain('^^^^^^^^');
    site.write('virtualServices: []');
    await daemon.logged(/without a word: .*2 of 2 real servers/);
    expect(site.rules()).toEqual(ruled('rr', [one, 1], [two, 1]));
    expect(JSON.parse((await ask(site.socket, 'GET', '/v1/status')).text).configuration).toMatchObject({
      file: site.file,
      generation: 1,
      failure: expect.stringContaining('without a word'),
    });
    expect(site.run('headgate', 'reload', '--yes').status).toBe(0);
    expect(site.rules()).toEqual(['']);
  });

  it('is alone, and answers nobody but its user', async () => {
    site.write(configuration('rr', one));
    await site.start();
    const second = site.run('headgate', 'run', site.file);
    expect(second).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/Cannot run a second daemon: process \d+/),
    });
    const other = site.run('headgate', 'apply', launchers.headgate);
    expect(other.stderr).toContain('[HG_DAEMON]');
    expect(statSync(site.socket).mode & 0o777).toBe(0o600);
    const stranger = spawnSync('setpriv', [
      ...['--reuid=65534', '--clear-groups', process.execPath, '-e'],
      `require('net').connect('${site.socket}').on('error', (e) => { console.log(e.code); process.exit(7); })`,
    ]);
    expect(stranger).toMatchObject({ status: 7 });
    expect(String(stranger.stdout)).toBe('EACCES\n');
  });

  it('refuses requests it does not understand, and stays', async () => {
    site.write(configuration('rr', one));
    await site.start();
    const post = (path: string, body: string) => ask(site.socket, 'POST', path, { body });
    for (const [path, body, why] of [
      ['/v1/operations', '{', 'wanted JSON'],
      ['/v1/operations', '[]', 'expected object'],
      ['/v1/operations', '{"operations":[{"kind":"nonsense"}]}', 'operations.0.kind'],
      ['/v1/operations', '{"operations":[{"kind":"flush","more":1}]}', 'Unrecognized key'],
      [
        '/v1/operations',
        '{"operations":[{"kind":"delete-service","id":{"kind":"address","protocol":"tcp","address":"x","port":1}}]}',
        'operations.0.id',
      ],
      ['/v1/outlook', '{"addresses":["300.1.1.1"]}', 'wanted an IPv4 or IPv6 address'],
      ['/v1/reload', `{"yes":"${'x'.repeat(100_000)}"}`, 'wanted at most 65536 bytes'],
    ] as const) {
      const { status, text } = await post(path, body);
      expect([body.slice(0, 40), status]).toEqual([body.slice(0, 40), 400]);
      expect(JSON.parse(text).error.message).toContain(why);
    }
    expect(await ask(site.socket, 'GET', '/v1/nothing')).toMatchObject({ status: 404 });
    expect(await ask(site.socket, 'DELETE', '/v1/table')).toMatchObject({ status: 404 });
    expect(
      JSON.parse(
        (
          await post(
            '/v1/operations',
            '{"operations":[{"kind":"zero"},{"kind":"zero","id":{"kind":"fwmark","mark":1,"family":4}}]}',
          )
        ).text,
      ),
    ).toEqual({
      refusals: [null, { reason: 'no-such-service', detail: expect.any(String) }],
    });
    const table = JSON.parse((await ask(site.socket, 'GET', '/v1/table')).text);
    expect(table.services[0].counters).toEqual({
      connections: '0',
      packetsIn: '0',
      packetsOut: '0',
      bytesIn: '0',
      bytesOut: '0',
    });
    expect(site.rules()).toEqual(ruled('rr', [one, 1]));
  });

  it('forwards on sockets where the configuration says so, and commands reach it', async () => {
    site.write(`dataPlane: proxy${configuration('rr', one).replace('192.0.2.10:80', '127.0.0.1:8080')}`);
    const daemon = await site.start();
    expect(site.rules()).toEqual(['-A -t 127.0.0.1:8080 -s rr', `-a -t 127.0.0.1:8080 -r ${one} -m -w 1`]);
    expect(site.run('ipvsadm', '-e', '-t', '127.0.0.1:8080', '-r', one, '-m', '-w', '3').status).toBe(0);
    expect(site.rules()[1]).toContain('-w 3');
    expect(await daemon.end('SIGTERM')).toBe(0);
  });

  it('loses nothing that was acknowledged, killed at any moment', async () => {
    const from = startOf('DAEMON_START');
    const random = randomNumbers(from);
    const rounds = process.env.LONG ? 200 : 8;
    let weight = 1;
    site.write(configuration('rr', one, two));
    for (let round = 0; round < rounds; round++) {
      const daemon = await site.start();
      const label = `DAEMON_START=${from}, round ${round}`;
      expect(site.rules(), label).toContain(`-a -t 192.0.2.10:80 -r ${one} -m -w ${weight}`);
      const next = 1 + random.below(50);
      const { status } = site.run(
        'ipvsadm',
        '-e',
        '-t',
        '192.0.2.10:80',
        '-r',
        one!,
        '-m',
        '-w',
        String(next),
      );
      expect(status, label).toBe(0);
      weight = next;
      // Reloads under way, one by the file and one by the signal, and then the end.
      site.write(
        configuration(random.pick(['rr', 'wlc', 'sed']), one, two, ...(random.below(2) ? [three] : [])),
      );
      setTimeout(() => daemon.process.kill('SIGHUP'), random.below(40));
      await new Promise((resolve) => setTimeout(resolve, random.below(600)));
      expect(await daemon.end('SIGKILL'), label).toBe('SIGKILL');
    }
    const daemon = await site.start();
    expect(site.rules()).toContain(`-a -t 192.0.2.10:80 -r ${one} -m -w ${weight}`);
    const plan = site.run('headgate', 'plan', '--drop-runtime-changes', site.file).stdout;
    expect(plan.split('\n')[0]).toBe(
      weight === 1
        ? 'Nothing to change: the data plane is as described.'
        : `~ web/${one}  weight ${weight} -> 1`,
    );
    await daemon.end('SIGTERM');
  }, 1_800_000);
});
