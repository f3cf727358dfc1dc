import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { RunningSync } from '../../src/model/connection-sync.ts';
import { listLinks } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { openFrameSocket } from '../../src/sys/raw.ts';
import { headgateLauncher, run } from '../agent/site.ts';
import { closeSocket, connectOn, freshPort, readLine, sendAll } from '../network/sockets.ts';
import { encode, ethernet, tcp } from '../packets/frame.ts';
import { requires } from '../requirements.ts';
import { until } from './link.ts';
import { type Director, rules, type SyncSite, standUpSync } from './sync-site.ts';

/*
 * Two directors of ours with a key, on a link that loses every third message in either direction: no connection is lost, nor
 * one of full NAT whose local address moves with the virtual ones.
 */

const connections = 2000;
const atOnce = 20;
const firstPort = 10_000;
const virtual = '10.71.0.101:7';
/** At 10.71.0.100:9; 10.72.0.254 is on `back`, of whoever is active. */
const fullNat = [
  '-A -t 10.71.0.100:9 -s rr',
  '-a -t 10.71.0.100:9 -r 10.72.0.11:7007 --full-nat --local-addresses 10.72.0.254',
];
const drop = [
  'add table ip lossy',
  'add chain ip lossy input { type filter hook input priority 0; }',
  'add rule ip lossy input udp dport 8848 numgen inc mod 3 == 0 counter drop',
].join('; ');

requires(
  'root',
  'netns',
  'bpf',
  'ip',
  'nft',
  'tc',
)('connection sync by a link that loses messages', () => {
  let site: SyncSite;
  const processes: ChildProcess[] = [];
  beforeAll(async () => {
    site = await standUpSync('loss');
    for (const director of ['a', 'b'] as const) {
      site.restore(director, [...rules, ...fullNat]);
      run(site.lab, director, 'nft', drop);
    }
    // A handful of messages fill the socket.
    run(site.lab, 'a', process.execPath, headgateLauncher, 'sysctl', 'sync_sock_size=10000');
    for (const [director, role] of [
      ['b', 'backup'],
      ['a', 'master'],
    ] as const)
      processes.push(await site.startEncrypted(director, role, 'a key of sixteen or more'));
    site.activate('a');
  });
  afterAll(async () => {
    await site?.down();
    for (const one of processes) one.kill('SIGKILL');
  });

  const progressOf = (director: Director) => {
    const { stdout } = site.lab.run(director, process.execPath, [headgateLauncher, 'status', '-o', 'json']);
    return (JSON.parse(stdout) as { sync: RunningSync[] }).sync[0]!.progress!;
  };

  /** Opens connections of one client, and establishes them; many messages, of few connections each. */
  async function open(count: number, client: string): Promise<void> {
    const mac = (node: string) =>
      site.lab.inside(node, () => withNetlink({}, listLinks)).find(({ name }) => name === 'front')!;
    const socket = site.lab.inside('client', () => openFrameSocket(mac('client').index));
    const place = { to: mac('a').mac, from: mac('client').mac };
    for (let i = 0; i < count; i++) {
      for (const flags of ['S', 'A'])
        socket.send(ethernet(encode(tcp(`${client}:${firstPort + i}`, virtual, flags)), place));
      if (i % atOnce === atOnce - 1) await sleep(10);
    }
    socket.close();
  }
  const established = (director: Director, client: string) =>
    site.connections(director).filter((line) => line.includes('ESTABLISHED') && line.includes(`${client}:`))
      .length;

  it('every connection is told in the end, and then there is silence', async () => {
    const client = '10.71.0.50';
    await open(connections, client);
    expect(established('a', client)).toBe(connections);
    await until(() => established('b', client) === connections, 'it knows all of them', 30_000);
    await until(() => progressOf('b').missing === 0, 'nothing is missing any more', 30_000);
    const [told, heard] = [progressOf('a'), progressOf('b')];
    expect(heard.missed).toBeGreaterThan(10);
    expect(told.toldAgain).toBeGreaterThan(10);
    // Each is told when it is made and when it is established; what is lost again, until it has come.
    expect(told.connections).toBeLessThan(10 * connections);
    await sleep(1000);
    expect(progressOf('a').connections).toBe(told.connections);
  });

  it('full NAT goes on from the same local end, and back', async () => {
    const from = { address: '10.71.0.1', port: freshPort() };
    const to = { address: '10.71.0.100', port: 9 };
    const fd = connectOn(site.lab, 'client', 'stream', to, { from, timeoutMs: 30_000 });
    expect(readLine(fd)).not.toBe('');
    const echo = (text: string) => {
      sendAll(fd, Buffer.from(`${text}\n`));
      return readLine(fd);
    };
    expect(echo('by a')).toBe('by a');
    const listed = (director: Director) =>
      site.connections(director).filter((line) => line.includes(`10.71.0.1:${from.port} `));
    await until(() => listed('b').some((line) => line.includes('ESTABLISHED')), 'it was told');
    site.activate('b');
    expect(echo('by b')).toBe('by b');
    site.activate('a');
    expect(echo('by a again')).toBe('by a again');
    closeSocket(fd);
  });

  it('what the link takes no more of waits, up to sync_qlen_max, and the rest is counted and told later', async () => {
    const client = '10.71.0.51';
    const sysctl = (word: string) => run(site.lab, 'a', process.execPath, headgateLauncher, 'sysctl', word);
    run(
      site.lab,
      'a',
      'tc',
      ...'qdisc add dev back root tbf rate 100kbit burst 1600 limit 1000000'.split(' '),
    );
    const before = progressOf('a').refused;
    await open(1000, client);
    await until(() => progressOf('a').waiting! > 0, 'messages wait');
    expect(progressOf('a').refused).toBe(before);
    sysctl('sync_qlen_max=2');
    let refusal = '';
    for (let i = 0; i < 30 && refusal === ''; i++) {
      await open(200, client);
      refusal = progressOf('a').lastRefusal ?? '';
    }
    expect(refusal).toMatch(/^cannot send: \d+ messages wait already \(sync_qlen_max\)$/);
    run(site.lab, 'a', 'tc', ...'qdisc del dev back root'.split(' '));
    await until(() => established('b', client) === 1000, 'it knows all of them', 30_000);
    await until(() => progressOf('a').waiting === 0, 'nothing waits any more');
  });
});
