import { existsSync, readdirSync, readFileSync, renameSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { MapHandle } from '../../sys/bpf/map.ts';
import { openPinnedMap, openPinnedProgram } from '../../sys/bpf/pin.ts';
import type { ProgramHandle } from '../../sys/bpf/program.ts';
import { packageRoot } from '../../sys/program.ts';
import { mapRecords, type Records } from './records.ts';

/** The built program; it ships beside its source. */
const objectPath = join(packageRoot, 'bpf/headgate.bpf.o');

/** Maps that outlive a program: pinned under these names. The constants of a program stay with it. */
export const pinnedMaps = [
  'connections',
  'connection_details',
  'buckets',
  'slices',
  'destinations',
  'destination_counters',
  'destination_estimates',
  'destination_baselines',
  'services',
  'service_baselines',
  'service_index',
  'hash_tables',
  'localities',
  'fragments',
  'expectations',
  'icmp_peers',
  'events',
  'sweepers',
  'sync_ring',
  'half_open',
  'real_services',
  'local_ends',
  'local_addresses',
  'call_ids',
  'callers',
  'ports',
  'leases',
  'leased_addresses',
  '.data.settings',
  '.data.runtime',
] as const;
/** Maps that are the same in every layout. */
export const leaseMaps = ['leases', 'leased_addresses'] as const;
/** Those, the ones that full NAT has, the Call-IDs of templates and who may call: the same in every layout too, and the slots they name stay. */
export const lastingMaps = [...leaseMaps, 'local_ends', 'local_addresses', 'call_ids', 'callers'] as const;
export type PinnedMap = (typeof pinnedMaps)[number];

/** Programs every instance has: for interfaces with Ethernet headers and for the internal pair. */
export const ethernetPrograms = ['headgate_ethernet', 'headgate_egress', 'headgate_report'] as const;
/** Programs for interfaces without Ethernet headers, loaded when there is one. */
export const rawPrograms = ['headgate_raw', 'headgate_raw_egress'] as const;
/** The program for interfaces that are to run the fast path at XDP, loaded when there is one. */
export const fastPathProgram = 'headgate_xdp';
/** The program for packets that a firewall mark routes to the internal pair, loaded when there is a service for marks. */
export const markProgram = 'headgate_routed';
/** Programs an instance has only when it needs them. */
export const optionalPrograms = [...rawPrograms, fastPathProgram, markProgram] as const;
export type AttachedProgram = (typeof ethernetPrograms)[number] | (typeof optionalPrograms)[number];

/** One network namespace's data plane: the maps and programs pinned in a folder of the bpffs. */
export type Instance = {
  readonly directory: string;
  readonly settings: Records<'settings'>;
  readonly runtime: Records<'runtime'>;
  map(name: PinnedMap): MapHandle;
  /** A pinned program; undefined when it has not been needed so far. */
  program(name: AttachedProgram): ProgramHandle | undefined;
  close(): void;
};

/** The pin of an interface that runs the fast path, in its driver or in the kernel. */
export const fastPathFile = /^link_(\d+)_(native|generic)$/;
/** Whether an interface runs the fast path, or did when it was still there. */
export const hasFastPath = (directory: string): boolean =>
  readdirSync(directory).some((name) => fastPathFile.test(name));

/** A bpffs allows no dots in names. */
export const mapFile = (map: string) => `map_${map.replaceAll('.', '_')}`;
export const programFile = (name: string) => `program_${name}`;

/** Folders that exist only while an instance is made or replaced. */
export const unfinishedOf = (directory: string) => `${directory}_unfinished`;
export const replacedOf = (directory: string) => `${directory}_replaced`;

/** The object's bytes. */
export const readObject = (): Buffer => readFileSync(objectPath);

/** Opens the instance in a folder of the bpffs; undefined when there is none. */
export function openInstance(directory: string): Instance | undefined {
  if (!existsSync(directory) && !finishReplacement(directory)) return undefined;
  const opened: { close(): void }[] = [];
  const maps = new Map<string, MapHandle>();
  const programs = new Map<string, ProgramHandle>();
  const keep = <Item extends { close(): void }>(item: Item): Item => {
    opened.push(item);
    return item;
  };
  const map = (name: PinnedMap) => {
    let handle = maps.get(name);
    if (!handle) {
      handle = keep(openPinnedMap(join(directory, mapFile(name))));
      maps.set(name, handle);
    }
    return handle;
  };
  const program = (name: AttachedProgram) => {
    let handle = programs.get(name);
    const path = join(directory, programFile(name));
    if (!handle && existsSync(path)) {
      handle = keep(openPinnedProgram(path));
      programs.set(name, handle);
    }
    return handle;
  };
  return {
    directory,
    settings: keep(mapRecords(map('.data.settings'), 'settings')),
    runtime: keep(mapRecords(map('.data.runtime'), 'runtime')),
    map,
    program,
    close() {
      for (const item of opened.splice(0).reverse()) item.close();
    },
  };
}

/** A replacement that was cut off between its two last steps is complete but for its name. */
function finishReplacement(directory: string): boolean {
  if (!existsSync(replacedOf(directory)) || !existsSync(unfinishedOf(directory))) return false;
  renameSync(unfinishedOf(directory), directory);
  removePins(replacedOf(directory));
  return true;
}

/** Removes everything pinned in a folder, and the folder. Links that lose their pin detach. */
export function removePins(directory: string): void {
  if (!existsSync(directory)) return;
  for (const name of readdirSync(directory)) unlinkSync(join(directory, name));
  rmdirSync(directory);
}
