import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { planeDirectory } from '../../src/dataplane/instance-folder.ts';
import { type Lab, up } from '../../src/lab/build.ts';
import { type Helper, startRealServer } from '../../src/lab/processes.ts';
import { type SyncOrder, type SyncRole, syncDefaults } from '../../src/model/connection-sync.ts';
import { bpffsDirectory } from '../../src/sys/mount.ts';
import { netnsCookie } from '../../src/sys/netns.ts';
import { moduleProgram } from '../../src/sys/program.ts';
import { agent, headgateLauncher, run } from '../agent/site.ts';
import { launcher } from '../network/site.ts';

/*
 * Two directors, one of which holds the virtual addresses:
 *
 *     client ── front ──┬── a ── back ──┬── real
 *                       ├── b ──────────┤
 *                       └───────────────┘
 *
 * What the real server sends from its address on `back` goes by 10.72.0.254, an address of whichever director is active;
 * connections are told on `back`.
 */

export type Director = 'a' | 'b';

export const vips = {
  masquerade: { 4: '10.71.0.100', 6: 'fd71::100' },
  'direct-routing': { 4: '10.71.0.101', 6: 'fd71::101' },
  tunnel: { 4: '10.71.0.102', 6: 'fd71::102' },
} as const;
export const reals = {
  masquerade: { 4: '10.72.0.11', 6: 'fd72::11' },
  'direct-routing': { 4: '10.71.0.11', 6: 'fd71::11' },
  tunnel: { 4: '10.71.0.11', 6: 'fd71::11' },
} as const;
export const methods = ['masquerade', 'direct-routing', 'tunnel'] as const;
const flags = { masquerade: '-m', 'direct-routing': '-g', tunnel: '-i' } as const;
const families = [4, 6] as const;

export const at = (address: string, port: number) =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;

/** Services of every method and both families: TCP 7, persistent TCP 8 (masquerading), UDP 5300 (masquerading). */
export const rules: readonly string[] = families.flatMap((family) => [
  ...methods.flatMap((method) => [
    `-A -t ${at(vips[method][family], 7)} -s rr`,
    `-a -t ${at(vips[method][family], 7)} -r ${at(reals[method][family], method === 'masquerade' ? 7007 : 7)} ${flags[method]}`,
  ]),
  `-A -t ${at(vips.masquerade[family], 8)} -s rr -p 300`,
  `-a -t ${at(vips.masquerade[family], 8)} -r ${at(reals.masquerade[family], 7007)} -m`,
  `-A -u ${at(vips.masquerade[family], 5300)} -s rr`,
  `-a -u ${at(vips.masquerade[family], 5300)} -r ${at(reals.masquerade[family], 5353)} -m`,
]);

export type SyncSite = {
  readonly lab: Lab;
  ipvsadm(director: Director, ...words: string[]): string;
  /** Loads rules into an empty table. */
  restore(director: Director, lines: readonly string[]): void;
  /** Starts a sync process with a key, which ipvsadm has no word for; it works when this resolves. */
  startEncrypted(director: Director, role: SyncRole, secret: string): Promise<ChildProcess>;
  /** Gives the virtual addresses to one director, none to the other. */
  activate(director: Director): void;
  /** Lines of `ipvsadm -Lnc` about connections and templates. */
  connections(director: Director): string[];
  pins(director: Director): string;
  down(): Promise<void>;
};

