import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ticksPerSecond } from '../../src/sys/clock.ts';
import { type Offload, readOffloads, setOffloads } from '../../src/sys/ethtool.ts';
import { createVeth, linkIndex, setLink } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { createNamedNetns, deleteNamedNetns, netnsPath, runInNetns, withNetns } from '../../src/sys/netns.ts';
import { openFrameSocket } from '../../src/sys/raw.ts';
import { readSysctl, writeSysctl } from '../../src/sys/sysctl.ts';
import { requires } from '../requirements.ts';

const netns = 'hgnet-dev';
const inside = <T>(work: () => T): T => withNetns(netnsPath(netns), work);

requires('root', 'netns')('devices of a namespace', () => {
  beforeAll(() => {
    createNamedNetns(netns);
    withNetlink({ netns: netnsPath(netns) }, (netlink) => {
      createVeth(netlink, { name: 'd0.5', peer: { name: 'd1' } });
      for (const name of ['lo', 'd0.5', 'd1'])
        setLink(netlink, linkIndex(netlink, name), { up: true, addrGenMode: 'none' });
    });
  });
  afterAll(() => deleteNamedNetns(netns));

  describe('sysctls', () => {
    it('are those of the namespace, also of a device with a dot in its name', () => {
      const outside = readSysctl('net.ipv4.ip_forward');
      inside(() => writeSysctl('net.ipv4.ip_forward', 1));
      inside(() => writeSysctl('net/ipv4/conf/d0.5/arp_ignore', 2));
      expect(runInNetns(netns, 'cat', ['/proc/sys/net/ipv4/ip_forward']).stdout).toBe('1\n');
      expect(runInNetns(netns, 'cat', ['/proc/sys/net/ipv4/conf/d0.5/arp_ignore']).stdout).toBe('2\n');
      expect(inside(() => readSysctl('net/ipv4/conf/d0.5/arp_ignore'))).toBe('2');
      expect(readSysctl('net.ipv4.ip_forward')).toBe(outside);
    });

    it('say what is missing or refused', () => {
      expect(readSysctl('net.ipv4.conf.nope.rp_filter')).toBeUndefined();
      expect(() => writeSysctl('net.ipv4.conf.nope.rp_filter', 1)).toThrow('no such parameter');
      expect(() => inside(() => writeSysctl('net.ipv4.ip_forward', 'many'))).toThrow(
        '"net.ipv4.ip_forward" to "many": EINVAL',
      );
    });
  });

  describe('frames', () => {
    // An ARP-sized frame of the local experimental EtherType (0x88b5) from one end to the other.
    const frame = Buffer.concat([
      Buffer.from('ffffffffffff020000000001' + '88b5', 'hex'),
      Buffer.alloc(46, 0x5a),
    ]);
    const open = (name: string) =>
      inside(() => openFrameSocket(withNetlink({}, (netlink) => linkIndex(netlink, name))));

    it('cross the wire unchanged and tell their direction', () => {
      const [left, right] = [open('d0.5'), open('d1')];
      expect(right.receive()).toBeUndefined();
      expect(left.send(frame)).toBe(true);
      expect(right.receive(1000)).toEqual({ bytes: frame, outgoing: false });
      expect(right.receive(20)).toBeUndefined();
      right.send(frame);
      expect(left.receive(1000)).toMatchObject({ outgoing: false });
      left.close();
      right.close();
      right.close();
    });

    it('of other devices do not arrive', () => {
      const [left, right] = [open('d0.5'), open('d1')];
      const loopback = open('lo');
      left.send(frame);
      expect(right.receive(1000)?.bytes).toEqual(frame);
      expect(loopback.receive(20)).toBeUndefined();
      for (const socket of [left, right, loopback]) socket.close();
    });

    it('too long for the device are refused', () => {
      const left = open('d0.5');
      expect(() => left.send(Buffer.alloc(2000))).toThrow(/EMSGSIZE/);
      left.close();
    });
  });
});

requires(
  'root',
  'netns',
  'ethtool',
)('offloads', () => {
  beforeAll(() => {
    createNamedNetns(`${netns}2`);
    withNetlink({ netns: netnsPath(`${netns}2`) }, (netlink) =>
      createVeth(netlink, { name: 'e0', peer: { name: 'e1' } }),
    );
  });
  afterAll(() => deleteNamedNetns(`${netns}2`));
  const there = <T>(work: () => T): T => withNetns(netnsPath(`${netns}2`), work);
  const titles: Record<Offload, string> = {
    rxChecksum: 'rx-checksumming',
    txChecksum: 'tx-checksumming',
    scatterGather: 'scatter-gather',
    // The sum ethtool prints has AccECN segmentation in it, which the kernel's own "tso" has not.
    tso: '\ttx-tcp-segmentation',
    gso: 'generic-segmentation-offload',
    gro: 'generic-receive-offload',
  };
  const shown = () => {
    const text = runInNetns(`${netns}2`, 'ethtool', ['-k', 'e0']).stdout;
    return Object.fromEntries(
      Object.entries(titles).map(([name, title]) => [name, new RegExp(`^${title}: on`, 'm').test(text)]),
    );
  };

  it('are read as ethtool reads them', () => {
    expect(there(() => readOffloads('e0'))).toEqual(shown());
    expect(shown().txChecksum).toBe(true);
  });

  it.each(Object.keys(titles) as Offload[])('%s is switched off and on again', (name) => {
    for (const on of [false, true]) {
      there(() => setOffloads('e0', { [name]: on }));
      expect(shown()[name]).toBe(on);
      expect(there(() => readOffloads('e0'))).toEqual(shown());
    }
  });

  it('refuses a device that is not there', () => {
    expect(() => there(() => readOffloads('nope'))).toThrow(/ENODEV/);
  });
});

describe('the tick', () => {
  it('is one the kernel can be built with', () => {
    // The choices of CONFIG_HZ on the architectures Headgate is built for (kernel/Kconfig.hz).
    expect([100, 250, 300, 1000]).toContain(ticksPerSecond());
  });

  it('is the one this kernel says it was built with', ({ skip }) => {
    const config = spawnSync('sh', ['-c', 'zcat /proc/config.gz || cat "/boot/config-$(uname -r)"'], {
      encoding: 'utf8',
    });
    const built = /^CONFIG_HZ=(\d+)$/m.exec(config.stdout)?.[1];
    if (built === undefined) return skip('the kernel does not tell its configuration');
    expect(ticksPerSecond()).toBe(Number(built));
  });
});
