import { describe, expect, test } from 'vitest';
import type { HostSurvey, PlaneSurvey, SurveyedInterface } from '../dataplane/host-survey.ts';
import { type Address, parseAddress } from '../model/address.ts';
import type { Path } from '../model/outlook.ts';
import type { Override } from '../model/override.ts';
import type { Observed } from '../model/table.ts';
import type { AddressServiceId, Destination } from '../model/virtual-service.ts';
import type { Finding, Scene } from './doctor/finding.ts';
import { diagnosisOf } from './doctor.ts';

/* What no test can bring about on any machine; the rest is provoked for real in test/control. */

const address = (text: string): Address => parseAddress(text)!;
const vip = address('192.0.2.10');
const real = address('10.0.0.1');

const zeros = { connections: 0n, packetsIn: 0n, packetsOut: 0n, bytesIn: 0n, bytesOut: 0n };
const id: AddressServiceId = { kind: 'address', protocol: 'tcp', address: vip, port: 80 };
const destination: Destination = {
  address: real,
  port: 80,
  method: 'masquerade',
  weight: 1,
  upperThreshold: 0,
  lowerThreshold: 0,
};

function observedWith(settings: Partial<Destination> = {}, service: AddressServiceId = id): Observed {
  return {
    services: [
      {
        service: {
          id: service,
          scheduler: 'rr',
          schedulerFlags: { flag1: false, flag2: false, flag3: false },
          onePacket: false,
        },
        destinations: [
          {
            destination: { ...destination, ...settings },
            activeConnections: 0,
            inactiveConnections: 0,
            persistentConnections: 0,
            counters: zeros,
            rates: zeros,
          },
        ],
        counters: zeros,
        rates: zeros,
      },
    ],
    timeouts: { tcp: 900, tcpFin: 120, udp: 300 },
    connectionTableSize: 1000,
  };
}

const plane: PlaneSurvey = {
  missing: [],
  before: [],
  internalPair: true,
  compiled: true,
  held: false,
  entries: 10,
  sweptMsAgo: 20,
  events: {},
};

function interfaceOf(name: string, index: number, ...prefixes: string[]): SurveyedInterface {
  return {
    name,
    index,
    up: true,
    carrier: true,
    mtu: 1500,
    arp: true,
    loopback: name === 'lo',
    role: 'covered',
    addresses: prefixes.map((prefix) => ({
      address: address(prefix.split('/')[0]!),
      prefixLength: Number(prefix.split('/')[1]),
      duplicate: false,
      tentative: false,
    })),
    rpFilter: 0,
    arpIgnore: 0,
    sendRedirects: false,
    lro: false,
    xdp: false,
  };
}

const lo = interfaceOf('lo', 1, '127.0.0.1/8');
const eth0 = interfaceOf('eth0', 2, '192.0.2.1/24', '192.0.2.10/32');
const eth1 = interfaceOf('eth1', 3, '10.0.0.254/24');
const near = (device: string, via: Address): Path => ({
  kind: 'neighbour',
  device,
  via,
  mac: '02:00:00:00:00:01',
  silent: false,
  mtu: 1500,
});

const sound: HostSurvey = {
  plane,
  tcx: true,
  interfaces: [lo, eth0, eth1],
  defaultRoutes: { 4: ['eth0'], 6: [] },
  paths: new Map<Address, Path>([
    [vip, { kind: 'local' }],
    [real, near('eth1', real)],
  ]),
  parameters: { 'net.ipv4.ip_forward': '1', 'net.ipv4.conf.lo.forwarding': '1' },
  neighbours: 3,
  claims: [],
  firewall: { chains: [], rules: [], unread: [] },
  kernelServices: [],
};

const diagnose = (host: Partial<HostSurvey>, observed: Observed = observedWith()) =>
  diagnosisOf({ observed, host: { ...sound, ...host } } satisfies Scene);
const only = (host: Partial<HostSurvey>, observed?: Observed): Finding => {
  const { findings } = diagnose(host, observed);
  expect(findings).toHaveLength(1);
  return findings[0]!;
};

test('a sound director has no findings', () => {
  expect(diagnose({})).toEqual({ findings: [], counts: { broken: 0, risky: 0, note: 0 } });
});

