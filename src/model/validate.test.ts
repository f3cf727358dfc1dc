import { describe, expect, it } from 'vitest';
import { type Address, parseAddress } from './address.ts';
import { destinationOf, normaliseDestination, type RealServer } from './real-server.ts';
import type { Operation, RefusalReason, Table } from './table.ts';
import { checkOperation, type Host } from './validate.ts';
import type { AddressServiceId, Destination, ServiceId, VirtualService } from './virtual-service.ts';

const address = (text: string): Address => parseAddress(text)!;
const tcp = (text: string, port = 80): AddressServiceId => ({
  kind: 'address',
  protocol: 'tcp',
  address: address(text),
  port,
});
const service = (id: ServiceId, rest: Partial<VirtualService> = {}): VirtualService => ({
  id,
  scheduler: 'rr',
  schedulerFlags: { flag1: false, flag2: false, flag3: false },
  onePacket: false,
  ...rest,
});

const four = tcp('10.0.0.1');
const six = tcp('fd00::1');
const masquerade = (text: string, rest: Partial<Destination> = {}): Destination => ({
  address: address(text),
  port: 80,
  method: 'masquerade',
  weight: 1,
  upperThreshold: 0,
  lowerThreshold: 0,
  ...rest,
});
const gue = (port: number) =>
  ({ method: 'tunnel', tunnel: { type: 'gue', port, checksum: 'none' } }) satisfies Partial<Destination>;

const table: Table = {
  services: [
    { service: service(four), destinations: [masquerade('10.1.0.1')] },
    { service: service(six), destinations: [] },
  ],
};
const add = (id: ServiceId, destination: Destination): Operation => ({
  kind: 'add-destination',
  id,
  destination,
});
const edit = (id: ServiceId, destination: Destination): Operation => ({
  kind: 'edit-destination',
  id,
  destination,
});
const reasonOf = (operation: Operation, host?: Host): RefusalReason | undefined =>
  checkOperation(operation, table, host)?.reason;

