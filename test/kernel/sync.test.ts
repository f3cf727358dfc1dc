import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { runInGuest } from './guest.ts';

/*
 * Connection sync between a director of ours and the kernel's IPVS, both ways in one guest: what the one that hears lists, and whether
 * streams go on when it gets the virtual addresses, also one that was silent since before it came.
 */

const root = resolve(import.meta.dirname, '../..');
const ways = ['direct-routing', 'tunnel', 'masquerade', 'persistent', 'direct-routing-v6', 'sctp'];
const inOurs = [
  'b lists SCTP ESTABLISHED 10.1.0.3:40007 10.1.0.102:80 10.2.0.4:8132',
  'b lists TCP ASSURED 10.1.0.0:0 10.1.0.102:8080 10.2.0.4:8000',
  'b lists TCP ESTABLISHED 10.1.0.3:40001 10.1.0.102:8080 10.2.0.4:8000',
  'b lists TCP ESTABLISHED 10.1.0.3:40002 10.1.0.100:80 10.1.0.4:80',
  'b lists TCP ESTABLISHED 10.1.0.3:40003 10.1.0.101:80 10.1.0.4:80',
  'b lists TCP ESTABLISHED 10.1.0.3:40004 10.1.0.102:80 10.2.0.4:8000',
  'b lists TCP ESTABLISHED 10.1.0.3:40005 10.1.0.102:8080 10.2.0.4:8000',
  'b lists TCP ESTABLISHED [fd01::3]:40006 [fd01::100]:80 [fd01::4]:80',
];
/** /proc/net/ip_vs_conn_sync of the kernel: ports of client and service, state, origin. */
const inKernel = [
  'a lists SCTP 9C4D 0050 ESTABLISHED SYNC',
  'a lists TCP 0000 1F91 ASSURED SYNC',
  'a lists TCP 9C48 0050 ESTABLISHED SYNC',
  'a lists TCP 9C49 0050 ESTABLISHED SYNC',
  'a lists TCP 9C4A 0050 ESTABLISHED SYNC',
  'a lists TCP 9C4B 1F91 ESTABLISHED SYNC',
  'a lists TCP 9C4C 0050 ESTABLISHED SYNC',
];
const goOn = ways.map((name) => `${name}: goes on`);
/**
 * Active connections of real servers, of the streams both ways, as either director counts: of direct routing, tunnel,
 * masquerading, the persistent two, UDP, IPv6 and SCTP.
 */
const counted = [2, 2, 2, 2, 1, 0, 2, 2];

describe.each(process.env.LONG ? (['6.12', '6.1'] as const) : (['6.12'] as const))('Linux %s', (series) => {
  requires(
    'root',
    'qemu',
    'busybox',
    'cpio',
    'xz',
    'depmod',
    'ipvsadm',
    `kernel-${series}`,
  )('connections are told, and go on', () => {
    it('from the kernel to ours, and from ours to the kernel', async () => {
      const command = ['bash', join(import.meta.dirname, 'sync-interop.sh'), join(root, 'bin/headgate.js')];
      const { output, console: messages } = await runInGuest(command, { series, timeoutMs: 540_000 });
      const lines = output.toString().trimEnd().split('\n');
      const seen = `${output}\n${messages.slice(-2000)}`;
      const said = lines.filter((line) => /lists |goes on|is lost|^Sent |^This /.test(line));
      expect(said, seen).toEqual([
        'Sent 1 connection and 1 persistence template in 1 message to 224.0.0.81 port 8848 by inside, sync id 9',
        ...inOurs,
        'silent: goes on',
        ...goOn,
        ...inKernel,
        ...goOn,
        'This network namespace has no data plane now.',
      ]);
      const counts = lines.flatMap((line) => {
        const found = / (?:Route|Masq|Tunnel) +1 +(\d+) +\d+ *$/.exec(line);
        return found ? [Number(found[1])] : [];
      });
      expect(counts, seen).toEqual([...counted, ...counted]);
    }, 600_000);
  });
});