describe('the data plane', () => {
  test.each([
    ['jit-off', 'risky', { compiled: false }],
    ['sweeper-stopped', 'broken', { sweptMsAgo: 60_000 }],
    ['new-connections-held', 'broken', { held: true }],
    ['table-full', 'risky', { entries: 801 }],
    ['table-full', 'broken', { entries: 1000 }],
    ['packets-lost', 'note', { events: { NO_ROUTE: 5 } }],
    ['program-before', 'note', { before: [{ device: 'eth0', programs: ['cil_from_netdev'] }] }],
  ] as const)('%s (%s)', (name, severity, change) => {
    expect(only({ plane: { ...plane, ...change } })).toMatchObject({ id: name, severity });
  });

  test('a table of exactly four fifths is not nearly full', () => {
    expect(diagnose({ plane: { ...plane, entries: 800 } }).findings).toEqual([]);
  });

  test('a larger table is a power of two at least twice as large', () => {
    expect(only({ plane: { ...plane, entries: 900 } }).fix).toContain('HEADGATE_CONNECTIONS=2048 ');
  });

  test('no-tcx is a note', () => {
    expect(only({ tcx: false })).toMatchObject({ id: 'no-tcx', severity: 'note' });
  });
});

describe('interfaces', () => {
  test('lro-on names the interface and the command', () => {
    expect(only({ interfaces: [lo, { ...eth0, lro: true }, eth1] })).toMatchObject({
      id: 'lro-on',
      severity: 'risky',
      fix: 'ethtool -K eth0 lro off',
    });
  });

  test('an XDP program of somebody is a note', () => {
    expect(only({ interfaces: [lo, { ...eth0, xdp: true }, eth1] })).toMatchObject({
      id: 'program-before',
      severity: 'note',
    });
  });

  test('a virtual address on an interface of a kind the program does not read is broken', () => {
    expect(only({ interfaces: [lo, { ...eth0, role: 'unsupported' }, eth1] })).toMatchObject({
      id: 'interface-uncovered',
      severity: 'broken',
    });
  });

  test('a virtual address without carrier has no command that helps', () => {
    const found = only({ interfaces: [lo, { ...eth0, carrier: false }, eth1] });
    expect(found).toMatchObject({ id: 'vip-link-down', severity: 'broken' });
    expect(found.fix).toBeUndefined();
  });
});

/* arp_ignore after Documentation/networking/ip-sysctl.rst; the virtual address on eth0, or on lo. */
describe('ARP for a virtual address', () => {
  const onLo = [{ ...lo, addresses: [...lo.addresses, ...eth0.addresses.slice(1)] }];
  const bare = { ...eth0, addresses: eth0.addresses.slice(0, 1) };
  test.each([
    [0, 0, undefined, undefined],
    [1, 1, undefined, 'vip-hidden'],
    [2, 2, undefined, 'vip-hidden'],
    [8, 0, 'vip-noarp', undefined],
    [8, 8, 'vip-hidden', 'vip-hidden'],
  ])('arp_ignore %s on eth0, %s on eth1', (first, second, onEth0, onLoopback) => {
    const found = (interfaces: SurveyedInterface[]) => diagnose({ interfaces }).findings[0]?.id;
    const other = { ...eth1, arpIgnore: second };
    expect(found([lo, { ...eth0, arpIgnore: first }, other])).toBe(onEth0);
    expect(found([...onLo, { ...bare, arpIgnore: first }, other])).toBe(onLoopback);
  });

  test('no command helps where no interface could answer', () => {
    const [found] = diagnose({ interfaces: onLo }).findings;
    expect(found).toMatchObject({
      id: 'vip-hidden',
      next: expect.stringContaining('ip link set INTERFACE up'),
    });
    expect(found!.fix).toBeUndefined();
  });

  test('arp_ignore 2 answers on the network of another address only', () => {
    const apart = {
      ...eth0,
      addresses: interfaceOf('eth0', 2, '198.51.100.1/24', '192.0.2.10/32').addresses,
    };
    const quiet = { ...eth1, arpIgnore: 2 };
    expect(diagnose({ interfaces: [lo, { ...apart, arpIgnore: 2 }, quiet] }).findings[0]?.id).toBe(
      'vip-hidden',
    );
  });
});

