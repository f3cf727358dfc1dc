import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { keeperProgram } from '../../src/ha/program.ts';
import type { InstanceSettings, Orders } from '../../src/ha/settings.ts';
import type { Address } from '../../src/model/address.ts';
import { linkIndex } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import {
  createNamedNetns,
  deleteNamedNetns,
  netnsPath,
  spawnInNetns,
  withNetns,
} from '../../src/sys/netns.ts';
import { type FrameSocket, openFrameSocket } from '../../src/sys/raw.ts';
import { requires } from '../requirements.ts';
import { until } from './link.ts';

const allProtocols = 3;
/** RFC 9568, 7.3, for VRID 51. */
const families = {
  IPv4: { vip: '10.77.0.100', mac: '00:00:5e:00:01:33', group: '01:00:5e:00:00:12', protocolAt: 14 + 9 },
  IPv6: { vip: 'fe80::100', mac: '00:00:5e:00:02:33', group: '33:33:00:00:00:12', protocolAt: 14 + 6 },
} as const;

requires(
  'root',
  'netns',
  'ip',
  'keepalived',
)('the MAC address of a virtual router', () => {
  const [a, b, c] = ['a', 'b', 'c'].map((name) => `hgvm${name}-${process.pid}`) as [string, string, string];
  let folder: string;
  let started: ChildProcess[];
  let channel: Socket | undefined;
  let frames: FrameSocket;
  let log: string;
  const ip = (netns: string, ...words: string[]): string => {
    const { status, stdout, stderr } = spawnSync('ip', ['-n', netns, ...words], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`ip ${words.join(' ')}: ${stderr}`);
    return stdout;
  };
  const has = (netns: string, address: string) => ip(netns, '-br', 'address').includes(` ${address}/`);

  /** Two directors at the ports of a switch, which is the client as well: 10.77.0.3, fe80::3. */
  beforeEach(() => {
    for (const netns of [a, b, c]) createNamedNetns(netns);
    ip(c, 'link', 'add', 'br0', 'type', 'bridge');
    ip(c, 'link', 'set', 'br0', 'up');
    for (const [i, netns] of [a, b].entries()) {
      ip(netns, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', `port${i}`, 'netns', c);
      ip(c, 'link', 'set', `port${i}`, 'master', 'br0', 'up');
    }
    for (const [i, [netns, device]] of (
      [
        [a, 'eth0'],
        [b, 'eth0'],
        [c, 'br0'],
      ] as const
    ).entries()) {
      ip(netns, 'link', 'set', 'lo', 'up');
      ip(netns, 'link', 'set', device, 'up');
      ip(netns, 'address', 'add', `10.77.0.${i + 1}/24`, 'dev', device);
      ip(netns, 'address', 'add', `fe80::${i + 1}/64`, 'dev', device, 'nodad');
    }
    folder = mkdtempSync(join(tmpdir(), 'headgate-vmac-'));
    [started, log, channel] = [[], '', undefined];
    frames = withNetns(netnsPath(c), () =>
      openFrameSocket(
        withNetlink({}, (netlink) => linkIndex(netlink, 'br0')),
        { protocol: allProtocols },
      ),
    );
  });
  afterEach(async () => {
    channel?.destroy();
    for (const child of started) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = once(child, 'exit');
      child.kill('SIGCONT');
      child.kill('SIGTERM');
      await ended;
    }
    frames.close();
    for (const netns of [a, b, c]) deleteNamedNetns(netns);
    rmSync(folder, { recursive: true });
  });

  async function startKeepalived(own: string, vip: string): Promise<ChildProcess> {
    const file = join(folder, 'keepalived.conf');
    writeFileSync(
      file,
      `global_defs {\n vrrp_version 3\n}\nvrrp_instance front {\n state BACKUP\n interface eth0\n virtual_router_id 51\n priority 100\n advert_int 0.3\n ${own}\n virtual_ipaddress {\n ${vip}\n }\n}\n`,
    );
    const pids = ['-p', join(folder, 'k.pid'), '-r', join(folder, 'v.pid')];
    const words = ['netns', 'exec', b, 'keepalived', '-n', '-l', '-D', '-P', '-f', file, ...pids];
    const child = spawn('ip', words, { stdio: ['ignore', 'pipe', 'pipe'] });
    started.push(child);
    for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (text) => (log += text));
    await until(() => has(b, vip), 'keepalived is master');
    return child;
  }

  async function startOurs(): Promise<ChildProcess> {
    const socket = join(folder, 'failover.sock');
    const child = spawnInNetns(a, process.execPath, keeperProgram(socket), {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    started.push(child);
    for (let i = 0; !channel; i++) {
      const opened = await new Promise<Socket | undefined>((resolve) => {
        const attempt = connect(socket, () => resolve(attempt)).once('error', () => resolve(undefined));
      });
      if (opened) channel = opened.on('error', () => undefined).resume();
      else if (i > 500) throw new Error('the failover process does not listen');
      else await new Promise((done) => setTimeout(done, 20));
    }
    return child;
  }

  function order(priority: number, vip: string, settings: Partial<InstanceSettings>): void {
    const instance: InstanceSettings = {
      ...{ name: 'front', interface: 'eth0', version: 3, routerId: 51, advertisementInterval: 300 },
      ...{ preempt: true, preemptDelay: 0, downAfter: 3, peers: [], excludedAddresses: [] },
      addresses: [{ address: vip as Address, length: vip.includes(':') ? 128 : 32 }],
      authentication: { type: 'none', secret: '' },
      announce: { repeat: 5, delay: 0, refresh: 0 },
      ...{ trackInterfaces: [], paths: { routes: [], rules: [] }, rival: 'defend' },
      ...settings,
    };
    const orders: Orders = {
      instances: [instance],
      tracking: { front: { priority, tracked: [] } },
      ...{ groups: {}, always: { routes: [], rules: [] } },
    };
    channel!.write(`${JSON.stringify({ kind: 'orders', orders })}\n`);
  }

  const ping = (vip: string) =>
    spawnSync('ip', ['netns', 'exec', c, 'ping', '-c1', '-W1', vip.includes(':') ? `${vip}%br0` : vip])
      .status === 0;
  /** The MAC address the client has for an address. */
  const neighbour = (vip: string) => / lladdr (\S+)/.exec(ip(c, 'neighbour', 'show', vip, 'dev', 'br0'))?.[1];
  const port = (mac: string) =>
    /^\S+ dev (\S+)/.exec(
      spawnSync('ip', ['netns', 'exec', c, 'bridge', 'fdb', 'show', 'br', 'br0'], { encoding: 'utf8' })
        .stdout.split('\n')
        .find((line) => line.startsWith(mac)) ?? '',
    )?.[1];
  /** Where advertisements come from that have come since the last look. */
  function advertisers({ group, protocolAt }: (typeof families)['IPv4' | 'IPv6']): string[] {
    const found = new Set<string>();
    for (let frame = frames.receive(); frame; frame = frames.receive()) {
      const mac = (at: number) =>
        frame!.bytes
          .subarray(at, at + 6)
          .toString('hex')
          .replace(/(..)(?=.)/g, '$1:');
      if (mac(0) === group && frame.bytes[protocolAt] === 112) found.add(mac(6));
    }
    return [...found];
  }
  const own = () => /link\/ether (\S+)/.exec(ip(a, 'link', 'show', 'eth0'))![1]!;
  const virtual = () =>
    ip(a, '-br', 'link')
      .split('\n')
      .filter((line) => line.startsWith('hgm'));

  describe.each(Object.entries(families))('%s', (_name, family) => {
    const { vip, mac } = family;

    it('moves between us and keepalived, and the client knows one MAC address', async () => {
      await startKeepalived('use_vmac', vip);
      await until(() => ping(vip), 'keepalived answers');
      const ours = await startOurs();
      order(150, vip, { virtualMac: 'all' });
      await until(() => has(a, vip) && !has(b, vip), 'the higher priority has it');
      await until(
        () => log.includes('from 10.77.0.1') || /higher priority 150, ours 100/.test(log),
        'keepalived yields',
      );
      await until(() => port(mac) === 'port0', 'the switch has it at our port');
      await until(() => ping(vip), 'we answer');
      expect(neighbour(vip)).toBe(mac);
      advertisers(family);
      await until(() => advertisers(family).join() === mac, 'advertisements come from it alone');
      // What the client learns anew is the same: not that of the device below.
      ip(c, 'neighbour', 'flush', 'dev', 'br0');
      await until(() => ping(vip), 'we answer');
      expect(neighbour(vip)).toBe(mac);
      // As a backup it is not seen with that address.
      order(50, vip, { virtualMac: 'all' });
      await until(() => has(b, vip) && !has(a, vip), 'keepalived has it again');
      await until(() => port(mac) === 'port1', 'the switch has it there');
      await until(() => ping(vip), 'keepalived answers');
      expect(virtual().join()).toMatch(/^hgm\S+ +DOWN/);
      await new Promise((done) => setTimeout(done, 1500));
      expect(port(mac)).toBe('port1');
      // One that is killed leaves nothing that the next start would not take away.
      order(150, vip, { virtualMac: 'all' });
      await until(() => has(a, vip), 'we have it');
      ours.kill('SIGKILL');
      // Its device stays up, and its kernel lets go of the address within two seconds.
      await until(() => has(b, vip) && !has(a, vip), 'keepalived has it alone');
      await until(() => ping(vip), 'keepalived answers');
      await until(() => port(mac) === 'port1', 'the switch has it there');
      channel?.destroy();
      channel = undefined;
      const again = await startOurs();
      order(50, vip, { virtualMac: 'all' });
      await until(() => / DOWN /.test(virtual().join()), 'what was left is down');
      again.kill('SIGTERM');
      await until(() => virtual().length === 0, 'it goes with the process');
      expect(has(b, vip)).toBe(true);
    });
  });

  it('is that of the addresses alone where advertisements come from the interface', async () => {
    const { vip, mac } = families.IPv4;
    const keepalived = await startKeepalived('use_vmac\n vmac_xmit_base', vip);
    await startOurs();
    order(50, vip, { virtualMac: 'addresses' });
    await until(() => virtual().length === 1, 'it has made a device');
    await new Promise((done) => setTimeout(done, 1000));
    expect(has(a, vip)).toBe(false);
    order(150, vip, { virtualMac: 'addresses' });
    await until(() => has(a, vip) && !has(b, vip), 'the higher priority has it');
    await until(() => ping(vip), 'we answer');
    expect(neighbour(vip)).toBe(mac);
    advertisers(families.IPv4);
    await until(() => advertisers(families.IPv4).join() === own(), 'advertisements come from the interface');
    expect(log).toMatch(/higher priority 150, ours 100/);
    keepalived.kill('SIGTERM');
  });

  it('gives back what it set on the interface', async () => {
    const { vip } = families.IPv4;
    const ignore = () =>
      withNetns(netnsPath(a), () => readFileSync('/proc/sys/net/ipv4/conf/eth0/arp_ignore', 'utf8').trim());
    await startOurs();
    order(150, vip, { virtualMac: 'all' });
    await until(() => has(a, vip), 'it is master');
    expect(ignore()).toBe('1');
    // Somebody takes the device away: it is made again, and has the address again.
    ip(a, 'link', 'delete', virtual()[0]!.split('@')[0]!);
    await until(() => has(a, vip) && / UP /.test(virtual().join()), 'the device is there again');
    await until(() => ping(vip), 'it answers');
    order(150, vip, {});
    await until(() => virtual().length === 0 && has(a, vip), 'the address is on the interface');
    await until(() => ignore() === '0', 'the parameter is what it was');
    ip(c, 'neighbour', 'flush', 'dev', 'br0');
    await until(() => ping(vip), 'it answers');
    expect(neighbour(vip)).toBe(own());
  });
});
