import { expect, it } from 'vitest';
import { readListing, readTotals } from './listing.ts';
import type { LabStatus } from './status.ts';
import { bytesText, statusPicture } from './status-picture.ts';

// As ipvsadm 1.31 prints them.
const listing = `IP Virtual Server version 1.2.1 (size=65536)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.0.0.1:80 wrr persistent 360
  -> 10.0.1.1:8080                Masq    3      12         345
  -> 10.0.1.2:80                  Route   0      0          0
UDP  [2001:db8::1]:53 rr
  -> [2001:db8::2]:53             Tunnel  1      0          7
FWM  1 rr
  -> 10.0.9.9:0                   Local   1      0          0
`;

it('reads the listing of ipvsadm', () => {
  const listed = readListing(listing);
  expect(listed.get('tcp 10.0.0.1:80')).toEqual({
    scheduler: 'wrr',
    destinations: [
      { address: '10.0.1.1:8080', method: 'masquerade', weight: 3, active: 12, inactive: 345 },
      { address: '10.0.1.2:80', method: 'direct-routing', weight: 0, active: 0, inactive: 0 },
    ],
  });
  expect(listed.get('udp [2001:db8::1]:53')?.destinations).toHaveLength(1);
});

it('reads the totals of ipvsadm --stats --exact', () => {
  const totals = readTotals(`IP Virtual Server version 1.2.1 (size=65536)
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  10.0.0.1:80                         5       60       50     4000   123456789
  -> 10.0.1.1:8080                       3       40       30     3000   100000000
`);
  expect([...totals]).toEqual([
    [
      'tcp 10.0.0.1:80 10.0.1.1:8080',
      { connections: 3, packetsIn: 40, packetsOut: 30, bytesIn: 3000, bytesOut: 100_000_000 },
    ],
  ]);
});

const status: LabStatus = {
  lab: 'mine',
  shows: 'A test',
  complete: true,
  director: 'lb',
  services: [
    {
      protocol: 'tcp',
      address: '10.0.0.10:80',
      scheduler: 'rr',
      method: 'direct-routing',
      realServers: [
        {
          ...{ node: 'rs1', address: '10.0.0.11:80', weight: 1, active: 2, inactive: 30, connections: 32 },
          rates: { connections: 4.25, packets: 99.6, bytes: 1_234_567 },
        },
        { node: 'server2', address: '10.0.0.12:80' },
      ],
    },
  ],
  nodes: [
    { name: 'client', role: 'client', state: 'up', standby: false, processes: 0, silentPorts: [] },
    { name: 'lb', role: 'director', state: 'up', standby: false, processes: 0, silentPorts: [] },
    { name: 'rs1', role: 'real-server', state: 'up', standby: false, processes: 1, silentPorts: [] },
    {
      name: 'server2',
      role: 'real-server',
      state: 'killed',
      standby: false,
      processes: 0,
      silentPorts: [80],
    },
    { name: 'lb2', role: 'director', state: 'up', standby: true, processes: 0, silentPorts: [] },
  ],
  ports: [
    { link: 'lan', node: 'client', device: 'eth0', addresses: ['10.0.0.1/24'], state: 'up' },
    { link: 'lan', node: 'lb', device: 'eth0', addresses: ['10.0.0.2/24'], state: 'up' },
    { link: 'lan', node: 'rs1', device: 'eth0', addresses: ['10.0.0.11/24'], state: 'cut' },
    { link: 'lan', node: 'lb2', device: 'eth0', addresses: ['10.0.0.3/24'], state: 'up' },
  ],
  problems: ['something'],
};

it('draws client, director and real servers with what is broken in its place', () => {
  expect(statusPicture(status)).toEqual([
    'lab mine   A test',
    '',
    'client client  10.0.0.1/24',
    '  |',
    '  v',
    'director lb  10.0.0.2/24',
    '  |',
    '  +-> tcp 10.0.0.10:80  rr, direct-routing: answers go straight to the client',
    '        -> rs1      10.0.0.11:80          weight 1  active 2  inactive 30  served 32  4.3 conn/s  100 packets/s  1.2 MB/s  eth0 on lan CUT',
    expect.stringMatching(/^ {8}-> server2 {2}10\.0\.0\.12:80 {2}not in the table +KILLED$/),
    '',
    'director lb2  10.0.0.3/24  stands by, holds no virtual address',
    '',
    'PROBLEMS',
    '  something',
  ]);
});

it.each([
  [0, '0 B'],
  [999, '999 B'],
  [1000, '1.0 kB'],
  [12_345_678, '12.3 MB'],
  [5e12, '5000.0 GB'],
])('writes %d bytes as %s', (bytes, text) => expect(bytesText(bytes)).toBe(text));
