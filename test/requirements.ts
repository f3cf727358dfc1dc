import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe } from 'vitest';
import { netnsHandle } from '../src/sys/netns.ts';
import { kernelCache } from './kernel/kernels.ts';

/**
 * What tests may need beyond Node. A test that needs something says so with `requires(...)`; each need is probed for
 * real on the machine, and where it is missing the tests are left out and the closing list of the run says why and
 * how to add it.
 */
type Requirement = {
  /** What is not tested without it. */
  readonly buys: string;
  /** The Debian package that brings it; absent where no package does. */
  readonly debianPackage?: string;
  /** Why it is missing here; undefined when it is there. */
  readonly probe: () => string | undefined;
};

export const requirements = {
  root: {
    buys: 'everything that changes a network namespace',
    probe: () => lackingCapabilities({ net_admin: 12, net_raw: 13, sys_admin: 21 }),
  },
  netns: {
    buys: 'traffic through a client, a director and real servers in namespaces',
    probe: () => lackingCommand('unshare', ['--net', 'true']),
  },
  bpf: {
    buys: 'the ebpf data plane',
    probe: () => lackingBpf(),
  },
  'netns-handle': {
    buys: 'what is left in a namespace that is gone, where nothing is pinned',
    probe: () =>
      netnsHandle() === undefined
        ? 'this kernel gives no handle of a namespace (Linux 6.18 does)'
        : undefined,
  },
  'clang-16': {
    buys: 'the committed BPF object against its source',
    debianPackage: 'clang-16',
    probe: () => lackingTool('clang-16', ['--version'], /clang version 16\./),
  },
  ip: {
    buys: 'our routes, links and namespaces against iproute2',
    debianPackage: 'iproute2',
    probe: () => lackingTool('ip', ['-V'], /iproute2/),
  },
  tc: {
    buys: 'our filters against iproute2',
    debianPackage: 'iproute2',
    probe: () => lackingTool('tc', ['-V'], /iproute2/),
  },
  ethtool: {
    buys: 'every network test once more with all offloads off',
    debianPackage: 'ethtool',
    probe: () => lackingTool('ethtool', ['--version'], /ethtool/),
  },
  nft: {
    buys: 'firewall rules as their own tool writes them',
    debianPackage: 'nftables',
    probe: () => lackingTool('nft', ['--version'], /nftables/),
  },
  tcpdump: {
    buys: 'packets on the wire as an independent program prints them',
    debianPackage: 'tcpdump',
    probe: () => lackingTool('tcpdump', ['--version'], /tcpdump/),
  },
  bpftool: {
    buys: 'our programs and maps as the kernel lists them',
    debianPackage: 'bpftool',
    probe: () => lackingTool('bpftool', ['version'], /bpftool/),
  },
  curl: {
    buys: 'HTTP through the director by a real client',
    debianPackage: 'curl',
    probe: () => lackingTool('curl', ['--version'], /curl/),
  },
  wrk: {
    buys: 'load through the director',
    debianPackage: 'wrk',
    probe: () => lackingTool('wrk', ['--version'], /wrk/),
  },
  keepalived: {
    buys: 'VRRP and configuration files beside the program they come from',
    debianPackage: 'keepalived',
    probe: () => lackingTool('keepalived', ['--version'], /Keepalived v/),
  },
  haproxy: {
    buys: 'the load agent as the program whose protocol it speaks takes it',
    debianPackage: 'haproxy',
    probe: () => lackingTool('haproxy', ['-v'], /HAProxy version/),
  },
  nginx: {
    buys: 'real servers that are not ours',
    debianPackage: 'nginx-light',
    probe: () => lackingTool('nginx', ['-v'], /nginx/),
  },
  openssl: {
    buys: 'certificates that are good, expired and of someone else',
    debianPackage: 'openssl',
    probe: () => lackingTool('openssl', ['version'], /OpenSSL/),
  },
  postfix: {
    buys: 'checks of a mail server',
    debianPackage: 'postfix',
    probe: () => lackingTool('/usr/sbin/postconf', ['mail_version'], /mail_version/),
  },
  dovecot: {
    buys: 'checks of mailboxes, by IMAP',
    debianPackage: 'dovecot-imapd',
    probe: () => lackingTool('dovecot', ['--version'], /^2\./),
  },
  'dovecot-pop3': {
    buys: 'checks of mailboxes, by POP',
    debianPackage: 'dovecot-pop3d',
    probe: () => lackingTool('dpkg-query', ['-W', 'dovecot-pop3d'], /dovecot-pop3d\s+\S/),
  },
  vsftpd: {
    buys: 'checks of a file server',
    debianPackage: 'vsftpd',
    probe: () => lackingTool('vsftpd', ['-v'], undefined),
  },
  'redis-server': {
    buys: 'checks of Redis',
    debianPackage: 'redis-server',
    probe: () => lackingTool('redis-server', ['--version'], /Redis server/),
  },
  leafnode: {
    buys: 'checks of a news server',
    debianPackage: 'leafnode',
    probe: () => lackingTool('/usr/sbin/leafnode', ['-v'], undefined),
  },
  ping: {
    buys: 'ICMP through the director',
    debianPackage: 'iputils-ping',
    probe: () => lackingTool('ping', ['-V'], /ping/),
  },
  ipvsadm: {
    buys: 'our listings and errors against the real ipvsadm',
    debianPackage: 'ipvsadm',
    // Without IPVS in the kernel every invocation fails, --version too; that it can be run is what counts here.
    probe: () => lackingTool('ipvsadm', ['--version'], /ipvsadm|ipvs/i),
  },
  ldirectord: {
    buys: 'files of ldirectord as the real ldirectord judges them',
    debianPackage: 'ldirectord',
    probe: () => lackingTool('ldirectord', ['-v'], /Linux Director/),
  },
  promtool: {
    buys: 'the metrics as Prometheus reads them',
    debianPackage: 'prometheus',
    probe: () => lackingTool('promtool', ['--version'], /promtool, version/),
  },
  systemd: {
    buys: 'the units as systemd reads them',
    debianPackage: 'systemd',
    probe: () => lackingTool('systemd-analyze', ['--version'], /systemd \d+/),
  },
  qemu: {
    buys: 'other kernels than the running one, and the kernel that has IPVS',
    debianPackage: 'qemu-system-x86',
    probe: () => lackingTool('qemu-system-x86_64', ['--version'], /QEMU/),
  },
  busybox: {
    buys: 'the first process of a guest',
    debianPackage: 'busybox-static',
    probe: () => lackingTool('busybox', ['true'], undefined),
  },
  cpio: {
    buys: 'the file system of a guest',
    debianPackage: 'cpio',
    probe: () => lackingTool('cpio', ['--version'], /cpio/),
  },
  xz: {
    buys: 'the modules of a guest',
    debianPackage: 'xz-utils',
    probe: () => lackingTool('xz', ['--version'], /xz/),
  },
  depmod: {
    buys: 'the modules of a guest',
    debianPackage: 'kmod',
    probe: () => lackingTool('depmod', ['--version'], /kmod/),
  },
  debootstrap: {
    buys: 'both commands on a Debian that has nothing but node and npm',
    debianPackage: 'debootstrap',
    probe: () => lackingTool('debootstrap', ['--version'], /debootstrap/),
  },
  'kernel-6.12': {
    buys: 'the kernel that has IPVS, in a guest',
    probe: () => lackingKernel('6.12'),
  },
  'kernel-6.1': {
    buys: 'the oldest kernel this runs on, in a guest',
    probe: () => lackingKernel('6.1'),
  },
  zsh: {
    buys: 'the completion of zsh in zsh',
    debianPackage: 'zsh',
    probe: () => lackingTool('zsh', ['--version'], /zsh/),
  },
  fish: {
    buys: 'the completion of fish in fish',
    debianPackage: 'fish',
    probe: () => lackingTool('fish', ['--version'], /fish/),
  },
  mandoc: {
    buys: 'the manual pages as mandoc judges them',
    debianPackage: 'mandoc',
    probe: () => lackingTool('mandoc', ['-T', 'lint', '/dev/null'], /mandoc/),
  },
  man: {
    buys: 'the manual pages as man shows them',
    debianPackage: 'man-db',
    probe: () => lackingTool('man', ['--version'], /man/),
  },
  terminal: {
    buys: 'what a person sees and types at a terminal',
    probe: () => lackingTool('script', ['-qec', 'echo at a terminal', '/dev/null'], /^at a terminal/),
  },
  named: {
    buys: 'the dns check against a real name server',
    debianPackage: 'bind9',
    probe: () => lackingTool('named', ['-v'], /BIND/),
  },
  freeradius: {
    buys: 'the radius check against a real server',
    debianPackage: 'freeradius',
    probe: () => lackingTool('freeradius', ['-v'], /FreeRADIUS/),
  },
  kamailio: {
    buys: 'the sip check against a real server',
    debianPackage: 'kamailio',
    probe: () => lackingTool('kamailio', ['-v'], /kamailio/),
  },
  slapd: {
    buys: 'the ldap check against a real server',
    debianPackage: 'slapd',
    probe: () => lackingTool('slapd', ['-VV'], /OpenLDAP/),
  },
  mariadb: {
    buys: 'the mysql check against a real server',
    debianPackage: 'mariadb-server',
    probe: () => lackingTool('mariadbd', ['--version'], /MariaDB/),
  },
  postgresql: {
    buys: 'the postgresql check against a real server',
    debianPackage: 'postgresql',
    probe: () => (existsSync('/usr/lib/postgresql') ? undefined : 'there is no /usr/lib/postgresql'),
  },
  git: {
    buys: 'what a clone contains, as opposed to what lies around in this folder',
    debianPackage: 'git',
    probe: () => lackingTool('git', ['rev-parse', '--is-inside-work-tree'], /true/),
  },
} as const satisfies Record<string, Requirement>;

