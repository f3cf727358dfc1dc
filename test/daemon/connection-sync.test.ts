import { afterEach, beforeEach, expect, it } from 'vitest';
import { linkIndex } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { netnsPath, withNetns } from '../../src/sys/netns.ts';
import { openUdpReceiver } from '../../src/sys/udp-socket.ts';
import { until, type Wire } from '../ha/link.ts';
import { requires } from '../requirements.ts';
import type { Site } from './site.ts';
import { configurationOf, openPair, type Pair, vip } from './two-directors.ts';

const encrypted = '  connectionSync: { interface: eth0, id: 3, key: "a key of sixteen or more" }\n';
const words = (interfaceName: string, id: number) =>
  `mcast=${interfaceName}, syncid=${id}, maxlen=1472, group=224.0.0.81, port=8848, ttl=1`;

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('connection sync of two directors', () => {
  let a: Site;
  let b: Site;
  let wire: Wire;
  let pair: Pair;
  beforeEach(() => {
    pair = openPair();
    ({ a, b, wire } = pair);
    a.write(configurationOf(150, encrypted));
    b.write(configurationOf(100, encrypted));
  });
  afterEach(() => {
    for (const site of [a, b]) site.run('headgate', 'clean-up');
    pair.close();
  });
  const start = (site: Site) => pair.start(site);
  const statusOf = (site: Site) =>
    JSON.parse(site.run('headgate', 'status', '-o', 'json').stdout) as {
      vrrp?: { state: string; received: number }[];
      sync: { role: string; progress: { pid: number } }[];
    };
  const daemons = (site: Site) => site.run('ipvsadm', '-L', '--daemon').stdout;
  const master = `master sync daemon (${words('eth0', 3)})\n`;
  const backup = `backup sync daemon (${words('eth0', 3)})\n`;
  const lists = (site: Site, what: string, withinMs = 20_000) =>
    until(() => daemons(site) === what, `${site.netns} lists ${what}`, withinMs);

  it('follows VRRP, outlives its daemon, is started again, and goes with the configuration', async () => {
    const overheard = withNetns(netnsPath(b.netns), () =>
      openUdpReceiver(
        {
          group: '224.0.0.81',
          port: 8848,
          device: { name: 'eth0', index: withNetlink({}, (netlink) => linkIndex(netlink, 'eth0')) },
        },
        1 << 20,
      ),
    );
    const [first] = [await start(a), await start(b)];
    await until(() => wire.has(a.netns, vip), 'the higher priority has the address');
    await lists(a, master);
    await lists(b, backup);
    expect(a.run('headgate', 'status').stdout).toMatch(/sync +master on eth0, encrypted: 0 connections/);
    expect(b.run('headgate', 'status').stdout).toMatch(
      /sync +backup on eth0, encrypted: (nothing|0 connections in 0 messages) received/,
    );
    await first.end('SIGKILL');
    expect(daemons(a)).toBe(master);
    const second = await start(a);
    expect(second.log()).not.toContain('connection sync started');
    expect(b.run('headgate', 'status', '-o', 'json').stdout).toContain('"sync"');
    // One that is killed is replaced.
    process.kill(statusOf(b).sync[0]!.progress.pid, 'SIGKILL');
    await lists(b, '');
    await lists(b, backup);
    expect(await second.end('SIGTERM')).toBe(0);
    await until(() => wire.has(b.netns, vip), 'the other one has the address');
    await lists(b, master);
    // Back again, it takes the address when it has been told of the connections, not before.
    const telling = statusOf(b).sync.find(({ role }) => role === 'master')!.progress.pid;
    process.kill(telling, 'SIGSTOP');
    // As after a reboot: a sync process that outlived its daemon may have been told of all by now.
    expect(a.run('headgate', 'clean-up').status).toBe(0);
    const third = await start(a);
    await until(
      () => (statusOf(a).vrrp?.[0]?.received ?? 0) > 10,
      'it has heard a lower priority long enough',
    );
    expect(statusOf(a).vrrp?.[0]?.state).toBe('backup');
    process.kill(telling, 'SIGCONT');
    await until(() => third.log().includes('state=master'), 'the higher priority is master again', 30_000);
    const [told, took] = ['connections are not awaited any more told=true', 'state=master'].map((what) =>
      third.log().indexOf(what),
    );
    expect(told, third.log()).toBeGreaterThan(0);
    expect(took, third.log()).toBeGreaterThan(told!);
    await lists(b, backup);
    // What was said on the way was not in clear, and there was something.
    const said: Buffer[] = [];
    for (let one = overheard.receive(); one; one = overheard.receive()) said.push(Buffer.from(one));
    overheard.close();
    expect(said.filter((one) => one[5] !== 0x48)).toEqual([]);
    b.write(configurationOf(100, ''));
    await lists(b, '');
  });

  it('that a person started is left alone, and ends with the plane', async () => {
    a.write(configurationOf(150, ''));
    await start(a);
    expect(
      a.run('ipvsadm', '--start-daemon', 'backup', '--mcast-interface', 'eth0', '--syncid', '3'),
    ).toEqual({
      status: 0,
      stdout: '',
      stderr: '',
    });
    expect(a.run('ipvsadm', '--start-daemon', 'backup', '--mcast-interface', 'eth0').stderr).toBe(
      'Daemon has already run\n',
    );
    expect(a.run('ipvsadm', '--start-daemon', 'master', '--mcast-interface', 'nothing').stderr).toBe(
      'No such device\n',
    );
    await new Promise((done) => setTimeout(done, 2500));
    expect(daemons(a)).toBe(backup);
    a.write(configurationOf(150, '  connectionSync: { interface: eth0, id: 9, role: both }\n'));
    const both = `master sync daemon (${words('eth0', 9)})\nbackup sync daemon (${words('eth0', 9)})\n`;
    await lists(a, both);
    expect(a.run('ipvsadm', '--stop-daemon', 'master').status).toBe(0);
    await lists(a, both);
  });
});
