import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { until, type Wire } from '../ha/link.ts';
import { requires } from '../requirements.ts';
import type { Site } from './site.ts';
import { keeperOf, openPair, type Pair } from './two-directors.ts';

const vip = '10.77.0.100';
const configuration = `global_defs {
  vrrp_version 3
}
static_ipaddress {
  198.51.100.1/24 dev eth0
}
static_routes {
  203.0.113.0/24 via 198.51.100.254
}
static_rules {
  from 10.99.0.0/16 table 99 priority 990
}
vrrp_instance one {
  state BACKUP
  interface eth0
  virtual_router_id 51
  priority 100
  advert_int 0.1
  virtual_ipaddress {
    ${vip}/24
  }
  virtual_ipaddress_excluded {
    fd77::100/64
  }
  virtual_routes {
    default via 10.77.0.254
    src ${vip} to 10.9.0.0/16 via 10.77.0.253 dev eth0 metric 5 table 100
    blackhole 10.8.0.0/16
    10.6.0.0/16 dev eth0 mtu 1400
    fd99::/64 via fd77::fe
  }
  virtual_rules {
    from ${vip} table 100 priority 1000
    fwmark 0x10 table 101 priority 1001 iif eth0
  }
}
`;

requires(
  'root',
  'netns',
  'bpf',
  'ip',
  'keepalived',
)('routes and rules that move with an address', () => {
  let a: Site;
  let b: Site;
  let wire: Wire;
  let pair: Pair;
  beforeEach(() => {
    pair = openPair();
    ({ a, b, wire } = pair);
    // Of the host, and to stay.
    for (const { netns } of [a, b]) wire.ip(netns, 'route', 'add', 'default', 'via', '10.77.0.250');
  });
  afterEach(() => pair.close());
  /** Routes and rules of a namespace that are not the kernel's, without who made them; a scope is as ip(8) chooses it. */
  const paths = (netns: string): string[] =>
    [
      ...wire.ip(netns, 'route', 'show', 'table', 'all').split('\n'),
      ...wire.ip(netns, '-6', 'route', 'show', 'table', 'all').split('\n'),
      ...wire.ip(netns, 'rule').split('\n'),
    ]
      .filter((line) => line !== '' && !line.includes('proto kernel') && !line.includes('hg'))
      .filter((line) => !line.startsWith('local ') && !line.startsWith('anycast '))
      .map((line) =>
        line
          .replace(/ proto \S+/, '')
          .replace(' scope link', '')
          .trim()
          .replaceAll(/\s+/g, ' '),
      )
      .toSorted();

  it('are what keepalived makes of the same file, and go again', async () => {
    const before = paths(b.netns);
    const keepalived = pair.startKeepalived(b, configuration);
    await until(
      () => paths(b.netns).length === before.length + 10,
      'keepalived is master, and has all of them',
    );
    const theirs = paths(b.netns);
    keepalived.process.kill('SIGTERM');
    await once(keepalived.process, 'exit');

    const none = paths(a.netns);
    writeFileSync(join(a.folder, 'keepalived.conf'), configuration);
    a.write(a.run('headgate', 'import', join(a.folder, 'keepalived.conf')).stdout);
    const first = await pair.start(a);
    await until(() => paths(a.netns).length >= theirs.length, 'it is master');
    expect(paths(a.netns), first.log()).toEqual(theirs);
    // A process that is killed leaves them; the next one that knows of them takes them away.
    process.kill(keeperOf(a), 'SIGKILL');
    await first.logged(/the failover process ended, another one is started/);
    await first.logged(/state=master[\s\S]*state=master/);
    await until(() => paths(a.netns).length === theirs.length, 'its routes');
    expect(paths(a.netns)).toEqual(theirs);
    expect(await first.end('SIGTERM')).toBe(0);
    expect(paths(a.netns), first.log()).toEqual(none);
    expect(wire.has(a.netns, '198.51.100.1')).toBe(false);
    expect(first.log()).not.toMatch(/cannot (put|take)/);
  });
});
