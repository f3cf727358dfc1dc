import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { DataPlane } from '../../src/dataplane/data-plane.ts';
import { openIpvsPlane } from '../../src/dataplane/ipvs/plane.ts';
import type { Address } from '../../src/model/address.ts';
import type { SyncSettings } from '../../src/model/connection-sync.ts';
import type { Sysctls } from '../../src/model/sysctls.ts';
import type { Operation } from '../../src/model/table.ts';
import type { AddressServiceId, SchedulerName } from '../../src/model/virtual-service.ts';
import { createNamedNetns, deleteNamedNetns, netnsPath } from '../../src/sys/netns.ts';
import { virtualService } from '../conformance/operations.ts';
import { answer } from '../golden/replay.ts';
import { enterNetns } from '../packets/harness.ts';

/*
 * Runs in a guest, whose kernel has IPVS: ipvs.test.ts. Our ipvsadm and Debian's on one table, and what goes wrong with a
 * table of the kernel's.
 */

const root = resolve(import.meta.dirname, '../..');
const namespace = 'hg-commands';
let plane: DataPlane;
let goHome: () => void;

beforeAll(() => {
  createNamedNetns(namespace);
  goHome = enterNetns(netnsPath(namespace));
  plane = openIpvsPlane();
});
afterEach(() => plane.apply([{ kind: 'flush' }]));
afterAll(async () => {
  await plane.close();
  goHome();
  deleteNamedNetns(namespace);
});

/** Ours, in this process; the plane stays open. */
async function ours(command: string, input: string | Uint8Array = ''): Promise<string> {
  const { stdout, stderr } = await answer(command, input, { ...plane, close: async () => undefined });
  return stdout + stderr;
}

/** Debian's, in a process of this thread's namespace. */
function theirs(command: string): string {
  const [program, ...words] = command.split(' ');
  const { stdout, stderr, error } = spawnSync(`/usr/sbin/${program}`, words, { encoding: 'utf8' });
  if (error) throw error;
  return stdout + stderr;
}

/** Takes a module away that another test may have needed. */
function unload(module: string): void {
  spawnSync('modprobe', ['-r', module]);
}

describe('with the ipvsadm of the distribution', () => {
  it('each sees at once what the other does, and both say the same of what is refused', async () => {
    const commands = [
      '-A -t 192.0.2.10:80 -s wrr',
      '-a -t 192.0.2.10:80 -r 10.0.0.1:8080 -m -w 3 -x 9 -y 4',
      '-a -t 192.0.2.10:80 -r 10.0.0.2 -i --tun-type gre --tun-csum',
      '-A -t 192.0.2.10:80 -s rr',
      '-a -t 192.0.2.10:80 -r 10.0.0.1:8080 -m',
      '-e -t 192.0.2.10:80 -r 10.0.0.9 -g',
      '-e -t 192.0.2.10:80 -r 10.0.0.1:8080 -m -w 0',
      '-E -t 192.0.2.10:80 -s mh -b mh-port -p 90 -M 255.255.0.0',
      '-D -t 192.0.2.11:80',
      '-A -t 192.0.2.11:80 -s no-such',
      '-A -u [2001:db8::1]:53 -s rr -o',
      '-a -u [2001:db8::1]:53 -r [2001:db8::53]:53 -m -w 7',
      '-a -u [2001:db8::1]:53 -r 10.0.0.5:53 -i',
      '-A -f 9 -6 -s sh -b sh-fallback,sh-port',
      '-a -f 9 -6 -r [2001:db8::7] -g',
      '-A --sctp-service 192.0.2.10:99 -s twos',
      '-A -u 192.0.2.10:5060 -s rr -p 60 --pe sip',
      '--set 901 0 302',
      '-Z -t 192.0.2.10:80',
      '-d -t 192.0.2.10:80 -r 10.0.0.2',
      '-d -t 192.0.2.10:80 -r 10.0.0.2',
      '-D -f 9 -6',
    ];
    for (const [number, words] of commands.entries()) {
      const command = `ipvsadm ${words}`;
      if (number % 2 === 0) await ours(command);
      else theirs(command);
      for (const listing of ['ipvsadm -L -n', 'ipvsadm -L -n --tun-info', 'ipvsadm -L --timeout'])
        expect(await ours(listing), `${listing} after ${command}`).toBe(theirs(listing));
      // Once more it is refused, or changes nothing: alike by both.
      if (/^-[AaDd]/.test(words)) expect(await ours(command), command).toBe(theirs(command));
    }
  });
});