export async function standUpSync(what: string, { connections = 65_536 } = {}): Promise<SyncSite> {
  const held = ['10.72.0.254', 'fd72::fe'];
  const lab = up({
    name: `s${what.slice(0, 4)}${process.pid.toString(36)}`,
    nodes: [
      { name: 'client' },
      ...(['a', 'b'] as const).map((name) => ({
        name,
        sysctls: { 'net.ipv4.ip_forward': 0, 'net.ipv6.conf.all.forwarding': 0 },
      })),
      {
        name: 'real',
        loopback: [`${vips['direct-routing'][4]}/32`, `${vips['direct-routing'][6]}/128`],
        sysctls: { 'net.ipv4.conf.all.arp_ignore': 1, 'net.ipv4.conf.all.arp_announce': 2 },
        rules: families.map((family) => ({
          family: `ipv${family}` as const,
          priority: 100,
          table: 100,
          source: family === 4 ? '10.72.0.11/32' : 'fd72::11/128',
        })),
        routes: families.map((family) => ({
          destination: 'default' as const,
          gateway: held[family === 4 ? 0 : 1]!,
          device: 'back',
          table: 100,
          family: `ipv${family}` as const,
        })),
      },
    ],
    segments: [
      {
        name: 'front',
        ports: [
          { node: 'client', device: 'front', addresses: ['10.71.0.1/24', 'fd71::1/64'] },
          { node: 'a', device: 'front', addresses: ['10.71.0.2/24', 'fd71::2/64'] },
          { node: 'b', device: 'front', addresses: ['10.71.0.3/24', 'fd71::3/64'] },
          { node: 'real', device: 'front', addresses: ['10.71.0.11/24', 'fd71::11/64'] },
        ],
      },
      {
        name: 'back',
        ports: [
          { node: 'a', device: 'back', addresses: ['10.72.0.2/24', 'fd72::2/64'] },
          { node: 'b', device: 'back', addresses: ['10.72.0.3/24', 'fd72::3/64'] },
          { node: 'real', device: 'back', addresses: ['10.72.0.11/24', 'fd72::11/64'] },
        ],
      },
    ],
  });
  let server: Helper | undefined;
  const program = (director: Director, words: readonly string[], input?: string) => {
    const { status, stdout, stderr } = lab.run(director, process.execPath, [launcher, ...words], {
      env: { ...process.env, HEADGATE_CONNECTIONS: String(connections) },
      ...(input !== undefined && { input }),
    });
    if (status !== 0) throw new Error(`ipvsadm ${words.join(' ')}: status ${status}, ${stderr}${stdout}`);
    return stdout;
  };
  const down = async () => {
    await server?.stop();
    for (const director of ['a', 'b'] as const)
      run(lab, director, process.execPath, headgateLauncher, 'clean-up');
    lab.down();
  };
  try {
    agent(lab, 'real', 'up', '--vip', vips.tunnel[4], vips.tunnel[6], '--method', 'tunnel');
    server = await startRealServer(lab, 'real', { name: 'real', tcp: [7, 7007], udp: [5353] });
  } catch (error) {
    await down();
    throw error;
  }
  const addresses = [
    ...methods
      .flatMap((method) => [`${vips[method][4]}/32`, `${vips[method][6]}/128`])
      .map((one) => [one, 'front']),
    ['10.72.0.254/32', 'back'],
    ['fd72::fe/128', 'back'],
  ] as const;
  let active: Director | undefined;
  const address = (director: Director, verb: 'add' | 'del') => {
    for (const [one, device] of addresses)
      run(
        lab,
        director,
        'ip',
        'address',
        verb,
        one,
        'dev',
        device,
        ...(verb === 'add' && one.includes(':') ? ['nodad'] : []),
      );
  };
  return {
    lab,
    ipvsadm: (director, ...words) => program(director, words),
    restore: (director, lines) => void program(director, ['-R'], `${['-C', ...lines].join('\n')}\n`),
    async startEncrypted(director, role, secret) {
      const directory = planeDirectory(String(lab.inside(director, netnsCookie)));
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      const order: SyncOrder = {
        socket: join(directory, `sync-${role}.sock`),
        settings: { ...syncDefaults, role, interface: 'back', secret },
      };
      const child = lab.spawn(director, process.execPath, moduleProgram('daemon/sync-process'), {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      child.stdin!.end(JSON.stringify(order));
      const [said] = (await once(child.stdout!, 'data')) as [Buffer];
      if (said.toString() !== '{}\n') throw new Error(`${role} sync process: ${said}`);
      return child;
    },
    activate(director) {
      if (active) address(active, 'del');
      address(director, 'add');
      active = director;
      // As gratuitous ARP and unsolicited neighbour advertisements would.
      for (const node of ['client', 'real']) run(lab, node, 'ip', 'neigh', 'flush', 'all');
    },
    connections: (director) => program(director, ['-Lnc']).trimEnd().split('\n').slice(2),
    pins: (director) => join(bpffsDirectory, String(lab.inside(director, netnsCookie))),
    down,
  };
}
