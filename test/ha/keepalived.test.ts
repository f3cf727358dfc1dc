import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { type KeeperMessage, lines } from '../../src/ha/channel.ts';
import { keeperProgram } from '../../src/ha/program.ts';
import type { InstanceSettings, Orders } from '../../src/ha/settings.ts';
import type { Address } from '../../src/model/address.ts';
import type { VrrpStatus } from '../../src/model/vrrp.ts';
import { linkIndex } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { netnsPath, spawnInNetns, withNetns } from '../../src/sys/netns.ts';
import { openFrameSocket } from '../../src/sys/raw.ts';
import { requires } from '../requirements.ts';
import { layWire, until, type Wire } from './link.ts';

const allProtocols = 3;
const at = (text: string) => text as Address;

/** What differs between the ways two directors may speak. */
type Way = {
  readonly settings: Partial<InstanceSettings>;
  readonly keepalived: string;
  readonly interval: string;
  readonly vip: string;
};

const ways = {
  'version 3': {
    settings: { version: 3, advertisementInterval: 100 },
    keepalived: 'vrrp_version 3',
    interval: 'advert_int 0.1',
    vip: '10.77.0.100',
  },
  'version 3 at the shortest interval': {
    settings: { version: 3, advertisementInterval: 10 },
    keepalived: 'vrrp_version 3',
    interval: 'advert_int 0.01',
    vip: '10.77.0.100',
  },
  'version 3 over IPv6': {
    settings: { version: 3, advertisementInterval: 100 },
    keepalived: 'vrrp_version 3',
    interval: 'advert_int 0.1',
    vip: 'fe80::100',
  },
  'version 3 by unicast': {
    settings: { version: 3, advertisementInterval: 100, peers: [at('10.77.0.2')] },
    keepalived: 'vrrp_version 3',
    interval: 'advert_int 0.1\n unicast_src_ip 10.77.0.2\n unicast_peer {\n 10.77.0.1\n }',
    vip: '10.77.0.100',
  },
} as const satisfies Record<string, Way>;

/** Version 2 counts in whole seconds. */
const slowWays = {
  'version 2 with a password': {
    settings: {
      version: 2,
      advertisementInterval: 1000,
      authentication: { type: 'password', secret: 'geheim' },
    },
    keepalived: 'vrrp_version 2',
    interval: 'advert_int 1\n authentication {\n auth_type PASS\n auth_pass geheim\n }',
    vip: '10.77.0.100',
  },
  'version 2 with an authentication header': {
    settings: {
      version: 2,
      advertisementInterval: 1000,
      authentication: { type: 'ah', secret: 'geheim' },
    },
    keepalived: 'vrrp_version 2',
    interval: 'advert_int 1\n authentication {\n auth_type AH\n auth_pass geheim\n }',
    vip: '10.77.0.100',
  },
} as const satisfies Record<string, Way>;

/** A wire of its own, with keepalived at one end and our failover process at the other. */
type Pair = {
  readonly wire: Wire;
  /** Starts keepalived with priority 100; resolves when it is master. */
  startKeepalived(global: string, interval: string, vip: string): Promise<void>;
  startOurs(): Promise<ChildProcess>;
  /** Tells our process what to do. */
  order(priority: number, settings: Partial<InstanceSettings>, vip: string): void;
  /** What our process tells: its state, and each change of it. */
  readonly told: { last: readonly VrrpStatus[]; readonly entered: string[] };
  /** What keepalived has logged. */
  log(): string;
  close(): Promise<void>;
};

let pairs = 0;

