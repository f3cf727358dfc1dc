import { afterEach, beforeEach, expect, it } from 'vitest';
import { until, type Wire } from '../ha/link.ts';
import { requires } from '../requirements.ts';
import type { Site } from './site.ts';
import { openPair, type Pair, vip } from './two-directors.ts';

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
});
