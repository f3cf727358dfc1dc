import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** An unpacked Debian kernel, ready to boot. */
export type Kernel = {
  /** `uname -r`. */
  readonly release: string;
  /** Root of the unpacked package (holds boot/ and lib/modules/). */
  readonly folder: string;
  /** The ELF image inside the bzImage: spares the guest the slow unpacking under TCG. */
  readonly image: string;
};

const defaultCache = fileURLToPath(new URL('../.cache/kernels', import.meta.url));

/** Where unpacked kernels are kept: HEADGATE_KERNELS, else test/.cache/kernels. */
export const kernelCache = (): string => resolve(process.env.HEADGATE_KERNELS ?? defaultCache);

/**
 * The newest cached Debian kernel of a series such as `6.12` or `6.1`; downloads and unpacks the package with
 * apt-get and dpkg when the cache has none. Throws an Error that names the missing tool or package.
 */
export function findKernel(series: string): Kernel {
  const cache = kernelCache();
  mkdirSync(cache, { recursive: true });
  const release = cachedRelease(cache, series) ?? download(cache, series);
  const folder = join(cache, release);
  const modules = join(folder, 'lib/modules', release);
  if (!existsSync(join(modules, 'modules.dep'))) run('depmod', ['-b', folder, release], cache);
  return { release, folder, image: elfImage(folder, release) };
}

function cachedRelease(cache: string, series: string): string | undefined {
  return readdirSync(cache)
    .filter(
      (name) => name.startsWith(`${series}.`) && existsSync(join(cache, name, 'boot', `vmlinuz-${name}`)),
    )
    .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
    .at(-1);
}

function download(cache: string, series: string): string {
  const wanted = new RegExp(`^linux-image-(${series.replaceAll('.', '\\.')}\\.[^ ]*-amd64) `, 'm');
  const listed = run('apt-cache', ['search', '--names-only', `^linux-image-${series}\\.`], cache)
    .split('\n')
    .map((line) => wanted.exec(line)?.[1])
    .filter((release): release is string => release !== undefined && !/-(cloud|rt)-/.test(release))
    .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  const release = listed.at(-1);
  if (release === undefined) {
    throw new Error(
      `Finding a Debian kernel "${series}": apt-cache lists no linux-image-${series}.*-amd64; run apt-get update.`,
    );
  }
  const work = join(cache, `.unpack-${process.pid}`);
  mkdirSync(work, { recursive: true });
  try {
    run('apt-get', ['download', `linux-image-${release}`], work);
    const archive = readdirSync(work).find((name) => name.endsWith('.deb'));
    run('dpkg', ['-x', archive ?? '', 'root'], work);
    renameSync(join(work, 'root'), join(cache, release));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return release;
}

// The boot protocol (Documentation/arch/x86/boot.rst) places the compressed payload after the setup sectors.
function elfImage(folder: string, release: string): string {
  const target = join(folder, 'boot', `vmlinux-${release}`);
  if (existsSync(target)) return target;
  const image = readFileSync(join(folder, 'boot', `vmlinuz-${release}`));
  const start = (image.readUInt8(0x1f1) + 1) * 512 + image.readUInt32LE(0x248);
  // The last four bytes of the payload are its unpacked size, not part of the compressed stream.
  const payload = image.subarray(start, start + image.readUInt32LE(0x24c) - 4);
  const tool = unpackers.find(([magic]) => payload.subarray(0, magic.length).equals(magic))?.[1];
  if (tool === undefined)
    throw new Error(`Unpacking "vmlinuz-${release}": the payload is not gzip, xz, zstd or lz4.`);
  const unpacked = spawnSync(tool, ['-dc'], { input: payload, maxBuffer: 1 << 28 });
  if (unpacked.stdout?.subarray(1, 4).toString() !== 'ELF') {
    throw new Error(
      `Unpacking "vmlinuz-${release}" with ${tool}: no ELF image came out; is ${tool} installed?`,
    );
  }
  writeFileSync(`${target}.${process.pid}`, unpacked.stdout);
  renameSync(`${target}.${process.pid}`, target);
  return target;
}

const unpackers: readonly (readonly [Buffer, string])[] = [
  [Buffer.from('1f8b', 'hex'), 'gzip'],
  [Buffer.from('fd377a585a00', 'hex'), 'xz'],
  [Buffer.from('28b52ffd', 'hex'), 'zstd'],
  [Buffer.from('02214c18', 'hex'), 'lz4'],
];

function run(command: string, args: readonly string[], cwd: string): string {
  const result = spawnSync(command, args, { cwd, encoding: 'utf8', maxBuffer: 1 << 26 });
  if (result.error || result.status !== 0) {
    const cause = result.error?.message ?? result.stderr.trim();
    throw new Error(`Running "${command} ${args.join(' ')}" failed: ${cause}`);
  }
  return result.stdout;
}
