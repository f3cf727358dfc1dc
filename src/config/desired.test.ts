import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { applyOperation } from '../model/apply-operation.ts';
import { plan } from '../model/plan.ts';
import type { Table } from '../model/table.ts';
import { checkOperation } from '../model/validate.ts';
import { timeoutsOf, toDesired } from './desired.ts';
import { loadText } from './load.ts';

function desired(text: string): Table {
  const { configuration, problems } = loadText(text, 'h.yaml');
  expect(problems).toEqual([]);
  return toDesired(configuration!);
}

const service = (settings: string) => `virtualServices:\n  - { name: a, ${settings} }\n`;
const first = (settings: string) => desired(service(settings)).services[0]!;

describe('toDesired()', () => {
  // ipvsadm(8): the scheduler is wlc, the method -g, the weight 1, no thresholds; the port is the service's.
  test('fills in what ipvsadm would, but for connections of a real server that is gone', () => {
    expect(desired(service('address: 192.0.2.1:80, realServers: [{ address: 10.0.0.1 }]'))).toEqual({
      services: [
        {
          service: {
            id: { kind: 'address', protocol: 'tcp', address: '192.0.2.1', port: 80 },
            scheduler: 'wlc',
            schedulerFlags: { flag1: false, flag2: false, flag3: false },
            onePacket: false,
            whenGone: 'expire',
          },
          destinations: [
            {
              address: '10.0.0.1',
              port: 80,
              method: 'direct-routing',
              weight: 1,
              upperThreshold: 0,
              lowerThreshold: 0,
            },
          ],
        },
      ],
    });
  });

  test('full NAT: a real server has its own settings, else the service’s', () => {
    const { destinations } = first(
      'address: 192.0.2.1:80, method: full-nat, fullNat: { clientAddress: tcp-option }, realServers: [{ address: 10.0.0.1:8080 }, { address: 10.0.0.2, fullNat: { localAddresses: [10.0.0.254] } }, { address: 10.0.0.3, method: masquerade }]',
    );
    expect(destinations).toMatchObject([
      { port: 8080, fullNat: { localAddresses: [], clientAddress: 'tcp-option' } },
      { port: 80, fullNat: { localAddresses: ['10.0.0.254'], clientAddress: 'hidden' } },
      { port: 80, method: 'masquerade' },
    ]);
    expect(destinations[2]).not.toHaveProperty('fullNat');
  });

  test('gives each address its entry, with the real servers of its family', () => {
    const { services } = desired(
      service(
        'address: [192.0.2.1:80, "[2001:db8::1]:80"], realServers: [{ address: 10.0.0.1 }, { address: 2001:db8::11 }]',
      ),
    );
    expect(
      services.map(({ service: { id }, destinations }) => [id, destinations.map((one) => one.address)]),
    ).toEqual([
      [{ kind: 'address', protocol: 'tcp', address: '192.0.2.1', port: 80 }, ['10.0.0.1']],
      [{ kind: 'address', protocol: 'tcp', address: '2001:db8::1', port: 80 }, ['2001:db8::11']],
    ]);
  });

  test('lets a tunnel cross families where no address is of the real server’s', () => {
    const { destinations } = first(
      'address: 192.0.2.1:80, method: tunnel, realServers: [{ address: 2001:db8::11 }]',
    );
    expect(destinations).toMatchObject([
      { address: '2001:db8::11', tunnel: { type: 'ipip', port: 0, checksum: 'none' } },
    ]);
    const both = desired(
      service(
        'address: [192.0.2.1:80, "[2001:db8::1]:80"], method: tunnel, realServers: [{ address: 2001:db8::11 }, { address: 10.0.0.1 }]',
      ),
    );
    expect(both.services.map(({ destinations }) => destinations.map((one) => one.address))).toEqual([
      ['10.0.0.1'],
      ['2001:db8::11'],
    ]);
  });

  test('takes the settings of a real server before those of its service', () => {
    const { destinations } = first(
      'address: 192.0.2.1:80, method: tunnel, tunnel: { type: gue, port: 6080 }, realServers: [{ address: 10.0.0.1 }, { address: 10.0.0.2, tunnel: { type: gre, checksum: checksum } }, { address: "10.0.0.3:8080", method: masquerade, weight: 0, upperThreshold: 20, lowerThreshold: 10 }]',
    );
    expect(destinations).toMatchObject([
      { method: 'tunnel', tunnel: { type: 'gue', port: 6080, checksum: 'none' } },
      { method: 'tunnel', tunnel: { type: 'gre', port: 0, checksum: 'checksum' } },
      { method: 'masquerade', port: 8080, weight: 0, upperThreshold: 20, lowerThreshold: 10 },
    ]);
    expect(destinations[2]).not.toHaveProperty('tunnel');
  });

  // ipvsadm(8), -M: an IPv4 netmask is a mask, an IPv6 one a prefix length; -p alone is 360 seconds.
  test('knows persistence, its netmasks by family, and marks', () => {
    const address = 'address: [192.0.2.1:*, "[2001:db8::1]:80"]';
    const services = (persistence: string) =>
      desired(service(`${address}, persistence: ${persistence}`)).services.map(
        (one) => one.service.persistence,
      );
    expect(services('5m')).toEqual([
      { timeoutSeconds: 300, netmask: 0xffffffff },
      { timeoutSeconds: 300, netmask: 128 },
    ]);
    expect(services('{ netmask: 255.255.240.0, netmask6: 64 }')).toEqual([
      { timeoutSeconds: 360, netmask: 0xfffff000 },
      { timeoutSeconds: 360, netmask: 64 },
    ]);
    expect(services('{ netmask: 1 }')[0]).toEqual({ timeoutSeconds: 360, netmask: 0x80000000 });
    const marks = desired(service('fwmark: 4294967295, family: both, scheduler: mh, schedulerFlags: [port]'));
    expect(marks.services.map((one) => one.service)).toMatchObject([
      { id: { kind: 'fwmark', mark: 4294967295, family: 4 }, schedulerFlags: { flag1: false, flag2: true } },
      { id: { kind: 'fwmark', mark: 4294967295, family: 6 }, scheduler: 'mh' },
    ]);
  });

  test('timeoutsOf() has those that are set', () => {
    const { configuration } = loadText('timeouts: { tcp: 15m, udp: 30s }', 'h.yaml');
    expect(timeoutsOf(configuration!)).toEqual({ tcp: 900, udp: 30 });
  });
});

