import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { runInGuest } from './guest.ts';

/*
 * The committed object on the kernels people run: it loads, and every method carries a megabyte each way, unchanged. The
 * tunnels end in the kernel's own tunl0 and ip6tnl0, which the development kernel does not have; nor does it have SCTP.
 */

const root = resolve(import.meta.dirname, '../..');
const ways = [
  'direct-routing',
  'tunnel',
  'masquerade',
  'vlan',
  'direct-routing-v6',
  'tunnel-v6',
  'full-nat',
  'full-nat-v6',
];
const sctpWays = [
  'direct-routing',
  'tunnel',
  'masquerade',
  'full-nat',
  'direct-routing-v6',
  'tunnel-v6',
  'masquerade-finished',
];
/** Reached through tunnels that end on the director; the second by a firewall mark. */
const tunneled = ['10.1.0.104', '10.1.0.104:81', '[fd01::104]'];

describe.each(['6.12', '6.1'] as const)('Linux %s', (series) => {
  requires(
    'root',
    'qemu',
    'busybox',
    'cpio',
    'xz',
    'depmod',
    'curl',
    'ethtool',
    'nft',
    `kernel-${series}`,
  )('forwards', () => {
    it('a megabyte each way by every method, IPv4 and IPv6, and from a VLAN; and looks into tunnels or does not', async () => {
      const script = join(import.meta.dirname, 'forwarding.sh');
      const command = ['bash', script, join(root, 'bin/ipvsadm.js')];
      const { output, console: messages } = await runInGuest(command, { series, timeoutMs: 540_000 });
      const lines = output.toString().split('\n');
      const transfers = lines.filter((line) => / (down|up) /.test(line));
      expect(transfers, `${output}\n${messages}`).toEqual(
        ways.flatMap((way) => [`${way} down ok`, `${way} up true`]),
      );
      const associations = lines.filter((line) => / sctp /.test(line));
      expect(associations, `${output}\n${messages}`).toEqual(sctpWays.map((way) => `${way} sctp ok`));
      // The listing at the end shows that the services were there all along.
      expect(lines.filter((line) => line.startsWith('TCP '))).toHaveLength(ways.length + tunneled.length - 1);
      // curl(1), 7: nobody listens on the director itself, which is where packets go that are not looked at. What had a label (MPLS)
      // is no tunnel to IPVS, which looks at packets of IP alone.
      const ignoring = (value: number, result: string) => [
        ...tunneled.map((at) => `ignore_tunneled=${value} ${at} ${result}`),
        `ignore_tunneled=${value} 10.1.0.105:81 served`,
        `ignore_tunneled=${value} 10.1.0.102 served`,
      ];
      expect(
        lines.filter((line) => line.startsWith('ignore_tunneled=')),
        `${output}\n${messages}`,
      ).toEqual([...ignoring(0, 'served'), ...ignoring(1, '7')]);
    }, 600_000);
  });
});
