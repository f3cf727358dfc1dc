import { lookBefore } from '../dataplane/move/look.ts';
import { type BothPlanes, openBothPlanes } from '../dataplane/move/planes.ts';
import { moveToEbpf } from '../dataplane/move/to-ebpf.ts';
import { moveToIpvs } from '../dataplane/move/to-ipvs.ts';
import type { Move, Moved, MovePlan } from '../model/move.ts';
import { connectionsFromEnvironment, sysctlsFromEnvironment } from './embedded.ts';
import { appendEvent } from './events.ts';
import { stateDirectory } from './state-directory.ts';

/** A move that was looked at and not begun; the lock of the data plane is held until `close`. */
export type OpenMove = {
  readonly plan: MovePlan;
  /** Does it. Rejects with a HeadgateError; new connections have then not changed sides. `warn` is told what could not be noted. */
  carryOut(warn: (text: string) => void): Promise<Moved>;
  close(): Promise<void>;
};

/** Looks at what a move between the two planes in the kernel comes to. Rejects with HG_IPVS, HG_MOVE, HG_NOT_ROOT, HG_LOCK_HELD. */
export async function openMove(move: Move): Promise<OpenMove> {
  const planes = await openBothPlanes(connectionsFromEnvironment(), sysctlsFromEnvironment()?.mh_tab_index);
  try {
    const view = await lookBefore(planes, move);
    return {
      plan: view.plan,
      async carryOut(warn) {
        const moved = await (move === 'ipvs-to-ebpf' ? moveToEbpf : moveToIpvs)(planes, view);
        note(planes, moved, warn);
        return moved;
      },
      close: planes.close,
    };
  } catch (error) {
    await planes.close();
    throw error;
  }
}

function note({ directory }: BothPlanes, { move, carried, late }: Moved, warn: (text: string) => void): void {
  const [from, to] = move.split('-to-');
  const state = stateDirectory(directory);
  const event = {
    kind: 'runtime-change',
    what: `migrate: the data plane is ${to} now; ${carried + late} connections and templates came along`,
    by: 'migrate',
    operations: [`~ data plane ${from} -> ${to}`],
    refused: 0,
  } as const;
  const failed = (reason: string) => warn(`Done, but cannot note the event in "${state}": ${reason}`);
  appendEvent(state, event, { now: new Date(), failed });
}
