import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openLink } from '../../src/sys/bpf/link.ts';
import { openPinned } from '../../src/sys/bpf/pin.ts';
import { bpffsDirectory } from '../../src/sys/mount.ts';
import { requires } from '../requirements.ts';
import { configuration, fetchFrom, layNetwork, type Network } from './network.ts';
import { openSite, type Site } from './site.ts';

requires(
  'root',
  'netns',
  'bpf',
  'ip',
  'curl',
)('a running daemon', () => {
  let site: Site;
  let network: Network;
  beforeEach(async () => {
    site = openSite();
    network = await layNetwork(site);
    site.write(configuration);
  });
  afterEach(() => {
    network.close();
    site.close();
  });

  it('covers an interface that comes later', async () => {
    const daemon = await site.start();
    network.plugClient('x0');
    await daemon.logged(/ info interface covered device=x0\n/);
    expect(fetchFrom(network.client, 20_000)).toBe('served');
  });

  it('is not upset by interfaces that are renamed, moved or deleted, many at once', async () => {
    const daemon = await site.start();
    const { ip, client } = network;
    const n = (...words: string[]) => ip('-n', site.netns, ...words);
    network.plugClient('x0');
    await daemon.logged(/interface covered device=x0/);
    n('link', 'set', 'x0', 'down');
    n('link', 'set', 'x0', 'name', 'y0');
    n('link', 'set', 'y0', 'up');
    ip('-n', client, 'route', 'replace', 'default', 'via', '203.0.113.254');
    for (let i = 0; i < 40; i++) n('link', 'add', `a${i}`, 'type', 'veth', 'peer', 'name', `b${i}`);
    for (let i = 0; i < 20; i++) n('link', 'delete', `a${i}`);
    n('link', 'add', 'bridge0', 'type', 'bridge');
    for (let i = 20; i < 30; i++) n('link', 'set', `a${i}`, 'master', 'bridge0');
    n('link', 'set', 'a39', 'netns', client);
    await daemon.logged(/interface covered device=b39/);
    expect(fetchFrom(client, 20_000)).toBe('served');
    // The pins are those of the interfaces there are now, but for ports of the bridge.
    const pinned = () =>
      new Set(
        readdirSync(join(bpffsDirectory, dirname(site.socket).split('/').at(-1)!)).flatMap(
          (name) => /^link_(\d+)_ingress$/.exec(name)?.[1] ?? [],
        ),
      );
    const there = new Set(
      (JSON.parse(n('-j', 'link')) as { ifindex: number; ifname: string; master?: string }[])
        .filter(({ ifname, master }) => ifname !== 'hg0' && master === undefined)
        .map(({ ifindex }) => String(ifindex)),
    );
    await expect.poll(pinned).toEqual(there);
    expect(daemon.log()).not.toMatch(/ error /);
    expect(await daemon.end('SIGTERM')).toBe(0);
  });

  it('puts back a program that was taken off an interface without a word of the kernel', async () => {
    network.plugClient('x0');
    const daemon = await site.start();
    expect(fetchFrom(network.client, 20_000)).toBe('served');
    const pins = join(bpffsDirectory, dirname(site.socket).split('/').at(-1)!);
    const [{ ifindex }] = JSON.parse(network.ip('-n', site.netns, '-j', 'link', 'show', 'x0'));
    const link = openLink(openPinned(join(pins, `link_${ifindex}_ingress`)));
    // It looks every ten seconds, which may be now.
    daemon.process.kill('SIGSTOP');
    link.detach();
    link.close();
    expect(fetchFrom(network.client, 300)).toBeUndefined();
    daemon.process.kill('SIGCONT');
    await daemon.logged(/interface covered device=x0/);
    expect(fetchFrom(network.client, 20_000)).toBe('served');
  });
});
