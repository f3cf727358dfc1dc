import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { layWire, until, type Wire } from '../ha/link.ts';
import { requires } from '../requirements.ts';
import { openSite, type Running, type Site } from './site.ts';

const vip = '10.77.0.100';
const configuration = (priority: number, more = '') => `
virtualServices:
  - name: web
    address: ${vip}:80
    method: masquerade
    realServers: [{ address: 10.77.0.1:8080 }]
failover:
  vrrp:
    - name: front
      interface: eth0
      routerId: 51
      priority: ${priority}
      advertisementInterval: 100ms
      addresses: [${vip}]
${more}`;

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('two directors', () => {
  let [a, b]: Site[] = [];
  let wire: Wire;
  beforeEach(() => {
    [a, b] = [openSite('a'), openSite('b')];
    wire = layWire(a!.netns, b!.netns, { make: false });
    a!.write(configuration(150));
    b!.write(configuration(100));
  });
  afterEach(async () => {
    a!.close();
    b!.close();
  });
  const start = (site: Site): Promise<Running> => site.start({ HEADGATE_STATE: `${site.folder}/state` });
  const holder = () => [a!, b!].filter(({ netns }) => wire.has(netns, vip)).map(({ netns }) => netns);

  it('move an address when the one that has it ends, is killed, or loses what it speaks from', async () => {
    const [first, second] = [await start(a!), await start(b!)];
    await until(() => holder().join() === a!.netns, 'the higher priority has it');
    await second.logged(/VRRP instance changed instance=front state=backup/);
    // A daemon that is told to end gives up at once.
    expect(await first.end('SIGTERM')).toBe(0);
    await until(() => holder().join() === b!.netns, 'the other one has it', 1000);
    const again = await start(a!);
    await until(() => holder().join() === a!.netns, 'the higher priority has it again');
    // A daemon that is killed leaves the process that keeps the address.
    await again.end('SIGKILL');
    await new Promise((done) => setTimeout(done, 1000));
    expect(holder()).toEqual([a!.netns]);
    const third = await start(a!);
    expect(holder()).toEqual([a!.netns]);
    // The process itself killed: the peer takes over, the kernel lets go, and the daemon starts another one.
    process.kill(keeperOf(a!), 'SIGKILL');
    await until(() => wire.has(b!.netns, vip), 'the peer takes over', 2000);
    await third.logged(/the failover process ended, another one is started/);
    await until(() => holder().join() === a!.netns, 'the new process takes it back');
    wire.ip(a!.netns, 'address', 'delete', '10.77.0.1/24', 'dev', 'eth0');
    await until(() => holder().join() === b!.netns, 'without an address to speak from', 4000);
    await third.logged(/state=fault reason="interface eth0 has no IPv4 address/);
    const events = a!.run('headgate', 'events', '--since', '5m');
    expect(events.stdout).toMatch(/vrrp-transition {2}front is master: /);
  });

  it('a reload changes the priority without a gap, and without failover the address goes', async () => {
    const [first] = [await start(a!), await start(b!)];
    await until(() => holder().join() === a!.netns, 'the higher priority has it');
    a!.write(configuration(50));
    await until(() => holder().join() === b!.netns, 'the other one has the higher priority now');
    a!.write(
      configuration(
        200,
        '      trackScripts: [{ name: fit, weight: -150 }]\n  scripts:\n    - name: fit\n      command: [/usr/bin/test, -e, /proc/self]\n      interval: 50ms\n',
      ),
    );
    await until(() => holder().join() === a!.netns, 'it has the higher priority again');
    a!.write(
      configuration(
        200,
        `      trackScripts: [{ name: fit, weight: -150 }]\n  scripts:\n    - name: fit\n      command: [/usr/bin/test, -e, ${a!.folder}/fit]\n      interval: 50ms\n`,
      ),
    );
    await until(() => holder().join() === b!.netns, 'its script says that it is not fit');
    await first.logged(/instance=front/);
    b!.write('virtualServices: []\n');
    await until(() => holder().join() === a!.netns, 'the other one is no longer there', 3000);
  });
});

/** The process that keeps the addresses of a site. */
function keeperOf(site: Site): number {
  const found = readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return words.some((word) => word.endsWith('keeper-process.js')) && words.includes(site.failoverSocket);
    } catch {
      return false;
    }
  });
  return Number(found[0]);
}
