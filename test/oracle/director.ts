import type { DataPlane } from '../../src/dataplane/data-plane.ts';
import { type Instance, openInstance } from '../../src/dataplane/ebpf/instance.ts';
import { openEbpfPlane } from '../../src/dataplane/ebpf/plane.ts';
import { openIpvsPlane } from '../../src/dataplane/ipvs/plane.ts';
import type { Connection, Observed, Operation, Refusal } from '../../src/model/table.ts';
import { writeSysctl } from '../../src/sys/sysctl.ts';
import { type Left, openWire } from '../kernel/wire.ts';
import type { Packet } from '../packets/frame.ts';
import { clearIcmpLimits, enterNetns } from '../packets/harness.ts';
import { buildWorld, type DeviceName } from '../packets/world.ts';
import { workFolder } from '../sys/bpf-support.ts';

/** A data plane at work between real interfaces, in namespaces of its own; set up once for many scenarios. */
export type Director = {
  readonly name: 'ebpf' | 'ipvs';
  apply(operations: readonly Operation[]): Promise<readonly (Refusal | undefined)[]>;
  /** A packet that comes in at a device; what leaves in consequence. */
  send(device: DeviceName, packet: Packet): Left[];
  read(): Promise<Observed>;
  connections(): Promise<readonly Connection[]>;
  close(): Promise<void>;
};

/** The director whose data plane is the program of this project. */
export async function openEbpfDirector(): Promise<Director> {
  const folder = workFolder(true);
  const open = () => openEbpfPlane({ bpffs: folder.path, instance: 'plane', connections: 1 << 14 });
  let instance: Instance | undefined;
  const director = await openDirector('ebpf', open, async (plane) => {
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
  };
}

/** The director whose data plane is the kernel's. */
export const openIpvsDirector = (): Promise<Director> =>
  openDirector('ipvs', openIpvsPlane, async (plane) => {
    await plane.apply([{ kind: 'flush' }]);
    await plane.close();
  });

async function openDirector(
  name: Director['name'],
  open: () => DataPlane,
  end: (plane: DataPlane) => Promise<void>,
): Promise<Director> {
  const world = buildWorld(`hg-oracle-${name}-${process.pid}`);
  const inside = async <T>(work: () => Promise<T>): Promise<T> => {
    const goHome = enterNetns(world.director);
    try {
      return await work();
    } finally {
      goHome();
    }
  };
  const plane = await inside(async () => {
    // Answers of real servers are routed, and no ICMP error is held back.
    for (const family of ['ipv4', 'ipv6']) writeSysctl(`net.${family}.conf.all.forwarding`, 1);
    writeSysctl('net.ipv4.icmp_ratelimit', 0);
    writeSysctl('net.ipv6.icmp.ratelimit', 0);
    return open();
  });
  const wire = openWire(world);
  return {
    name,
    apply: (operations) => inside(() => plane.apply(operations)),
    send: wire.send,
    read: () => inside(() => plane.read()),
    connections: () => inside(() => plane.connections()),
    async close() {
      await inside(() => end(plane));
      wire.close();
      world.remove();
    },
  };
}