function openPair(): Pair {
  const id = `${process.pid}-${pairs++}`;
  const wire = layWire(`hgva-${id}`, `hgvb-${id}`, { make: true });
  const folder = mkdtempSync(join(tmpdir(), 'headgate-vrrp-'));
  const started: ChildProcess[] = [];
  const told: Pair['told'] = { last: [], entered: [] };
  let channel: Socket | undefined;
  let log = '';
  return {
    ...{ wire, told },
    log: () => log,
    async startKeepalived(global, interval, vip) {
      const file = join(folder, 'keepalived.conf');
      writeFileSync(
        file,
        `global_defs {\n ${global}\n}\nvrrp_instance front {\n state BACKUP\n interface eth0\n virtual_router_id 51\n priority 100\n ${interval}\n virtual_ipaddress {\n ${vip}\n }\n}\n`,
      );
      const words = ['-n', '-l', '-D', '-P', '-f', file];
      const child = spawn(
        'ip',
        [
          ...['netns', 'exec', wire.b, 'keepalived', ...words],
          ...['-p', join(folder, 'keepalived.pid'), '-r', join(folder, 'vrrp.pid')],
        ],
        { stdio: ['ignore', 'pipe', 'pipe'] },
      );
      started.push(child);
      for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (text) => (log += text));
      await until(() => log.includes('Entering MASTER STATE'), 'keepalived is master');
      await until(() => wire.has(wire.b, vip), 'keepalived has the address');
    },
    async startOurs() {
      const socket = join(folder, 'failover.sock');
      const child = spawnInNetns(wire.a, process.execPath, keeperProgram(socket), {
        stdio: ['ignore', 'inherit', 'inherit'],
      });
      started.push(child);
      for (let i = 0; ; i++) {
        const opened = await new Promise<Socket | undefined>((resolve) => {
          const attempt = connect(socket, () => resolve(attempt)).once('error', () => resolve(undefined));
        });
        if (opened) {
          channel = opened.on('error', () => undefined);
          break;
        }
        if (i > 500) throw new Error('the failover process does not listen');
        await new Promise((done) => setTimeout(done, 20));
      }
      lines(channel, (line) => {
        const message = JSON.parse(line) as KeeperMessage;
        if (message.kind === 'status') told.last = message.instances;
        else if (message.kind === 'entered') told.entered.push(`${message.state}: ${message.reason}`);
      });
      return child;
    },
    order(priority, settings, vip) {
      const instance: InstanceSettings = {
        ...{ name: 'front', interface: 'eth0', version: 3, routerId: 51, advertisementInterval: 100 },
        ...{ preempt: true, preemptDelay: 0, downAfter: 3, peers: [] },
        addresses: [{ address: at(vip), length: vip.includes(':') ? 128 : 32 }],
        excludedAddresses: [],
        authentication: { type: 'none', secret: '' },
        announce: { repeat: 5, delay: 0, refresh: 0 },
        trackInterfaces: [],
        paths: { routes: [], rules: [] },
        rival: 'defend',
        ...settings,
      };
      const orders: Orders = {
        instances: [instance],
        tracking: { front: { priority, tracked: [] } },
        groups: {},
        always: { routes: [], rules: [] },
      };
      channel!.write(`${JSON.stringify({ kind: 'orders', orders })}\n`);
    },
    async close() {
      channel?.destroy();
      for (const child of started) {
        if (child.exitCode !== null || child.signalCode !== null) continue;
        const ended = once(child, 'exit');
        child.kill('SIGTERM');
        await ended;
      }
      wire.close();
      rmSync(folder, { recursive: true });
    },
  };
}

async function inPair(work: (pair: Pair) => Promise<void>): Promise<void> {
  const pair = openPair();
  try {
    await work(pair);
  } finally {
    await pair.close();
  }
}

/** The higher priority has it, the lower leaves it alone, and who ends gives it up. */
async function takesOverAndHandsOver({ settings, keepalived, interval, vip }: Way): Promise<void> {
  await inPair(async ({ wire, startKeepalived, startOurs, order, told, log }) => {
    await startKeepalived(keepalived, interval, vip);
    const ours = await startOurs();
    order(150, settings, vip);
    await until(() => wire.has(wire.a, vip), 'the higher priority has it');
    await until(() => !wire.has(wire.b, vip), 'keepalived gave it up');
    const yields = /Master received advert from \S+ with higher priority 150, ours 100/;
    await until(() => yields.test(log()), 'keepalived says why');
    // As a backup it hears keepalived, and leaves it alone.
    order(50, settings, vip);
    await until(() => wire.has(wire.b, vip), 'keepalived has it again', 20_000);
    await until(
      () => told.last[0]?.state === 'backup' && told.last[0].master?.priority === 100,
      'it heard keepalived',
    );
    expect(told.last[0]!.rejected).toEqual({});
    order(150, settings, vip);
    await until(() => wire.has(wire.a, vip), 'the higher priority has it', 20_000);
    const before = log().length;
    ours.kill('SIGTERM');
    await until(() => wire.has(wire.b, vip), 'keepalived takes what was given up');
    const resigns = '(front) Backup received priority 0 advertisement';
    await until(() => log().includes(resigns, before), 'keepalived heard that it was given up');
  });
}

