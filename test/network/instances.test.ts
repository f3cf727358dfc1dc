import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { up } from '../../src/lab/build.ts';
import { tcxProgramIds } from '../../src/sys/bpf/link.ts';
import { bpffsDirectory } from '../../src/sys/mount.ts';
import { addAddress } from '../../src/sys/netlink/address.ts';
import {
  createBridge,
  createVeth,
  deleteLink,
  findLink,
  linkIndex,
  listLinks,
  setLink,
} from '../../src/sys/netlink/link.ts';
import { type Netlink, withNetlink } from '../../src/sys/netlink/socket.ts';
import { netnsCookie, netnsPath } from '../../src/sys/netns.ts';
import { requires } from '../requirements.ts';
import { at, labName, launcher, linkKinds, plans, type Site, smallTable, standUp } from './site.ts';
import { askTcp, outcome } from './sockets.ts';

const runDirectory = '/run/headgate';

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('instances', () => {
  it('three namespaces made, used and deleted in turn leave nothing behind', async () => {
    const cookies: string[] = [];
    for (const turn of [1, 2, 3, 4]) {
      const lab = up({
        name: labName(`turn${turn}`),
        nodes: [
          { name: 'client', routes: [{ destination: 'default', gateway: '10.74.0.2', device: 'eth0' }] },
          { name: 'director' },
        ],
        segments: [
          {
            name: 'lan',
            ports: [
              { node: 'client', device: 'eth0', addresses: ['10.74.0.1/24'] },
              { node: 'director', device: 'eth0', addresses: ['10.74.0.2/24'] },
            ],
          },
        ],
      });
      try {
        const cookie = String(lab.inside('director', netnsCookie));
        // As a person does it: `ip netns exec` has a mount namespace of its own, gone when the command ends.
        const ipvsadm = (...words: string[]) => {
          const run = lab.run(
            'client',
            'ip',
            ['netns', 'exec', lab.netns('director'), process.execPath, launcher, ...words],
            {
              env: smallTable,
            },
          );
          expect(run.stderr).toBe('');
          return run.stdout;
        };
        ipvsadm('-A', '-t', '10.74.0.2:80', '-s', 'rr');
        expect(existsSync(join(bpffsDirectory, cookie))).toBe(true);
        // No destination: it is our program that answers a client, by ICMP, not the director's stack.
        expect(outcome(() => askTcp(lab, 'client', { address: '10.74.0.2', port: 80 }))).toBe('ECONNREFUSED');
        expect(ipvsadm('-Ln', '--stats')).toMatch(/TCP {2}10\.74\.0\.2:80/);
        // Whoever starts next has cleaned up after those that are gone.
        for (const gone of cookies) {
          expect(readdirSync(bpffsDirectory).filter((name) => name.startsWith(gone))).toEqual([]);
          expect(existsSync(join(runDirectory, gone))).toBe(false);
        }
        cookies.push(cookie);
      } finally {
        lab.down();
      }
    }
    // The last one is nobody's to find: any command anywhere cleans up after it.
    const lab = up({ name: labName('turn5'), nodes: [{ name: 'bare' }], segments: [] });
    try {
      expect(lab.run('bare', process.execPath, [launcher, '-Ln']).status).toBe(0);
      expect(cookies.filter((cookie) => existsSync(join(bpffsDirectory, cookie)))).toEqual([]);
      expect(cookies.filter((cookie) => existsSync(join(runDirectory, cookie)))).toEqual([]);
    } finally {
      lab.down();
    }
  });
});

