import { existsSync } from 'node:fs';
import { release } from 'node:os';

/** Whether a module is loaded or built in and has something in /sys. */
export const hasModule = (name: string): boolean => existsSync(`/sys/module/${name}`);

/**
 * Asks modprobe(8) for a module, as ipvsadm does: the kernel takes modules from user space alone, and which others one needs
 * is modprobe's knowledge. Returns why it is not there, in modprobe's words; undefined when it is.
 */
export function loadModule(name: string): string | undefined {
  const { spawnSync } = process.getBuiltinModule('node:child_process');
  const run = spawnSync('/sbin/modprobe', ['--', name], { encoding: 'utf8', timeout: 30_000 });
  if (run.status === 0) return undefined;
  if (run.error) return (run.error as NodeJS.ErrnoException).code ?? run.error.message;
  return run.stderr.trim().split('\n')[0] || `status ${run.status}`;
}

/** A setting of the running kernel's configuration, where its distribution keeps that in /boot: "m", "y", a number. */
export function kernelSetting(name: string): string | undefined {
  const path = `/boot/config-${release()}`;
  if (!existsSync(path)) return undefined;
  const { readFileSync } = process.getBuiltinModule('node:fs');
  return new RegExp(`^${name}=(.*)$`, 'm').exec(readFileSync(path, 'utf8'))?.[1];
}
