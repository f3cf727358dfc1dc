import { join } from 'node:path';
import type { Controller } from './controller.ts';
import { type Document, readDocument, stampOf, writeDocument } from './whole-file.ts';

type Place = Pick<Controller, 'directory'>;

/** A document beside the plane, which ends with it; of a plane that keeps nothing, in memory. */
export type KeptDocument<T extends Document> = {
  read(place: Place): T;
  /** Whole or not at all; nothing where nothing changes. Throws HG_STATE. */
  write(place: Place, value: T): void;
};

const version = 2;

/** `empty` stands for a document that is not there, or that another build wrote. */
export function openDocument<T extends Document>(name: string, empty: T): KeptDocument<T> {
  const inMemory = new WeakMap<object, T>();
  /** What was read or written last: who holds the lock for long asks again and again. */
  let last: { readonly stamp: string; readonly value: T; readonly text: string } | undefined;

  function read(place: Place): T {
    if (place.directory === undefined) return inMemory.get(place) ?? empty;
    const path = join(place.directory, name);
    const stamp = stampOf(path);
    if (stamp === undefined) return empty;
    if (last?.stamp !== stamp) {
      const { version: _, ...value } = readDocument<T & { version: number }>(path, version) ?? {
        version,
        ...empty,
      };
      last = { stamp, value: value as unknown as T, text: JSON.stringify(value) };
    }
    return last.value;
  }

  return {
    read,
    write(place, value) {
      if (place.directory === undefined) {
        inMemory.set(place, value);
        return;
      }
      const path = join(place.directory, name);
      if (read(place) === value) return;
      const text = JSON.stringify(value);
      if (last && last.stamp === stampOf(path) ? last.text === text : text === JSON.stringify(empty)) return;
      writeDocument(path, version, value, 'process');
      const stamp = stampOf(path);
      last = stamp === undefined ? undefined : { stamp, value, text };
    },
  };
}
