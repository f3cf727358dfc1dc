import type { Served } from '../api/server.ts';
import type { Controller } from '../control/controller.ts';
import type { NoteEvent } from '../control/events.ts';
import { changeOverrides, listOverrides, type Names, noteOverrides } from '../control/overrides.ts';
import type { Log } from './log.ts';

/** What people decide about real servers, as the API serves it. `inTurn` puts a change behind the others. */
export function serveOverrides({
  controller,
  names,
  inTurn,
  log,
  note,
  now,
  changed,
}: {
  readonly controller: Controller;
  /** Those of the configuration in force. */
  readonly names: () => Names;
  readonly inTurn: <T>(work: () => Promise<T>) => Promise<T>;
  readonly log: Log;
  readonly note: NoteEvent;
  readonly now: () => Date;
  /** Told when something was decided. */
  readonly changed: () => void;
}): Pick<Served, 'overrides' | 'override'> {
  return {
    overrides: () => inTurn(() => listOverrides(controller, names())),
    override: (request) =>
      inTurn(async () => {
        const servers = await changeOverrides(controller, names(), request, now());
        for (const { service, realServer, state, reason, changed, connections } of servers)
          if (changed)
            log('info', 'real server changed by a person', {
              realServer: `${service}/${realServer}`,
              state,
              by: request.by,
              ...(reason !== undefined && { reason }),
              connections,
            });
        noteOverrides(servers, request.by, note);
        changed();
        return servers;
      }),
  };
}
