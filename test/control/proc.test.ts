import { afterAll, beforeAll, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { type Director, standUp, vip } from './director.ts';

/* The layouts are held against the kernel's own in src/cli/proc-text.test.ts; here it is what stands in them. */

requires(
  'root',
  'netns',
  'bpf',
)('headgate proc', () => {
  let director: Director;
  beforeAll(() => {
    director = standUp();
    director.shell(`headgate ipvsadm -A -t ${vip}:80 -s rr`);
    director.shell(`headgate ipvsadm -a -t ${vip}:80 -r 10.75.0.1:8000 -m`);
    director.shell('ip route add 10.74.0.0/24 via 10.75.0.254', 'real');
  });
  afterAll(() => director?.down());

  /** The five counters of a line. */
  const counted = (name: string, line: RegExp) =>
    (director.shell(`headgate proc ${name}`).match(line)?.[1] ?? '').trim().split(/ +/);

  it('shows what is there, and what was before it was deleted', () => {
    // Nobody listens there: a SYN of 60 bytes, and a reset of 40.
    expect(() => director.shell(`bash -c '</dev/tcp/${vip}/80'`, 'client')).toThrow(/refused/);
    expect(director.shell('headgate proc ip_vs')).toBe(
      'IP Virtual Server version 1.2.1 (size=256)\n' +
        'Prot LocalAddress:Port Scheduler Flags\n' +
        '  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n' +
        'TCP  0A4A0064:0050 rr  \n' +
        '  -> 0A4B0001:1F40      Masq    1      0          1         \n',
    );
    expect(director.shell('headgate proc /proc/net/ip_vs_conn')).toMatch(
      /^Pro FromIP .*\nTCP 0A4A0001 [0-9A-F]{4} 0A4A0064 0050 0A4B0001 1F40 CLOSE {13}\d\n$/,
    );
    const totals = /Bytes\n *(.*)\n/;
    const once = ['1', '1', '1', '3C', '28'];
    expect(counted('ip_vs_stats', totals)).toEqual(once);
    director.shell(`headgate ipvsadm -D -t ${vip}:80`);
    expect(counted('net/ip_vs_stats', totals)).toEqual(once);
    const perCpu = JSON.parse(director.shell('headgate proc ip_vs_stats_percpu -o json')).ip_vs_stats_percpu;
    const cells = [...perCpu.matchAll(/^ {0,2}[\dA-F]+ +(.*)$/gm)].map(([, line]) => line.split(/ +/));
    const sum = (i: number) => cells.reduce((all, line) => all + Number.parseInt(line[i], 16), 0);
    expect([0, 1, 2, 3, 4].map(sum)).toEqual([1, 1, 1, 60, 40]);
    director.shell('headgate ipvsadm -Z');
    expect(counted('ip_vs_stats', totals)).toEqual(['0', '0', '0', '0', '0']);
    expect(director.shell('headgate proc ip_vs_stats_percpu')).toMatch(/^ {2}~ +0 +0 +0 +0 +0$/m);
  });

  it('shows all of it under names, and says which there are', () => {
    const all = director.shell('headgate proc');
    const names = [...all.matchAll(/^==> \/proc\/net\/(\S+) <==$/gm)].map(([, name]) => name);
    expect(names).toEqual(['ip_vs', 'ip_vs_conn', 'ip_vs_conn_sync', 'ip_vs_stats', 'ip_vs_stats_percpu']);
    expect(() => director.shell('headgate proc ip_vs_con')).toThrow(/headgate proc ip_vs_conn/);
  });
});