requires(
  'root',
  'netns',
  'bpf',
  'bpftool',
)('interfaces', () => {
  describe.each(linkKinds)('$links', (kind) => {
    const { vip, backOf } = plans[4];
    const tcp = { address: vip, port: 7 };
    let site: Site;
    beforeAll(async () => {
      site = await standUp('devices', kind, { started: [1] });
      site.rules(`-A -t ${at(vip, 7)} -s rr`, `-a -t ${at(vip, 7)} -r ${at(backOf(1), 7007)} -m`);
    });
    afterAll(() => site?.down());

    const inDirector = <T>(work: (netlink: Netlink) => T): T =>
      withNetlink({ netns: netnsPath(site.lab.netns('director')) }, work);
    /** Where the kernel says our programs are attached: device and direction. */
    const attached = (): string[] => {
      const programs = JSON.parse(site.lab.run('director', 'bpftool', ['-j', 'prog', 'show']).stdout) as {
        id: number;
        name?: string;
      }[];
      const ours = new Set(programs.filter(({ name }) => name?.startsWith('headgate')).map(({ id }) => id));
      const links = inDirector(listLinks);
      return site.lab.inside('director', () =>
        links.flatMap(({ name, index }) =>
          (['egress', 'ingress'] as const)
            .filter((direction) => tcxProgramIds(index, direction).some((id) => ours.has(id)))
            .map((direction) => `${name} ${direction}`),
        ),
      );
    };
    const both = (device: string) => [`${device} egress`, `${device} ingress`];

    it('stands on both directions of every layer-3 interface, loopback too', () => {
      expect(attached().sort()).toEqual(
        [...both('back'), ...both('front'), ...both('lo'), 'hg1 ingress'].sort(),
      );
    });

    it('one that comes later is covered by the next command', () => {
      inDirector((netlink) => {
        createVeth(netlink, { name: 'late', peer: { name: 'peer' } });
        addAddress(netlink, linkIndex(netlink, 'late'), { prefix: '10.75.0.1/24' });
        setLink(netlink, linkIndex(netlink, 'late'), { up: true });
      });
      // The peer becomes the client's second way to the director.
      site.lab.run('director', 'ip', ['link', 'set', 'peer', 'netns', site.lab.netns('client')]);
      withNetlink({ netns: netnsPath(site.lab.netns('client')) }, (netlink) => {
        addAddress(netlink, linkIndex(netlink, 'peer'), { prefix: '10.75.0.2/24' });
        setLink(netlink, linkIndex(netlink, 'peer'), { up: true });
      });
      site.lab.run('client', 'ip', ['route', 'add', `${vip}/32`, 'via', '10.75.0.1', 'dev', 'peer']);
      const from = { address: '10.75.0.2' };
      expect(attached()).not.toContain('late ingress');
      // Nobody on the director listens there.
      expect(outcome(() => askTcp(site.lab, 'client', tcp, { from }))).toBe('ECONNREFUSED');
      site.ipvsadm('-Ln');
      expect(attached()).toEqual(expect.arrayContaining(both('late')));
      expect(askTcp(site.lab, 'client', tcp, { from })).toBe('real1');
      site.lab.run('client', 'ip', ['route', 'del', `${vip}/32`]);
    });

    it('one that vanishes disturbs nothing and leaves no pin', () => {
      const pinsBefore = readdirSync(site.pins).length;
      inDirector((netlink) => deleteLink(netlink, linkIndex(netlink, 'late')));
      expect(askTcp(site.lab, 'client', tcp)).toBe('real1');
      site.ipvsadm('-Ln');
      expect(readdirSync(site.pins).length).toBe(pinsBefore - 2);
      expect(attached().filter((place) => place.startsWith('late'))).toEqual([]);
      expect(askTcp(site.lab, 'client', tcp)).toBe('real1');
    });

    it('ports of a bridge are left alone, the bridge is not; also when a port joins later', () => {
      inDirector((netlink) => {
        createBridge(netlink, { name: 'bridge' });
        for (const [name, peer] of [
          ['port0', 'other0'],
          ['port1', 'other1'],
        ] as const) {
          createVeth(netlink, { name, peer: { name: peer } });
          setLink(netlink, linkIndex(netlink, name), { up: true });
        }
        setLink(netlink, linkIndex(netlink, 'port0'), { master: linkIndex(netlink, 'bridge') });
        setLink(netlink, linkIndex(netlink, 'bridge'), { up: true });
      });
      site.ipvsadm('-Ln');
      expect(attached()).toEqual(expect.arrayContaining([...both('bridge'), ...both('port1')]));
      expect(attached().filter((place) => place.startsWith('port0'))).toEqual([]);
      inDirector((netlink) => {
        setLink(netlink, linkIndex(netlink, 'port1'), { master: linkIndex(netlink, 'bridge') });
      });
      site.ipvsadm('-Ln');
      expect(attached().filter((place) => place.startsWith('port'))).toEqual([]);
      // And back again.
      inDirector((netlink) => setLink(netlink, linkIndex(netlink, 'port1'), { master: 0 }));
      site.ipvsadm('-Ln');
      expect(attached()).toEqual(expect.arrayContaining(both('port1')));
      inDirector((netlink) => {
        for (const name of ['port0', 'port1', 'bridge']) deleteLink(netlink, findLink(netlink, name)!.index);
      });
    });
  });
});
