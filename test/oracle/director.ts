import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DataPlane } from '../../src/dataplane/data-plane.ts';
import { type Instance, openInstance } from '../../src/dataplane/ebpf/instance.ts';
import { openEbpfPlane } from '../../src/dataplane/ebpf/plane.ts';
import { type Kernel, openKernel } from '../../src/dataplane/ipvs/kernel.ts';
import { openIpvsPlane } from '../../src/dataplane/ipvs/plane.ts';
import { gather } from '../../src/model/connection-batches.ts';
import type { Connection, Observed, Operation, Refusal } from '../../src/model/table.ts';
import { setOffloads } from '../../src/sys/ethtool.ts';
import { writeSysctl } from '../../src/sys/sysctl.ts';
import { type Left, openWire } from '../kernel/wire.ts';
import type { Packet } from '../packets/frame.ts';
import { clearIcmpLimits, enterNetns } from '../packets/harness.ts';
import { virtualService } from '../packets/services.ts';
import { buildWorld, type DeviceName, virtualAddresses } from '../packets/world.ts';
import { workFolder } from '../sys/bpf-support.ts';
import { most } from './scenario.ts';

/** What the kernel takes to find out how many counters it can sum up at once (ip_vs_est_calc_phase, ip_vs_est.c). */
const measuredMs = 6000;

/** Ports of the virtual addresses at which packets are marked, of each protocol; and with what. */
export const marked = { first: 7100, last: 7103, mark: 1 } as const;

/**
 * Scenarios that follow each other have other real servers each, which come back after so many: IPVS remembers for up to four minutes
 * one that was deleted, with counters that it sums up late (ip_vs_dest_trash_expire, ip_vs_ctl.c), and a scenario takes twenty
 * seconds at least.
 */
export const crews = 14;

/** A data plane at work between real interfaces, in namespaces of its own; set up once for many scenarios. */
export type Director = {
  readonly name: 'ebpf' | 'ipvs';
  apply(operations: readonly Operation[]): Promise<readonly (Refusal | undefined)[]>;
  /** A packet that comes in at a device; what leaves in consequence. */
  send(device: DeviceName, packet: Packet): Left[];
  /** The table; without `counters` they may be 0. */
  read(look: { readonly counters: boolean }): Promise<Pick<Observed, 'services' | 'timeouts'>>;
  connections(): Promise<readonly Connection[]>;
  /** Forgets what ICMP errors said of paths. */
  forgetPaths(): void;
  close(): Promise<void>;
};

/** The director whose data plane is the program of this project. */
export async function openEbpfDirector(): Promise<Director> {
  const folder = workFolder(true);
  const open = () => openEbpfPlane({ bpffs: folder.path, instance: 'plane', connections: 1 << 14 });
  let instance: Instance | undefined;
  const { plane, ...director } = await openDirector('ebpf', open, async (plane) => {
    instance?.close();
    await plane.cleanUp();
    folder.remove();
  });
  return {
    ...director,
    send(device, packet) {
      // No ICMP error is held back, as with the kernel's.
      instance ??= openInstance(`${folder.path}/plane`);
      if (instance) clearIcmpLimits(instance);
      return director.send(device, packet);
    },
    // Maps have no namespace.
    read: (look) => plane.read(look),
    connections: () => gather(plane.connections()),
  };
}

/** The director whose data plane is the kernel's. */
export async function openIpvsDirector(): Promise<Director> {
  let kernel: Kernel | undefined;
  const { plane, inside, ...director } = await openDirector('ipvs', openIpvsPlane, async (plane) => {
    kernel?.close();
    await plane.apply([{ kind: 'flush' }]);
    await plane.close();
  });
  kernel = await inside(async () => openKernel());
  if (!kernel) throw new Error('open IPVS: this kernel has none');
  const { services, timeouts } = kernel;
  // With the first service the kernel looks at how fast the machine is, and sums up no counters before.
  await director.apply([{ kind: 'add-service', service: virtualService(`tcp ${virtualAddresses.ipv4}:9`) }]);
  await sleep(measuredMs);
  await director.apply([{ kind: 'flush' }]);
  return {
    ...director,
    // The plane reads a file for each sysctl as well.
    read: async () => ({ services: services(), timeouts: timeouts() }),
    connections: () => inside(() => gather(plane.connections())),
  };
}

async function openDirector(
  name: Director['name'],
  open: () => DataPlane,
  end: (plane: DataPlane) => Promise<void>,
) {
  const world = buildWorld(`hg-oracle-${name}-${process.pid}`, crews * most.destinations);
  const inside = <T>(work: () => Promise<T>): Promise<T> => {
    enter(world.director);
    return work();
  };
  const plane = await inside(async () => {
    // Answers of real servers are routed, and no ICMP error is held back.
    for (const family of ['ipv4', 'ipv6']) writeSysctl(`net.${family}.conf.all.forwarding`, 1);
    writeSysctl('net.ipv4.icmp_ratelimit', 0);
    writeSysctl('net.ipv6.icmp.ratelimit', 0);
    // Else the devices would finish checksums, which are none, and what is seen of them is unfinished.
    for (const device of ['c0', 'r0', 'm0'])
      setOffloads(device, { txChecksum: false, tso: false, gso: false });
    mark();
    return open();
  });
  const wire = openWire(world, { patient: true });
  return {
    name,
    plane,
    inside,
    apply: (operations: readonly Operation[]) => inside(() => plane.apply(operations)),
    send: wire.send,
    forgetPaths() {
      enter(world.director);
      writeSysctl('net.ipv4.route.flush', 1);
      writeSysctl('net.ipv6.route.flush', 1);
    },
    async close() {
      await inside(() => end(plane));
      leave();
      wire.close();
      world.remove();
    },
  };
}

/** Lets the firewall of this namespace mark what comes in for a service of a mark. */
function mark(): void {
  const rules = [
    ['ip', virtualAddresses.ipv4],
    ['ip6', virtualAddresses.ipv6],
  ].flatMap(([family, address]) =>
    ['tcp', 'udp', 'sctp'].map(
      (protocol) =>
        `${family} daddr ${address} ${protocol} dport ${marked.first}-${marked.last} meta mark set ${marked.mark}`,
    ),
  );
  const text = `table inet oracle { chain in { type filter hook prerouting priority -150;\n${rules.join('\n')}\n}\n}\n`;
  const { status, stderr } = spawnSync('/usr/sbin/nft', ['-f', '-'], { input: text, encoding: 'utf8' });
  if (status !== 0) throw new Error(`nft: status ${status}, ${stderr}`);
}

/** The namespace this thread is in, and how it comes home. Changing it takes as long as reading a table. */
let here: { readonly path: string; readonly goHome: () => void } | undefined;

/** Stays in a namespace until another one is entered. Whoever works there does nothing else meanwhile. */
function enter(path: string): void {
  if (here?.path === path) return;
  leave();
  here = { path, goHome: enterNetns(path) };
}

function leave(): void {
  here?.goHome();
  here = undefined;
}
