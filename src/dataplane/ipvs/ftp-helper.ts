import { readFileSync } from 'node:fs';

/** Ports that ip_vs_ftp helps control connections at, in this network namespace; none where it is not loaded. */
export function kernelFtpPorts(): number[] {
  try {
    return ftpPortsIn(readFileSync('/proc/thread-self/net/ip_vs_app', 'latin1'));
  } catch {
    return [];
  }
}

/** The command that makes the kernel help at some ports. */
export const ftpModule = (ports: readonly number[]): string =>
  `modprobe ip_vs_ftp${ports.join() === '21' ? '' : ` ports=${ports}`}`;

/** The same from the kernel's list of helpers: protocol, port, use count, name (ip_vs_app_seq_show). */
export const ftpPortsIn = (list: string): number[] =>
  [...list.matchAll(/^TCP +(\d+) +-?\d+ +ftp *$/gm)].map(([, port]) => Number(port));
