import { join, resolve } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { requires } from '../requirements.ts';
import { runInGuest } from './guest.ts';
import { guestNeeds } from './suite.ts';

/*
 * From the kernel's IPVS to ebpf and back on one director, while streams, datagrams and short connections go through it: first by
 * a command, then by the daemon that has the table. Two real servers put their names into their answers, so that a connection
 * that is scheduled anew is seen, and a client that persistence brings to another.
 */

const root = resolve(import.meta.dirname, '../..');
const streams = [
  ...['direct-routing', 'tunnel', 'masquerade', 'masquerade-2', 'persistent', 'ftp'],
  ...['mark', 'mark-port', 'ipv6-direct', 'ipv6-masquerade', 'datagrams', 'sctp'],
];
const often = ['short-direct', 'short-ipv6', 'short-mark', 'short-masquerade'];
const kept = ['kept', 'kept-call', 'kept-ipv6', 'kept-mark'];
const services = 13;
const timeoutMs = 1_200_000;

describe('Linux 6.12', () => {
  requires(
    ...guestNeeds,
    'ipvsadm',
    'nft',
    'kernel-6.12',
  )('headgate migrate', () => {
    let lines: readonly string[];
    let all: string;
    const said = (about: string) =>
      lines.flatMap((line) => (line.startsWith(`${about}: `) ? [line.slice(about.length + 2)] : []));

    beforeAll(async () => {
      const script = join(import.meta.dirname, 'migrate.sh');
      const command = ['bash', script, join(root, 'bin')];
      const { output, console: messages } = await runInGuest(command, { series: '6.12', timeoutMs });
      all = `${output}\n${messages}`;
      lines = output
        .toString()
        .split('\n')
        .map((line) => line.replace(/^ /, '').trimEnd());
    }, timeoutMs);

    it('breaks no stream, and takes none to another real server', () => {
      const found = said('client').filter((line) => !/^(short|kept)/.test(line));
      expect(
        found.map((line) => line.replace(/ (b|server) /, ' one ')),
        all,
      ).toEqual(streams.map((name) => `${name} one whole`));
    });

    it('refuses no new connection, and both real servers get some', () => {
      const found = said('client').filter((line) => line.startsWith('short'));
      expect(found.sort(), all).toEqual(often.map((name) => `${name} b+server whole`));
    });

    it('brings the clients of persistence to the same real server, whichever plane schedules', () => {
      const found = said('client').filter((line) => line.startsWith('kept'));
      expect(found.map((line) => line.replace(/ (b|server) /, ' one ')).sort(), all).toEqual(
        kept.map((name) => `${name} one whole`),
      );
    });

    it('finds the table of the kernel as a configuration', () => {
      const { virtualServices } = parse(said('import').join('\n')) as {
        virtualServices: readonly { address?: string; fwmark?: number; realServers: readonly unknown[] }[];
      };
      const found = virtualServices.map(
        ({ address, fwmark, realServers }) => `${address ?? fwmark} ${realServers.length}`,
      );
      expect(found.sort(), all).toEqual([
        '10.1.0.100:80 2',
        '10.1.0.101:80 2',
        '10.1.0.102:21 2',
        '10.1.0.102:5060/udp 2',
        '10.1.0.102:53/udp 2',
        '10.1.0.102:80 2',
        '10.1.0.102:80/sctp 2',
        '10.1.0.102:8080 2',
        '7 2',
        '8 2',
        '[fd01::100]:80 2',
        '[fd01::102]:80 2',
        '[fd01::102]:8080 2',
      ]);
    });

    it('says before what cannot travel', () => {
      expect(said('plan'), all).toContain(
        '1 connection: ip_vs_ftp rewrites what is said on it: it stays with IPVS until it ends, and so does its service there',
      );
      // The helper of new clients is in ebpf itself.
      expect(
        said('plan').filter((line) => line.startsWith('ip_vs_ftp')),
        all,
      ).toEqual([]);
      expect(said('plan'), all).toContain('headgate.ftp_ports=21,2121 will be set');
      expect(said('plan'), all).toContain('headgate migrate ipvs-to-ebpf --yes');
    });

    it('says when mh would choose otherwise, which without a word it does not', () => {
      expect(said('mh'), all).toContain(
        "choices of mh: its tables have 8191 places there and 4093 here: some clients' next connections go to other real servers",
      );
      expect(said('plan').join('\n'), all).toMatch(
        new RegExp(`^From ipvs to ebpf: ${services + 1} virtual services`),
      );
      expect(said('plan').join('\n'), all).not.toContain('choices of mh');
    });

    it.each(['to ebpf', 'to ipvs', 'daemon to ebpf', 'daemon to ipvs'])(
      '%s: every connection comes along',
      (way) => {
        const answer = JSON.parse(said(way)[0] ?? 'null') as { templates: number };
        expect(answer, all).toMatchObject({ services, refused: 0, done: true });
        expect(answer.templates, all).toBeGreaterThanOrEqual(kept.length);
      },
    );

    it('leaves the kernel what stays there, and ours has all', () => {
      expect(said('kernel then'), all).toEqual(said('kernel before').filter((line) => line.includes(':21 ')));
      expect(said('ours'), all).toEqual(said('kernel before'));
      expect(lines, all).toContain('ours has headgate.ftp_ports = 21,2121');
    });

    it('leaves everything as it was when it has moved back', () => {
      expect(said('kernel before')).toHaveLength(3 * services);
      expect(said('kernel after'), all).toEqual(said('kernel before'));
      expect(said('pair'), all).toEqual(['Device "hg0" does not exist.']);
    });

    it('finds nothing to move the second time', () => {
      expect(said('again'), all).toEqual([
        'Nothing to move: ipvs has nothing here that ebpf could take over.',
        'Nothing to move: ebpf has nothing here that ipvs could take over.',
      ]);
    });

    it('by a daemon: says what its configuration has to say first, and moves nothing before', () => {
      const agree = '"headgate.yaml" says dataPlane: ipvs: write dataPlane: ebpf';
      expect(said('not agreed'), all).toEqual(
        expect.arrayContaining([
          'Before:',
          agree,
          `headgate: Cannot move before this is done: ${agree} [HG_MOVE]`,
          'next: Then: headgate migrate ipvs-to-ebpf --yes',
        ]),
      );
      const stays = said('log').flatMap(
        (line) => /data plane stays as it is (.*)/.exec(line)?.slice(1) ?? [],
      );
      expect([...new Set(stays)], all).toEqual([
        'dataPlane=ipvs configured=ebpf next="headgate migrate ipvs-to-ebpf"',
        'dataPlane=ebpf configured=ipvs next="headgate migrate ebpf-to-ipvs"',
      ]);
    });

    it('by a daemon: the old plane stays at work where it fails half-way, and the error says why', () => {
      expect(said('failed to ebpf').join(''), all).toMatch(/"code":"HG_INTERFACE".*hg1.*found bridge/);
      expect(said('failed to ipvs').join(''), all).toMatch(
        /"code":"HG_MOVE".*its backup sync daemon listens on inside already/,
      );
      const inUse = said('log').flatMap(
        (line) => /data plane in use dataPlane=(.*)/.exec(line)?.slice(1) ?? [],
      );
      expect(inUse, all).toEqual(['ipvs', 'ebpf', 'ebpf', 'ipvs']);
    });

    it('by a daemon: of two at once one is made, and the other finds it under way or done', () => {
      expect(said('daemon to ipvs'), all).toHaveLength(1);
      expect(said('at once').join(''), all).toMatch(
        /"code":"HG_MOVE","message":"Cannot move: a move is under way"|"needed":false.*"done":false/,
      );
    });

    it('by a daemon: its status names the plane, and why it is that one', () => {
      expect(said('status'), all).toEqual([
        expect.stringMatching(/^ebpf: BPF programs at tc, instance \d+, as headgate migrate says$/),
      ]);
    });

    it('says which connections IPVS does not count before it takes them', () => {
      const { left } = JSON.parse(said('to ipvs')[0]!) as { left: readonly { what: string }[] };
      expect(
        left.filter(({ what }) => /^the count of \d+ connections?$/.test(what)),
        all,
      ).toHaveLength(1);
    });

    it('by a daemon: it goes on with what people have decided, on whichever plane it is', () => {
      const drained = said('kernel before').map((line) =>
        /^-a -t 10\.1\.0\.101:80 -r 10\.1\.0\.2:80 /.test(line) ? line.replace('-w 2', '-w 0') : line,
      );
      expect(drained).not.toEqual(said('kernel before'));
      expect(said('daemon ours').toSorted(), all).toEqual(drained.toSorted());
      expect(said('daemon kernel').toSorted(), all).toEqual(drained.toSorted());
      expect(said('told'), all).toEqual(
        ['ebpf', 'ipvs', 'ebpf', 'ipvs'].map((plane) => `migrate: the data plane is ${plane} now`),
      );
    });

    it('says what a kernel without IPVS lacks', () => {
      expect(said('without').join('\n'), all).toMatch(
        /^headgate: Cannot move: this kernel has no IPVS, .*\[HG_IPVS\]\n {2}next: There is nothing to move to or from/,
      );
      const reading = [
        expect.stringContaining('headgate: Cannot read the table of the kernel: this kernel has no IPVS'),
        expect.stringContaining('  next: run it on the host whose table is meant'),
      ];
      const told = said('without a table').filter((line) => /^headgate: |^ {2}next: /.test(line));
      expect(told, all).toEqual([...reading, ...reading]);
    });
  });
});
