import { execFileSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addAddress, deleteAddress, listAddresses } from '../../src/sys/netlink/address.ts';
import {
  createBridge,
  createMacvlan,
  createVeth,
  deleteLink,
  findLink,
  linkIndex,
  listLinks,
  setLink,
} from '../../src/sys/netlink/link.ts';
import { deleteNeighbour, listNeighbours, setNeighbour } from '../../src/sys/netlink/neighbour.ts';
import { addRoute, deleteRoute, listRoutes, lookupRoute, lookupRoutes } from '../../src/sys/netlink/route.ts';
import { addRule, deleteRule, listRules } from '../../src/sys/netlink/rule.ts';
import { type Netlink, NetlinkError, openNetlink, withNetlink } from '../../src/sys/netlink/socket.ts';
import { createNamedNetns, deleteNamedNetns, netnsPath } from '../../src/sys/netns.ts';
import { requires } from '../requirements.ts';

// iproute2 is the oracle: what we change, it must show; what it shows, we must list.
const left = 'hgnet-left';
const right = 'hgnet-right';
type Json = Record<string, never> & { [key: string]: never };
// biome-ignore lint/suspicious/noExplicitAny: the shape is iproute2's
const ip = (netns: string, ...args: string[]): any[] =>
  JSON.parse(execFileSync('ip', ['-n', netns, '-d', '-j', ...args], { encoding: 'utf8' }) || '[]') as Json[];
const caught = (work: () => unknown): NetlinkError => {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(NetlinkError);
    return error as NetlinkError;
  }
  throw new Error('wanted an error');
};

