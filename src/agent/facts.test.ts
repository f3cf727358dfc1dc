import { expect, test } from 'vitest';
import { type Address, parseAddress } from '../model/address.ts';
import { factsOf, type Host } from './facts.ts';
import type { Intent } from './intent.ts';
import { describeResource } from './resource.ts';

const address = (text: string): Address => parseAddress(text)!;

function host(parameters: Record<string, string> = {}): Host {
  return {
    interfaces: [
      { name: 'lo', mtu: 65536, loopback: true },
      { name: 'eth0', mtu: 1500, loopback: false },
      { name: 'eth1.5', mtu: 9000, loopback: false },
    ],
    routes: [
      { family: 'ipv4', destination: 'default', device: 'eth0', priority: 0, advertised: false },
      { family: 'ipv4', destination: '10.0.0.0/8', device: 'eth1.5', priority: 0, advertised: false },
      { family: 'ipv6', destination: 'fd00::/64', device: 'eth0', priority: 256, advertised: false },
      { family: 'ipv6', destination: 'default', device: 'eth0', priority: 1024, advertised: true },
    ],
    sysctl: (name) => parameters[name] ?? '0',
    deviceTo: () => 'eth1.5',
  };
}

const realServer = (method: Intent['method'], ...vips: string[]): Intent => ({
  role: 'real-server',
  method,
  vips: vips.map(address),
  gateways: [],
});

const wants = (intent: Intent, on = host()): Record<string, string> =>
  Object.fromEntries(factsOf(intent, on).map(({ resource, want }) => [describeResource(resource), want]));

test('direct routing silences ARP before it adds an address', () => {
  const order = Object.keys(wants(realServer('direct-routing', '192.0.2.10')));
  expect(order.indexOf('net.ipv4.conf.all.arp_ignore')).toBeGreaterThanOrEqual(0);
  expect(order.at(-1)).toBe('address 192.0.2.10/32 on lo');
});

test('IPv6 needs no silence: an address on lo is answered for on no other interface', () => {
  expect(wants(realServer('direct-routing', 'fd00::10'))).toEqual({
    'interface lo': 'up',
    'address fd00::10/128 on lo': 'present',
  });
});

test('a stricter silence is left as it is, a laxer one is not', () => {
  const fact = factsOf(realServer('direct-routing', '192.0.2.10'), host()).find(
    ({ resource }) => describeResource(resource) === 'net.ipv4.conf.all.arp_ignore',
  )!;
  expect(['0', '2', '3', '8'].map((text) => fact.accepts!(text))).toEqual([false, true, false, true]);
});

test('the source check matters where clients are not behind the interface, by the larger of two values', () => {
  const of = (all: string) =>
    factsOf(realServer('direct-routing', '192.0.2.10'), host({ 'net.ipv4.conf.all.rp_filter': all })).filter(
      ({ resource }) => describeResource(resource).includes('rp_filter'),
    );
  expect(of('0').map(({ resource }) => describeResource(resource))).toEqual([
    'net.ipv4.conf.eth1/5.rp_filter',
  ]);
  expect(['0', '1', '2'].map((text) => of('0')[0]!.accepts!(text))).toEqual([true, false, true]);
  expect(['0', '1', '2'].map((text) => of('1')[0]!.accepts!(text))).toEqual([false, false, true]);
  expect(of('2')[0]!.accepts!('1')).toBe(true);
});

// An outer IPv6 header takes 40 bytes (RFC 8200, 3), IPv4 and TCP 40, IPv6 and TCP 60 (RFC 6691, RFC 8200 8.3).
test('a tunnel leaves room for the outer header in what clients send', () => {
  const wanted = wants(realServer('tunnel', '192.0.2.10', 'fd00::10'));
  expect(wanted).toMatchObject({
    'TCP segment size on IPv4 route default dev eth0': '1420',
    'TCP segment size on IPv4 route 10.0.0.0/8 dev eth1.5': '8920',
    'TCP segment size on IPv6 route fd00::/64 dev eth0 metric 256': '1400',
    'decapsulation of IP in IP': '192.0.2.10 fd00::10',
  });
  expect(Object.keys(wanted).join()).not.toContain('IPv6 route default');
});

test('masquerade sends replies through the director, on the interface it is on', () => {
  const intent: Intent = {
    ...realServer('masquerade'),
    gateways: [address('10.0.0.254'), address('fd00::fe')],
  };
  expect(wants(intent)).toEqual({
    'net.ipv4.conf.all.accept_redirects': '0',
    'net.ipv4.conf.eth1/5.accept_redirects': '0',
    'default IPv4 route of metric 0': 'via 10.0.0.254 dev eth1.5',
    'net.ipv6.conf.eth1/5.accept_redirects': '0',
    'default IPv6 route of metric 1': 'via fd00::fe dev eth1.5',
  });
});

test('a director forwards IPv6 only where a virtual address is of it, and goes on taking advertisements', () => {
  const director: Intent = { ...realServer('masquerade'), role: 'director', outgoing: 'eth0' };
  expect(wants(director)).toEqual({
    'net.ipv4.ip_forward': '1',
    'net.ipv4.conf.all.send_redirects': '0',
    'net.ipv4.conf.eth0.send_redirects': '0',
    'net.ipv4.conf.eth1/5.send_redirects': '0',
    'masquerading of forwarded IPv4 through eth0': 'present',
  });
  const order = Object.keys(wants({ ...director, vips: [address('fd00::10')] }));
  expect(order.indexOf('net.ipv6.conf.eth0.accept_ra')).toBeGreaterThanOrEqual(0);
  expect(order.indexOf('net.ipv6.conf.eth0.accept_ra')).toBeLessThan(
    order.indexOf('net.ipv6.conf.all.forwarding'),
  );
});
