import { afterEach, beforeEach, expect, it } from 'vitest';
import { until, type Wire } from '../ha/link.ts';
import { requires } from '../requirements.ts';
import type { Site } from './site.ts';
import { openPair, type Pair } from './two-directors.ts';

const vip = '10.77.0.100';

requires(
  'root',
  'netns',
  'bpf',
  'ip',
  'keepalived',
)('headgate failover', () => {
  let a: Site;
  let b: Site;
  let wire: Wire;
  let pair: Pair;
  beforeEach(() => {
    pair = openPair();
    ({ a, b, wire } = pair);
    a.write(`
virtualServices:
  - name: web
    address: ${vip}:80
    method: masquerade
    realServers: [{ address: 10.77.0.2:8080 }]
failover:
  vrrp:
    - { name: front, interface: eth0, routerId: 51, priority: 150, advertisementInterval: 300ms, addresses: [${vip}] }
`);
  });
  afterEach(() => pair.close());
  const startKeepalived = () =>
    pair.startKeepalived(
      b,
      `global_defs {\n vrrp_version 3\n}\nvrrp_instance front {\n state BACKUP\n interface eth0\n virtual_router_id 51\n priority 100\n advert_int 0.3\n virtual_ipaddress {\n ${vip}\n }\n}\n`,
    );
  const failover = (...words: string[]) => a.run('headgate', 'failover', ...words);

  it('hands over to keepalived, stands back, and comes back when it is told to or nobody else is there', async () => {
    await pair.start(a);
    await until(() => wire.has(a.netns, vip), 'it is master');
    // Nobody is there: the addresses come back, and the exit code says so.
    expect(failover('--yes')).toMatchObject({
      status: 1,
      stdout: expect.stringContaining('master here again'),
    });
    expect(wire.has(a.netns, vip)).toBe(true);

    const keepalived = startKeepalived();
    await until(() => keepalived.log().includes('Entering BACKUP STATE'), 'keepalived is backup');
    const asked = failover('front');
    expect(asked.status).toBe(1);
    expect(asked.stdout).toContain('services: web (0 active)');
    expect(asked.stderr).toContain('headgate failover front --yes');
    expect(wire.has(a.netns, vip)).toBe(true);
    const done = failover('front', '--yes', '-o', 'json');
    expect(done.status, done.stderr).toBe(0);
    expect(JSON.parse(done.stdout)).toMatchObject({
      done: true,
      instances: [{ instance: 'front', services: [{ name: 'web', active: 0 }] }],
      ended: [{ state: 'backup', standsBack: true, master: { source: '10.77.0.2', priority: 100 } }],
    });
    const resigns = '(front) Backup received priority 0 advertisement';
    await until(() => keepalived.log().includes(resigns), 'keepalived heard that it was given up');
    // Its priority of 150 does not bring it back, which would be after three intervals and the skew: 1024 ms.
    await new Promise((settled) => setTimeout(settled, 1500));
    expect([wire.has(a.netns, vip), wire.has(b.netns, vip)]).toEqual([false, true]);
    expect(a.run('headgate', 'status').stdout).toContain('it stands back until: headgate failover --back');
    const back = failover('--back', '--yes');
    expect(back).toMatchObject({ status: 0, stdout: expect.stringContaining('front is master here again') });
    await until(() => !wire.has(b.netns, vip), 'keepalived gave it up');
    // --to names the director that was heard, and no other.
    expect(failover('--to', '10.77.0.9', '--yes').stderr).toContain('HG_FAILOVER');
    const again = failover('--to', '10.77.0.2', '--yes');
    expect(again.status, `${again.stdout}${again.stderr}`).toBe(0);
    keepalived.process.kill('SIGKILL');
    await until(() => wire.has(a.netns, vip), 'it takes over from nobody');
    expect(failover('nobody').stderr).toContain('found front');
  });

  it('needs a daemon, and instances', async () => {
    expect(failover('--yes').stderr).toContain('no daemon runs');
    a.write('virtualServices: []\n');
    await pair.start(a);
    expect(failover('--yes').stderr).toContain('this director stands alone');
  });
});
