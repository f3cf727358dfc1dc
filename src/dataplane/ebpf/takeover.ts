import { existsSync, readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { HeadgateError } from '../../model/errors.ts';
import { sysctlDefaults } from '../../model/sysctls.ts';
import { alignedValueSize, joinPerCpu, type MapHandle, splitPerCpu } from '../../sys/bpf/map.ts';
import { openPinnedMap } from '../../sys/bpf/pin.ts';
import { swapPrograms } from './attach.ts';
import { convertArray, converter, type Layout, layoutOfMap, ownLayout } from './convert.ts';
import { loadInstance, pinInstance, startSweeper } from './create.ts';
import {
  lastingMaps,
  mapFile,
  optionalPrograms,
  type PinnedMap,
  programFile,
  removePins,
  replacedOf,
  unfinishedOf,
} from './instance.ts';
import { buildId, layoutId, numbers } from './layout.generated.ts';
import { mapRecords, type RecordName } from './records.ts';
import { wakeSlices } from './slices.ts';

const { WORD_LIVE, WORD_DEAD, WORD_INACTIVE, WORD_TEMPLATE, WORD_RULED, WORD_METHOD_SHIFT } =
  numbers.connection_word;

/** By its method the sweeper knows what a connection has to give back. */
const methodBits = 0xffff << WORD_METHOD_SHIFT;

/** Longer than any run of the program or tick of the sweeper that began before the table was held. */
const quietMs = 20;

/**
 * Takes over a running instance whose records have another layout. New connections are held back (their SYNs are
 * dropped and come again) while the table is copied; packets of established ones go on through the old program until
 * each interface's link is swapped to the new one in a single step. What they changed in the old table meanwhile is
 * carried over at the end.
 */
export function takeOver(directory: string): void {
  const opened: MapHandle[] = [];
  const old = (name: PinnedMap) => {
    const map = openPinnedMap(join(directory, mapFile(name)));
    opened.push(map);
    return map;
  };
  try {
    const running = openSettings(old('.data.settings'));
    const more = optionalPrograms.filter((name) => existsSync(join(directory, programFile(name))));
    // Leases are renewed in memory by a process that knows nothing of layouts.
    const kept = Object.fromEntries(
      lastingMaps
        .filter((name) => existsSync(join(directory, mapFile(name))))
        .map((name) => [name, old(name)]),
    );
    const sizes = {
      connections: running.get('connections'),
      // Builds that had one size of mh's tables said nothing of it.
      mhTableIndex: running.has('mh_tab_index') ? running.get('mh_tab_index') : sysctlDefaults.mh_tab_index,
    };
    const loaded = loadInstance(sizes, more, kept);
    const fresh = (name: PinnedMap) => loaded.maps[name]!;
    try {
      running.set('hold', numbers.hold.HOLD_DROP);
      sleep(quietMs);
      const words = copyTable(old, fresh, running);
      pinInstance(loaded, unfinishedOf(directory));
      swapPrograms(directory, (program) => loaded.programs[program]!);
      startSweeper(loaded.programs.headgate_start!);
      carryChanges(old('connections'), fresh('connections'), fresh('destinations'), words);
      for (const name of readdirSync(directory)) {
        if (name.startsWith('link_')) renameSync(join(directory, name), join(unfinishedOf(directory), name));
      }
      renameSync(directory, replacedOf(directory));
      renameSync(unfinishedOf(directory), directory);
      removePins(replacedOf(directory));
    } catch (error) {
      running.set('hold', numbers.hold.HOLD_OFF);
      throw error;
    } finally {
      loaded.close();
    }
  } finally {
    for (const map of opened) map.close();
  }
}

type Opener = (name: PinnedMap) => MapHandle;

/** The running instance's settings, in its own layout. */
function openSettings(map: MapHandle): {
  has(field: string): boolean;
  get(field: string): number;
  set(field: string, value: number): void;
} {
  const { fields } = layoutOfMap(map, 'settings');
  const words = new Uint32Array(map.mmap('read-write').buffer);
  const at = (field: string) => fields[field]!.offset / 4;
  if (words[at('hash')] !== numbers.connection_hash.CONNECTION_HASH_CLIENT) {
    throw new HeadgateError(
      'HG_LAYOUT',
      'Cannot take over the running table: its connections are hashed in another way',
    );
  }
  return {
    has: (field) => fields[field] !== undefined,
    get: (field) => Atomics.load(words, at(field)),
    set: (field, value) => void Atomics.store(words, at(field), value),
  };
}

/** Copies everything; returns the connections' words as they were copied. */
function copyTable(old: Opener, fresh: Opener, running: { get(field: string): number }): Uint32Array {
  const services = running.get('service_slots');
  const destinations = running.get('destination_slots');
  const copy = (map: PinnedMap, name: RecordName, last: number) =>
    convertArray(old(map), fresh(map), name, 0, last);
  copy('.data.settings', 'settings', 0);
  copy('.data.runtime', 'runtime', 0);
  copy('services', 'service', services);
  copy('service_baselines', 'counters', services);
  copy('destinations', 'destination', destinations);
  copy('destination_baselines', 'counters', destinations);
  copy('hash_tables', 'hash_table', fresh('hash_tables').maxEntries - 1);
  copyIndex(old('service_index'), fresh('service_index'));
  copyCounters(old('destination_counters'), fresh('destination_counters'), destinations);
  copyBuckets(old('buckets'), fresh('buckets'));
  const settings = mapRecords(fresh('.data.settings'), 'settings');
  const runtime = mapRecords(fresh('.data.runtime'), 'runtime');
  settings.set(0, 'layout', layoutId);
  settings.set(0, 'hold', 0);
  buildId.forEach((word, index) => {
    settings.set(0, 'build', word, index);
  });
  const last = Math.min(runtime.get(0, 'fresh'), settings.get(0, 'connections'));
  copy('connections', 'connection', last);
  copy('connection_details', 'connection_detail', last);
  const words = wordsOf(fresh('connections'), ownLayout('connection'), last);
  const live = countAll(fresh('connections'), fresh('destinations'), words);
  runtime.set(0, 'entries', live);
  wakeSlices(fresh('slices'), runtime.get(0, 'tick_jiffies'), last);
  settings.close();
  runtime.close();
  return words;
}

function copyIndex(from: MapHandle, to: MapHandle): void {
  const { copy, to: layout } = converter(layoutOfMap(from, 'service_key'), ownLayout('service_key'));
  for (const [key, value] of from.entries()) {
    const own = new Uint8Array(layout.size);
    copy(key, 0, own, 0);
    to.update(own, value);
  }
}

function copyCounters(from: MapHandle, to: MapHandle, last: number): void {
  const { copy } = converter(layoutOfMap(from, 'counters'), ownLayout('counters'));
  for (let slot = 1; slot <= last; slot++) {
    const perCpu = splitPerCpu(from, from.lookup(slot)!);
    const own = perCpu.map((value) => {
      const bytes = new Uint8Array(to.valueSize);
      copy(value, 0, bytes, 0);
      return bytes;
    });
    to.update(slot, joinPerCpu(to, own));
  }
}

function copyBuckets(from: MapHandle, to: MapHandle): void {
  if (from.valueSize !== to.valueSize || from.maxEntries !== to.maxEntries) {
    throw new HeadgateError(
      'HG_LAYOUT',
      'Cannot take over the running table: it has another number of hash chains',
    );
  }
  const [source, target] = [from.mmap('read'), to.mmap('read-write')];
  new Uint8Array(target.buffer).set(new Uint8Array(source.buffer));
  source.close();
  target.close();
}

function wordsOf(map: MapHandle, layout: Layout, last: number): Uint32Array {
  const memory = map.mmap('read');
  const all = new Uint32Array(memory.buffer);
  const stride = alignedValueSize(map) / 4;
  const offset = layout.fields.word!.offset / 4;
  const words = Uint32Array.from({ length: last + 1 }, (_, slot) => all[slot * stride + offset]!);
  memory.close();
  return words;
}

/** Sets every destination's counts to what the copied connections say; returns how many are live. */
function countAll(connections: MapHandle, destinations: MapHandle, words: Uint32Array): number {
  const entries = mapRecords(connections, 'connection');
  const counted = mapRecords(destinations, 'destination');
  for (let slot = 1; slot < counted.count; slot++) {
    for (const field of ['active', 'inactive', 'persistent'] as const) {
      if (counted.get(slot, field) !== 0) counted.set(slot, field, 0);
    }
  }
  let live = 0;
  words.forEach((word, slot) => {
    if (!(word & WORD_LIVE)) return;
    live++;
    const destination = entries.get(slot, 'destination');
    const field = countOf(word);
    counted.set(destination, field, counted.get(destination, field) + 1);
  });
  entries.close();
  counted.close();
  return live;
}

function countOf(word: number): 'active' | 'inactive' | 'persistent' {
  if (word & WORD_TEMPLATE) return 'persistent';
  return word & WORD_INACTIVE ? 'inactive' : 'active';
}

/** State changes that packets made in the old table after it was copied. */
function carryChanges(old: MapHandle, fresh: MapHandle, destinations: MapHandle, copied: Uint32Array): void {
  const now = wordsOf(old, layoutOfMap(old, 'connection'), copied.length - 1);
  const entries = mapRecords(fresh, 'connection');
  const counted = mapRecords(destinations, 'destination');
  copied.forEach((before, slot) => {
    const after = now[slot]!;
    if (after === before || !(before & WORD_LIVE)) return;
    // The new program may have gone further already: its word is then the truer one.
    if (!entries.swap(slot, 'word', before, after)) return;
    const destination = entries.get(slot, 'destination');
    counted.add(destination, countOf(before), -1);
    if (after & WORD_LIVE) counted.add(destination, countOf(after), 1);
    else if (!(after & WORD_DEAD))
      entries.set(slot, 'word', WORD_DEAD | (before & (WORD_RULED | methodBits)));
  });
  entries.close();
  counted.close();
}

function sleep(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}
