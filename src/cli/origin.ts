import type { Controller } from '../control/controller.ts';
import { appendEvent, type NoteEvent } from '../control/events.ts';
import type { Origin } from '../control/note-generation.ts';
import { stateDirectory } from '../control/state-directory.ts';
import type { Streams } from './context.ts';

/** What a command that puts a configuration in force without a daemon tells of it, and where. */
export function originOf(
  controller: Controller,
  file: string,
  { stderr }: Pick<Streams, 'stderr'>,
): Origin & Required<Pick<Origin, 'note' | 'failed'>> {
  const directory = stateDirectory(controller.directory);
  return {
    file,
    now: new Date(),
    note: noteOf(controller, { stderr }),
    failed: warner(stderr, `cannot keep this generation for "headgate rollback" in "${directory}"`),
  };
}

/** Where a command that works without a daemon tells what happened. */
export function noteOf(controller: Controller, { stderr }: Pick<Streams, 'stderr'>): NoteEvent {
  const directory = stateDirectory(controller.directory);
  const failed = warner(stderr, `cannot note the event in "${directory}"`);
  return (event) => appendEvent(directory, event, { now: new Date(), failed });
}

const warner = (stderr: Streams['stderr'], what: string) => (reason: string) =>
  void stderr.write(`headgate: Done, but ${what}: ${reason}\n`);