requires(
  'root',
  'netns',
  'ip',
)('netlink in a namespace', () => {
  let netlink: Netlink;
  beforeAll(() => {
    createNamedNetns(left);
    createNamedNetns(right);
    netlink = openNetlink({ netns: netnsPath(left) });
  });
  afterAll(() => {
    netlink.close();
    deleteNamedNetns(left);
    deleteNamedNetns(right);
  });
  const device = (name: string) => ip(left, 'link', 'show', 'dev', name)[0];

  describe('links', () => {
    it('puts the two ends of a veth pair into two namespaces', () => {
      const fd = openSync(netnsPath(right), 'r');
      createVeth(netlink, {
        name: 'v0',
        mtu: 1400,
        mac: '02:00:00:00:00:01',
        peer: { name: 'v1', mtu: 1300, mac: '02:00:00:00:00:02', netns: { fd } },
      });
      closeSync(fd);
      expect(device('v0')).toMatchObject({
        mtu: 1400,
        address: '02:00:00:00:00:01',
        linkinfo: { info_kind: 'veth' },
      });
      expect(ip(right, 'link', 'show', 'dev', 'v1')[0]).toMatchObject({
        mtu: 1300,
        address: '02:00:00:00:00:02',
      });
    });

    it('changes state, MTU, MAC, ARP, address generation, name and alias', () => {
      const index = linkIndex(netlink, 'v0');
      setLink(netlink, index, {
        mtu: 1350,
        mac: '02:00:00:00:00:09',
        arp: false,
        addrGenMode: 'none',
        name: 'v9',
        alias: 'to the switch',
      });
      setLink(netlink, index, { up: true });
      const shown = device('v9');
      expect(shown).toMatchObject({ mtu: 1350, address: '02:00:00:00:00:09', inet6_addr_gen_mode: 'none' });
      expect(shown.ifalias).toBe('to the switch');
      expect(findLink(netlink, 'v9')?.alias).toBe('to the switch');
      expect(shown.flags).toEqual(expect.arrayContaining(['UP', 'NOARP']));
      setLink(netlink, index, { up: false });
      setLink(netlink, index, { arp: true, name: 'v0' });
      expect(device('v0').flags).not.toEqual(expect.arrayContaining(['UP']));
      expect(device('v0').flags).not.toEqual(expect.arrayContaining(['NOARP']));
      setLink(netlink, index, { up: true });
    });

    it('enslaves to a bridge and releases', () => {
      createBridge(netlink, { name: 'br0', mtu: 1350 });
      const bridge = linkIndex(netlink, 'br0');
      setLink(netlink, linkIndex(netlink, 'v0'), { master: bridge });
      expect(device('v0').master).toBe('br0');
      expect(findLink(netlink, 'v0')).toMatchObject({ master: bridge, slaveKind: 'bridge' });
      setLink(netlink, linkIndex(netlink, 'v0'), { master: 0 });
      expect(device('v0').master).toBeUndefined();
      deleteLink(netlink, bridge);
      expect(findLink(netlink, 'br0')).toBeUndefined();
    });

    it('makes a macvlan', () => {
      const lower = linkIndex(netlink, 'v0');
      createMacvlan(netlink, { name: 'mac0', lower, mode: 'bridge' });
      expect(device('mac0').linkinfo).toMatchObject({ info_kind: 'macvlan', info_data: { mode: 'bridge' } });
      expect(findLink(netlink, 'mac0')).toMatchObject({ kind: 'macvlan', lowerIndex: lower });
      deleteLink(netlink, linkIndex(netlink, 'mac0'));
    });

    it('moves a device to another namespace', () => {
      createVeth(netlink, { name: 'mv0', peer: { name: 'mv1' } });
      const fd = openSync(netnsPath(right), 'r');
      setLink(netlink, linkIndex(netlink, 'mv1'), { netns: { fd } });
      closeSync(fd);
      expect(findLink(netlink, 'mv1')).toBeUndefined();
      expect(ip(right, 'link', 'show', 'dev', 'mv1')[0].ifname).toBe('mv1');
      deleteLink(netlink, linkIndex(netlink, 'mv0'));
    });

    it('lists what iproute2 lists', () => {
      const ours = listLinks(netlink).map((link) => ({
        ifindex: link.index,
        ifname: link.name,
        mtu: link.mtu,
        address: link.mac,
        operstate: link.operstate.toUpperCase(),
        kind: link.kind,
        up: link.up,
      }));
      const theirs = ip(left, 'link').map((link) => ({
        ifindex: link.ifindex,
        ifname: link.ifname,
        mtu: link.mtu,
        address: link.address,
        operstate: link.operstate,
        kind: link.linkinfo?.info_kind,
        up: (link.flags as string[]).includes('UP'),
      }));
      expect(ours).toEqual(theirs);
    });

    it('says what was refused, by whom and why', () => {
      const exists = caught(() => createVeth(netlink, { name: 'v0', peer: { name: 'w1' } }));
      expect(exists).toMatchObject({ code: 'EEXIST' });
      const small = caught(() => setLink(netlink, linkIndex(netlink, 'v0'), { mtu: 5 }));
      expect(small).toMatchObject({ code: 'EINVAL', kernelText: 'mtu less than device minimum' });
      expect(small.message).toContain('mtu less than device minimum');
      expect(() => linkIndex(netlink, 'nope')).toThrow('interface "nope"');
      expect(() => createBridge(netlink, { name: 'sixteen-letters-' })).toThrow(RangeError);
    });

    it('survives a table larger than one datagram', () => {
      for (let i = 0; i < 60; i++) createVeth(netlink, { name: `many${i}a`, peer: { name: `many${i}b` } });
      expect(listLinks(netlink)).toHaveLength(ip(left, 'link').length);
      for (let i = 0; i < 60; i++) deleteLink(netlink, linkIndex(netlink, `many${i}a`));
    });
  });

  describe('addresses', () => {
    const shown = (...args: string[]) => ip(left, ...args, 'addr', 'show', 'dev', 'v0')[0].addr_info;

    it('adds, lists and deletes IPv4 and IPv6', () => {
      const index = linkIndex(netlink, 'v0');
      addAddress(netlink, index, {
        prefix: '10.1.0.1/24',
        broadcast: 'auto',
        label: 'v0:vip',
        noPrefixRoute: true,
      });
      addAddress(netlink, index, { prefix: '10.1.0.9', scope: 'link' });
      addAddress(netlink, index, { prefix: '2001:db8:1::1/64', noDad: true });
      const by = Object.fromEntries(shown().map((entry: { local: string }) => [entry.local, entry]));
      expect(by['10.1.0.1']).toMatchObject({
        prefixlen: 24,
        broadcast: '10.1.0.255',
        label: 'v0:vip',
        noprefixroute: true,
        scope: 'global',
      });
      expect(by['10.1.0.9']).toMatchObject({ prefixlen: 32, scope: 'link' });
      expect(by['2001:db8:1::1']).toMatchObject({ prefixlen: 64, nodad: true, scope: 'global' });
      expect(
        listAddresses(netlink, index).map(({ address, prefixLength }) => `${address}/${prefixLength}`),
      ).toEqual(
        shown().map((entry: { local: string; prefixlen: number }) => `${entry.local}/${entry.prefixlen}`),
      );
      deleteAddress(netlink, index, '10.1.0.9/32');
      expect(listAddresses(netlink, index).some(({ address }) => address === '10.1.0.9')).toBe(false);
    });

    it('gives an address a finite life, and renews it', async () => {
      const index = linkIndex(netlink, 'v0');
      addAddress(netlink, index, { prefix: '10.1.0.50/32', validSeconds: 100 });
      const life = () =>
        listAddresses(netlink, index).find(({ address }) => address === '10.1.0.50')?.validSeconds;
      expect(life()).toBeGreaterThan(95);
      addAddress(netlink, index, { prefix: '10.1.0.50/32', validSeconds: 1 });
      expect(shown('-4').find(({ local }: { local: string }) => local === '10.1.0.50').valid_life_time).toBe(
        1,
      );
      await expect.poll(life, { timeout: 5000 }).toBeUndefined();
    });

    it('refuses a second one where it is not to replace', () => {
      const index = linkIndex(netlink, 'v0');
      const again = () => addAddress(netlink, index, { prefix: '10.1.0.1/24' }, { replace: false });
      expect(caught(again).code).toBe('EEXIST');
      expect(caught(() => deleteAddress(netlink, index, '10.99.0.1/32')).code).toBe('EADDRNOTAVAIL');
    });
  });

  describe('routes, rules and neighbours', () => {
    beforeAll(() => {
      withNetlink({ netns: netnsPath(left) }, (own) => {
        const index = linkIndex(own, 'v0');
        addAddress(own, index, { prefix: '10.2.0.1/24' });
        addAddress(own, index, { prefix: '2001:db8:2::1/64', noDad: true });
      });
      withNetlink({ netns: netnsPath(right) }, (own) => setLink(own, linkIndex(own, 'v1'), { up: true }));
    });

    it('adds, replaces, finds and deletes routes of both families', () => {
      const index = linkIndex(netlink, 'v0');
      addRoute(netlink, { destination: '10.9.0.0/16', gateway: '10.2.0.2' });
      addRoute(netlink, { destination: '2001:db8:9::/48', gateway: '2001:db8:2::2' });
      addRoute(netlink, { destination: 'default', gateway: '10.2.0.3', table: 1000, index });
      expect(ip(left, 'route', 'get', '10.9.1.1')[0]).toMatchObject({
        gateway: '10.2.0.2',
        dev: 'v0',
        prefsrc: '10.2.0.1',
      });
      expect(ip(left, '-6', 'route', 'get', '2001:db8:9::7')[0].gateway).toBe('2001:db8:2::2');
      expect(ip(left, 'route', 'show', 'table', '1000')[0]).toMatchObject({
        dst: 'default',
        gateway: '10.2.0.3',
      });
      expect(lookupRoute(netlink, '10.9.1.1')).toMatchObject({
        gateway: '10.2.0.2',
        index,
        source: '10.2.0.1',
      });
      expect(lookupRoute(netlink, '198.51.100.1')).toBeUndefined();
      const many = Array.from({ length: 500 }, (_, i) => `${i % 3 ? '10.9' : '198.51'}.${i >> 8}.${i & 255}`);
      expect(lookupRoutes(netlink, many).map((route) => route?.gateway)).toEqual(
        many.map((_, i) => (i % 3 ? '10.2.0.2' : undefined)),
      );
      addRoute(netlink, { destination: '10.9.0.0/16', gateway: '10.2.0.4' }, { replace: true });
      expect(lookupRoute(netlink, '10.9.1.1')?.gateway).toBe('10.2.0.4');
      deleteRoute(netlink, { destination: '10.9.0.0/16' });
      expect(lookupRoute(netlink, '10.9.1.1')).toBeUndefined();
      const theirs = [...ip(left, '-4', 'route', 'show', 'table', 'all')]
        .map(({ dst }) => dst.split('/')[0])
        .sort();
      expect(
        listRoutes(netlink, 'ipv4')
          .map(({ destination }) => destination.split('/')[0])
          .sort(),
      ).toEqual(theirs);
    });

    it('makes any address local, as a mark-based virtual service needs', () => {
      addRoute(netlink, { destination: '203.0.113.0/24', type: 'local', index: linkIndex(netlink, 'lo') });
      expect(ip(left, 'route', 'get', '203.0.113.77')[0]).toMatchObject({ type: 'local' });
      expect(lookupRoute(netlink, '203.0.113.77')?.type).toBe('local');
      deleteRoute(netlink, { destination: '203.0.113.0/24', type: 'local' });
    });

    it('says why the kernel takes no route', () => {
      const error = caught(() => addRoute(netlink, { destination: '10.8.0.0/16', gateway: '10.77.7.7' }));
      expect(error).toMatchObject({ code: 'ENETUNREACH', kernelText: 'Nexthop has invalid gateway' });
    });

    it('sends marked packets and sources to tables', () => {
      addRule(netlink, { family: 'ipv4', priority: 50, table: 1000, mark: 0x10, maskOfMark: 0xf0 });
      addRule(netlink, {
        family: 'ipv4',
        priority: 51,
        table: 1000,
        source: '10.2.0.0/24',
        destination: '192.0.2.0/28',
      });
      expect(ip(left, 'rule')).toEqual(
        expect.arrayContaining([
          expect.objectContaining({ priority: 50, fwmark: '0x10', fwmask: '0xf0', table: '1000' }),
          expect.objectContaining({
            priority: 51,
            src: '10.2.0.0',
            srclen: 24,
            dst: '192.0.2.0',
            dstlen: 28,
          }),
        ]),
      );
      expect(lookupRoute(netlink, '198.51.100.1', { mark: 0x1f })?.gateway).toBe('10.2.0.3');
      expect(lookupRoute(netlink, '198.51.100.1', { mark: 0x20 })).toBeUndefined();
      expect(listRules(netlink, 'ipv4')[1]).toEqual({
        family: 'ipv4',
        priority: 50,
        table: 1000,
        mark: 0x10,
        maskOfMark: 0xf0,
      });
      deleteRule(netlink, { family: 'ipv4', priority: 50, table: 1000, mark: 0x10, maskOfMark: 0xf0 });
      expect(listRules(netlink, 'ipv4').map(({ priority }) => priority)).toEqual([0, 51, 32766, 32767]);
    });

    it('sets, lists and deletes neighbours', () => {
      const index = linkIndex(netlink, 'v0');
      setNeighbour(netlink, index, { address: '10.2.0.20', mac: '02:00:00:00:00:20' });
      setNeighbour(netlink, index, {
        address: '2001:db8:2::20',
        mac: '02:00:00:00:00:21',
        state: 'reachable',
      });
      expect(ip(left, '-4', 'neigh')).toEqual(
        expect.arrayContaining([
          expect.objectContaining({ dst: '10.2.0.20', lladdr: '02:00:00:00:00:20', state: ['PERMANENT'] }),
        ]),
      );
      expect(listNeighbours(netlink, index)).toEqual(
        expect.arrayContaining([
          { index, address: '10.2.0.20', mac: '02:00:00:00:00:20', state: 'permanent' },
          { index, address: '2001:db8:2::20', mac: '02:00:00:00:00:21', state: 'reachable' },
        ]),
      );
      deleteNeighbour(netlink, index, '10.2.0.20');
      expect(
        listNeighbours(netlink, index).find(
          ({ address, state }) => address === '10.2.0.20' && state !== 'failed',
        ),
      ).toBeUndefined();
    });
  });

  it('stays in its namespace and ends with its socket', () => {
    const own = openNetlink({ netns: netnsPath(right) });
    expect(findLink(own, 'v1')?.name).toBe('v1');
    expect(findLink(own, 'v0')).toBeUndefined();
    own.close();
    own.close();
    expect(() => listLinks(own)).toThrow('closed');
  });
});