export type RequirementName = keyof typeof requirements;

// Imported here and not on top, so that a machine without it gets a reason instead of a run that cannot start.
const kernelCall = await import('../src/sys/bpf/call.ts').catch((error: unknown) => ({
  reason: String(error),
}));

const findings = new Map<RequirementName, string | undefined>();

/** Why `name` is missing on this machine; undefined when it is there. Probed once a process. */
export function whyMissing(name: RequirementName): string | undefined {
  if (!findings.has(name)) findings.set(name, requirements[name].probe());
  return findings.get(name);
}

/**
 * `describe` for tests with needs: `requires('root', 'netns', 'curl')('HTTP over masquerade', () => { ... })`. Where
 * a need is missing the whole block is left out, its `beforeAll` too, and the block's title carries the reason to
 * the closing list.
 */
export function requires(...names: readonly RequirementName[]): (title: string, body: () => void) => void {
  const missing = names.filter((name) => whyMissing(name) !== undefined);
  return (title, body) => {
    if (missing.length === 0) describe(title, body);
    else describe.skip(withMissing(title, missing), body);
  };
}

const missingNote = / \[without: (.*)\]$/;

function withMissing(title: string, missing: readonly RequirementName[]): string {
  return `${title} [without: ${missing.join(', ')}]`;
}

