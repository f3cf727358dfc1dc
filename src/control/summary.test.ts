import { describe, expect, test } from 'vitest';
import type { RealServerReport } from './real-server-report.ts';
import type { ServiceReport, StatusReport } from './status.ts';
import { summaryOf } from './summary.ts';

const realServer = (name: string, settings: Partial<RealServerReport> = {}): RealServerReport => ({
  ...{ name, address: '10.0.0.1:80', method: 'masquerade', state: 'ready', reason: 'it answers on eth1' },
  ...{ weight: 1, active: 1, inactive: 0, connectionsPerSecond: 0 },
  ...settings,
});

const service = (name: string, settings: Partial<ServiceReport> = {}): ServiceReport => ({
  ...{ name, address: 'tcp 192.0.2.10:80', scheduler: 'rr', health: 'ok', traffic: 'carrying' },
  ...{ configuration: 'accepted', configurationReason: 'as lb.yaml says', trafficReason: '1 of 1' },
  ...{ usable: 1, active: 2, inactive: 0, connectionsPerSecond: 5, realServers: [realServer('one')] },
  ...settings,
});

const check = (isUp: boolean) => ({
  type: 'tcp',
  isUp,
  since: '2026-01-01T00:00:00Z',
  word: 'ok 3 ms',
  says: '',
});

const report = (
  services: readonly ServiceReport[],
  problems: StatusReport['problems'] = [],
): StatusReport => ({
  ...{ health: 'down', host: 'lb1', connectionTable: { used: 4, size: 1000 } },
  dataPlane: { name: 'memory', description: 'rules of this process' },
  configuration: { file: 'lb.yaml', state: 'accepted', runtimeChanges: 0 },
  ...{ services, problems },
});

describe('a report summed up', () => {
  test('counts services by health, real servers by state and by check', () => {
    const { sums } = summaryOf(
      report([
        service('up'),
        service('half', {
          health: 'degraded',
          realServers: [
            realServer('good', { check: check(true) }),
            realServer('bad', { state: 'down', check: check(false) }),
            realServer('resting', { state: 'drained' }),
          ],
        }),
        service('gone', { health: 'down', traffic: 'down', realServers: [] }),
      ]),
    );
    expect(sums).toEqual({
      services: { down: 1, degraded: 1, ok: 1 },
      reachable: 2,
      active: 6,
      connectionsPerSecond: 15,
      realServers: { ready: 2, down: 1, drained: 1 },
      checked: { of: 2, up: 1 },
    });
  });

  test('keeps what is said of the whole, and no real server', () => {
    const { services, problems, ...whole } = report([service('web')]);
    expect(problems).toEqual([]);
    const { realServers, ...row } = services[0]!;
    expect(summaryOf(report([service('web')]))).toMatchObject({
      ...whole,
      services: { first: [{ ...row, realServers: realServers.length }], more: 0 },
    });
  });

  test('does not grow with the site', () => {
    const names = (what: string, number: number) => Array.from({ length: number }, (_, i) => `${what}${i}`);
    const large = (number: number) => {
      const about = names('web', number);
      return summaryOf(
        report(
          about.map((name) => service(name, { health: 'down' })),
          names('trouble', number).map((what) => ({ about, what, remedy: 'mend it' })),
        ),
      );
    };
    const small = JSON.stringify(large(100)).length;
    // A few digits more.
    expect(JSON.stringify(large(1000)).length - small).toBeLessThan(100);
    const { services, problems } = large(1000);
    expect([services.first.length + services.more, problems.first.length + problems.more]).toEqual([
      1000, 1000,
    ]);
    expect(problems.first[0]!.about).toEqual({ first: names('web', 5), more: 995 });
  });
});
