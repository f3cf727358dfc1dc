import { describe, expect, test } from 'vitest';
import type { ServiceReport, StatusReport } from '../control/status.ts';
import { rowOf, summaryOf } from '../control/summary.ts';
import type { Address } from '../model/address.ts';
import { span } from '../model/span.ts';
import { connectionsText, ownedConnections, servicesText } from './get.ts';
import { statusText } from './status.ts';

const service = (place: number, settings: Partial<ServiceReport> = {}): ServiceReport => ({
  name: `web${place}`,
  address: `tcp 192.0.2.10:${place}`,
  scheduler: 'rr',
  health: 'ok',
  configuration: 'accepted',
  configurationReason: 'as lb.yaml says',
  traffic: 'carrying',
  trafficReason: '1 of 1 real servers usable',
  usable: 1,
  active: 3,
  inactive: 1,
  connectionsPerSecond: 2,
  realServers: [
    {
      name: 'one',
      address: '10.0.0.1:80',
      method: 'masquerade',
      state: 'ready',
      reason: 'it answers on eth1',
      weight: 1,
      active: 3,
      inactive: 1,
      connectionsPerSecond: 2,
    },
  ],
  ...settings,
});

const now = new Date('2026-01-02T03:04:05Z');
const report = (services: readonly ServiceReport[], more: Partial<StatusReport> = {}): StatusReport => ({
  health: 'ok',
  host: 'lb1',
  dataPlane: { name: 'memory', description: 'rules of this process' },
  connectionTable: { used: 4, size: 1000 },
  virtualAddresses: { held: 1, of: 1 },
  configuration: {
    file: 'lb.yaml',
    state: 'accepted',
    generation: 2,
    appliedAt: '2026-01-02T00:00:05Z',
    differences: 0,
    runtimeChanges: 0,
  },
  services,
  problems: [],
  ...more,
});
const shown = (found: StatusReport, all = false) => statusText(summaryOf(found, all), now);
const range = (number: number) => Array.from({ length: number }, (_, i) => i);

describe('the status screen', () => {
  test('says configuration and traffic apart, and who keeps it', () => {
    const daemon = { pid: 812, version: '1', startedAt: '2026-01-01T23:52:00Z' };
    const lines = shown(report([service(1)], { daemon })).split('\n');
    expect(lines.slice(0, 4)).toEqual([
      'host           lb1',
      'configuration  accepted: lb.yaml, generation 2, applied 3h4m ago',
      'traffic        1 of 1 services can be reached; 3 active connections, 2 new a second',
      'daemon         process 812 since 3h12m',
    ]);
  });

  test('has every service of a small site, the worst first', () => {
    const found = shown(
      report([
        service(1),
        service(2, { health: 'degraded' }),
        service(3, { health: 'down', traffic: 'down' }),
      ]),
    );
    expect(found.match(/^web\d/gm)).toEqual(['web3', 'web2', 'web1']);
    expect(found).not.toContain('--all');
  });

  test('has only the services with problems of a large one, unless all are wanted', () => {
    const large = report([
      ...range(999).map((place) => service(place)),
      service(999, { health: 'degraded' }),
    ]);
    const found = shown(large);
    expect(found.match(/^web\d+/gm)).toEqual(['web999']);
    expect(found).toContain('services       1000: 1 degraded, 999 ok\n');
    expect(found).toContain('999 services without a problem not shown; next: headgate status --all\n');
    expect(shown(large, true).match(/^web\d+/gm)).toHaveLength(1000);
  });

  test('fits on one screen though nothing works, the worst first', () => {
    const broken = report([
      ...range(30).map((place) => service(place, { health: 'degraded' })),
      ...range(970).map((place) => service(30 + place, { health: 'down', traffic: 'down' })),
    ]);
    const found = shown(broken);
    expect(found.match(/^web\d+/gm)).toEqual(range(20).map((place) => `web${30 + place}`));
    expect(found).toContain('services       1000: 970 down, 30 degraded\n');
    expect(found).toContain('traffic        30 of 1000 services can be reached; ');
    expect(found).toContain(
      '980 services not shown, 980 of them with problems; next: headgate status --all\n',
    );
    expect(shown(broken, true).match(/^web\d+/gm)).toHaveLength(1000);
  });

  test('puts problems before the services, with the next step, and not too many', () => {
    const problems = range(12).map((n) => ({
      about: [`web/w${n}`],
      what: `trouble ${n}`,
      remedy: `mend ${n}`,
    }));
    const many = { about: range(7).map((n) => `web/m${n}`), what: 'it is dark', remedy: 'light' };
    const found = report([service(1)], { problems: [many, ...problems] });
    const text = shown(found);
    expect(text).toContain(
      'PROBLEMS\n  web/m0, web/m1, web/m2, web/m3, web/m4 and 2 more: it is dark\n    next: light\n',
    );
    expect(text.match(/next: mend/g)).toHaveLength(9);
    expect(text).toContain('  and 3 more; next: headgate status --all\n');
    expect(text.indexOf('PROBLEMS')).toBeLessThan(text.indexOf('NAME'));
    expect(shown(found, true)).toContain('web/m5, web/m6: it is dark');
    expect(shown(found, true).match(/next: mend/g)).toHaveLength(12);
  });

  test('says what to do where there is nothing', () => {
    expect(shown(report([]))).toContain('There is no virtual service yet; next: headgate apply FILE');
  });
});