const octet = fc.integer({ min: 1, max: 20 });
const realServer = fc.record({
  address: fc.tuple(fc.boolean(), octet).map(([six, n]) => (six ? `2001:db8::${n}` : `10.0.0.${n}`)),
  weight: fc.nat(65_535),
  upperThreshold: fc.nat(100),
  lowerThreshold: fc.nat(100),
  method: fc.constantFrom('masquerade', 'direct-routing', 'tunnel'),
});
const virtualService = fc.record({
  name: octet.map((n) => `s${n}`),
  address: fc.array(
    fc.tuple(fc.boolean(), octet).map(([six, n]) => (six ? `[2001:db8::${n}]:80` : `192.0.2.${n}:80`)),
    { minLength: 1, maxLength: 2 },
  ),
  scheduler: fc.constantFrom('rr', 'wlc', 'sh'),
  persistence: fc.constantFrom('1s', '5m', '1h'),
  realServers: fc.array(realServer, { maxLength: 4 }),
});

test('a data plane takes whatever a sound configuration wants: plan() from an empty table is never refused', () => {
  let sound = 0;
  fc.assert(
    fc.property(fc.array(virtualService, { maxLength: 3 }), (virtualServices) => {
      const { configuration } = loadText(JSON.stringify({ virtualServices }), 'h.yaml');
      if (configuration === undefined) return;
      sound++;
      const wanted = toDesired(configuration);
      let table: Table = { services: [] };
      for (const operation of plan(wanted, table)) {
        expect(checkOperation(operation, table)).toBeUndefined();
        table = applyOperation(table, operation);
      }
      expect(plan(wanted, table)).toEqual([]);
      expect(plan(table, wanted)).toEqual([]);
    }),
    { numRuns: process.env.LONG ? 5_000 : 300 },
  );
  expect(sound).toBeGreaterThan(30);
}, 120_000);
