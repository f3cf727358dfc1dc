import { describe, expect, test } from 'vitest';
import type { Counters, DestinationState, ServiceState } from '../model/table.ts';
import type { ServiceId } from '../model/virtual-service.ts';
import { type Measured, metricsText } from './metrics.ts';

/*
 * Held against the text format as Prometheus describes it (exposition formats, 0.0.4); test/daemon has its own checker
 * read what a daemon answers.
 */

const counters = (connections: bigint): Counters => ({
  connections,
  packetsIn: connections * 10n,
  packetsOut: connections * 8n,
  bytesIn: 2n ** 63n,
  bytesOut: 1n,
});
const none = counters(0n);

const destination = (address: string, weight: number, connections: bigint): DestinationState => ({
  destination: {
    address,
    port: 8080,
    method: 'masquerade',
    weight,
    upperThreshold: 0,
    lowerThreshold: 0,
  } as DestinationState['destination'],
  activeConnections: 3,
  inactiveConnections: 4,
  persistentConnections: 0,
  counters: counters(connections),
  rates: none,
});

const service = (id: ServiceId, ...destinations: DestinationState[]): ServiceState => ({
  service: {
    id,
    scheduler: 'rr',
    schedulerFlags: { flag1: false, flag2: false, flag3: false },
    onePacket: false,
  },
  destinations,
  counters: counters(destinations.reduce((sum, { counters }) => sum + counters.connections, 0n)),
  rates: none,
});

const web: ServiceId = { kind: 'address', protocol: 'tcp', address: '192.0.2.10', port: 80 } as ServiceId;
const dns: ServiceId = { kind: 'address', protocol: 'udp', address: '2001:db8::10', port: 53 } as ServiceId;

function measured(services: readonly ServiceState[], name = 'web'): Measured {
  return {
    version: '1.2.3',
    dataPlane: 'ebpf',
    startedAt: 1_767_323_045.5,
    configuration: { generation: 7, succeededAt: 1_767_323_046.25, failed: true },
    plane: {
      observed: {
        services,
        timeouts: { tcp: 900, tcpFin: 120, udp: 300 },
        connectionTableSize: 4096,
      },
      activity: { entries: 12, events: { table_full: 5n, ttl: 0n } },
      serviceName: () => name,
      realServerName: (_id, { address }) => (address === '10.0.0.1' ? 'web1' : address),
    },
    vrrp: [
      {
        ...{ name: 'front', state: 'master', reason: 'no master was heard', forMs: 1000, priority: 150 },
        ...{ addresses: [], sent: 12, received: 3, rejected: { 'hop-limit': 2 } },
      },
    ],
    process: { cpuSeconds: 1.5, residentBytes: 64_000_000 },
  };
}

const linesOf = (text: string) => text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));

describe('the metrics', () => {
  test('say how failover stands', () => {
    const lines = linesOf(metricsText(measured([])));
    expect(lines).toContain('headgate_vrrp_master{instance="front"} 1');
    expect(lines).toContain('headgate_vrrp_priority{instance="front"} 150');
    expect(lines).toContain(
      'headgate_vrrp_advertisements_rejected_total{instance="front",reason="hop-limit"} 2',
    );
  });

  test('say what is so', () => {
    const lines = linesOf(
      metricsText(measured([service(web, destination('10.0.0.1', 1, 9n), destination('10.0.0.2', 0, 2n))])),
    );
    const place = 'service="web",protocol="tcp",address="192.0.2.10:80"';
    for (const line of [
      'headgate_build_info{version="1.2.3",data_plane="ebpf"} 1',
      'headgate_up 1',
      'headgate_configuration_generation 7',
      'headgate_configuration_last_load_successful 0',
      'headgate_configuration_last_load_success_timestamp_seconds 1767323046.25',
      'headgate_connection_table_size 4096',
      'headgate_connection_table_entries 12',
      'headgate_data_plane_events_total{event="table_full"} 5',
      'headgate_data_plane_events_total{event="ttl"} 0',
      `headgate_service_connections_total{${place}} 11`,
      `headgate_service_packets_total{${place},direction="in"} 110`,
      `headgate_service_packets_total{${place},direction="out"} 88`,
      `headgate_service_real_servers{${place}} 2`,
      `headgate_real_server_connections_total{${place},real_server="web1"} 9`,
      `headgate_real_server_bytes_total{${place},real_server="web1",direction="in"} 9223372036854775808`,
      `headgate_real_server_active_connections{${place},real_server="web1"} 3`,
      `headgate_real_server_inactive_connections{${place},real_server="web1"} 4`,
      `headgate_real_server_weight{${place},real_server="10.0.0.2"} 0`,
      'process_resident_memory_bytes 64000000',
    ])
      expect(lines).toContain(line);
  });

  test('give every name once, with what it is, and every series once', () => {
    const services = [
      service(web, destination('10.0.0.1', 1, 1n), destination('10.0.0.1', 1, 1n)),
      service(dns, destination('2001:db8::1', 1, 1n)),
      service({ kind: 'fwmark', mark: 7, family: 4 }),
      service({ kind: 'fwmark', mark: 7, family: 6 }),
    ];
    const text = metricsText(measured(services));
    const names = [...text.matchAll(/^# TYPE (\S+) (counter|gauge)$/gm)].map(([, name]) => name!);
    expect(new Set(names).size).toBe(names.length);
    expect([...text.matchAll(/^# HELP (\S+) \S.*\.$/gm)].map(([, name]) => name)).toEqual(names);
    const series = linesOf(text).map((line) => line.slice(0, line.lastIndexOf(' ')));
    expect(new Set(series).size).toBe(series.length);
    expect(new Set(series.map((one) => one.replace(/\{.*/, '')))).toEqual(new Set(names));
    expect(series).toContain(
      'headgate_service_real_servers{service="web",protocol="udp",address="[2001:db8::10]:53"}',
    );
    expect(series).toContain(
      'headgate_service_real_servers{service="web",protocol="fwmark-ipv6",address="7"}',
    );
    expect(text.endsWith('\n')).toBe(true);
  });

  test('escape what a name may have in it', () => {
    const text = metricsText(measured([service(web)], 'a"b\\c\nd'));
    expect(text).toContain('headgate_service_real_servers{service="a\\"b\\\\c\\nd",');
  });

  test('say that the data plane cannot be read', () => {
    const { plane: _, ...rest } = measured([]);
    const lines = linesOf(metricsText(rest));
    expect(lines).toContain('headgate_up 0');
    expect(lines.filter((line) => /service|table|events/.test(line))).toEqual([]);
  });
});