describe('checkOperation refuses what the kernel refuses', () => {
  // Up to the IPv6 addresses: what ipvsadm 1.31 was told by Linux 6.12.117 for the same command; the
  // rest, which ipvsadm refuses itself or cannot express, after ip_vs_add_dest and ip_vs_genl_set_cmd (ip_vs_ctl.c).
  it.each<[what: string, operation: Operation, reason: RefusalReason | undefined]>([
    ['a service twice', { kind: 'add-service', service: service(four) }, 'service-exists'],
    ['an edit of no service', { kind: 'edit-service', service: service(tcp('10.0.0.2')) }, 'no-such-service'],
    ['a deletion of no service', { kind: 'delete-service', id: tcp('10.0.0.2') }, 'no-such-service'],
    ['zeroing no service', { kind: 'zero', id: tcp('10.0.0.3') }, 'no-such-service'],
    ['zeroing all', { kind: 'zero' }, undefined],
    ['flushing', { kind: 'flush' }, undefined],
    ['a destination of no service', add(tcp('10.0.0.3'), masquerade('10.1.0.1')), 'no-such-service'],
    ['a destination twice', add(four, masquerade('10.1.0.1')), 'destination-exists'],
    ['an edit of no destination', edit(four, masquerade('10.1.0.2')), 'no-such-destination'],
    [
      'a deletion of no destination',
      { kind: 'delete-destination', id: four, destination: masquerade('10.1.0.2') },
      'no-such-destination',
    ],
    ['a multicast address', add(four, masquerade('224.0.0.1')), 'invalid'],
    ['no address', add(four, masquerade('0.0.0.0')), 'invalid'],
    ['the broadcast address', add(four, masquerade('255.255.255.255')), 'invalid'],
    ['a reserved address', add(four, masquerade('240.0.0.1')), undefined],
    ['IPv6 multicast', add(six, masquerade('ff02::1')), 'invalid'],
    ['IPv6 link-local', add(six, masquerade('fe80::77')), 'invalid'],
    ['IPv4-mapped', add(six, masquerade('::ffff:1.2.3.4')), 'invalid'],
    ['IPv6 unspecified', add(six, masquerade('::')), 'invalid'],
    ['IPv6 loopback', add(six, masquerade('::1')), undefined],
    ['other family, masqueraded', add(four, masquerade('fd00::5')), 'invalid'],
    ['other family, routed', add(four, masquerade('fd00::5', { method: 'direct-routing' })), 'invalid'],
    ['other family, tunnelled', add(four, masquerade('fd00::5', gue(6080))), undefined],
    ['gue without port', add(four, masquerade('10.1.0.2', gue(0))), 'invalid'],
    ['gue without port by edit', edit(four, masquerade('10.1.0.1', gue(0))), 'invalid'],
    ['a negative weight', add(four, masquerade('10.1.0.2', { weight: -1 })), 'out-of-range'],
    ['a weight above INT_MAX', add(four, masquerade('10.1.0.2', { weight: 2 ** 31 })), 'out-of-range'],
    ['weight 0', add(four, masquerade('10.1.0.2', { weight: 0 })), undefined],
    [
      'a lower above the upper threshold',
      add(four, masquerade('10.1.0.2', { upperThreshold: 3, lowerThreshold: 4 })),
      'out-of-range',
    ],
    [
      'an upper threshold above INT_MAX',
      add(four, masquerade('10.1.0.2', { upperThreshold: 2 ** 31 })),
      'invalid',
    ],
    ['settings before presence', edit(four, masquerade('10.1.0.2', { weight: -1 })), 'out-of-range'],
    [
      'a service of port 0 without persistence',
      { kind: 'add-service', service: service(tcp('10.0.0.2', 0)) },
      undefined,
    ],
    [
      'IPv6 prefix length 0',
      { kind: 'edit-service', service: service(six, { persistence: { timeoutSeconds: 360, netmask: 0 } }) },
      'invalid',
    ],
    [
      'an unknown persistence engine',
      {
        kind: 'edit-service',
        service: service(four, { persistence: { timeoutSeconds: 360, netmask: 0xffffffff, engine: 'x' } }),
      },
      'unknown-scheduler',
    ],
    ['a sysctl', { kind: 'set-sysctls', sysctls: { pmtu_disc: 0 } }, undefined],
    [
      'a threshold below its period',
      { kind: 'set-sysctls', sysctls: { sync_threshold: 3, sync_period: 50 } },
      undefined,
    ],
    [
      'a threshold without a period',
      { kind: 'set-sysctls', sysctls: { sync_threshold: 3, sync_period: 0 } },
      undefined,
    ],
    [
      'a threshold that is its period',
      { kind: 'set-sysctls', sysctls: { sync_threshold: 50, sync_period: 50 } },
      'invalid',
    ],
    ['as many ports as a power of two', { kind: 'set-sysctls', sysctls: { sync_ports: 64 } }, undefined],
    ['another number of ports', { kind: 'set-sysctls', sysctls: { sync_ports: 6 } }, 'invalid'],
    ['a sysctl above its range', { kind: 'set-sysctls', sysctls: { pmtu_disc: 2 } }, 'invalid'],
    ['a negative timeout', { kind: 'set-timeouts', timeouts: { tcp: -1 } }, 'invalid'],
    ['timeouts', { kind: 'set-timeouts', timeouts: { tcp: 900, udp: 0 } }, undefined],
  ])('%s', (_, operation, reason) => {
    expect(reasonOf(operation)).toBe(reason);
  });

  it('an unknown scheduler', () => {
    const unknown = { ...service(tcp('10.0.0.2')), scheduler: 'xx' } as unknown as VirtualService;
    expect(checkOperation({ kind: 'add-service', service: unknown }, table)).toEqual({
      reason: 'unknown-scheduler',
      detail: '"xx" is not one of rr, wrr, lc, wlc, lblc, lblcr, dh, sh, sed, nq, fo, ovf, mh, twos',
    });
  });

  it('takes a link-local destination of its own, and no other family under connection sync', () => {
    expect(reasonOf(add(six, masquerade('fe80::77')), { isLocal: () => true })).toBeUndefined();
    expect(reasonOf(add(four, masquerade('fd00::5', gue(6080))), { syncRunning: true })).toBe('invalid');
  });
});

