import type { OwnController } from '../control/controller.ts';
import type { NoteEvent } from '../control/events.ts';
import type { Log } from './log.ts';

export type LinksOptions = {
  readonly controller: Pick<OwnController, 'interfacesChanged' | 'cover'>;
  /** Runs work when no other is under way on the table. */
  readonly inTurn: <T>(work: () => Promise<T>) => Promise<T>;
  readonly log: Log;
  readonly note: NoteEvent;
};

/** How often the kernel's messages are looked through: 2 us each time. */
const listenMs = 250;
/** A program can be taken off without a message. */
const rounds = 40;

/** Keeps a data plane that is put on interfaces on every one, also those that come later, until `stop`. */
export function coverInterfaces({ controller, inTurn, log, note }: LinksOptions): { stop(): void } {
  let round = 0;
  let underWay = false;
  let failure: string | undefined;
  const timer = setInterval(() => {
    round = (round + 1) % rounds;
    // A message that comes while covering is under way is found by the next look.
    if (underWay || !controller.cover || !(controller.interfacesChanged?.() || round === 0)) return;
    underWay = true;
    void inTurn(cover).finally(() => {
      underWay = false;
    });
  }, listenMs);

  async function cover(): Promise<void> {
    try {
      for (const device of (await controller.cover?.()) ?? []) {
        log('info', 'interface covered', { device });
        note({ kind: 'interface-attached', what: `${device} takes packets now`, interface: device });
      }
      failure = undefined;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== failure) log('error', 'interfaces not covered', { reason });
      failure = reason;
    }
  }

  return { stop: () => clearInterval(timer) };
}
