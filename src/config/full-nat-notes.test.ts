import { expect, test } from 'vitest';
import { loadText } from './load.ts';

/** What is said of a configuration with two services, the second of which has full NAT. */
function said({
  dataPlane = 'ebpf',
  fullNat = '{}',
  inner = '10.0.0.254/24',
  key = 'key: "sixteen signs or more"',
}) {
  const { problems, warnings } = loadText(
    `dataPlane: ${dataPlane}
virtualServices:
  - { name: plain, address: "192.0.2.10:81", whenGone: drop, realServers: [{ name: a, address: 10.0.0.11:81 }] }
  - name: web
    address: 192.0.2.10:80
    whenGone: drop
    method: full-nat
    fullNat: ${fullNat}
    realServers: [{ name: b, address: 10.0.0.11:8080 }]
failover:
  vrrp:
    - { name: front, interface: eth0, routerId: 51, addresses: [192.0.2.10] }
    - { name: inner, interface: eth1, routerId: 52, addresses: [${inner}] }
  connectionSync: { interface: eth1, ${key} }
`,
    'h.yaml',
  );
  expect(problems).toEqual([]);
  return warnings.map(({ line, reason }) => `${line}: ${reason}`);
}
const given = '{ localAddresses: [10.0.0.254] }';
const start = '8: connections of "web" with full NAT end with a take-over; so that they go on, ';
const moved = 'give "localAddresses" that are among the addresses of "failover.vrrp"';

test('full NAT whose local address does not move, or is not told, is said where it is written', () => {
  expect(said({})).toEqual([start + moved]);
  expect(said({ fullNat: given, inner: '10.0.0.253' })).toEqual([start + moved]);
  expect(said({ fullNat: '{ localAddresses: [10.0.0.254, 10.0.0.2] }' })).toEqual([start + moved]);
  const told = 'give "failover.connectionSync" a "key"';
  expect(said({ fullNat: given, key: 'role: both' })).toEqual([start + told]);
  expect(said({ key: 'role: both' })).toEqual([`${start}${moved}, and ${told}`]);
});

test('nothing is said where it goes on, and on planes that say otherwise or keep no connections', () => {
  expect(said({ fullNat: given })).toEqual([]);
  expect(said({ fullNat: given, key: 'keyFile: /etc/key' })).toEqual([]);
  expect(said({ dataPlane: 'proxy', fullNat: '{}' })).toEqual([]);
  expect(said({ dataPlane: 'ipvs' }).filter((line) => line.includes('take-over'))).toEqual([]);
});

test('a client address that the data plane does not tell is said where it is written', () => {
  const going = { key: 'keyFile: /etc/key' };
  const way = (word: string) => `{ localAddresses: [10.0.0.254], clientAddress: ${word} }`;
  expect(said({ ...going, fullNat: way('proxy-protocol') })).toEqual([
    '8: the ebpf data plane puts nothing before the first byte, and refuses real servers with clientAddress: proxy-protocol; take tcp-option, or dataPlane: proxy',
  ]);
  expect(said({ ...going, dataPlane: 'proxy', fullNat: way('tcp-option') })).toEqual([
    '8: a socket cannot give segments an option: the proxy data plane refuses real servers with clientAddress: tcp-option; take proxy-protocol, or dataPlane: ebpf',
  ]);
  const own = `{}\n    sorryServer: { address: 10.0.0.12:80 }\n    realServers: [{ address: 10.0.0.11, fullNat: ${way('proxy-protocol')} }]`;
  expect(loadText(oneWith(own), 'h.yaml').warnings.map(({ line }) => line)).toEqual([8]);
  for (const [dataPlane, word] of [
    ['ebpf', 'tcp-option'],
    ['proxy', 'proxy-protocol'],
    ['auto', 'proxy-protocol'],
  ] as const)
    expect(said({ ...going, dataPlane, fullNat: way(word) })).toEqual([]);
});

const oneWith = (fullNat: string): string => `dataPlane: ebpf
virtualServices:
  - name: web
    address: 192.0.2.10:80
    method: full-nat
    fullNat: ${fullNat}
`;