requires(
  'root',
  'netns',
  'ip',
  'keepalived',
)('beside keepalived', () => {
  it.each(Object.entries(ways))('takes over from it and hands over to it: %s', (_name, way) =>
    takesOverAndHandsOver(way),
  );

  // They wait for seconds that others have made: side by side.
  it.concurrent.each(Object.entries(slowWays))('takes over from it and hands over to it: %s', (_name, way) =>
    takesOverAndHandsOver(way),
  );

  it.concurrent('a wrong password is counted, and does not keep it from taking over', () =>
    inPair(async ({ wire, startKeepalived, startOurs, order, told }) => {
      const { settings, keepalived, interval, vip } = slowWays['version 2 with a password'];
      await startKeepalived(keepalived, interval, vip);
      await startOurs();
      order(50, { ...settings, authentication: { type: 'password', secret: 'falsch' } }, vip);
      await until(() => (told.last[0]?.rejected.authentication ?? 0) >= 2, 'rejected advertisements');
      // RFC 9568, 7.1: what is rejected is as if it had not come; keepalived does the same.
      await until(() => told.last[0]?.state === 'master', 'two masters', 10_000);
      expect(wire.has(wire.b, vip)).toBe(true);
    }));

  it.concurrent('behind an authentication header, what is repeated or forged does not count', () =>
    inPair(async ({ wire, startKeepalived, startOurs, order, told }) => {
      const { settings, keepalived, interval, vip } = slowWays['version 2 with an authentication header'];
      await startKeepalived(keepalived, interval, vip);
      await startOurs();
      order(50, settings, vip);
      await until(() => told.last[0]?.master?.priority === 100, 'it heard keepalived');
      const frames = withNetns(netnsPath(wire.b), () =>
        openFrameSocket(
          withNetlink({}, (netlink) => linkIndex(netlink, 'eth0')),
          { protocol: allProtocols },
        ),
      );
      try {
        let found: Buffer | undefined;
        await until(() => {
          const frame = frames.receive();
          if (frame?.outgoing && frame.bytes[23] === 51) found = frame.bytes;
          return found !== undefined;
        }, 'an advertisement of keepalived');
        await new Promise((done) => setTimeout(done, 1200));
        const before = told.last[0]!.received;
        frames.send(found!);
        await until(() => (told.last[0]?.rejected.replay ?? 0) === 1, 'it was sent before');
        // With priority 0 a backup would take over at once.
        const forged = Buffer.from(found!);
        forged[14 + 44 + 2] = 0;
        frames.send(forged);
        await until(() => (told.last[0]?.rejected.checksum ?? 0) === 1, 'it was changed');
        forged.writeUInt16BE(forged.readUInt16BE(14 + 44 + 6) + (100 << 8), 14 + 44 + 6);
        frames.send(forged);
        await until(() => (told.last[0]?.rejected.authentication ?? 0) === 1, 'it was changed well');
        expect(told.last[0]).toMatchObject({ state: 'backup', master: { priority: 100 } });
        expect(told.last[0]!.received).toBeGreaterThanOrEqual(before);
      } finally {
        frames.close();
      }
    }));

  it('a master that was stopped says nothing when it goes on', () =>
    inPair(async ({ wire, startKeepalived, startOurs, order, told, log }) => {
      const { settings, keepalived, interval, vip } = ways['version 3'];
      await startKeepalived(keepalived, interval, vip);
      const ours = await startOurs();
      order(150, settings, vip);
      await until(() => wire.has(wire.a, vip), 'the higher priority has it');
      ours.kill('SIGSTOP');
      await until(() => wire.has(wire.b, vip), 'keepalived takes over');
      // The kernel lets go of the address without anybody.
      await until(() => !wire.has(wire.a, vip), 'the lease ends', 4000);
      const [before, changes] = [log().length, told.entered.length];
      ours.kill('SIGCONT');
      await until(() => told.entered.length >= changes + 2, 'it has changed twice');
      expect(told.entered.slice(changes)).toEqual([
        expect.stringMatching(/^backup: it did not run for \d+ ms$/),
        expect.stringMatching(/^master: priority 150 against 100 /),
      ]);
      await until(() => wire.has(wire.a, vip), 'it takes over again, by its priority');
      await until(() => log().includes('higher priority 150', before), 'keepalived yields to its priority');
    }));
});
