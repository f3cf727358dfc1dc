import { spawnSync } from 'node:child_process';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { until, type Wire } from '../ha/link.ts';
import { requires } from '../requirements.ts';
import type { Site } from './site.ts';
import { openPair, type Pair } from './two-directors.ts';

requires(
  'root',
  'netns',
  'bpf',
  'ip',
  'nft',
)('a master with accept: false', () => {
  let a: Site;
  let b: Site;
  let wire: Wire;
  let pair: Pair;
  beforeEach(() => {
    pair = openPair();
    ({ a, b, wire } = pair);
  });
  afterEach(() => pair.close());

  it.each([
    ['ebpf', 'fd77::100', 'fd77::1'],
    ['proxy', '10.77.0.100', '10.77.0.1'],
  ])('serves, and takes nothing else (%s, %s)', async (plane, vip, real) => {
    const at = (address: string, port: number) =>
      address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
    const configuration = (accept: boolean) => `
dataPlane: ${plane}
virtualServices:
  - name: web
    address: "${at(vip, 80)}"
    method: masquerade
    realServers: [{ address: "${at(real, 8080)}" }]
failover:
  vrrp:
    - { name: front, interface: eth0, routerId: 51, advertisementInterval: 100ms, accept: ${accept}, addresses: ["${vip}"] }
`;
    // A proxy listens before it is master.
    const sysctl = ['netns', 'exec', a.netns, 'sysctl', '-qw', 'net.ipv4.ip_nonlocal_bind=1'];
    expect(spawnSync('ip', sysctl).status).toBe(0);
    a.write(configuration(false));
    // It listens on every address of the host, at 22 as well.
    pair.serve(a, 8080, 22);
    const running = await a.start();
    await until(() => wire.has(a.netns, vip), 'it is master');
    const ask = (address: string, port: number) => pair.ask(b, address, port);
    const ping = (address: string) =>
      spawnSync('ip', ['netns', 'exec', b.netns, 'ping', '-c1', '-W1', address]).status === 0;
    await until(() => ask(vip, 80) === 'served', 'the service answers');
    expect([ask(vip, 22), ping(vip)]).toEqual(['', false]);
    // Neighbours that know nothing find it.
    wire.ip(b.netns, 'neighbour', 'flush', 'dev', 'eth0');
    await until(() => ask(vip, 80) === 'served', 'the service answers who asks for it');
    // Its own addresses are no virtual ones.
    expect([ask(real, 22), ping(real)]).toEqual(['served', true]);
    expect(a.run('headgate', 'doctor').stdout).not.toContain('headgate-vrrp');
    a.write(configuration(true));
    await until(() => ping(vip) && ask(vip, 22) === 'served', 'with accept: true it takes all');
    a.write(configuration(false));
    await until(() => !ping(vip), 'and with accept: false again nothing');
    expect(ask(vip, 80)).toBe('served');
    expect(await running.end('SIGTERM')).toBe(0);
    const tables = spawnSync('ip', ['netns', 'exec', a.netns, 'nft', 'list', 'tables'], {
      encoding: 'utf8',
    });
    expect(tables).toMatchObject({ status: 0, stdout: '' });
  });
});
