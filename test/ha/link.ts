import { spawnSync } from 'node:child_process';
import { createNamedNetns, deleteNamedNetns } from '../../src/sys/netns.ts';

/** Two directors on one wire. */
export type Wire = {
  readonly a: string;
  readonly b: string;
  /** Runs `ip` in a namespace and returns what it printed; throws with what it said when it fails. */
  ip(netns: string, ...words: string[]): string;
  /** Whether a namespace has an address. */
  has(netns: string, address: string): boolean;
  close(): void;
};

/** Connects two namespaces, of which it makes both, the first or none: eth0 at both ends, 10.77.0.1 and 10.77.0.2, fd77::1 and fd77::2. */
export function layWire(a: string, b: string, { make }: { readonly make: boolean | 'a' }): Wire {
  const made = make === 'a' ? [a] : make ? [a, b] : [];
  for (const netns of made) createNamedNetns(netns);
  const ip = (netns: string, ...words: string[]): string => {
    const { status, stdout, stderr } = spawnSync('ip', ['-n', netns, ...words], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`ip ${words.join(' ')}: ${stderr}`);
    return stdout;
  };
  ip(a, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', b);
  for (const [i, netns] of [a, b].entries()) {
    ip(netns, 'link', 'set', 'lo', 'up');
    ip(netns, 'address', 'add', `10.77.0.${i + 1}/24`, 'dev', 'eth0');
    ip(netns, 'address', 'add', `fd77::${i + 1}/64`, 'dev', 'eth0', 'nodad');
    ip(netns, 'address', 'add', `fe80::${i + 1}/64`, 'dev', 'eth0', 'nodad');
    ip(netns, 'link', 'set', 'eth0', 'up');
  }
  return {
    ...{ a, b, ip },
    has: (netns, address) => ip(netns, '-br', 'address').includes(` ${address}/`),
    close: () => {
      for (const netns of made) deleteNamedNetns(netns);
    },
  };
}

/** Waits until something holds, and says how long that took, milliseconds. */
export async function until(holds: () => boolean, what: string, withinMs = 15_000): Promise<number> {
  const from = performance.now();
  while (!holds()) {
    if (performance.now() - from > withinMs) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
  return performance.now() - from;
}