describe('a real server', () => {
  const bare: RealServer = { address: address('10.1.0.1') };

  it("has ipvsadm's defaults as destination", () => {
    expect(destinationOf(bare, four)).toEqual(masquerade('10.1.0.1', { method: 'direct-routing' }));
    expect(destinationOf(bare, { kind: 'fwmark', mark: 1, family: 4 }).port).toBe(0);
  });

  it('has the port of the service unless it is masqueraded or behind a mark', () => {
    const mark: ServiceId = { kind: 'fwmark', mark: 1, family: 4 };
    const port = (method: 'masquerade' | 'direct-routing' | 'tunnel', id: ServiceId) =>
      destinationOf({ ...bare, method, port: 8080 }, id).port;
    expect(port('masquerade', four)).toBe(8080);
    expect(port('direct-routing', four)).toBe(80);
    expect(port('tunnel', four)).toBe(80);
    expect(port('direct-routing', mark)).toBe(8080);
  });

  it('has tunnel settings exactly with method tunnel', () => {
    const ipip = { type: 'ipip', port: 0, checksum: 'none' } as const;
    expect(destinationOf({ ...bare, method: 'tunnel' }, four).tunnel).toEqual(ipip);
    expect(normaliseDestination(masquerade('10.1.0.1', { tunnel: ipip }), four)).toEqual(
      masquerade('10.1.0.1'),
    );
  });
});

describe('full NAT', () => {
  const fullNat = (text: string, settings: Partial<NonNullable<Destination['fullNat']>> = {}): Destination =>
    masquerade(text, {
      method: 'full-nat',
      fullNat: { localAddresses: [], clientAddress: 'hidden', ...settings },
    });
  const udp: AddressServiceId = { ...four, protocol: 'udp' };
  const withUdp: Table = {
    services: [{ service: service(udp), destinations: [fullNat('10.1.0.9')] }, ...table.services],
  };
  const detailOf = (operation: Operation) => checkOperation(operation, withUdp)?.detail;

  it.each([
    [four, fullNat('10.1.0.2')],
    [four, fullNat('10.1.0.2', { localAddresses: [address('10.1.0.254')], clientAddress: 'tcp-option' })],
    [six, fullNat('fd01::2', { localAddresses: [address('fd01::fe')], clientAddress: 'proxy-protocol' })],
    [udp, fullNat('10.1.0.2')],
  ] as const)('is taken: %j %j', (id, destination) => {
    expect(detailOf(add(id, destination))).toBeUndefined();
  });

  it.each([
    [four, masquerade('10.1.0.2', { method: 'full-nat' }), 'method full-nat needs its full-nat settings'],
    [four, { ...fullNat('10.1.0.2'), method: 'masquerade' }, 'method masquerade takes no full-nat settings'],
    [
      six,
      fullNat('fd01::2', { localAddresses: [address('10.1.0.254')] }),
      'local address 10.1.0.254: wanted a unicast address of the family of fd01::2',
    ],
    [
      four,
      fullNat('10.1.0.2', { localAddresses: Array(9).fill(address('10.1.0.254')) }),
      'the number of local addresses 9 is outside 0..8',
    ],
    [
      udp,
      fullNat('10.1.0.2', { clientAddress: 'tcp-option' }),
      'client address by tcp-option: wanted a service over tcp, found udp',
    ],
  ] as const)('is refused: %j %j', (id, destination, detail) => {
    expect(detailOf(add(id, destination as Destination))).toBe(detail);
  });

  it('and one-packet scheduling do not go together', () => {
    const onePacket = service(udp, { onePacket: true });
    const said = 'one-packet scheduling remembers no connection, and full NAT finds no client without one';
    expect(detailOf({ kind: 'edit-service', service: onePacket })).toBe(said);
    const operation = add(udp, fullNat('10.1.0.2'));
    expect(checkOperation(operation, { services: [{ service: onePacket, destinations: [] }] })?.detail).toBe(
      said,
    );
  });

  it('keeps a port of its own, and settings that are left out are the plainest', () => {
    expect(
      destinationOf({ address: address('10.1.0.2'), port: 8080, method: 'full-nat' }, four),
    ).toMatchObject({
      port: 8080,
      fullNat: { localAddresses: [], clientAddress: 'hidden' },
    });
  });
});
