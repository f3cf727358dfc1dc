import { readdirSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { mapRecords } from '../../src/dataplane/ebpf/records.ts';
import { openPinnedMap } from '../../src/sys/bpf/pin.ts';
import { setOffloads } from '../../src/sys/ethtool.ts';
import { linkIndex, setLink } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { netnsPath } from '../../src/sys/netns.ts';
import { requires } from '../requirements.ts';
import { at, launcher, linkKinds, plans, type Site, standUp } from './site.ts';
import { askTcp, streamOn } from './sockets.ts';
import { download, patternDigest, upload } from './transfer.ts';

/*
 * HEADGATE_XDP on real devices. A veth runs XDP in its driver; it takes frames from others when its other end polls,
 * which GRO makes it do, and needs finished checksums. iproute2 says what is attached, the driver's own statistics say
 * which packets took the fast path.
 */

const megabytes10 = 10_000_000;
const digest = { bytes: megabytes10, sha256: patternDigest(megabytes10) };

requires(
  'root',
  'netns',
  'bpf',
  'ip',
  'ethtool',
  'bpftool',
)('HEADGATE_XDP', () => {
  let site: Site;
  beforeAll(async () => {
    site = await standUp('xdp', linkKinds[1], { serve: { http: [80, 8080], tcp: [7] }, started: [1] });
    otherEnds(true);
    const rules = ways.flatMap(({ vip, port, flag, back }) => [
      `-A -t ${at(vip, 80)} -s rr`,
      `-a -t ${at(vip, 80)} -r ${at(back, port)} ${flag}`,
    ]);
    site.rules(
      ...rules,
      `-A -t ${at(plans[4].vip, 7)}`,
      `-a -t ${at(plans[4].vip, 7)} -r ${plans[4].backOf(1)} -m`,
    );
  });
  afterAll(() => site?.down());
  afterEach(() => {
    otherEnds(true);
    expect(withXdp('')).toEqual({ status: 0, said: '' });
    expect(atXdp()).toEqual({});
    expect(listedPorts()).toEqual([]);
  });

  const ways = [
    { way: 'NAT, IPv4', vip: plans[4].vip, back: plans[4].backOf(1), port: 8080, flag: '-m' },
    { way: 'NAT, IPv6', vip: plans[6].vip, back: plans[6].backOf(1), port: 8080, flag: '-m' },
    { way: 'DR, IPv4', vip: plans[4].sharedVip, back: plans[4].backOf(1), port: 80, flag: '-g' },
  ];

  /** Whether the other ends of the director's two cables take frames from XDP. */
  const otherEnds = (take: boolean): void => {
    site.lab.inside('front', () => setOffloads('port1', { gro: take }));
    site.lab.inside('back', () => setOffloads('port0', { gro: take }));
  };

  /** Runs a command of ipvsadm on the director; without `value` with the variable not set. */
  const withXdp = (
    value: string | undefined,
    ...words: string[]
  ): { status: number | null; said: string } => {
    const variables = [
      'HEADGATE_CONNECTIONS=65536',
      ...(value === undefined ? [] : [`HEADGATE_XDP=${value}`]),
    ];
    const command = [...variables, process.execPath, launcher, ...(words.length > 0 ? words : ['-Z'])];
    const { status, stderr } = site.lab.run('director', 'env', command);
    return { status, said: stderr };
  };
  const refused = (value: string): string => {
    const { status, said } = withXdp(value);
    expect(status).not.toBe(0);
    return said;
  };
  const done = { status: 0, said: '' };

  const ip = (...words: string[]): string => {
    const { status, stdout, stderr } = site.lab.run('director', 'ip', words);
    expect(stderr).toBe('');
    expect(status).toBe(0);
    return stdout;
  };

  /** What the kernel says is attached: the program's name by device, `generic` in brackets. */
  const atXdp = (): Record<string, string> => {
    const links = JSON.parse(ip('-d', '-j', 'link', 'show')) as {
      ifname: string;
      xdp?: { mode: number; prog: { id: number; name: string } };
    }[];
    return Object.fromEntries(
      links.flatMap(({ ifname, xdp }) =>
        xdp ? [[ifname, xdp.mode === 2 ? `(${xdp.prog.name})` : xdp.prog.name]] : [],
      ),
    );
  };
  const ours = { front: 'headgate_xdp', back: 'headgate_xdp' };

  /** Packets the driver sent on for our program, over both devices. */
  const redirected = (): number =>
    ['front', 'back']
      .flatMap((device) => [
        ...site.lab
          .run('director', 'ethtool', ['-S', device])
          .stdout.matchAll(/rx_queue_\d+_xdp_redirect: (\d+)/g),
      ])
      .reduce((sum, [, count]) => sum + Number(count), 0);

  /** Indices of the interfaces the program knows. */
  const listedPorts = (): number[] => {
    const map = openPinnedMap(`${site.pins}/map_ports`);
    try {
      return Array.from({ length: map.maxEntries }, (_, slot) =>
        Buffer.from(map.lookup(slot)!).readUInt32LE(0),
      ).filter((index) => index !== 0);
    } finally {
      map.close();
    }
  };

  it.each(ways)('sends established connections on, before tc: $way', async ({ vip, flag }) => {
    expect(withXdp('front,back')).toEqual(done);
    expect(atXdp()).toEqual(ours);
    const before = redirected();
    const target = { address: vip, port: 80 };
    expect(await download(streamOn(site.lab, 'client', target), megabytes10)).toEqual(digest);
    expect(await upload(streamOn(site.lab, 'client', target), megabytes10)).toEqual(digest);
    // 10 MB are 6,900 segments or more; without masquerading the director sees only one direction.
    const segments = megabytes10 / 1448;
    expect(redirected() - before).toBeGreaterThan(flag === '-m' ? 1.9 * segments : segments);
  });

  it('stays when the command has ended, and while the variable is not set', () => {
    expect(withXdp('front,back')).toEqual(done);
    const programs = ip('-d', 'link', 'show').match(/prog\/xdp id \d+/g);
    expect(withXdp(undefined)).toEqual(done);
    expect(atXdp()).toEqual(ours);
    expect(ip('-d', 'link', 'show').match(/prog\/xdp id \d+/g)).toEqual(programs);
  });

  it('goes from an interface that the variable no longer names', () => {
    expect(withXdp('front,back')).toEqual(done);
    expect(withXdp(' back ,')).toEqual(done);
    expect(atXdp()).toEqual({ back: 'headgate_xdp' });
    expect(listedPorts()).toHaveLength(1);
  });

  it('runs in the kernel where that is asked for, and changes over', async () => {
    expect(withXdp('front,back')).toEqual(done);
    expect(withXdp('front:generic,back:generic')).toEqual(done);
    expect(atXdp()).toEqual({ front: '(headgate_xdp)', back: '(headgate_xdp)' });
    const target = { address: plans[4].vip, port: 80 };
    expect(await download(streamOn(site.lab, 'client', target), megabytes10)).toEqual(digest);
    expect(await upload(streamOn(site.lab, 'client', target), megabytes10)).toEqual(digest);
  });

  it('follows a MAC address with the next command; until then tc does the work', async () => {
    const mac = (address: string) =>
      withNetlink({ netns: netnsPath(site.lab.netns('director')) }, (netlink) =>
        setLink(netlink, linkIndex(netlink, 'front'), { mac: address }),
      );
    const fetched = async (): Promise<number> => {
      const before = redirected();
      const target = { address: plans[4].sharedVip, port: 80 };
      expect(await upload(streamOn(site.lab, 'client', target), megabytes10)).toEqual(digest);
      return redirected() - before;
    };
    expect(withXdp('front,back')).toEqual(done);
    mac('02:00:00:00:0a:01');
    site.lab.run('client', 'ip', ['neigh', 'flush', 'all']);
    // A packet to the old address may still be on its way.
    expect(await fetched()).toBeLessThan(10);
    expect(withXdp(undefined)).toEqual(done);
    expect(await fetched()).toBeGreaterThan(megabytes10 / 1448);
  });

  it('is swapped in place by another build', () => {
    expect(withXdp('front,back')).toEqual(done);
    const [before] = ip('-d', 'link', 'show').match(/prog\/xdp id \d+/g)!;
    const map = openPinnedMap(`${site.pins}/map__data_settings`);
    const settings = mapRecords(map, 'settings');
    settings.set(0, 'build', 0x0b5e55ed, 0);
    settings.close();
    map.close();
    expect(withXdp(undefined)).toEqual(done);
    expect(atXdp()).toEqual(ours);
    expect(ip('-d', 'link', 'show').match(/prog\/xdp id \d+/g)![0]).not.toBe(before);
    expect(askTcp(site.lab, 'client', { address: plans[4].vip, port: 7 })).toBe('real1');
  });

  it('leaves with the interface, and one that becomes a port', () => {
    ip('link', 'add', 'gone', 'type', 'veth', 'peer', 'name', 'gone2');
    ip('link', 'add', 'joins', 'type', 'veth', 'peer', 'name', 'joins2');
    ip('link', 'add', 'hall', 'type', 'bridge');
    expect(withXdp('gone')).toEqual(done);
    expect(atXdp()).toEqual({ gone: 'headgate_xdp' });
    ip('link', 'del', 'gone');
    expect(withXdp('joins')).toEqual(done);
    expect(readdirSync(site.pins).filter((name) => /_(native|generic)$/.test(name))).toHaveLength(1);
    ip('link', 'set', 'joins', 'master', 'hall');
    expect(withXdp(undefined)).toEqual(done);
    expect(atXdp()).toEqual({});
    ip('link', 'del', 'joins');
    ip('link', 'del', 'hall');
  });

  const refusals: [what: string, value: string, sentence: string][] = [
    ['an interface that does not exist', 'front,eth9', '"eth9": there is no such interface'],
    ['loopback', 'lo', '"lo": wanted an Ethernet interface'],
    ['a driver without XDP', 'front,hall', '"hall": its driver cannot run XDP'],
    ['a port of a bridge', 'front,port', '"port": it is a port of "hall"'],
    ['frames longer than a page', 'front,large', '"large": wanted an MTU of at most 3596'],
    ['an MTU the driver refuses', 'front,narrow', '"narrow": the driver refuses it with ERANGE'],
    ['another program there', 'front,taken:generic', '"taken": it is to run it in another way than "front"'],
    ['a program of somebody else', 'taken:generic', '"taken": another program is attached there'],
    ['two that share a place', 'front,same', '"same": its number'],
    ['one that takes no frames', 'front,same2', '"same2": its driver takes no frames'],
    ['a word that is none', 'front,back:fast', 'Cannot read HEADGATE_XDP "front,back:fast"'],
  ];
  it('refuses what cannot be, in one sentence, and attaches nothing then', () => {
    ip('link', 'add', 'hall', 'type', 'bridge');
    ip('link', 'add', 'port', 'master', 'hall', 'type', 'veth', 'peer', 'name', 'port2');
    ip('link', 'add', 'large', 'mtu', '9000', 'type', 'veth', 'peer', 'name', 'large2');
    ip('link', 'add', 'narrow', 'mtu', '1500', 'type', 'veth', 'peer', 'name', 'narrow2', 'mtu', '9000');
    ip('link', 'add', 'taken', 'type', 'veth', 'peer', 'name', 'taken2');
    const front = withNetlink({ netns: netnsPath(site.lab.netns('director')) }, (netlink) =>
      linkIndex(netlink, 'front'),
    );
    ip('link', 'add', 'same', 'index', String(front + 512), 'type', 'veth', 'peer', 'name', 'same2');
    expect(withXdp('front')).toEqual(done);
    const program = `${site.pins}/program_headgate_xdp`;
    const { status } = site.lab.run('director', 'bpftool', [
      ...['net', 'attach', 'xdpgeneric', 'pinned', program, 'dev', 'taken'],
    ]);
    expect(status).toBe(0);
    expect(withXdp('')).toEqual(done);
    for (const [what, value, sentence] of refusals) {
      expect([what, refused(value)]).toEqual([what, expect.stringContaining(sentence)]);
      expect([what, atXdp()]).toEqual([what, { taken: '(headgate_xdp)' }]);
      expect([what, listedPorts()]).toEqual([what, []]);
    }
    // Nothing else has suffered.
    expect(askTcp(site.lab, 'client', { address: plans[4].vip, port: 7 })).toBe('real1');
    for (const device of ['hall', 'port', 'large', 'narrow', 'taken', 'same']) ip('link', 'del', device);
  });

  it('refuses a veth whose other end does not poll, where it is one of several', () => {
    otherEnds(false);
    expect(refused('front,back')).toContain('"front": its driver takes no frames from other interfaces');
    expect(atXdp()).toEqual({});
  });

  it('is gone after clean-up', () => {
    expect(withXdp('front,back')).toEqual(done);
    const words = [launcher.replace(/ipvsadm\.js$/, 'headgate.js'), 'clean-up'];
    expect(site.lab.run('director', process.execPath, words).status).toBe(0);
    expect(atXdp()).toEqual({});
    expect(withXdp('front,back', '-A', '-t', at(plans[4].vip, 80))).toEqual(done);
    expect(atXdp()).toEqual(ours);
  });
});