/** The needs that `requires` wrote into a title. */
export function missingIn(title: string): readonly RequirementName[] {
  return (missingNote.exec(title)?.[1]?.split(', ') ?? []) as RequirementName[];
}

function lackingTool(program: string, args: string[], answer: RegExp | undefined): string | undefined {
  const run = spawnSync(program, args, { encoding: 'utf8', timeout: 20_000 });
  if (run.error !== undefined) return `${program} is not on the PATH`;
  const said = `${run.stdout}${run.stderr}`;
  return answer === undefined || answer.test(said) ? undefined : `${program} does not answer as expected`;
}

/** A Debian kernel package: unpacked in the cache of test/kernel, or known to apt, which downloads it. */
function lackingKernel(series: string): string | undefined {
  const cache = kernelCache();
  if (existsSync(cache) && readdirSync(cache).some((name) => name.startsWith(`${series}.`))) return undefined;
  const pattern = `^linux-image-${series.replaceAll('.', '\\.')}\\..*-amd64$`;
  const run = spawnSync('apt-cache', ['search', '--names-only', pattern], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  if (run.status === 0 && run.stdout !== '') return undefined;
  return `apt knows no linux-image-${series}.*-amd64; "apt-get update" may help`;
}

function lackingCommand(program: string, args: string[]): string | undefined {
  const run = spawnSync(program, args, { encoding: 'utf8', timeout: 20_000 });
  if (run.status === 0) return undefined;
  const line = (run.stderr ?? '').trim().split('\n')[0] ?? '';
  return line || `"${[program, ...args].join(' ')}" fails`;
}

/** Loads the smallest program (r0 = 0; exit) as a tc classifier, which asks the kernel, not its version. */
function lackingBpf(): string | undefined {
  if (!('tryBpf' in kernelCall)) return `the foreign function interface does not load: ${kernelCall.reason}`;
  const instructions = Buffer.from('b7000000000000009500000000000000', 'hex');
  const license = Buffer.from('GPL\0');
  const attributes = kernelCall.newAttributes();
  attributes.writeUInt32LE(3, 0); // BPF_PROG_TYPE_SCHED_CLS
  attributes.writeUInt32LE(instructions.length / 8, 4);
  kernelCall.putAddress(attributes, 8, instructions);
  kernelCall.putAddress(attributes, 16, license);
  const result = kernelCall.tryBpf('PROG_LOAD', attributes, [instructions, license]);
  if (result < 0) return `the kernel refuses to load a BPF program (error ${-result})`;
  closeSync(result);
  return undefined;
}

/** Effective capabilities as the kernel states them (capabilities(7), numbers of linux/capability.h). */
function lackingCapabilities(wanted: Record<string, number>): string | undefined {
  const status = readFileSync('/proc/self/status', 'utf8');
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  const missing = Object.keys(wanted).filter((name) => !((effective >> BigInt(wanted[name]!)) & 1n));
  return missing.length === 0 ? undefined : `no CAP_${missing.join(', CAP_').toUpperCase()}`;
}
