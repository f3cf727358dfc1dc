import type { Served } from '../api/server.ts';
import type { Exchangeable } from '../control/controller.ts';
import type { NoteEvent } from '../control/events.ts';
import type { FromFile } from '../control/load-wanted.ts';
import { HeadgateError } from '../model/errors.ts';
import { goalOf, type Move, type MovePlan, moves, refuseBefore } from '../model/move.ts';
import type { ConnectionSync } from './connection-sync.ts';
import type { Log } from './log.ts';
import type { Turns } from './turns.ts';

export type MigrateOptions = {
  readonly held: Exchangeable;
  readonly path: string;
  /** The configuration as its file says it now. Throws HG_CONFIG. */
  readonly readFile: () => Pick<FromFile, 'dataPlane' | 'connections'>;
  readonly turns: Turns;
  readonly sync: Pick<ConnectionSync, 'meanwhile'>;
  readonly log: Log;
  readonly note: NoteEvent;
  /** Told of another plane under the controller, before anything else is done with that. */
  readonly exchanged: () => Promise<void>;
};

/** Moves what a daemon forwards to the other plane in the kernel, for as long as it runs. */
export type Mover = {
  readonly migrate: Served['migrate'];
  /** Whether it is at it, or waits for its turn: then nothing else gets one for a while. */
  isMoving(): boolean;
};

/**
 * The daemon stays the one writer: the move is made in a turn of its own under the daemon's lock, and whatever becomes of it, the
 * controller is afterwards that of the plane to which new connections go.
 */
export function openMover({
  held,
  path,
  readFile,
  turns,
  sync,
  log,
  note,
  exchanged,
}: MigrateOptions): Mover {
  const { controller } = held;
  let moving = false;

  async function move(wish: Move, yes: boolean) {
    const { openMove, controllerAfter, movedEvent } = await import('../control/migrate.ts');
    const { dataPlane, connections } = readFile();
    const size = connections === undefined ? {} : { connections };
    const opened = await openMove(wish, { held: controller, ...size });
    try {
      const plan = forDaemon(opened.plan, path, dataPlane);
      if (!yes || !plan.needed) return { ...plan, done: false };
      refuseBefore(plan);
      log('info', 'the data plane changes', { from: controller.capabilities.name, to: goalOf(wish) });
      try {
        const moved = await opened.carryOut();
        note(movedEvent(moved));
        return { ...moved, before: plan.before, notes: plan.notes };
      } finally {
        const next = await controllerAfter(opened, controller, size);
        if (next) {
          await held.exchange(next).close();
          await exchanged();
        }
        log('info', 'the data plane in use', { dataPlane: controller.capabilities.name });
      }
    } catch (error) {
      if (yes)
        log('error', 'the data plane has not changed as it was told to', {
          dataPlane: controller.capabilities.name,
          reason: error instanceof Error ? error.message : String(error),
        });
      throw error;
    } finally {
      await opened.close();
    }
  }

  return {
    async migrate({ move: wish, yes }) {
      if (moving)
        throw new HeadgateError('HG_MOVE', 'Cannot move: a move is under way', {
          hint: 'headgate status names the data plane, and headgate events has the move when it is done',
        });
      if (!yes) return turns.inTurn(() => move(wish, yes));
      moving = true;
      try {
        return await turns.inTurn(() => sync.meanwhile(() => move(wish, yes)));
      } finally {
        moving = false;
      }
    },
    isMoving: () => moving,
  };
}

/** Says where a configuration wants another plane than the one in use, to which no reload takes it. */
export function tellOfOtherPlane(
  { capabilities: { name } }: Pick<Exchangeable['controller'], 'capabilities'>,
  { dataPlane = 'auto' }: Partial<Pick<FromFile, 'dataPlane'>>,
  log: Log,
): void {
  if (dataPlane === 'auto' || dataPlane === name) return;
  const move = moves.find((one) => one === `${name}-to-${dataPlane}`);
  log('info', 'the data plane stays as it is', {
    ...{ dataPlane: name, configured: dataPlane },
    next: move ? `headgate migrate ${move}` : 'start the daemon again',
  });
}

/** A plan with what the daemon's configuration adds to it: at the next start its word counts. */
function forDaemon(plan: MovePlan, path: string, configured: FromFile['dataPlane']): MovePlan {
  if (!plan.needed) return plan;
  const goal = goalOf(plan.move);
  const fromEnvironment = process.env.HEADGATE_PLANE || 'auto';
  const contrary = (value: string) => value !== goal && value !== 'auto';
  return {
    ...plan,
    before: [
      ...(contrary(configured) ? [`"${path}" says dataPlane: ${configured}: write dataPlane: ${goal}`] : []),
      ...(contrary(fromEnvironment)
        ? [`HEADGATE_PLANE of the daemon is ${fromEnvironment}: take it out of its environment`]
        : []),
    ],
    notes: [
      ...plan.notes,
      ...(configured === 'auto' && goal === 'ipvs'
        ? [`after the next boot of this host dataPlane: auto of "${path}" takes ebpf: dataPlane: ipvs stays`]
        : []),
    ],
  };
}