describe('tables of the kernel', () => {
  test.each([
    ['conntrack-full', { 'net.netfilter.nf_conntrack_count': '81', 'net.netfilter.nf_conntrack_max': '100' }],
    ['neighbours-full', { 'net.ipv4.neigh.default.gc_thresh3': '3' }],
  ])('%s', (name, parameters) => {
    expect(only({ parameters: { ...sound.parameters, ...parameters } })).toMatchObject({
      id: name,
      severity: 'risky',
    });
  });

  test('kernel-ipvs: one service in both is named', () => {
    const kernelServices = [{ protocol: 'tcp', address: vip, port: 80 }];
    expect(only({ kernelServices })).toMatchObject({
      id: 'kernel-ipvs',
      severity: 'broken',
      what: 'IPVS in the kernel serves tcp 192.0.2.10:80 too',
    });
  });

  test('kernel-ipvs: others are broken as well', () => {
    const kernelServices = [{ protocol: 'udp', address: vip, port: 53 }, { protocol: 'fwm' }];
    expect(only({ kernelServices })).toMatchObject({
      severity: 'broken',
      what: 'IPVS in the kernel has virtual services as well: udp 192.0.2.10:53, a firewall mark',
    });
  });
});

test('a real server that does not answer is a note once its weight is 0, and its service empty', () => {
  const silent: Path = { ...(near('eth1', real) as Extract<Path, { kind: 'neighbour' }>), silent: true };
  const paths = new Map(sound.paths).set(real, silent);
  expect(only({ paths })).toMatchObject({ id: 'server-silent', severity: 'broken' });
  const { findings } = diagnose({ paths }, observedWith({ weight: 0 }));
  expect(findings.map((one) => [one.severity, one.id])).toEqual([
    ['broken', 'service-empty'],
    ['note', 'server-silent'],
  ]);
});

test('an empty service is mended by putting back what a person took out', () => {
  const override: Override = {
    service: 'web',
    realServer: 'web1',
    state: 'maintenance',
    reason: 'new disk',
    since: '2026-11-21T09:14:02.123Z',
    by: 'anna',
    members: [{ service: id, destination }],
  };
  const scene = { observed: observedWith({ weight: 0 }), host: sound, overrides: [override] };
  expect(diagnosisOf(scene).findings[0]).toMatchObject({
    id: 'service-empty',
    what: 'all 1 real servers of tcp 192.0.2.10:80 have weight 0; web/web1 is in maintenance: new disk, since 2026-11-21T09:14:02Z, by anna',
    fix: 'headgate ready web/web1',
  });
});

test('an empty service whose real servers are down by their checks is not filled by hand', () => {
  const scene = { observed: observedWith(), host: sound, down: [{ service: id, destination }] };
  const [service, ...more] = scene.observed.services;
  const emptied = { ...scene.observed, services: [{ ...service!, destinations: [] }, ...more] };
  expect(diagnosisOf({ ...scene, observed: emptied }).findings[0]).toMatchObject({
    id: 'service-empty',
    what: 'tcp 192.0.2.10:80 has no real server that is well: checks find 1 down',
    next: 'headgate status',
  });
});

test('the older iptables is mentioned', () => {
  expect(only({ firewall: { ...sound.firewall, unread: ['filter'] } })).toMatchObject({
    id: 'firewall-unread',
    severity: 'note',
  });
});

test('the most serious comes first, and each is counted once', () => {
  const twice = observedWith();
  const { findings, counts } = diagnose(
    {
      plane: { ...plane, held: true, compiled: false, events: { TOO_BIG: 1 } },
      claims: [{ address: vip, device: 'eth0', mac: '02:00:00:00:00:09' }],
    },
    { ...twice, services: [...twice.services, ...observedWith({}, { ...id, port: 443 }).services] },
  );
  expect(findings.map(({ id }) => id)).toEqual([
    'new-connections-held',
    'vip-claimed',
    'jit-off',
    'packets-lost',
  ]);
  expect(counts).toEqual({ broken: 2, risky: 1, note: 1 });
});
