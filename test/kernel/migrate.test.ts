import { join, resolve } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { requires } from '../requirements.ts';
import { runInGuest } from './guest.ts';
import { guestNeeds } from './suite.ts';

/*
 * From the kernel's IPVS to ebpf and back on one director, while streams, datagrams and short connections go through it. Two
 * real servers put their names into their answers, so that a connection that is scheduled anew is seen.
 */

const root = resolve(import.meta.dirname, '../..');
const streams = [
  'direct-routing',
  'tunnel',
  'masquerade',
  'masquerade-2',
  'persistent',
  'ftp',
  'datagrams',
  'sctp',
];
const timeoutMs = 1_200_000;

describe('Linux 6.12', () => {
  requires(
    ...guestNeeds,
    'ipvsadm',
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
      const found = said('client').filter((line) => !line.startsWith('short'));
      expect(
        found.map((line) => line.replace(/ (b|server) /, ' one ')),
        all,
      ).toEqual(streams.map((name) => `${name} one whole`));
    });

    it('refuses no new connection, and both real servers get some', () => {
      const found = said('client').filter((line) => line.startsWith('short'));
      expect(found.sort(), all).toEqual(['short-direct b+server whole', 'short-masquerade b+server whole']);
    });

    it('finds the table of the kernel as a configuration', () => {
      const { virtualServices } = parse(said('import').join('\n')) as {
        virtualServices: readonly { address: string; realServers: readonly unknown[] }[];
      };
      const found = virtualServices.map(({ address, realServers }) => `${address} ${realServers.length}`);
      expect(found.sort(), all).toEqual([
        '10.1.0.100:80 2',
        '10.1.0.101:80 2',
        '10.1.0.102:21 2',
        '10.1.0.102:53/udp 2',
        '10.1.0.102:80 2',
        '10.1.0.102:80/sctp 2',
        '10.1.0.102:8080 2',
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
      expect(said('mh alike').join('\n'), all).toMatch(/^From ipvs to ebpf: 8 virtual services/);
      expect(said('mh alike').join('\n'), all).not.toContain('choices of mh');
    });

    it.each(['to ebpf', 'to ipvs'])('%s: every connection comes along', (way) => {
      const [answer] = said(way);
      expect(JSON.parse(answer ?? 'null'), all).toMatchObject({ services: 7, refused: 0, done: true });
    });

    it('leaves the kernel what stays there, and ours has all', () => {
      expect(said('kernel then'), all).toEqual(said('kernel before').filter((line) => line.includes(':21 ')));
      expect(said('ours'), all).toEqual(said('kernel before'));
      expect(lines, all).toContain('ours has headgate.ftp_ports = 21,2121');
    });

    it('leaves everything as it was when it has moved back', () => {
      expect(said('kernel before')).toHaveLength(21);
      expect(said('kernel after'), all).toEqual(said('kernel before'));
      expect(said('pair'), all).toEqual(['Device "hg0" does not exist.']);
    });

    it('finds nothing to move the second time', () => {
      expect(said('again'), all).toEqual([
        'Nothing to move: ipvs has nothing here that ebpf could take over.',
        'Nothing to move: ebpf has nothing here that ipvs could take over.',
      ]);
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
