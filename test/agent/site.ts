import type { SpawnSyncReturns } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type Lab, up } from '../../src/lab/build.ts';
import { openFrameSocket } from '../../src/sys/raw.ts';

/** Addresses of one IP version. */
export const plans = {
  4: {
    vip: '10.91.0.100',
    other: '10.91.0.101',
    real: '10.91.0.11',
    director: '10.91.0.254',
    far: '10.99.0.1',
  },
  6: { vip: 'fd91::100', other: 'fd91::101', real: 'fd91::11', director: 'fd91::fe', far: 'fd99::1' },
} as const;

export const headgateLauncher = resolve(import.meta.dirname, '../../bin/headgate.js');
const ipvsadmLauncher = resolve(import.meta.dirname, '../../bin/ipvsadm.js');

/**
 * A client, a director and a real server that nobody has prepared:
 *
 *     client ── net ──┬── director
 *        │            └── real
 *        └───── out ───────┘
 *
 * The client also has an address that is on neither network; what the real server sends there goes by its default route,
 * through `out`.
 */
export function standUp(what: string): Lab {
  const name = `a${what.slice(0, 4)}${process.pid.toString(36)}`;
  return up({
    name,
    nodes: [
      { name: 'client', loopback: ['10.99.0.1/32', 'fd99::1/128'] },
      { name: 'director' },
      {
        name: 'real',
        routes: [
          { destination: 'default', gateway: '10.92.0.1', device: 'out', priority: 100 },
          { destination: 'default', gateway: 'fd92::1', device: 'out', priority: 1024 },
        ],
      },
    ],
    segments: [
      {
        name: 'net',
        ports: [
          { node: 'client', device: 'net', addresses: ['10.91.0.1/24', 'fd91::1/64'] },
          {
            node: 'director',
            device: 'net',
            addresses: ['10.91.0.254/24', 'fd91::fe/64', '10.91.0.100/32', 'fd91::100/128'],
          },
          { node: 'real', device: 'net', addresses: ['10.91.0.11/24', 'fd91::11/64'] },
        ],
      },
      {
        name: 'out',
        ports: [
          { node: 'client', device: 'out', addresses: ['10.92.0.1/24', 'fd92::1/64'] },
          { node: 'real', device: 'out', addresses: ['10.92.0.11/24', 'fd92::11/64'] },
        ],
      },
    ],
  });
}

/** Runs `headgate agent` on a node. */
export function tryAgent(lab: Lab, node: string, ...words: string[]): SpawnSyncReturns<string> {
  return lab.run(node, process.execPath, [headgateLauncher, 'agent', ...words]);
}

/** The same; what it printed, line by line. Throws when it fails. */
export function agent(lab: Lab, node: string, ...words: string[]): string[] {
  const { status, stdout, stderr } = tryAgent(lab, node, ...words);
  if (status !== 0) throw new Error(`agent ${words.join(' ')}: status ${status}, ${stderr}${stdout}`);
  return stdout.trimEnd().split('\n');
}

/** Runs a command on a node; what it printed. Throws when it fails. */
export function run(lab: Lab, node: string, command: string, ...words: string[]): string {
  const { status, stdout, stderr } = lab.run(node, command, words);
  if (status !== 0) throw new Error(`${command} ${words.join(' ')}: status ${status}, ${stderr}${stdout}`);
  return stdout;
}

/** Runs `ipvsadm` on the director. */
export const ipvsadm = (lab: Lab, ...words: string[]): string =>
  run(lab, 'director', 'env', 'HEADGATE_CONNECTIONS=65536', process.execPath, ipvsadmLauncher, ...words);

/** Takes the director's data plane away, then the lab: pins outlive a namespace. */
export function takeDown(lab: Lab): void {
  run(lab, 'director', process.execPath, headgateLauncher, 'clean-up');
  lab.down();
}

/** Everything of a node that the agent could have touched, as the kernel and iproute2 show it. */
export function snapshot(lab: Lab, node: string): Record<string, string> {
  const shown = (...words: string[]) =>
    run(lab, node, 'ip', '-j', ...words)
      .replaceAll(/"(preferred|valid)_life_time":\d+,?/g, '')
      .replaceAll(/"expires":\d+,?/g, '');
  return {
    addresses: shown('address'),
    routes: shown('-4', 'route', 'show', 'table', 'all'),
    routes6: shown('-6', 'route', 'show', 'table', 'all'),
    ...lab.inside(node, () => ({
      ...parameters('/proc/sys/net/ipv4'),
      ...parameters('/proc/sys/net/ipv6/conf'),
    })),
  };
}

/** Readable parameters below a folder; secrets and counters of use are not settings. */
function parameters(folder: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(folder).flatMap((name) => {
      const path = join(folder, name);
      if (statSync(path).isDirectory()) return Object.entries(parameters(path));
      if (/stable_secret|fib_sync|tcp_fastopen_key|flush$/.test(name)) return [];
      return [[path, readFileSync(path, 'utf8').trim()]];
    }),
  );
}

const arp = 0x0806;
const answerTimeoutMs = 700;

/** Asks on the client's `net` who has an IPv4 address; the MAC addresses that claim it. */
export function whoHas(lab: Lab, address: string): string[] {
  const link = JSON.parse(run(lab, 'client', 'ip', '-j', 'link', 'show', 'dev', 'net'))[0];
  const mac = Buffer.from(link.address.replaceAll(':', ''), 'hex');
  const quad = (text: string) => Buffer.from(text.split('.').map(Number));
  // RFC 826: Ethernet, IPv4, lengths 6 and 4, request, sender, target.
  const question = Buffer.concat([
    Buffer.alloc(6, 0xff),
    mac,
    Buffer.from('0806000108000604' + '0001', 'hex'),
    mac,
    quad('10.91.0.1'),
    Buffer.alloc(6),
    quad(address),
  ]);
  const socket = lab.inside('client', () => openFrameSocket(link.ifindex, { protocol: arp }));
  try {
    socket.send(question);
    const answers = new Set<string>();
    const deadline = performance.now() + answerTimeoutMs;
    for (let left = answerTimeoutMs; left > 0; left = deadline - performance.now()) {
      const frame = socket.receive(left);
      if (!frame || frame.outgoing || frame.bytes.readUInt16BE(20) !== 2) continue;
      if (frame.bytes.subarray(28, 32).equals(quad(address)))
        answers.add(frame.bytes.toString('hex', 22, 28));
    }
    return [...answers];
  } finally {
    socket.close();
  }
}
