import { spawnSync } from 'node:child_process';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { ask } from './ask.ts';
import { configuration, fetchFrom, layNetwork, type Network, realServer } from './network.ts';
import { openSite, type Site } from './site.ts';

const place = 'service="web",protocol="tcp",address="192.0.2.10:80"';

/** The value of a series; undefined when there is none. */
function sampleOf(text: string, series: string): number | undefined {
  const line = text.split('\n').find((one) => one.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length));
}

requires(
  'root',
  'netns',
  'bpf',
  'ip',
  'curl',
  'promtool',
)('the metrics of a daemon', () => {
  let site: Site;
  let network: Network;
  beforeEach(async () => {
    site = openSite();
    site.write(configuration);
    network = await layNetwork(site);
    network.plugClient('x0');
  });
  afterEach(() => {
    network.close();
    site.close();
  });
  const metrics = async () => {
    const { status, headers, text } = await ask(site.socket, 'GET', '/metrics');
    expect([status, headers['content-type']]).toEqual([200, 'text/plain; version=0.0.4; charset=utf-8']);
    return text;
  };

  it('are what Prometheus takes and finds nothing wrong with', async () => {
    await site.start();
    expect(fetchFrom(network.client, 5000)).toBe('served');
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], {
      input: await metrics(),
      encoding: 'utf8',
    });
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '', stderr: '' });
  });

  it('count what goes through, as ipvsadm shows it', async () => {
    const daemon = await site.start();
    for (let i = 0; i < 5; i++) expect(fetchFrom(network.client, 5000)).toBe('served');
    const text = await metrics();
    const rows = site
      .run('ipvsadm', '-L', '-n', '--stats', '--exact')
      .stdout.split('\n')
      .filter((line) => /^(TCP| *->) +\d/.test(line))
      .map((line) => line.trim().split(/ +/).slice(2).map(Number));
    for (const [row, name, labels] of [
      [rows[0], 'service', place],
      [rows[1], 'real_server', `${place},real_server="web1"`],
    ] as const) {
      const [connections, packetsIn, packetsOut, bytesIn, bytesOut] = row!;
      expect(connections).toBe(5);
      expect(packetsIn).toBeGreaterThan(10);
      const found = (what: string, direction = '') =>
        sampleOf(
          text,
          `headgate_${name}_${what}_total{${labels}${direction && `,direction="${direction}"`}}`,
        );
      expect(found('connections')).toBe(connections);
      expect([found('packets', 'in'), found('packets', 'out')]).toEqual([packetsIn, packetsOut]);
      expect([found('bytes', 'in'), found('bytes', 'out')]).toEqual([bytesIn, bytesOut]);
    }
    expect(sampleOf(text, 'headgate_connection_table_entries')).toBe(5);
    expect(sampleOf(text, 'headgate_connection_table_size')).toBe(4096);
    // The real server leaves: its series end, those of the service go on where they were.
    site.run('ipvsadm', '-d', '-t', '192.0.2.10:80', '-r', realServer);
    expect(fetchFrom(network.client, 500)).toBeUndefined();
    const later = await metrics();
    expect(later).not.toContain('web1');
    expect(sampleOf(later, `headgate_service_real_servers{${place}}`)).toBe(0);
    expect(sampleOf(later, `headgate_service_connections_total{${place}}`)).toBe(5);
    for (const direction of ['in', 'out'])
      expect(
        sampleOf(later, `headgate_service_bytes_total{${place},direction="${direction}"}`),
      ).toBeGreaterThanOrEqual(
        sampleOf(text, `headgate_service_bytes_total{${place},direction="${direction}"}`)!,
      );
    expect(sampleOf(later, 'headgate_data_plane_events_total{event="no_destination"}')).toBeGreaterThan(0);
    await daemon.end('SIGTERM');
  });

  it('say which configuration is in force, and that the file is not', async () => {
    const daemon = await site.start();
    const before = await metrics();
    expect(sampleOf(before, 'headgate_configuration_generation')).toBe(1);
    expect(sampleOf(before, 'headgate_configuration_last_load_successful')).toBe(1);
    site.write('nonsense: true');
    await daemon.logged(/not in force/);
    const after = await metrics();
    expect(sampleOf(after, 'headgate_configuration_last_load_successful')).toBe(0);
    const when = 'headgate_configuration_last_load_success_timestamp_seconds';
    expect(sampleOf(after, when)).toBe(sampleOf(before, when));
    site.write(configuration.replace('rr', 'wlc'));
    await daemon.logged(/in force .*generation=2/);
    const mended = await metrics();
    expect(sampleOf(mended, 'headgate_configuration_generation')).toBe(2);
    expect(sampleOf(mended, 'headgate_configuration_last_load_successful')).toBe(1);
    expect(sampleOf(mended, when)).toBeGreaterThan(sampleOf(before, when)!);
    expect(Math.abs(sampleOf(mended, when)! - Date.now() / 1000)).toBeLessThan(60);
  });
});
