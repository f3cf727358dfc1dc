import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { planeDirectory } from '../../src/dataplane/instance-folder.ts';
import { type RunningSync, type SyncOrder, syncDefaults } from '../../src/model/connection-sync.ts';
import { listLinks } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { netnsCookie } from '../../src/sys/netns.ts';
import { moduleProgram } from '../../src/sys/program.ts';
import { openFrameSocket } from '../../src/sys/raw.ts';
import { headgateLauncher, run } from '../agent/site.ts';
import { encode, ethernet, tcp } from '../packets/frame.ts';
import { requires } from '../requirements.ts';
import { until } from './link.ts';
import { type Director, rules, type SyncSite, standUpSync } from './sync-site.ts';

/* Two directors of ours with a key, on a link that loses every third message in either direction: no connection is lost. */

const connections = 2000;
const atOnce = 20;
const firstPort = 10_000;
const virtual = '10.71.0.101:7';
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
)('connection sync by a link that loses messages', () => {
  let site: SyncSite;
  const processes: ChildProcess[] = [];
  beforeAll(async () => {
    site = await standUpSync('loss');
    for (const director of ['a', 'b'] as const) {
      site.restore(director, rules);
      run(site.lab, director, 'nft', drop);
    }
    await start('b', 'backup');
    await start('a', 'master');
    site.activate('a');
  });
  afterAll(async () => {
    await site?.down();
    for (const one of processes) one.kill('SIGKILL');
  });

  async function start(director: Director, role: 'master' | 'backup'): Promise<void> {
    const directory = planeDirectory(String(site.lab.inside(director, netnsCookie)));
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const order: SyncOrder = {
      socket: join(directory, `sync-${role}.sock`),
      settings: { ...syncDefaults, role, interface: 'back', secret: 'a key of sixteen or more' },
    };
    const child = site.lab.spawn(director, process.execPath, moduleProgram('daemon/sync-process'), {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    processes.push(child);
    child.stdin!.end(JSON.stringify(order));
    const [said] = (await once(child.stdout!, 'data')) as [Buffer];
    expect(said.toString()).toBe('{}\n');
  }

  const progressOf = (director: Director) => {
    const { stdout } = site.lab.run(director, process.execPath, [headgateLauncher, 'status', '-o', 'json']);
    return (JSON.parse(stdout) as { sync: RunningSync[] }).sync[0]!.progress!;
  };

  it('every connection is told in the end, and then there is silence', async () => {
    const mac = (node: string) =>
      site.lab.inside(node, () => withNetlink({}, listLinks)).find(({ name }) => name === 'front')!;
    const socket = site.lab.inside('client', () => openFrameSocket(mac('client').index));
    const place = { to: mac('a').mac, from: mac('client').mac };
    for (let i = 0; i < connections; i++) {
      for (const flags of ['S', 'A'])
        socket.send(ethernet(encode(tcp(`10.71.0.50:${firstPort + i}`, virtual, flags)), place));
      // So that there are many messages.
      if (i % atOnce === atOnce - 1) await sleep(10);
    }
    const established = (director: Director) =>
      site
        .connections(director)
        .filter((line) => line.includes('ESTABLISHED') && line.includes('10.71.0.50:')).length;
    expect(established('a')).toBe(connections);
    await until(() => established('b') === connections, 'it knows all of them', 30_000);
    await until(() => progressOf('b').missing === 0, 'nothing is missing any more', 30_000);
    const [told, heard] = [progressOf('a'), progressOf('b')];
    expect(heard.missed).toBeGreaterThan(10);
    expect(told.toldAgain).toBeGreaterThan(10);
    // Each is told when it is made and when it is established; what is lost once more.
    expect(told.connections).toBeLessThan(2 * 2 * connections);
    await sleep(1000);
    expect(progressOf('a').connections).toBe(told.connections);
    socket.close();
  });
});
