import type { Controller } from '../control/controller.ts';
import { appendEvent } from '../control/events.ts';
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
  const now = new Date();
  const warn = (what: string) => (reason: string) =>
    void stderr.write(`headgate: Done, but ${what} in "${directory}": ${reason}\n`);
  return {
    file,
    now,
    note: (event) => appendEvent(directory, event, { now, failed: warn('cannot note the event') }),
    failed: warn('cannot keep this generation for "headgate rollback"'),
  };
}
