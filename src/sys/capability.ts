import { readFileSync } from 'node:fs';

/** Bits of capabilities(7), numbers of include/uapi/linux/capability.h. */
const bits = { net_admin: 12n, net_raw: 13n, sys_admin: 21n } as const;

/** Whether this process has a capability in effect. */
export function hasCapability(name: keyof typeof bits): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return (BigInt(`0x${effective}`) & (1n << bits[name])) !== 0n;
}
