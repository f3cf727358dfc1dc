import { readdirSync } from 'node:fs';
import { expect, it } from 'vitest';
import { openEbpfPlane } from '../../src/dataplane/ebpf/plane.ts';
import type { Address } from '../../src/model/address.ts';
import type { Operation } from '../../src/model/table.ts';
import { createNamedNetns, deleteNamedNetns } from '../../src/sys/netns.ts';
import { requires } from '../requirements.ts';
import { workFolder } from '../sys/bpf-support.ts';
import { enterNetns } from './harness.ts';

const service: Operation = {
  kind: 'add-service',
  service: {
    id: { kind: 'address', protocol: 'tcp', address: '192.0.2.1' as Address, port: 80 },
    scheduler: 'rr',
    schedulerFlags: { flag1: false, flag2: false, flag3: false },
    onePacket: false,
  },
};

/** Instances in a bpffs, whole or half made. */
const pinned = (bpffs: string) => readdirSync(bpffs).filter((name) => name.startsWith('plane'));

/** Descriptors of this process, most of them of the kernel's BPF objects. */
const openDescriptors = () => readdirSync('/proc/self/fd').length;

requires('root', 'bpf')('a plane that gets ready', () => {
  const inNamespace = async (
    work: (plane: ReturnType<typeof openEbpfPlane>, bpffs: string) => Promise<void>,
  ) => {
    const name = `hgready-${process.pid}`;
    createNamedNetns(name);
    const folder = workFolder(true);
    const goHome = enterNetns(`/run/netns/${name}`);
    const plane = openEbpfPlane({ bpffs: folder.path, instance: 'plane', connections: 1024 });
    try {
      await work(plane, folder.path);
    } finally {
      await plane.cleanUp();
      goHome();
      folder.remove();
      deleteNamedNetns(name);
    }
  };

  it('shows nothing of it before the first change, which then finds everything', () =>
    inNamespace(async (plane, bpffs) => {
      await plane.getReady!();
      expect(pinned(bpffs)).toEqual([]);
      expect((await plane.read()).services).toEqual([]);
      expect(await plane.apply([service])).toEqual([undefined]);
      expect(pinned(bpffs)).toEqual(['plane']);
      // There is nothing more to get ready.
      const before = openDescriptors();
      await plane.getReady!();
      expect(openDescriptors()).toBe(before);
    }));

  it('lets go of all of it where no change comes', () =>
    inNamespace(async (plane, bpffs) => {
      const before = openDescriptors();
      await plane.getReady!();
      expect(openDescriptors()).toBeGreaterThan(before);
      await plane.close();
      expect(openDescriptors()).toBe(before);
      expect(pinned(bpffs)).toEqual([]);
    }));
});
