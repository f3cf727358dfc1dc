import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { Kernel } from './kernels.ts';

/** Modules that lead from the initial ram disk to the host's files; 9pnet_virtio is absent in cloud kernels. */
const neededModules = ['virtio_pci', 'virtio_console', '9p', '9pnet_virtio', 'overlay'];

/**
 * The initial ram disk: busybox, the modules in loading order, and an init which mounts the host's root (9p, read
 * only) under a tmpfs overlay, moves there and hands over to `script`, a path on the host.
 */
export function buildInitramfs(kernel: Kernel, script: string): Buffer {
  const archive: Buffer[] = [];
  for (const folder of ['bin', 'modules', 'proc', 'sys', 'dev', 'host', 'layer', 'root'])
    archive.push(entry(folder, 0o040755));
  archive.push(entry('bin/busybox', 0o100755, readFileSync('/bin/busybox')));
  loadOrder(kernel).forEach((path, position) => {
    const name = `${String(position).padStart(3, '0')}-${basename(path).replace(/\.xz$/, '')}`;
    archive.push(entry(`modules/${name}`, 0o100644, readModule(path)));
  });
  archive.push(entry('init', 0o100755, Buffer.from(initScript(kernel, script))), entry('TRAILER!!!', 0));
  return Buffer.concat(archive);
}

function loadOrder(kernel: Kernel): string[] {
  const paths = neededModules.flatMap((name) => {
    const shown = spawnSync('modprobe', ['-d', kernel.folder, '-S', kernel.release, '--show-depends', name], {
      encoding: 'utf8',
    });
    return shown.stdout.split('\n').flatMap((line) => /^insmod (\S+)/.exec(line)?.[1] ?? []);
  });
  return [...new Set(paths)];
}

function readModule(path: string): Buffer {
  return path.endsWith('.xz')
    ? spawnSync('xz', ['-dc', path], { maxBuffer: 1 << 26 }).stdout
    : readFileSync(path);
}

// One member of a "newc" archive (Documentation/driver-api/early-userspace/buffer-format.rst).
function entry(name: string, mode: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const fields = [0, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length + 1, 0];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${name}\0`;
  return Buffer.concat([pad(Buffer.from(header)), pad(data)]);
}

const pad = (data: Buffer): Buffer => Buffer.concat([data, Buffer.alloc(-data.length & 3)]);

// Kernel threads share the root of process 1 and start modprobe there, hence switch_root and not chroot.
const initScript = (kernel: Kernel, script: string): string => `#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
for module in /modules/*; do $b insmod $module; done
$b mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose host /host
$b mount -t tmpfs -o size=75% layer /layer
$b mkdir /layer/upper /layer/work
$b mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work root /root
cd /root
$b mount -t proc proc proc
$b mount -t sysfs sysfs sys
$b mount -t devtmpfs dev dev
$b mount -t tmpfs run run
$b mkdir -p dev/pts dev/shm run/netns run/lock lib/modules/${kernel.release}
$b mount -t devpts devpts dev/pts
$b mount -t tmpfs shm dev/shm
$b mount -t bpf bpf sys/fs/bpf
$b mount -t cgroup2 cgroup sys/fs/cgroup
$b mount -t tracefs tracefs sys/kernel/tracing
$b mount --bind .${kernel.folder}/lib/modules/${kernel.release} lib/modules/${kernel.release}
$b ip link set lo up
$b hostname guest
exec $b switch_root /root /bin/busybox sh ${script}
`;
