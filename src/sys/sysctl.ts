import { readFileSync, writeFileSync } from 'node:fs';

/**
 * Kernel parameters under /proc/sys. Those of the network are of the caller's network namespace (see `withNetns`).
 * A name is written as sysctl(8) takes it: `net.ipv4.conf.eth0.rp_filter`, and with slashes where an interface name has
 * dots: `net/ipv4/conf/eth0.100/rp_filter`. The first separator decides; the other character stands for itself (between
 * dots a slash stands for a dot).
 */
export function sysctlPath(name: string): string {
  const first = /[./]/.exec(name)?.[0];
  const parts = first === '.' ? name.split('.').map((part) => part.replaceAll('/', '.')) : name.split('/');
  if (parts.some((part) => part === '' || part === '.' || part === '..'))
    throw new RangeError(`sysctl "${name}": wanted a name such as "net.ipv4.ip_forward"`);
  return `/proc/sys/${parts.join('/')}`;
}

/** The value without its line end; undefined when this kernel has no such parameter. Throws on EACCES. */
export function readSysctl(name: string): string | undefined {
  try {
    return readFileSync(sysctlPath(name), 'utf8').trimEnd();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Sets a parameter. Throws an Error that names the parameter, the value and what stands in the way. */
export function writeSysctl(name: string, value: string | number): void {
  try {
    writeFileSync(sysctlPath(name), `${value}\n`);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const reason =
      code === 'ENOENT'
        ? 'this kernel has no such parameter'
        : code === 'EROFS' || code === 'EACCES' || code === 'EPERM'
          ? `${code}, /proc/sys is not writable here; in a container set it from outside`
          : `${code ?? error}`;
    throw new Error(`set sysctl "${name}" to "${value}": ${reason}`, { cause: error });
  }
}
