import { expect, test } from 'vitest';
import { ftpModule, ftpPortsIn } from './ftp-helper.ts';

test('ports of ip_vs_ftp, as ip_vs_app_seq_show writes them', () => {
  const list = [
    'prot port    usecnt name',
    'TCP  21      0      ftp              ',
    'TCP  2121    3      ftp              ',
    '',
  ];
  expect(ftpPortsIn(list.join('\n'))).toEqual([21, 2121]);
  expect(ftpPortsIn(`${list[0]}\nTCP  80      0      other            \n`)).toEqual([]);
});

/* modinfo ip_vs_ftp: "ports: Ports to monitor for FTP control commands (array of ushort)", 21 without it. */
test('the command that loads it', () => {
  expect(ftpModule([21])).toBe('modprobe ip_vs_ftp');
  expect(ftpModule([21, 2121])).toBe('modprobe ip_vs_ftp ports=21,2121');
});
