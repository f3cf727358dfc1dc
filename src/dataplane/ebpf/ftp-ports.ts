import { mostFtpPorts } from '../../model/sysctls.ts';
import { swapPort } from './encoding.ts';
import type { Records } from './records.ts';

/** Ports of FTP's control connections: struct settings, `ftp_ports`, and the filter before them. */
export function writeFtpPorts(settings: Records<'settings'>, ports: readonly number[]): void {
  for (let i = 0; i < mostFtpPorts; i++) settings.set(0, 'ftp_ports', swapPort(ports[i] ?? 0), i);
  settings.setBig(
    0,
    'ftp_filter',
    ports.reduce((filter, port) => filter | (1n << BigInt(port % 64)), 0n),
  );
}

/** The ports of FTP in settings, in the order they were written in. */
export function readFtpPorts(settings: Records<'settings'>): number[] {
  const ports = Array.from({ length: mostFtpPorts }, (_, i) => swapPort(settings.get(0, 'ftp_ports', i)));
  return ports.filter((port) => port !== 0);
}
