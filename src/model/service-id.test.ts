import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Address, parseAddress } from './address.ts';
import {
  compareDestinations,
  compareServices,
  destinationKey,
  equalDestination,
  equalService,
  serviceKey,
  sortLikeIpvsadm,
} from './service-id.ts';
import type { Destination, DestinationId, Protocol, ServiceId, VirtualService } from './virtual-service.ts';

const address = (text: string): Address => parseAddress(text)!;
const named = (protocol: Protocol, text: string, port: number): ServiceId => ({
  kind: 'address',
  protocol,
  address: address(text),
  port,
});
const marked = (mark: number, family: 4 | 6 = 4): ServiceId => ({ kind: 'fwmark', mark, family });
const at = (text: string): DestinationId => {
  const [host, port] = text.split(':') as [string, string];
  return { address: address(host), port: Number(port) };
};

describe('order', () => {
  it('sorts services as ipvsadm does', () => {
    // Printed by `ipvsadm -S -n` (1.31 on Linux 6.12.117), whatever order they were added in.
    const listed = [
      marked(4294967295),
      named('tcp', '172.16.0.1', 80),
      named('tcp', '172.16.0.1', 443),
      named('tcp', '192.168.0.1', 80),
      named('tcp', '203.0.113.9', 80),
      named('tcp', '10.0.0.1', 80),
      named('udp', '203.0.113.9', 53),
      named('udp', '10.0.0.1', 53),
      named('sctp', '1.1.1.1', 9),
      named('tcp', 'fd00::1', 80),
      named('tcp', '2001:db8::1', 22),
      named('tcp', '2001:db8::1', 80),
      named('udp', 'fe80::9', 53),
      marked(3),
      marked(3, 6),
      marked(5),
    ];
    const shuffled = fc.shuffledSubarray(listed, { minLength: listed.length });
    fc.assert(
      fc.property(shuffled, (services) => {
        expect(sortLikeIpvsadm(services, compareServices)).toEqual(listed);
      }),
    );
  });

  it('sorts addresses whose comparison is a circle as ipvsadm does', () => {
    // Added in this order, so listed by the kernel the other way round; then what `ipvsadm -S -n` printed.
    // biome-ignore format: as a list
    const added = [
      '127.0.0.5:80', '203.0.113.9:53', '100.64.0.1:80', '192.168.0.1:80',
      '172.16.0.1:443', '10.0.0.1:80', '172.16.0.1:80', '64.0.0.1:80',
    ];
    // biome-ignore format: as a list
    const printed = [
      '64.0.0.1:80', '100.64.0.1:80', '127.0.0.5:80', '172.16.0.1:80',
      '172.16.0.1:443', '192.168.0.1:80', '203.0.113.9:53', '10.0.0.1:80',
    ];
    const sorted = sortLikeIpvsadm(added.toReversed().map(at), compareDestinations);
    expect(sorted.map(destinationKey)).toEqual(printed);
  });
});

describe('names', () => {
  it('are readable and tell services apart', () => {
    const ids = [
      named('tcp', '192.0.2.1', 80),
      named('udp', '192.0.2.1', 80),
      named('tcp', '2001:db8::1', 80),
      marked(7),
      marked(7, 6),
    ];
    expect(ids.map(serviceKey)).toEqual([
      'tcp 192.0.2.1:80',
      'udp 192.0.2.1:80',
      'tcp [2001:db8::1]:80',
      'fwmark 7',
      'fwmark 7 ipv6',
    ]);
  });
});

describe('equality', () => {
  const service: VirtualService = {
    id: marked(1),
    scheduler: 'sh',
    schedulerFlags: { flag1: true, flag2: false, flag3: false },
    persistence: { timeoutSeconds: 300, netmask: 0xffffffff },
    onePacket: false,
  };
  const { persistence, ...unpersistent } = service;
  it.each<[string, VirtualService]>([
    ['name', { ...service, id: marked(2) }],
    ['scheduler', { ...service, scheduler: 'mh' }],
    ['flag 1', { ...service, schedulerFlags: { ...service.schedulerFlags, flag1: false } }],
    ['flag 2', { ...service, schedulerFlags: { ...service.schedulerFlags, flag2: true } }],
    ['flag 3', { ...service, schedulerFlags: { ...service.schedulerFlags, flag3: true } }],
    ['persistence', unpersistent],
    ['timeout', { ...service, persistence: { ...persistence!, timeoutSeconds: 301 } }],
    ['netmask', { ...service, persistence: { ...persistence!, netmask: 0xffffff00 } }],
    ['engine', { ...service, persistence: { ...persistence!, engine: 'sip' } }],
    ['one-packet', { ...service, onePacket: true }],
  ])('of services sees the %s', (_, other) => {
    expect(equalService(service, structuredClone(service))).toBe(true);
    expect(equalService(service, other)).toBe(false);
  });

  const destination: Destination = {
    ...at('10.0.0.1:80'),
    method: 'tunnel',
    weight: 1,
    upperThreshold: 0,
    lowerThreshold: 0,
    tunnel: { type: 'gue', port: 6080, checksum: 'none' },
  };
  it.each<[string, Destination]>([
    ['name', { ...destination, port: 81 }],
    ['method', { ...destination, method: 'masquerade' }],
    ['weight', { ...destination, weight: 2 }],
    ['upper threshold', { ...destination, upperThreshold: 1 }],
    ['lower threshold', { ...destination, lowerThreshold: 1 }],
    ['tunnel type', { ...destination, tunnel: { ...destination.tunnel!, type: 'gre' } }],
    ['tunnel port', { ...destination, tunnel: { ...destination.tunnel!, port: 6081 } }],
    ['tunnel checksum', { ...destination, tunnel: { ...destination.tunnel!, checksum: 'remote' } }],
  ])('of destinations sees the %s', (_, other) => {
    expect(equalDestination(destination, structuredClone(destination))).toBe(true);
    expect(equalDestination(destination, other)).toBe(false);
  });
});
