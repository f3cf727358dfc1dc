import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildInitramfs } from './initramfs.ts';
import { findKernel, type Kernel } from './kernels.ts';

export type GuestOptions = {
  /** Kernel series, `6.12` (default) or `6.1`. */
  readonly series?: string;
  /** Working folder inside the guest; default the caller's. */
  readonly cwd?: string;
  /** More environment variables for the command. */
  readonly env?: Readonly<Record<string, string>>;
  readonly processors?: number;
  /** Which of this machine's places it takes, of one processor each; default that of its own series. */
  readonly place?: string;
  readonly memoryMiB?: number;
  /** Guests emulate the processor: user space is 10-15 times slower than outside. */
  readonly timeoutMs?: number;
  /** The guest's clock counts instructions, each `nanosecondsPerInstruction`; one processor, and idle time is skipped. */
  readonly countInstructions?: boolean;
};

export type GuestResult = {
  /** Exit status of the command; 125 when the guest itself gave none. */
  readonly status: number;
  /** Standard output and error of the command, as bytes came. */
  readonly output: Buffer;
  /** The kernel's console, for diagnosis. */
  readonly console: string;
  readonly kernelRelease: string;
};

/** How far the clock of a guest with `countInstructions` moves on at each instruction (QEMU: 2^shift ns). */
export const nanosecondsPerInstruction = 2;

const noStatus = 125;
/** Every series has a place of its own on this machine; a guest with more than one processor takes all of them. */
const places = ['6.1', '6.12'];
const lockFile = (series: string): string => join(tmpdir(), `headgate-guest-${series}.lock`);

/**
 * Runs a command as root on a real Debian kernel in QEMU. The guest sees the host's files, read-only, under an
 * overlay that vanishes with it. One guest at a time on this machine (flock); of those with one processor, one in each
 * place. A guest that dies before it could give a status is started once more. Throws when no kernel or no QEMU can
 * be found.
 */
export async function runInGuest(
  command: readonly string[],
  options: GuestOptions = {},
): Promise<GuestResult> {
  const kernel = findKernel(options.series ?? '6.12');
  const first = await boot(kernel, command, options);
  return first.status === noStatus ? boot(kernel, command, options) : first;
}

async function boot(kernel: Kernel, command: readonly string[], options: GuestOptions): Promise<GuestResult> {
  const folder = mkdtempSync(join(tmpdir(), 'headgate-guest-'));
  const file = (name: string): string => join(folder, name);
  try {
    writeFileSync(file('initramfs'), buildInitramfs(kernel, file('stage2')));
    writeFileSync(file('stage2'), stage2(command, options));
    for (const name of ['console', 'output', 'status']) writeFileSync(file(name), '');
    const end = await qemu(kernel, file, options);
    const status = readFileSync(file('status'), 'utf8').trim();
    return {
      status: /^\d+$/.test(status) ? Number(status) : noStatus,
      output: readFileSync(file('output')),
      console: `${readFileSync(file('console'), 'utf8')}${end}`,
      kernelRelease: kernel.release,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function qemu(kernel: Kernel, file: (name: string) => string, options: GuestOptions): Promise<string> {
  const port = (name: string): string[] => [
    ...['-chardev', `file,id=${name},path=${file(name)}`],
    ...['-device', `virtserialport,chardev=${name},name=${name}`],
  ];
  const seconds = Math.ceil((options.timeoutMs ?? 600_000) / 1000);
  const program = 'qemu-system-x86_64';
  if (!existsSync(`/usr/bin/${program}`))
    throw new Error(`Starting a guest needs ${program}: install qemu-system-x86.`);
  const processors = options.countInstructions ? 1 : (options.processors ?? 2);
  const taken = processors > 1 ? places : [options.place ?? options.series ?? '6.12'];
  const args = [
    // The guest dies with this process; flock keeps others waiting until it has.
    ...['--pdeathsig', 'TERM', ...taken.flatMap((series) => ['flock', '--no-fork', lockFile(series)])],
    ...['timeout', String(seconds), program],
    ...['-machine', 'q35', ...acceleration(options.countInstructions, processors)],
    ...['-cpu', 'max', '-nodefaults', '-no-user-config', '-m', String(options.memoryMiB ?? 3072)],
    ...['-display', 'none', '-no-reboot', '-serial', `file:${file('console')}`],
    ...['-kernel', kernel.image, '-initrd', file('initramfs')],
    ...['-append', 'console=ttyS0 quiet panic=-1 mitigations=off nokaslr random.trust_cpu=on tsc=reliable'],
    ...['-device', 'virtio-serial-pci', ...port('output'), ...port('status'), '-device', 'virtio-rng-pci'],
    ...['-fsdev', 'local,id=host,path=/,security_model=none,multidevs=remap,readonly=on'],
    ...['-device', 'virtio-9p-pci,fsdev=host,mount_tag=host'],
  ];
  return new Promise((resolve, reject) => {
    const child = spawn('setpriv', args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let complaints = '';
    child.stderr.on('data', (chunk) => {
      complaints += chunk;
    });
    child.on('error', reject);
    child.on('close', (code) =>
      resolve(code === 0 ? complaints : `${complaints}\nqemu ended with ${code} (124: time limit)\n`),
    );
  });
}

function acceleration(countInstructions: boolean | undefined, processors: number): string[] {
  if (!countInstructions) return ['-accel', 'tcg,thread=multi', '-smp', String(processors)];
  const shift = Math.log2(nanosecondsPerInstruction);
  return ['-accel', 'tcg,thread=single', '-smp', '1', '-icount', `shift=${shift},sleep=off`];
}

function stage2(command: readonly string[], options: GuestOptions): string {
  const environment = {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: '/root',
    LANG: 'C.UTF-8',
    TERM: 'dumb',
    ...options.env,
  };
  const exports = Object.entries(environment).map(([name, value]) => `export ${name}=${quote(value)}`);
  const device = (name: string): string =>
    `/dev/$(basename $(dirname $(grep -lx ${name} /sys/class/virtio-ports/*/name)))`;
  return [
    ...exports,
    `output=${device('output')} status=${device('status')}`,
    `cd ${quote(options.cwd ?? process.cwd())}`,
    `${command.map(quote).join(' ')} </dev/null >$output 2>&1`,
    'echo $? >$status',
    'exec busybox poweroff -f',
    '',
  ].join('\n');
}

const quote = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;
