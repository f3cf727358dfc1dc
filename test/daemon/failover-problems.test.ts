import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { until } from '../ha/link.ts';
import { requires } from '../requirements.ts';
import type { Running } from './site.ts';
import { inPair, type Keepalived, type Pair } from './two-directors.ts';

const vip = '10.77.0.100';

requires(
  'root',
  'netns',
  'bpf',
  'ip',
  'nft',
  'keepalived',
)('what is wrong between two directors', () => {
  async function startOurs(pair: Pair, more: string, address = vip): Promise<Running> {
    pair.a.write(
      `virtualServices: []\nfailover:\n  vrrp:\n    - name: front\n      interface: eth0\n      routerId: 51\n      priority: 150\n      addresses: ["${address}"]\n${more}`,
    );
    return pair.start(pair.a);
  }
  const startKeepalived = (pair: Pair, global: string, own: string): Keepalived =>
    pair.startKeepalived(
      pair.b,
      `global_defs {\n ${global}\n}\nvrrp_instance front {\n state BACKUP\n interface eth0\n virtual_router_id 51\n priority 100\n ${own}\n virtual_ipaddress {\n ${vip}\n }\n}\n`,
    );
  const status = ({ a }: Pair) => a.run('headgate', 'status').stdout;
  const nft = ({ b }: Pair, ...words: string[]) => {
    const { status: code, stderr } = spawnSync('ip', ['netns', 'exec', b.netns, 'nft', ...words], {
      encoding: 'utf8',
    });
    expect(code, stderr).toBe(0);
  };
  /** What leaves us does not reach the other director, whose advertisements reach us. */
  function deafen(pair: Pair): void {
    nft(pair, 'add', 'table', 'ip', 't');
    nft(pair, 'add', 'chain', 'ip', 't', 'in', '{ type filter hook input priority 0; }');
    nft(pair, 'add', 'rule', 'ip', 't', 'in', 'ip', 'protocol', '112', 'drop');
  }

  it('a link that carries one way only makes two masters, which is told within two intervals', () =>
    inPair(async (pair) => {
      const { a, b, wire } = pair;
      deafen(pair);
      startKeepalived(pair, 'vrrp_version 3', 'advert_int 0.1');
      await until(() => wire.has(b.netns, vip), 'keepalived is master');
      const running = await startOurs(pair, '      advertisementInterval: 100ms\n');
      await running.logged(/state=master/);
      await running.logged(
        /VRRP problem .*two masters: 10.77.0.2 is master of front as well, with priority 100/,
      );
      expect([wire.has(a.netns, vip), wire.has(b.netns, vip)]).toEqual([true, true]);
      expect(status(pair)).toContain('next: let advertisements through there');
      nft(pair, 'delete', 'table', 'ip', 't');
      await until(() => !wire.has(b.netns, vip), 'keepalived hears and yields');
      await running.logged(/VRRP problem is over/);
    }));

  it('with rival: yield the one that hears stands back', () =>
    inPair(async (pair) => {
      const { a, b, wire } = pair;
      deafen(pair);
      startKeepalived(pair, 'vrrp_version 3', 'advert_int 0.3');
      await until(() => wire.has(b.netns, vip), 'keepalived is master');
      const running = await startOurs(pair, '      advertisementInterval: 300ms\n      rival: yield\n');
      await running.logged(/state=backup reason="10.77.0.2 is master as well, and stays it"/);
      await until(() => !wire.has(a.netns, vip), 'one master');
      await new Promise((done) => setTimeout(done, 1500));
      expect([wire.has(a.netns, vip), wire.has(b.netns, vip)]).toEqual([false, true]);
    }));

  // These wait for seconds, side by side.
  it.concurrent('another password is a problem with its fix, and an event', () =>
    inPair(async (pair) => {
      const { a } = pair;
      const running = await startOurs(
        pair,
        '      version: 2\n      authentication: { type: password, secret: eins }\n',
      );
      const keepalived = startKeepalived(
        pair,
        'vrrp_version 2',
        'advert_int 1\n authentication {\n auth_type PASS\n auth_pass zwei\n }',
      );
      await running.logged(/VRRP problem .*another password/);
      expect(status(pair)).toContain('next: give both directors the same authentication.secret');
      expect(a.run('headgate', 'events').stdout).toContain(
        'vrrp-problem  front: advertisements of 10.77.0.2',
      );
      expect(a.run('headgate', 'status').status).toBe(1);
      keepalived.process.kill('SIGTERM');
      await running.logged(/VRRP problem is over/);
    }));

  it.concurrent.each([
    ['ARP', vip, 32],
    ['neighbour discovery', 'fd77::100', 128],
    ['neighbour discovery, link-local', 'fe80::100', 128],
  ])('a host that has the address as well is found by %s', (_by, address, length) =>
    inPair(async (pair) => {
      const { a, b, wire } = pair;
      const running = await startOurs(pair, '      advertisementInterval: 100ms\n', address);
      await until(() => wire.has(a.netns, address), 'it is master');
      const words = [`${address}/${length}`, 'dev', 'eth0', ...(length === 128 ? ['nodad'] : [])];
      wire.ip(b.netns, 'address', 'add', ...words);
      const mac = /link\/ether (\S+)/.exec(wire.ip(b.netns, 'link', 'show', 'eth0'))![1]!;
      await running.logged(new RegExp(`another host on eth0 has ${address} as well: ${mac}`));
      wire.ip(b.netns, 'address', 'delete', `${address}/${length}`, 'dev', 'eth0');
      await running.logged(/VRRP problem is over/);
    }),
  );
});
