import { expect, test } from 'vitest';
import { loadText } from './load.ts';

/* What differs is in docs/data-planes.md; sync daemons: net/netfilter/ipvs/ip_vs_sync.c, ip_vs_ctl.c of Linux 6.12. */

const warnings = (text: string) => {
  const { problems, warnings } = loadText(text, 'h.yaml');
  expect(problems).toEqual([]);
  return warnings.map(({ file, line, kind, reason }) => `${file}:${line}: ${kind}: ${reason}`);
};

const of = (dataPlane: string, whenGone = 'whenGone: drop') => `dataPlane: ${dataPlane}
connectionTable: 1Mi
virtualServices:
  - name: web
    address: 192.0.2.10:80
    ${whenGone}
    method: tunnel
    check: { type: passive }
    realServers:
      - { name: web1, address: "[2001:db8::1]:80" }
failover:
  connectionSync:
    interface: eth1
    keyFile: /etc/key
    threshold: 3
    refresh: 10s
`;

test('with dataPlane: ipvs, what IPVS does not do is said where it is written', () => {
  expect(warnings(of('ipvs', 'whenGone: reset'))).toEqual([
    'h.yaml:6: ignored: whenGone: reset, as "web" has it: IPVS has one rule for all of them, and drops; dataPlane: ebpf',
    'h.yaml:2: ignored: the table of IPVS has no limit: its number of buckets is a parameter of its module',
    'h.yaml:8: ignored: IPVS does not say what becomes of connections: a passive check finds nothing bad',
    expect.stringMatching(/^h\.yaml:14: ignored: .* in clear/),
    expect.stringMatching(/^h\.yaml:15: ignored: .* net\.ipv4\.vs\.sync_threshold/),
    expect.stringMatching(/^h\.yaml:16: ignored: .* net\.ipv4\.vs\.sync_refresh_period/),
    expect.stringMatching(/^h\.yaml:13: ignored: .* another address family/),
  ]);
});

test('what nobody wrote is said of the data plane', () => {
  expect(
    warnings('dataPlane: ipvs\nvirtualServices:\n  - { name: web, address: "192.0.2.10:80" }\n'),
  ).toEqual([
    'h.yaml:1: ignored: whenGone: expire, as "web" has it: IPVS has one rule for all of them, and drops; sysctl -w net.ipv4.vs.expire_nodest_conn=1 makes it so for all',
  ]);
});

test('nothing is said where IPVS does as it is told, or another plane is wanted', () => {
  expect(
    warnings(
      'dataPlane: ipvs\nvirtualServices:\n  - { name: web, address: "192.0.2.10:80", whenGone: drop }\nfailover: { connectionSync: { interface: eth1 } }\n',
    ),
  ).toEqual([]);
  for (const plane of ['auto', 'ebpf', 'proxy']) expect(warnings(of(plane))).toEqual([]);
});

test('full NAT, where it is first written', () => {
  const text = (method: string, own = '') =>
    `dataPlane: ipvs\nvirtualServices:\n  - { name: web, address: "192.0.2.10:80", whenGone: drop${method},\n      realServers: [{ address: 10.0.0.1${own} }] }\n`;
  const said =
    'IPVS has no full NAT: it refuses real servers of this method; take another one, or dataPlane: ebpf';
  expect(warnings(text(', method: full-nat'))).toEqual([`h.yaml:3: ignored: ${said}`]);
  expect(warnings(text('', ', method: full-nat'))).toEqual([`h.yaml:4: ignored: ${said}`]);
});
