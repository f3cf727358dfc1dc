import {
  closeSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Event, NewEvent } from '../model/event.ts';

/*
 * What happened, as lines of JSON in the state directory: events.jsonl, and events.1.jsonl with what came before. Whoever
 * holds the instance's lock appends; anybody of the same user may read at any time. A line that is cut off, as the last
 * one may be, is no event.
 */

/** Bytes of one of the two files. */
export const eventFileBytes = 1024 * 1024;
/** Signs of one text in an event; more is cut off. */
const longestText = 2000;
const tailBytes = 64 * 1024;

const currentFile = (directory: string): string => join(directory, 'events.jsonl');
const olderFile = (directory: string): string => join(directory, 'events.1.jsonl');

/** Notes what happened. Never throws: what happened has happened, whether it can be noted or not. */
export type NoteEvent = (event: NewEvent) => void;

/** The kinds that tell a person their order was carried out for good: they are on the disk before the answer is given. */
const acknowledged: readonly NewEvent['kind'][] = ['configuration-applied', 'rolled-back', 'override-set'];

/** Every event that is kept, oldest first; none where there is no directory. */
export function readEvents(directory: string | undefined): Event[] {
  if (directory === undefined) return [];
  return [olderFile(directory), currentFile(directory)].flatMap((path) => eventsIn(textOf(path)));
}

/**
 * Notes an event where no log is held open. The caller holds the instance's lock. `failed` is told why it could not be
 * noted.
 */
export function appendEvent(
  directory: string | undefined,
  event: NewEvent,
  { now, failed }: { readonly now: Date; readonly failed: (reason: string) => void },
): void {
  if (directory === undefined) return;
  attempt(failed, () => append(directory, { ...event, id: lastId(directory) + 1, at: now.toISOString() }));
}

/** The log of a process that holds the lock for its life. */
export type EventLog = {
  readonly note: NoteEvent;
  /** Events after the one with this number, oldest first; all that are kept where the number was never given. */
  after(id: number): readonly Event[];
  /** The number of the newest one; 0 when there was none. */
  newest(): number;
  /** The number of the oldest one that is kept; 0 when there is none. */
  oldest(): number;
  /** Calls back after each event; the result ends that. */
  subscribe(listener: () => void): () => void;
};

/** Opens the log; without a directory it is kept in memory alone, and as much of it. */
export function openEventLog(
  directory: string | undefined,
  { now, failed }: { readonly now: () => Date; readonly failed: (reason: string) => void },
): EventLog {
  let older: readonly Event[] = directory === undefined ? [] : eventsIn(textOf(olderFile(directory)));
  let current: Event[] = directory === undefined ? [] : eventsIn(textOf(currentFile(directory)));
  let bytes = 0;
  let last = current.at(-1)?.id ?? older.at(-1)?.id ?? 0;
  let failure: string | undefined;
  const listeners = new Set<() => void>();
  return {
    note(told) {
      const event = clipped({ ...told, id: ++last, at: now().toISOString() });
      let turned = false;
      const done = attempt(
        // The same reason is told once: a full disk is full for each event.
        (reason) => {
          if (reason !== failure) failed(reason);
          failure = reason;
        },
        () => {
          turned = directory !== undefined && append(directory, event);
        },
      );
      if (done) failure = undefined;
      const length = Buffer.byteLength(lineOf(event));
      if (turned || (bytes > 0 && bytes + length > eventFileBytes))
        [older, current, bytes] = [current, [], 0];
      bytes += length;
      current.push(event);
      for (const listener of [...listeners]) listener();
    },
    after(id) {
      const from = id > last ? 0 : id;
      return [...newer(older, from), ...newer(current, from)];
    },
    newest: () => last,
    oldest: () => older[0]?.id ?? current[0]?.id ?? 0,
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** Those with a greater number, found from the end. */
function newer(events: readonly Event[], id: number): readonly Event[] {
  let first = events.length;
  while (first > 0 && events[first - 1]!.id > id) first--;
  return events.slice(first);
}

/** Adds a line; whether the file was turned over before it. Throws the error of the file system. */
function append(directory: string, event: Event): boolean {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const line = lineOf(clipped(event));
  let file = openSync(currentFile(directory), 'a+', 0o600);
  let turned = false;
  try {
    const { size } = fstatSync(file);
    if (size > 0 && size + Buffer.byteLength(line) > eventFileBytes) {
      closeSync(file);
      renameSync(currentFile(directory), olderFile(directory));
      file = openSync(currentFile(directory), 'a+', 0o600);
      turned = true;
    }
    writeFileSync(file, `${turned || endsWhole(file, size) ? '' : '\n'}${line}`);
    if (acknowledged.includes(event.kind)) fsyncSync(file);
    return turned;
  } finally {
    closeSync(file);
  }
}

/** Whether what was written last was written to its end. */
function endsWhole(file: number, size: number): boolean {
  const last = Buffer.alloc(1);
  return size === 0 || (readSync(file, last, 0, 1, size - 1) === 1 && last[0] === 10);
}

/** The number of the newest event that is kept. */
function lastId(directory: string): number {
  for (const path of [currentFile(directory), olderFile(directory)]) {
    // The end of the file has it, unless that was cut off.
    const last = eventsIn(tailOf(path)).at(-1) ?? eventsIn(textOf(path)).at(-1);
    if (last) return last.id;
  }
  return 0;
}

const lineOf = (event: Event): string => `${JSON.stringify(event)}\n`;

function clipped(event: Event): Event {
  const clip = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(clip);
    return typeof value === 'string' && value.length > longestText
      ? `${value.slice(0, longestText)} ...`
      : value;
  };
  return Object.fromEntries(Object.entries(event).map(([name, value]) => [name, clip(value)])) as Event;
}

function eventsIn(text: string): Event[] {
  return text.split('\n').flatMap((line) => {
    try {
      const read: unknown = JSON.parse(line);
      return isEvent(read) ? [read] : [];
    } catch {
      return [];
    }
  });
}

function isEvent(value: unknown): value is Event {
  const { id, at, kind, what } = (value ?? {}) as Partial<Record<string, unknown>>;
  return typeof id === 'number' && [at, kind, what].every((one) => typeof one === 'string');
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function tailOf(path: string): string {
  try {
    const file = openSync(path, 'r');
    try {
      const { size } = fstatSync(file);
      const tail = Buffer.alloc(Math.min(size, tailBytes));
      return tail.toString('utf8', 0, readSync(file, tail, 0, tail.length, size - tail.length));
    } finally {
      closeSync(file);
    }
  } catch {
    return '';
  }
}

function attempt(failed: (reason: string) => void, work: () => void): boolean {
  try {
    work();
    return true;
  } catch (error) {
    failed(error instanceof Error ? error.message : String(error));
    return false;
  }
}
