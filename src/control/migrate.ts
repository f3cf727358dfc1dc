import { lookBefore } from '../dataplane/move/look.ts';
import { openBothPlanes } from '../dataplane/move/planes.ts';
import { moveToEbpf } from '../dataplane/move/to-ebpf.ts';
import { moveToIpvs } from '../dataplane/move/to-ipvs.ts';
import { HeadgateError } from '../model/errors.ts';
import type { NewEvent } from '../model/event.ts';
import type { Move, Moved, MovePlan } from '../model/move.ts';
import type { OwnController } from './controller.ts';
import { connectionsFromEnvironment, openUnder, sysctlsFromEnvironment } from './embedded.ts';
import { appendEvent } from './events.ts';
import { stateDirectory } from './state-directory.ts';

export type MoveOptions = {
  /** The controller of the process that is the one writer here; without it the lock is taken until `close`. */
  readonly held?: OwnController;
  /** The size of a table that is set up, unless HEADGATE_CONNECTIONS says otherwise. */
  readonly connections?: number;
};

/** A move that was looked at and not begun. */
export type OpenMove = {
  readonly plan: MovePlan;
  /** What lives as long as a plane, whichever it is. */
  readonly directory: string;
  /** Does it. Rejects with a HeadgateError; new connections have then not changed sides, or have, as `scheduling` says. */
  carryOut(): Promise<Moved>;
  /** Which plane new connections are of now; undefined: the one they were of before. */
  scheduling(): 'ebpf' | 'ipvs' | undefined;
  close(): Promise<void>;
};

/** Looks at what a move between the two planes in the kernel comes to. Rejects with HG_IPVS, HG_MOVE, HG_NOT_ROOT, HG_LOCK_HELD. */
export async function openMove(move: Move, { held, connections }: MoveOptions = {}): Promise<OpenMove> {
  const size = connectionsFromEnvironment() ?? connections;
  if (held && !held.lock)
    throw new HeadgateError('HG_MOVE', `Cannot move: the daemon forwards by ${held.capabilities.name}`, {
      hint: 'Only what ebpf and ipvs forward can change sides: dataPlane: auto, and start the daemon again',
    });
  const mhTableIndex = sysctlsFromEnvironment()?.mh_tab_index;
  const planes = await openBothPlanes({
    ...(size !== undefined && { connections: size }),
    ...(mhTableIndex !== undefined && { mhTableIndex }),
    ...(held?.lock && { held: held.lock }),
  });
  try {
    const view = await lookBefore(planes, move);
    return {
      plan: view.plan,
      directory: planes.directory,
      carryOut: () => (move === 'ipvs-to-ebpf' ? moveToEbpf : moveToIpvs)(planes, view),
      scheduling() {
        if (!planes.hasEbpf()) return 'ipvs';
        return planes.standsBack() ? undefined : 'ebpf';
      },
      close: planes.close,
    };
  } catch (error) {
    await planes.close();
    throw error;
  }
}

/** The controller of the plane that new connections are of, where that is not the one held; under its lock. Rejects with a HeadgateError. */
export async function controllerAfter(
  { scheduling }: OpenMove,
  held: OwnController,
  { connections }: Pick<MoveOptions, 'connections'>,
): Promise<OwnController | undefined> {
  const name = scheduling();
  if (name === undefined || name === held.capabilities.name) return undefined;
  return openUnder(held, name, connections === undefined ? {} : { connections });
}

/** What the log of events says of it. */
export function movedEvent({ move, carried, late }: Moved): NewEvent {
  const [from, to] = move.split('-to-');
  return {
    kind: 'runtime-change',
    what: `migrate: the data plane is ${to} now; ${carried + late} connections and templates came along`,
    by: 'migrate',
    operations: [`~ data plane ${from} -> ${to}`],
    refused: 0,
  };
}

/** Notes a move where no daemon has the log of events. `warn` is told why it could not be noted. */
export function noteMove(directory: string, moved: Moved, warn: (text: string) => void): void {
  const state = stateDirectory(directory);
  const failed = (reason: string) => warn(`Done, but cannot note the event in "${state}": ${reason}`);
  appendEvent(state, movedEvent(moved), { now: new Date(), failed });
}
