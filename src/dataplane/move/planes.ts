import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { HeadgateError } from '../../model/errors.ts';
import type { Lock } from '../../sys/lock.ts';
import { netnsCookie } from '../../sys/netns.ts';
import type { DataPlane } from '../data-plane.ts';
import { bpffsOrError, refuseWithoutPrivilege, stopAllSync } from '../ebpf/host.ts';
import { openHostFeed } from '../ebpf/host-feed.ts';
import { openEbpfPlane } from '../ebpf/plane.ts';
import { standBack, whetherStandsBack } from '../ebpf/stand-back.ts';
import { syncProcesses } from '../ebpf/sync-processes.ts';
import { ipvsFile, planeDirectory, removePlaneDirectory, takeLock, usesIpvs } from '../instance-folder.ts';
import { readBeside, writeBeside } from '../ipvs/beside.ts';
import { kernelMhTableIndex } from '../ipvs/mh-table.ts';
import { openIpvsPlane } from '../ipvs/plane.ts';

/** Both planes in the kernel of one network namespace, under its one lock: for what moves from one to the other. */
export type BothPlanes = {
  /** What lives as long as a plane, whichever it is. */
  readonly directory: string;
  /** The table of the kernel, whoever made it. */
  readonly ipvs: DataPlane;
  /** Ours; its first change sets it up standing back. */
  readonly ebpf: DataPlane;
  hasEbpf(): boolean;
  /** Whether ours leaves new connections to IPVS. */
  standsBack(): boolean;
  standBack(back: boolean): void;
  /** Packets of firewall marks are led to ours as long as it does not stand back; and interfaces that came are covered. */
  arrange(): Promise<void>;
  /** Whether Headgate uses IPVS here. */
  usesIpvs(): boolean;
  /** From here on it does: with ours there as well, commands say that a move is under way. */
  noteIpvs(): void;
  /** From here on it does not. */
  forgetIpvs(): void;
  /** Connections of ours. The plane is there. */
  openFeed(): NonNullable<ReturnType<typeof openHostFeed>>;
  /** Connection sync of ours. */
  readonly ownSync: ReturnType<typeof syncProcesses>;
  /** Ours goes, with all it has. */
  removeEbpf(): Promise<void>;
  close(): Promise<void>;
};

export type BothOptions = {
  /** The size of a table that is set up. */
  readonly connections?: number;
  /** That of its tables of mh; the kernel's when it is left out. */
  readonly mhTableIndex?: number;
  /** The lock, where this process has it. */
  readonly held?: Pick<Lock, 'share'>;
};

/** Opens both. Rejects with HG_IPVS, HG_NOT_ROOT, HG_NO_BPF, HG_LOCK_HELD. */
export async function openBothPlanes({
  connections,
  mhTableIndex = kernelMhTableIndex(),
  held,
}: BothOptions): Promise<BothPlanes> {
  refuseWithoutPrivilege();
  const instance = String(netnsCookie());
  const directory = planeDirectory(instance);
  const lock = held?.share() ?? (await takeLock(instance));
  let bpffs: string | undefined;
  let ipvs: DataPlane;
  const hasEbpf = () => bpffs !== undefined && existsSync(join(bpffs, instance));
  // Looking at a namespace leaves nothing behind.
  const letGo = () => (hasEbpf() || usesIpvs(instance) ? lock.release() : lock.remove());
  try {
    bpffs = bpffsOrError();
    if (!held && !hasEbpf() && !usesIpvs(instance)) removePlaneDirectory(instance);
    ipvs = openIpvsPlane({
      directory,
      purpose: {
        action: 'move',
        hint: 'There is nothing to move to or from: ebpf forwards here. headgate import FILE takes rules from a file',
      },
    });
  } catch (error) {
    letGo();
    throw error;
  }
  const pins = join(bpffs, instance);
  const ebpf = openEbpfPlane({
    ...{ bpffs, instance, standsBack: true, sysctls: { mh_tab_index: mhTableIndex } },
    ...(connections !== undefined && { connections }),
  });
  return {
    ...{ directory, ipvs, ebpf, hasEbpf },
    standsBack: () => whetherStandsBack(pins) === true,
    standBack: (back) => standBack(pins, back),
    async arrange() {
      await ebpf.cover?.();
    },
    usesIpvs: () => usesIpvs(instance),
    noteIpvs: () => writeBeside(directory, readBeside(directory)),
    forgetIpvs: () => rmSync(ipvsFile(directory), { force: true }),
    openFeed() {
      const feed = openHostFeed();
      if (feed) return feed;
      throw new HeadgateError(
        'HG_LAYOUT',
        'Cannot read the connections: another build set the data plane up',
      );
    },
    ownSync: syncProcesses(directory),
    async removeEbpf() {
      await stopAllSync(directory);
      await ebpf.cleanUp();
    },
    async close() {
      await ipvs.close();
      await ebpf.close();
      letGo();
    },
  };
}
