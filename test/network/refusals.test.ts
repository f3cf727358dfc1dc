import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Lab, up } from '../../src/lab/build.ts';
import { bpffsDirectory } from '../../src/sys/mount.ts';
import { listLinks } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { netnsCookie, netnsPath } from '../../src/sys/netns.ts';
import { readSysctl } from '../../src/sys/sysctl.ts';
import { headgateLauncher } from '../agent/site.ts';
import { requires } from '../requirements.ts';
import { labName, launcher, smallTable } from './site.ts';

/** What init failures of ipvsadm 1.31 end with. */
const initFailure = 2;

const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
const without = (...capabilities: string[]) => [
  'setpriv',
  `--bounding-set=${capabilities.map((name) => `-${name}`).join(',')}`,
  '--inh-caps=-all',
];
/** A machine of its own as far as mounts go: process 1 is the command, /run is empty. */
const ownMachine = (run: string, ...words: string[]) => [
  ...['unshare', '--mount', '--pid', '--fork', '--mount-proc', 'sh', '-c'],
  `mount -t tmpfs ${run} none /run && exec "$@"`,
  'sh',
  ...words,
];

requires(
  'root',
  'netns',
  'bpf',
)('refusals that take a kernel', () => {
  let lab: Lab;
  let untouched: ReturnType<typeof traces>;
  beforeEach(() => {
    lab = up({ name: labName('refuse'), nodes: [{ name: 'bare' }], segments: [] });
    untouched = traces(lab);
  });
  afterEach(() => lab?.down());

  const run = (prefix: readonly string[], ...words: string[]) => {
    const [program, ...rest] = [...prefix, process.execPath, launcher, ...words];
    return lab.run('bare', program!, rest, { env: smallTable });
  };

  const cases: { why: string; prefix: string[]; says: RegExp }[] = [
    {
      why: 'an ordinary user',
      prefix: nobody,
      says: /^Can't initialize ipvs: Permission denied \(you must be root\)\n/,
    },
    {
      why: 'root without capabilities',
      prefix: without('all'),
      says: /Permission denied \(you must be root\)\n/,
    },
    {
      why: 'root without BPF',
      prefix: without('bpf', 'sys_admin'),
      says: /Permission denied \(you must be root\)\n/,
    },
    {
      why: 'root without CAP_NET_ADMIN',
      prefix: without('net_admin'),
      says: /Permission denied \(you must be root\)\n/,
    },
    {
      why: 'no bpffs and no right to mount one',
      prefix: ownMachine('', ...without('sys_admin')),
      says: /^Can't initialize ipvs: Cannot open the data plane: mount the BPF file system on "\/run\/headgate\/bpf": not permitted/,
    },
    {
      why: 'a read-only /run',
      prefix: ownMachine('-o ro'),
      says: /^Can't initialize ipvs: Cannot write to "\/run\/headgate": the file system is read-only\nMake \/run writable/,
    },
    {
      why: 'HEADGATE_PMTU_DISC that is no switch',
      prefix: ['env', 'HEADGATE_PMTU_DISC=on'],
      says: /^Can't initialize ipvs: Cannot read HEADGATE_PMTU_DISC "on": wanted 0 or 1\n/,
    },
  ];

  describe.each(cases)('$why', ({ prefix, says }) => {
    it.each([
      ['-L', '-n'],
      ['-A', '-t', '192.0.2.1:80', '-s', 'rr'],
    ])('%s', (...words) => {
      const { status, stdout, stderr } = run(prefix, ...words);
      expect(stderr).toMatch(says);
      // One sentence and a next step: no stack, no second complaint.
      expect(stderr.trimEnd().split('\n').length).toBeLessThanOrEqual(2);
      expect(stderr).not.toMatch(/^ +at |node:/m);
      expect(stdout).toBe('');
      expect(status).toBe(initFailure);
      expect(traces(lab)).toEqual(untouched);
    });
  });

  it.each([
    { why: 'hg0 that is a bridge', made: ['hg0', 'type', 'bridge'], name: 'hg0', found: 'found bridge' },
    {
      why: 'hg1 that is a veth of another',
      made: ['hg1', 'type', 'veth', 'peer', 'x'],
      name: 'hg1',
      found: 'found veth',
    },
  ])('$why', ({ made, name, found }) => {
    lab.run('bare', 'ip', ['link', 'add', ...made]);
    const before = traces(lab);
    expect(before.devices).toContain(name);
    const { status, stdout, stderr } = run([], '-A', '-t', '192.0.2.1:80', '-s', 'rr');
    expect(stderr).toContain(`Cannot use "${name}" for ICMP errors`);
    expect(stderr).toContain(found);
    expect(stderr).toContain(`ip link set dev ${name} name OTHER`);
    expect({ stdout, status }).toEqual({ stdout: '', status: 255 });
    expect(traces(lab)).toEqual(before);
  });

  it('an internal pair that was left half made is readied', () => {
    lab.run('bare', 'ip', ['link', 'add', 'hg0', 'type', 'veth', 'peer', 'hg1']);
    expect(run([], '-A', '-t', '192.0.2.1:80', '-s', 'rr')).toMatchObject({ status: 0, stderr: '' });
    const pair = withNetlink({ netns: netnsPath(lab.netns('bare')) }, listLinks).filter(({ name }) =>
      ['hg0', 'hg1'].includes(name),
    );
    expect(pair.map(({ up, mtu }) => ({ up, mtu }))).toEqual([1, 2].map(() => ({ up: true, mtu: 65535 })));
    lab.run('bare', process.execPath, [headgateLauncher, 'clean-up']);
    expect(traces(lab).devices).toEqual(untouched.devices);
  });

  it('a listing in a bare namespace shows the empty table and sets up nothing', () => {
    const { status, stdout, stderr } = run([], '-L', '-n');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toBe(
      [
        'IP Virtual Server version 1.2.1 (size=65536)',
        'Prot LocalAddress:Port Scheduler Flags',
        '  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn',
        '',
      ].join('\n'),
    );
    expect(traces(lab)).toEqual(untouched);
  });
});

/** What a data plane would leave in a namespace and beside it. */
function traces(lab: Lab) {
  const cookie = String(lab.inside('bare', netnsCookie));
  return {
    pins: existsSync(join(bpffsDirectory, cookie)),
    unfinished: existsSync(join(bpffsDirectory, `${cookie}_unfinished`)),
    folder: existsSync(join('/run/headgate', cookie)),
    devices: withNetlink({ netns: netnsPath(lab.netns('bare')) }, listLinks).map(({ name }) => name),
    sysctls: lab.inside('bare', () =>
      ['net.ipv4.conf.lo.forwarding', 'net.ipv4.conf.lo.accept_local', 'net.ipv6.conf.lo.forwarding'].map(
        readSysctl,
      ),
    ),
  };
}
