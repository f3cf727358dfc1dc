import { statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Remote } from '../api/client.ts';
import { readEvents } from '../control/events.ts';
import { stateDirectory } from '../control/state-directory.ts';
import { HeadgateError } from '../model/errors.ts';
import { type Event, eventText } from '../model/event.ts';
import { openDaemon } from './connect.ts';
import type { Streams } from './context.ts';
import { durationArgument } from './duration-argument.ts';
import { type Output, writerOf } from './output.ts';
import { readableState } from './state.ts';

export type EventsOptions = {
  readonly output: Output;
  readonly follow?: boolean;
  readonly since?: string;
};

/** Events shown when nobody says since when. */
const lastEvents = 50;
const pageEvents = 1000;
/** How often the log is looked at where no daemon hands out what is new. */
const lookMs = 200;

/** `events [-f] [--since DURATION]`. With `-f` it ends by a signal. */
export async function events({ output, follow, since }: EventsOptions, streams: Streams): Promise<void> {
  const { stderr } = streams;
  const from = since === undefined ? undefined : Date.now() - durationArgument('--since', since);
  const show = await writerOf(streams, output, eventText);
  const daemon = await openDaemon();
  const directory = stateDirectory(daemon ? daemon.status.directory : await readableState());
  const all = daemon ? await allOf(daemon) : readEvents(directory);
  const wanted = from === undefined ? all.slice(-lastEvents) : all.filter(({ at }) => Date.parse(at) >= from);
  for (const event of wanted) show(event);
  if (!follow) return;
  let last = all.at(-1)?.id ?? 0;
  const take = (event: Event) => {
    last = event.id;
    show(event);
  };
  for (let to = daemon; to; ) {
    const end = await to.follow(last, take);
    if (end.name === 'cut-off') stderr.write(`headgate: The daemon began anew: ${end.reason}\n`);
    else if (directory === undefined) throw new HeadgateError('HG_SOCKET', `Cannot follow: ${end.reason}`);
    else to = undefined;
  }
  // The daemon that comes next writes the same file.
  await followFile(directory, () => last, take);
}

async function allOf(daemon: Remote): Promise<Event[]> {
  const all: Event[] = [];
  for (;;) {
    const page = await daemon.events({ since: all.at(-1)?.id ?? 0, limit: pageEvents });
    all.push(...page);
    if (page.length < pageEvents) return all;
  }
}

async function followFile(
  directory: string | undefined,
  last: () => number,
  take: (event: Event) => void,
): Promise<never> {
  for (let seen = ''; ; await sleep(lookMs)) {
    const now = signOf(directory);
    if (now === seen) continue;
    seen = now;
    const found = readEvents(directory);
    // A log that was removed begins with 1 again.
    const from = (found.at(-1)?.id ?? 0) < last() ? 0 : last();
    for (const event of found.filter(({ id }) => id > from)) take(event);
  }
}

/** Another word whenever the log has more in it. */
function signOf(directory: string | undefined): string {
  const found =
    directory === undefined
      ? undefined
      : statSync(join(directory, 'events.jsonl'), { throwIfNoEntry: false });
  return found ? `${found.ino} ${found.size}` : '';
}
