import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { runInGuest } from './guest.ts';

/*
 * Connection sync between a director of ours and the kernel's IPVS, both ways: what the one that hears lists, and whether
 * streams go on when it gets the virtual addresses.
 */

const root = resolve(import.meta.dirname, '../..');
const ways = ['direct-routing', 'tunnel', 'masquerade', 'persistent', 'direct-routing-v6'];
/** /proc/net/ip_vs_conn_sync of the kernel: ports of client and service, state, origin. */
const inKernel = [
  'TCP 0000 1F90 ASSURED SYNC',
  'TCP 9C41 0050 ESTABLISHED SYNC',
  'TCP 9C42 0050 ESTABLISHED SYNC',
  'TCP 9C43 0050 ESTABLISHED SYNC',
  'TCP 9C44 1F90 ESTABLISHED SYNC',
  'TCP 9C45 0050 ESTABLISHED SYNC',
];
const inOurs = [
  'TCP ASSURED 10.1.0.0:0 10.1.0.102:8080 10.2.0.4:8000',
  'TCP ESTABLISHED 10.1.0.3:40001 10.1.0.100:80 10.1.0.4:80',
  'TCP ESTABLISHED 10.1.0.3:40002 10.1.0.101:80 10.1.0.4:80',
  'TCP ESTABLISHED 10.1.0.3:40003 10.1.0.102:80 10.2.0.4:8000',
  'TCP ESTABLISHED 10.1.0.3:40004 10.1.0.102:8080 10.2.0.4:8000',
  'TCP ESTABLISHED [fd01::3]:40005 [fd01::100]:80 [fd01::4]:80',
];

describe.each(['6.12', '6.1'] as const)('Linux %s', (series) => {
  requires(
    'root',
    'qemu',
    'busybox',
    'cpio',
    'xz',
    'depmod',
    'ipvsadm',
    `kernel-${series}`,
  )('connections are told', () => {
    it.each([
      ['ours-to-kernel', inKernel],
      ['kernel-to-ours', inOurs],
    ])(
      '%s',
      async (way, wanted) => {
        const script = join(import.meta.dirname, 'sync-interop.sh');
        const command = ['bash', script, join(root, 'bin/ipvsadm.js'), way];
        const { output, console: messages } = await runInGuest(command, { series, timeoutMs: 540_000 });
        const lines = output.toString().split('\n');
        const listed = lines.flatMap((line) => (line.startsWith('listed ') ? [line.slice(7)] : []));
        expect(listed, `${output}\n${messages}`).toEqual(wanted);
        expect(lines).toEqual(expect.arrayContaining(ways.map((name) => `${name}: goes on`)));
        // Each real server counts what it serves, as whoever hears counts.
        expect(lines.filter((line) => / (Route|Masq|Tunnel) +1 +1 +0 *$/.test(line))).toHaveLength(
          ways.length,
        );
      },
      600_000,
    );
  });
});
