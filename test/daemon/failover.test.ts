import { afterEach, beforeEach, expect, it } from 'vitest';
import { until, type Wire } from '../ha/link.ts';
import { requires } from '../requirements.ts';
import type { Site } from './site.ts';
import { configurationOf, keeperOf, openPair, type Pair, vip } from './two-directors.ts';

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('two directors', () => {
  let a: Site;
  let b: Site;
  let wire: Wire;
  let pair: Pair;
  beforeEach(() => {
    pair = openPair();
    ({ a, b, wire } = pair);
    a.write(configurationOf(150));
    b.write(configurationOf(100));
  });
  afterEach(() => pair.close());
  const start = (site: Site) => pair.start(site);
  const holder = () => [a, b].filter(({ netns }) => wire.has(netns, vip)).map(({ netns }) => netns);

  it('move an address when the one that has it ends, is killed, or loses what it speaks from', async () => {
    const [first, second] = [await start(a), await start(b)];
    await until(() => holder().join() === a.netns, 'the higher priority has it');
    await second.logged(/VRRP instance changed instance=front state=backup/);
    // A daemon that is told to end gives up at once.
    expect(await first.end('SIGTERM')).toBe(0);
    await until(() => holder().join() === b.netns, 'the other one has it');
    const again = await start(a);
    await until(() => holder().join() === a.netns, 'the higher priority has it again');
    // A daemon that is killed leaves the process that keeps the address.
    await again.end('SIGKILL');
    await new Promise((done) => setTimeout(done, 1000));
    expect(holder()).toEqual([a.netns]);
    const third = await start(a);
    expect(holder()).toEqual([a.netns]);
    // The process itself killed: the peer takes over, the kernel lets go, and the daemon starts another one.
    process.kill(keeperOf(a), 'SIGKILL');
    await until(() => wire.has(b.netns, vip), 'the peer takes over');
    await third.logged(/the failover process ended, another one is started/);
    await until(() => holder().join() === a.netns, 'the new process takes it back');
    wire.ip(a.netns, 'address', 'delete', '10.77.0.1/24', 'dev', 'eth0');
    await until(() => holder().join() === b.netns, 'without an address to speak from');
    await third.logged(/state=fault reason="interface eth0 has no IPv4 address/);
    const events = a.run('headgate', 'events', '--since', '5m');
    expect(events.stdout).toMatch(/vrrp-transition {2}front is master: /);
  });

  it('a reload changes the priority without a gap, and without failover the address goes', async () => {
    const [first] = [await start(a), await start(b)];
    await until(() => holder().join() === a.netns, 'the higher priority has it');
    a.write(configurationOf(50));
    await until(() => holder().join() === b.netns, 'the other one has the higher priority now');
    a.write(
      configurationOf(
        200,
        '      trackScripts: [{ name: fit, weight: -150 }]\n  scripts:\n    - name: fit\n      command: [/usr/bin/test, -e, /proc/self]\n      interval: 50ms\n',
      ),
    );
    await until(() => holder().join() === a.netns, 'it has the higher priority again');
    a.write(
      configurationOf(
        200,
        `      trackScripts: [{ name: fit, weight: -150 }]\n  scripts:\n    - name: fit\n      command: [/usr/bin/test, -e, ${a.folder}/fit]\n      interval: 50ms\n`,
      ),
    );
    await until(() => holder().join() === b.netns, 'its script says that it is not fit');
    await first.logged(/instance=front/);
    b.write('virtualServices: []\n');
    await until(() => holder().join() === a.netns, 'the other one is no longer there');
  });
});
