import { existsSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { netnsPath, withNetns } from '../../src/sys/netns.ts';
import { readSysctl } from '../../src/sys/sysctl.ts';
import { until, type Wire } from '../ha/link.ts';
import { requires } from '../requirements.ts';
import type { Site } from './site.ts';
import { keeperOf, openPair, type Pair, vip } from './two-directors.ts';

const mac = '00:00:5e:00:01:33';

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('a director with a virtual MAC address', () => {
  let a: Site;
  let b: Site;
  let wire: Wire;
  let pair: Pair;
  beforeEach(() => {
    pair = openPair();
    ({ a, b, wire } = pair);
  });
  afterEach(() => pair.close());

  it('serves what comes to it', async () => {
    a.write(`
virtualServices:
  - name: web
    address: ${vip}:80
    method: masquerade
    realServers: [{ address: 10.77.0.1:8080 }]
failover:
  vrrp:
    - { name: front, interface: eth0, routerId: 51, advertisementInterval: 100ms, virtualMac: true, addresses: [${vip}] }
`);
    pair.serve(a, 8080);
    const running = await a.start();
    await until(() => wire.has(a.netns, vip), 'it is master');
    await running.logged(/interface covered device=hgm4-51-\d+/);
    await until(() => pair.ask(b, vip, 80) === 'served', 'the service answers');
    expect(wire.ip(b.netns, 'neighbour', 'show', vip, 'dev', 'eth0')).toContain(`lladdr ${mac} `);
    expect(a.run('ipvsadm', '-Ln', '--stats').stdout).toMatch(/10\.77\.0\.1:8080 +[1-9]/);
    expect(await running.end('SIGTERM')).toBe(0);
    await until(() => !wire.ip(a.netns, '-br', 'link').includes('hgm'), 'its device goes with it');
  });

  it('leaves its device to clean-up, or to the next daemon, when all of it is killed', async () => {
    const instance = `
virtualServices: []
failover:
  vrrp:
    - { name: front, interface: eth0, routerId: 51, advertisementInterval: 100ms, virtualMac: true, addresses: [${vip}] }
`;
    const devices = () => wire.ip(a.netns, '-br', 'link');
    /** What the interface below has, which is another value while the device is there. */
    const below = () =>
      withNetns(netnsPath(a.netns), () =>
        ['arp_ignore', 'arp_announce'].map((one) => readSysctl(`net/ipv4/conf/eth0/${one}`)),
      );
    expect(below()).toEqual(['0', '0']);
    const startAndKill = async () => {
      a.write(instance);
      const running = await a.start();
      await until(() => wire.has(a.netns, vip), 'it is master');
      const keeper = keeperOf(a);
      await running.end('SIGKILL');
      // The failover process lives, and has what it has.
      expect(a.run('headgate', 'clean-up').status).toBe(0);
      expect(devices()).toContain('hgm4-51-');
      process.kill(keeper, 'SIGKILL');
      await until(() => !existsSync(`/proc/${keeper}`), 'it is gone');
      expect(devices()).toContain('hgm4-51-');
      expect(below()).toEqual(['1', '2']);
    };
    await startAndKill();
    expect(a.run('headgate', 'clean-up').status).toBe(0);
    expect(devices()).not.toContain('hgm');
    expect(below()).toEqual(['0', '0']);
    await startAndKill();
    // One with such an instance finds the device, and puts the same back at its own end.
    const next = await a.start();
    await until(() => wire.has(a.netns, vip), 'the next one is master');
    expect(await next.end('SIGTERM')).toBe(0);
    await until(() => !devices().includes('hgm'), 'its device goes with it');
    expect(below()).toEqual(['0', '0']);
    await startAndKill();
    a.write('virtualServices: []\n');
    const running = await a.start();
    await until(() => !devices().includes('hgm'), 'the next daemon takes it away');
    expect(below()).toEqual(['0', '0']);
    expect(await running.end('SIGTERM')).toBe(0);
  });
});