describe('the tables', () => {
  test('give a reason where all is not as it should be', () => {
    const services = [service(1), service(22, { health: 'degraded', configuration: 'changed' })];
    expect(servicesText(services.map(rowOf))).toBe(`\
NAME   ADDRESS            CONFIGURATION  TRAFFIC   USABLE  ACTIVE  INACT  CPS  REASON
web1   tcp 192.0.2.10:1   accepted       carrying     1/1       3      1    2
web22  tcp 192.0.2.10:22  changed        carrying     1/1       3      1    2  1 of 1 real servers usable; as lb.yaml says
`);
  });

  test('find whose a connection is: by address, by any port, by mark', () => {
    const at = (address: string, port: number) => ({ address: address as Address, port });
    const row = (virtual: ReturnType<typeof at>, destination: ReturnType<typeof at>) => ({
      ...({ protocol: 'tcp', client: at('203.0.113.9', 4000), virtual, destination } as const),
      ...{ state: 'ESTABLISHED', active: true, template: false, expiresInMs: 90_000 },
    });
    const all = [
      service(80),
      service(0, { name: 'any' }),
      service(0, { name: 'marked', address: 'fwmark 7' }),
    ];
    const [real, gone] = [at('10.0.0.1', 80), at('10.0.0.9', 80)];
    const rows = [
      row(at('192.0.2.10', 80), gone),
      row(at('192.0.2.10', 443), real),
      row(at('198.51.100.1', 80), real),
      row(at('198.51.100.1', 80), gone),
    ];
    const owned = ownedConnections(rows, all, all, true);
    expect(owned.map(({ service, realServer }) => [service, realServer])).toEqual([
      [undefined, undefined],
      ['any', 'one'],
      ['marked', 'one'],
      ['web80', undefined],
    ]);
    expect(ownedConnections(rows, all, [all[0]!], false)).toHaveLength(1);
    expect(connectionsText()(owned).split('\n').slice(1, 3)).toEqual([
      '-        10.0.0.9:80 (gone)  tcp       203.0.113.9:4000  198.51.100.1:80  ESTABLISHED    1m30s',
      'any      one                 tcp       203.0.113.9:4000  192.0.2.10:443   ESTABLISHED    1m30s',
    ]);
  });

  test.each([
    [0, '0s'],
    [41_000, '41s'],
    [59_600, '1m'],
    [3_600_000, '1h'],
    [11_520_000, '3h12m'],
    [2 * 86_400_000 + 4 * 3_600_000 + 59_000, '2d4h'],
  ])('write %d ms as %s', (ms, text) => expect(span(ms)).toBe(text));
});
