import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInstance, loadInstanceAside } from '../../src/dataplane/ebpf/create.ts';
import { type PinnedMap, pinnedMaps, programFile, rawPrograms } from '../../src/dataplane/ebpf/instance.ts';
import { sysctlDefaults } from '../../src/model/sysctls.ts';
import type { LoadedObject } from '../../src/sys/bpf/load.ts';
import type { MapHandle } from '../../src/sys/bpf/map.ts';
import { openPinnedProgram } from '../../src/sys/bpf/pin.ts';
import type { ProgramHandle } from '../../src/sys/bpf/program.ts';
import { openRingBuffer } from '../../src/sys/bpf/ringbuf.ts';
import { mapFlag, mapType } from '../../src/sys/bpf/uapi.ts';

/*
 * Programs that have passed the verifier serve one harness after another: that takes an emulated processor seconds, and
 * in a guest the files of the suite share a process. All that programs know is in their maps, which are put back.
 */

type Load = {
  readonly object: LoadedObject;
  /** Those for interfaces without Ethernet headers, once they have been loaded. */
  readonly raw: Record<string, ProgramHandle>;
  /** What stood in the maps of one entry: settings and the like. In all others there was nothing. */
  readonly first: ReadonlyMap<PinnedMap, Buffer>;
};

/** By the connections their tables can hold. */
const idle = new Map<number, Load[]>();

/** Makes an instance in a folder of a bpffs, as a plane does. `giveBack` comes before the pins are removed. */
export async function lendInstance(directory: string, connections: number): Promise<{ giveBack(): void }> {
  const waiting = idle.get(connections) ?? [];
  idle.set(connections, waiting);
  const used = waiting.pop();
  if (used) putBack(used);
  const load = used ?? (await newLoad(connections));
  const programs = { ...load.object.programs, ...load.raw };
  createInstance(directory, { ...load.object, programs, close: () => undefined });
  return {
    giveBack() {
      for (const name of rawPrograms) {
        const pin = join(directory, programFile(name));
        if (!load.raw[name] && existsSync(pin)) load.raw[name] = openPinnedProgram(pin);
      }
      // Written over, the sweeper's timer is stopped (bpf_timer); whoever makes an instance starts it.
      load.object.maps.sweepers!.update(0, load.first.get('sweepers')!);
      waiting.push(load);
    },
  };
}

async function newLoad(connections: number): Promise<Load> {
  const object = await loadInstanceAside({ connections, mhTableIndex: sysctlDefaults.mh_tab_index });
  const single = pinnedMaps.filter((name) => object.maps[name]!.maxEntries === 1);
  return { object, raw: {}, first: new Map(single.map((name) => [name, object.maps[name]!.lookup(0)!])) };
}

function putBack({ object, first }: Load): void {
  for (const name of pinnedMaps) {
    const map = object.maps[name]!;
    const value = first.get(name);
    if (value) map.update(0, value);
    else empty(map);
  }
}

function empty(map: MapHandle): void {
  if (map.type === mapType.RINGBUF) {
    const ring = openRingBuffer(map);
    ring.drain(() => undefined);
    ring.close();
  } else if (map.type === mapType.HASH || map.type === mapType.LRU_HASH) {
    for (const key of [...map.keys()]) map.delete(key);
  } else if (map.flags & mapFlag.MMAPABLE) {
    const memory = map.mmap();
    Buffer.from(memory.buffer).fill(0);
    memory.close();
  } else {
    const nothing = Buffer.alloc(map.transferSize);
    for (const { count, keys, values } of map.batches()) {
      if (values.subarray(0, count * map.transferSize).every((byte) => byte === 0)) continue;
      for (let n = 0; n < count; n++)
        map.update(keys.subarray(n * map.keySize, (n + 1) * map.keySize), nothing);
    }
  }
}
