import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openTelling } from '../../src/ha/sync/telling.ts';
import { parseAddress } from '../../src/model/address.ts';
import type { RunningSync } from '../../src/model/connection-sync.ts';
import { headgateLauncher, run } from '../agent/site.ts';
import { closeSocket, connectOn, freshPort, readLine, receive, sendAll } from '../network/sockets.ts';
import { requires } from '../requirements.ts';
import { until } from './link.ts';
import { at, methods, reals, rules, type SyncSite, standUpSync, vips } from './sync-site.ts';

/*
 * Two of our directors, connections by way of one, the virtual addresses moved to the other by hand: the same streams go
 * on. What a director knows is read from its own listing.
 */

const families = [4, 6] as const;

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('connections told to another director', () => {
  let site: SyncSite;
  beforeAll(async () => {
    site = await standUpSync('two');
    for (const director of ['a', 'b'] as const) {
      site.restore(director, rules);
      for (const role of ['master', 'backup'])
        site.ipvsadm(director, '--start-daemon', role, '--mcast-interface', 'back');
    }
    site.activate('a');
  });
  afterAll(() => site?.down());

  const open = (address: string, port: number) => {
    // A busy machine, and a client that sends again after ever longer pauses.
    const from = ownOf(address);
    const fd = connectOn(site.lab, 'client', 'stream', { address, port }, { from, timeoutMs: 30_000 });
    return { fd, name: readLine(fd), from: `:${from.port} ` };
  };
  const ownOf = (address: string) => ({
    address: address.includes(':') ? 'fd71::1' : '10.71.0.1',
    port: freshPort(),
  });
  const echo = (fd: number, text: string) => {
    sendAll(fd, Buffer.from(`${text}\n`));
    return readLine(fd);
  };

  const ways = methods.flatMap((method) => families.map((family) => ({ method, family })));

  it('streams of every method go on through the other director, and back', async () => {
    const streams = ways.map(({ method, family }) => ({
      method,
      family,
      ...open(vips[method][family], 7),
    }));
    for (const { fd } of streams) expect(echo(fd, 'by a')).toBe('by a');
    const established = () => site.connections('b').filter((line) => line.includes('ESTABLISHED')).length;
    await until(() => established() >= ways.length, 'the other one was told of all');
    site.activate('b');
    for (const { fd, method, family } of streams)
      expect(`${method} ${family} ${echo(fd, 'by b')}`).toBe(`${method} ${family} by b`);
    expect(site.connections('b').filter((line) => line.includes('ESTABLISHED'))).toHaveLength(ways.length);
    site.activate('a');
    for (const { fd } of streams) expect(echo(fd, 'by a again')).toBe('by a again');
    for (const { fd } of streams) closeSocket(fd);
  });

  it('a persistent client, a UDP client and a client without its real server', async () => {
    site.activate('a');
    const { 4: vip } = vips.masquerade;
    const persistent = open(vip, 8);
    const from = ownOf(vip);
    const datagrams = connectOn(site.lab, 'client', 'datagram', { address: vip, port: 5300 }, { from });
    const ask = () => {
      sendAll(datagrams, Buffer.from('who\n'));
      return receive(datagrams).toString();
    };
    const answered = ask();
    expect(answered).not.toBe('');
    // Not configured on the other director: kept there, and found again when it is added.
    const service = at(vips.masquerade[6], 7);
    const server = at(reals.masquerade[6], 7007);
    site.ipvsadm('b', '-d', '-t', service, '-r', server);
    const late = open(vips.masquerade[6], 7);
    const here = (what: RegExp) => site.connections('b').filter((line) => what.test(line)).length;
    await until(() => here(/^TCP .* 10\.71\.0\.1:0 +10\.71\.0\.100:8 /) === 1, 'it was told of the template');
    await until(() => here(/^UDP /) === 1, 'it was told of the datagrams');
    await until(
      () => here(new RegExp(`ESTABLISHED.*${late.from}`)) === 1,
      'it was told of the one that it has no server for',
    );
    site.activate('b');
    expect(ask()).toBe(answered);
    expect(echo(persistent.fd, 'by b')).toBe('by b');
    sendAll(late.fd, Buffer.from('by b\n'));
    await sleep(300);
    site.ipvsadm('b', '-a', '-t', service, '-r', server, '-m');
    expect(readLine(late.fd)).toBe('by b');
    for (const fd of [persistent.fd, datagrams, late.fd]) closeSocket(fd);
  });

  it('a director that comes back asks for the whole table', async () => {
    site.activate('a');
    const streams = ways.map(({ method, family }) => open(vips[method][family], 7));
    site.ipvsadm('b', '--stop-daemon', 'backup');
    run(site.lab, 'b', process.execPath, headgateLauncher, 'clean-up');
    expect(site.ipvsadm('b', '-L', '--daemon')).toBe('');
    site.restore('b', rules);
    site.ipvsadm('b', '--start-daemon', 'backup', '--mcast-interface', 'back');
    await until(
      () => site.connections('b').filter((line) => line.includes('ESTABLISHED')).length >= streams.length,
      'it has all of them',
      60_000,
    );
    site.activate('b');
    for (const { fd } of streams) expect(echo(fd, 'by b')).toBe('by b');
    // Told once, entered once: its real servers count what the streams are.
    const counted = site.ipvsadm('b', '-Ln').matchAll(/ (?:Route|Masq|Tunnel) +1 +(\d+) /g);
    expect([...counted].reduce((sum, [, active]) => sum + Number(active), 0)).toBe(streams.length);
    for (const { fd } of streams) closeSocket(fd);
  });

  it('by an IPv6 group, over several ports, and in the old version', async () => {
    site.activate('a');
    const words = ['--mcast-interface', 'back', '--mcast-group', 'ff02::51', '--mcast-port', '9000'];
    const more = ['--mcast-ttl', '3', '--sync-maxlen', '1200', '--syncid', '7'];
    const listed = (role: string) =>
      `${role} sync daemon (mcast=back, syncid=7, maxlen=1200, group=ff02::51, port=9000, ttl=3)\n`;
    const sysctl = (director: 'a' | 'b', ...parameters: string[]) =>
      run(site.lab, director, process.execPath, headgateLauncher, 'sysctl', ...parameters);
    for (const role of ['master', 'backup']) site.ipvsadm('a', '--stop-daemon', role);
    run(site.lab, 'b', process.execPath, headgateLauncher, 'clean-up');
    site.restore('b', rules);
    for (const director of ['a', 'b'] as const) sysctl(director, 'sync_ports=4', 'sync_sock_size=300000');
    site.ipvsadm('b', '--start-daemon', 'backup', ...words, ...more);
    site.ipvsadm('a', '--start-daemon', 'master', ...words, ...more);
    expect(site.ipvsadm('a', '-L', '--daemon')).toBe(listed('master'));
    expect(site.ipvsadm('b', '-L', '--daemon')).toBe(listed('backup'));
    const ports = () =>
      run(site.lab, 'b', 'cat', '/proc/net/udp6')
        .split('\n')
        .map((line) => Number.parseInt(/:([0-9A-F]{4}) /.exec(line)?.[1] ?? '', 16))
        .filter((port) => port >= 9000 && port < 9100);
    expect(ports().sort()).toEqual([9000, 9001, 9002, 9003]);
    // Who tells by one port alone, as `headgate sync send` does, has told all when that one has heard its end.
    const isWhole = () => {
      const { stdout } = site.lab.run('b', process.execPath, [headgateLauncher, 'status', '-o', 'json']);
      const { sync } = JSON.parse(stdout) as { sync: RunningSync[] };
      return sync.find(({ role }) => role === 'backup')!.progress!.whole === true;
    };
    site.ipvsadm('a', '--stop-daemon', 'master');
    site.ipvsadm('b', '--stop-daemon', 'backup');
    site.ipvsadm('b', '--start-daemon', 'backup', ...words, ...more);
    expect(isWhole()).toBe(false);
    const place = { role: 'master', interface: 'back', id: 7, port: 9000, ttl: 3 } as const;
    const telling = site.lab.inside('a', () => openTelling({ ...place, group: parseAddress('ff02::51')! }))!;
    await telling.tell([], true);
    telling.close();
    await until(isWhole, 'it has heard the end');
    site.ipvsadm('a', '--start-daemon', 'master', ...words, ...more);
    const streams = Array.from({ length: 8 }, () => open(vips.masquerade[4], 7));
    const six = open(vips.masquerade[6], 7);
    const known = () =>
      site
        .connections('b')
        .filter((line) => line.includes('ESTABLISHED'))
        .filter((line) => [...streams, six].some(({ from }) => line.includes(from)));
    await until(() => known().length >= streams.length + 1, 'all of them were told');
    // A message of version 0 has no place for IPv6.
    site.ipvsadm('a', '--stop-daemon', 'master');
    sysctl('a', 'sync_version=0');
    site.ipvsadm('a', '--start-daemon', 'master', ...words, ...more);
    for (const { fd } of [...streams, six]) closeSocket(fd);
    await until(
      () => known().every((line) => line.includes('fd71::')) && known().length > 0,
      'those of IPv4 have ended, and nothing more was told of the other one',
    );
    site.activate('b');
    const late = open(vips.masquerade[4], 7);
    expect(echo(late.fd, 'by b')).toBe('by b');
    closeSocket(late.fd);
  });
});