describe('a table of the kernel', () => {
  const id = (port: number): AddressServiceId => ({
    kind: 'address',
    protocol: 'tcp',
    address: '192.0.2.10' as Address,
    port,
  });
  const add = (port: number, scheduler: SchedulerName = 'rr'): Operation => ({
    kind: 'add-service',
    service: virtualService(id(port), { scheduler }),
  });

  it('that others change between the pages of a list is read whole', async () => {
    const ports = Array.from({ length: 120 }, (_, n) => 1000 + n);
    await plane.apply(ports.map((port) => add(port)));
    // Its round is finished before it ends: a command that outlived it would change the table under the next test.
    const busy = spawn('bash', [
      '-c',
      `trap over=1 TERM
      until [ "$over" ]; do
        for p in 1 2 3; do ipvsadm -A -t 192.0.2.9:$p; done
        for p in 1 2 3; do ipvsadm -D -t 192.0.2.9:$p; done
      done`,
    ]);
    try {
      for (let reading = 0; reading < 4; reading++) {
        const found = (await plane.read()).services.flatMap(({ service: { id } }) =>
          id.kind === 'address' && id.address === '192.0.2.10' ? [id.port] : [],
        );
        expect(found.sort((a, b) => a - b)).toEqual(ports);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    } finally {
      busy.kill('SIGTERM');
      await once(busy, 'exit');
    }
    expect((await plane.read()).services).toHaveLength(ports.length);
  });

  it('has no scheduler whose module is not there, and says which and what to do', async () => {
    const file = spawnSync('modinfo', ['-n', 'ip_vs_lblcr'], { encoding: 'utf8' }).stdout.trim();
    unload('ip_vs_lblcr');
    renameSync(file, `${file}.away`);
    try {
      const [refusal] = await plane.apply([add(80, 'lblcr')]);
      expect(refusal).toEqual({
        reason: 'unknown-scheduler',
        detail:
          'this kernel has no scheduler "lblcr": its module ip_vs_lblcr is not there; "modprobe ip_vs_lblcr" says why, or take another one',
      });
      const command = 'ipvsadm -A -t 192.0.2.10:80 -s lblcr';
      expect(await ours(command)).toBe(theirs(command));
      expect((await plane.read()).services).toEqual([]);
    } finally {
      renameSync(`${file}.away`, file);
    }
    expect(await plane.apply([add(80, 'lblcr')])).toEqual([undefined]);
  });

  it('has a parameter of a scheduler once that is there, and refuses it before', async () => {
    const change: Operation = {
      kind: 'set-sysctls',
      sysctls: { expire_nodest_conn: 1, lblc_expiration: 60 },
    };
    unload('ip_vs_lblc');
    expect(await plane.apply([change])).toEqual([
      { reason: 'invalid', detail: expect.stringContaining('no such parameter') },
    ]);
    // All of it or nothing.
    expect((await plane.read()).sysctls).toMatchObject({ expire_nodest_conn: 0 });
    expect(await plane.apply([add(80, 'lblc'), change])).toEqual([undefined, undefined]);
    expect((await plane.read()).sysctls).toMatchObject({ expire_nodest_conn: 1, lblc_expiration: 60 });
    await plane.apply([{ kind: 'set-sysctls', sysctls: { expire_nodest_conn: 0, lblc_expiration: 86_400 } }]);
  });

  it('has a threshold of connection sync and its period, which the kernel has as one', async () => {
    const kernels = () => readFileSync('/proc/sys/net/ipv4/vs/sync_threshold', 'utf8').trim();
    const set = (sysctls: Partial<Sysctls>) => plane.apply([{ kind: 'set-sysctls', sysctls }]);
    expect((await plane.read()).sysctls).toMatchObject({ sync_threshold: 3, sync_period: 50 });
    expect(await set({ sync_threshold: 2, sync_period: 7, sync_retries: 1, sync_ports: 4 })).toEqual([
      undefined,
    ]);
    expect(kernels()).toBe('2\t7');
    expect((await plane.read()).sysctls).toMatchObject({ sync_threshold: 2, sync_period: 7, sync_ports: 4 });
    expect(await set({ sync_period: 9 })).toEqual([undefined]);
    expect(kernels()).toBe('2\t9');
    // The kernel is asked where our rule has no objection, and all of it or nothing holds for the pair.
    expect(await set({ sync_retries: 0, sync_period: 1 })).toMatchObject([{ reason: 'invalid' }]);
    expect([kernels(), (await plane.read()).sysctls?.sync_retries]).toEqual(['2\t9', 1]);
    await set({ sync_threshold: 3, sync_period: 50, sync_retries: 0, sync_ports: 1 });
  });

  it('has sync daemons, which each of the two starts, lists and stops', async () => {
    const link = (words: string) => spawnSync('ip', words.split(' '));
    link('link add sync0 type veth peer name sync1');
    for (const name of ['sync0', 'sync1']) link(`link set ${name} up`);
    link('address add 192.0.2.1/24 dev sync0');
    const list = 'ipvsadm -L --daemon';
    const master = 'ipvsadm --start-daemon master --mcast-interface sync0';
    const backup =
      'ipvsadm --start-daemon backup --mcast-interface sync0 --syncid 7 --mcast-group 224.1.2.3 --mcast-port 9000 --mcast-ttl 3 --sync-maxlen 1400';
    try {
      for (const [first, other] of [
        [ours, theirs],
        [theirs, ours],
      ] as const) {
        for (const command of [master, backup]) {
          expect(await first(command)).toBe('');
          expect(await first(command), command).toBe(await other(command));
          expect(await ours(list)).toBe(theirs(list));
        }
        expect((await ours(list)).split('\n')).toEqual([
          'master sync daemon (mcast=sync0, syncid=0, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)',
          'backup sync daemon (mcast=sync0, syncid=7, maxlen=1400, group=224.1.2.3, port=9000, ttl=3)',
          '',
        ]);
        for (const role of ['master', 'backup']) {
          const stop = `ipvsadm --stop-daemon ${role}`;
          expect(await other(stop)).toBe('');
          expect(await ours(list)).toBe(theirs(list));
          expect(await other(stop)).toBe(await first(stop));
        }
        expect(await ours(list)).toBe('');
      }
      link('address add fd02::1/64 dev sync0 nodad');
      expect(await ours(backup.replace('224.1.2.3', 'ff02::51'))).toBe('');
      expect(await ours(list)).toBe(theirs(list));
      expect(await ours(list)).toBe(
        'backup sync daemon (mcast=sync0, syncid=7, maxlen=1400, group=ff02::51, port=9000, ttl=3)\n',
      );
      expect(await ours('ipvsadm --stop-daemon backup')).toBe('');
      const absent = master.replace('sync0', 'nowhere');
      expect(await ours(absent)).toBe(theirs(absent));
    } finally {
      link('link delete sync0');
    }
  });

  it('starts no sync daemon that does less than was asked for, and says why', async () => {
    const settings = {
      role: 'master',
      interface: 'lo',
      id: 0,
      group: '224.0.0.81',
      port: 8848,
      ttl: 1,
    } as const;
    const start = (more: Partial<SyncSettings>) =>
      plane.startSync!({ ...settings, group: settings.group as Address, ...more });
    for (const [more, reason, detail] of [
      [{ secret: 'sixteen letters!' }, 'invalid', /in clear/],
      [{ threshold: 3, period: 50 }, 'invalid', /sync_threshold/],
      [{ refreshSeconds: 3 }, 'invalid', /sync_refresh_period/],
      [{ group: '192.0.2.9' as Address }, 'invalid', /multicast group, found 192\.0\.2\.9/],
      [{ interface: 'nowhere' }, 'no-interface', /there is no interface "nowhere"/],
    ] as const)
      expect(await start(more)).toEqual({ reason, detail: expect.stringMatching(detail) });
    expect(await plane.syncDaemons!()).toEqual([]);
    expect(await plane.stopSync!('master')).toMatchObject({ reason: 'not-running' });
  });

  it('knows again the sync daemon that a configuration started, and takes it along when it goes', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'headgate-ipvs-'));
    const open = () => openIpvsPlane({ directory });
    spawnSync('ip', 'link add sync0 type veth peer name sync1'.split(' '));
    spawnSync('ip', 'address add 192.0.2.1/24 dev sync0'.split(' '));
    spawnSync('ip', 'link set sync0 up'.split(' '));
    const wanted: SyncSettings = {
      ...{ role: 'master', interface: 'sync0', id: 3, port: 8848, ttl: 1, configured: true },
      group: '224.0.0.81' as Address,
    };
    try {
      const first = open();
      expect(await first.startSync!(wanted)).toBeUndefined();
      await first.close();
      const second = open();
      const running = { ...wanted, maxLength: 1472, digest: expect.stringMatching(/^[0-9a-f]{16}$/) };
      expect(await second.syncDaemons!()).toEqual([running]);
      // Another one in its place is nobody's.
      theirs('ipvsadm --stop-daemon master');
      theirs('ipvsadm --start-daemon master --mcast-interface sync0 --syncid 4');
      const { configured: _, ...strange } = wanted;
      expect(await second.syncDaemons!()).toEqual([{ ...strange, id: 4, maxLength: 1472 }]);
      await second.cleanUp();
      expect(theirs('ipvsadm -L --daemon')).toContain('syncid=4');
      theirs('ipvsadm --stop-daemon master');
      const third = open();
      expect(await third.startSync!(wanted)).toBeUndefined();
      await third.cleanUp();
      expect(theirs('ipvsadm -L --daemon')).toBe('');
    } finally {
      spawnSync('ip', 'link delete sync0'.split(' '));
      rmSync(directory, { recursive: true });
    }
  });

  it('is nobody’s in a user namespace, and the error says so', () => {
    const { stderr, status } = spawnSync(
      'unshare',
      [
        '--user',
        '--map-root-user',
        '--net',
        process.execPath,
        join(root, 'bin/headgate.js'),
        'ipvsadm',
        '-L',
        '-n',
      ],
      { encoding: 'utf8', env: { ...process.env, HEADGATE_PLANE: 'ipvs' } },
    );
    expect(stderr).toContain("Can't initialize ipvs: Permission denied (you must be root)");
    expect(status).toBe(2);
  });
});
