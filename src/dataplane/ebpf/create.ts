import { randomInt } from 'node:crypto';
import { mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import {
  sctpTimeoutsSeconds,
  tcpTimeoutsSeconds,
  udpTimeoutsSeconds,
} from '../../model/connection-states.ts';
import { HeadgateError } from '../../model/errors.ts';
import { mhTableSize } from '../../model/schedulers/mh.ts';
import { sysctlDefaults, tableSysctlNames } from '../../model/sysctls.ts';
import { structLayout } from '../../sys/bpf/layout.ts';
import {
  type LoadedObject,
  type LoadOptions,
  loadObject,
  loadObjectAside,
  type MapOverride,
} from '../../sys/bpf/load.ts';
import { type ObjectSpec, parseObject } from '../../sys/bpf/object.ts';
import { pin } from '../../sys/bpf/pin.ts';
import type { ProgramHandle } from '../../sys/bpf/program.ts';
import { testRunSkb } from '../../sys/bpf/test-run.ts';
import { ticksPerSecond } from '../../sys/clock.ts';
import { writeFtpPorts } from './ftp-ports.ts';
import {
  type AttachedProgram,
  ethernetPrograms,
  type Instance,
  mapFile,
  optionalPrograms,
  pinnedMaps,
  programFile,
  readObject,
  removePins,
  unfinishedOf,
} from './instance.ts';
import { buildId, layoutId, numbers, records } from './layout.generated.ts';
import { mapRecords } from './records.ts';
import { hashTableCount } from './scheduling.ts';

const sliceSize = 256;
const bucketsPerLine = 16;
/** Half as many hash chains as connections: at a full table two entries a chain, at a usual load fewer cache misses. */
const bucketCount = (size: number) => 2 ** Math.max(4, Math.ceil(Math.log2(size)) - 1);
const sliceCount = (size: number) => Math.ceil((size + 1) / sliceSize);

/** What does not change as long as an instance is there: connections its table can hold, and how large the tables of mh are. */
export type Sizes = { readonly connections: number; readonly mhTableIndex: number };

/** What the verifier gets to know about them. */
function constants({ connections, mhTableIndex }: Sizes): Record<string, number> {
  return {
    connection_limit: connections,
    bucket_mask: bucketCount(connections) - 1,
    slice_count: sliceCount(connections),
    maglev_size: mhTableSize(mhTableIndex),
  };
}

/** The object of this build with some of its programs. Throws HG_LAYOUT when it was built from other records than this program was. */
function parseOwnObject(programs: readonly string[]): ObjectSpec {
  const spec = parseObject(readObject(), programs);
  for (const [name, { size, fields }] of Object.entries(records)) {
    const built = structLayout(spec.btf!, name);
    const differs = Object.entries(fields).some(
      ([field, { offset }]) => built.fields[field]?.offset !== offset,
    );
    if (built.size !== size || differs) {
      throw new HeadgateError(
        'HG_LAYOUT',
        `Cannot load the data plane: its object has another layout of "${name}" than this build`,
        {
          hint: 'The installation is incomplete: install the package again, or run npm run build in a checkout.',
        },
      );
    }
  }
  return spec;
}

/** Loads programs of this build over an instance's maps. */
export function loadPrograms(
  map: Instance['map'],
  names: readonly (AttachedProgram | 'headgate_start' | 'headgate_alive' | 'headgate_take')[],
): LoadedObject {
  return loadObject(parseOwnObject(names), {
    maps: Object.fromEntries(pinnedMaps.map((name) => [name, { fd: map(name).fd }])),
    variables: constants(sizesOf(map)),
    programs: names,
  });
}

function sizesOf(map: Instance['map']): Sizes {
  const settings = mapRecords(map('.data.settings'), 'settings');
  const mhTableIndex = settings.get(0, 'mh_tab_index');
  settings.close();
  return { connections: map('connections').maxEntries - 1, mhTableIndex };
}

/** Loads a program that this host did not need so far, and pins it. */
export function addProgram(instance: Instance, name: AttachedProgram): void {
  const loaded = loadPrograms(instance.map, [name]);
  try {
    pin(loaded.programs[name]!.fd, join(instance.directory, programFile(name)));
  } finally {
    loaded.close();
  }
}

/**
 * Starts the sweeper of an instance that was loaded, pins it all and lets go of it. The folder appears under its name in
 * one step, complete or not at all.
 */
export function createInstance(directory: string, loaded: LoadedObject, standsBack = false): void {
  const unfinished = unfinishedOf(directory);
  try {
    if (standsBack) hold(loaded);
    startSweeper(loaded.programs.headgate_start!);
    pinInstance(loaded, unfinished);
    renameSync(unfinished, directory);
  } catch (error) {
    removePins(unfinished);
    throw error;
  } finally {
    loaded.close();
  }
}

/**
 * Maps of this build's layout, but for those `kept`, settings filled in, and its programs; nothing runs or is pinned yet.
 */
export function loadInstance(
  sizes: Sizes,
  more: readonly AttachedProgram[] = [],
  kept: Readonly<Record<string, { readonly fd: number }>> = {},
): LoadedObject {
  const options = instanceOptions(sizes, more);
  const loaded = loadObject(parseOwnObject(options.programs), {
    ...options,
    maps: { ...options.maps, ...kept },
  });
  fillSettings(loaded, sizes);
  return loaded;
}

/**
 * The same in threads of their own. Verifying the programs is most of what setting a plane up takes, and leaves no trace
 * for anybody else until it is used.
 */
export async function loadInstanceAside(sizes: Sizes): Promise<LoadedObject> {
  const options = instanceOptions(sizes, []);
  const loaded = await loadObjectAside(parseOwnObject(options.programs), options);
  fillSettings(loaded, sizes);
  return loaded;
}

function instanceOptions(
  sizes: Sizes,
  more: readonly AttachedProgram[],
): LoadOptions & { readonly programs: readonly string[] } {
  return { ...sizedMaps(sizes), programs: [...ethernetPrograms, ...more, 'headgate_start'] };
}

/** How large the maps of new tables are, and what the verifier gets to know of that. `fillSettings` does the rest. */
export function sizedMaps(sizes: Sizes): {
  readonly maps: Readonly<Record<string, MapOverride>>;
  readonly variables: Readonly<Record<string, number>>;
} {
  const size = sizes.connections;
  return {
    maps: {
      connections: { maxEntries: size + 1 },
      connection_details: { maxEntries: size + 1 },
      buckets: { maxEntries: bucketCount(size) / bucketsPerLine },
      slices: { maxEntries: sliceCount(size) },
      local_ends: { maxEntries: size },
      call_ids: { maxEntries: Math.ceil(size / 2) },
      half_open: { maxEntries: Math.ceil(size / 2) },
      hash_tables: { maxEntries: hashTableCount(sizes.mhTableIndex) },
    },
    variables: constants(sizes),
  };
}

/** Pins maps and programs in a new folder. */
export function pinInstance(loaded: LoadedObject, directory: string): void {
  removePins(directory);
  mkdirSync(directory, { mode: 0o700 });
  for (const name of pinnedMaps) pin(loaded.maps[name]!.fd, join(directory, mapFile(name)));
  for (const name of [...ethernetPrograms, ...optionalPrograms]) {
    const program = loaded.programs[name];
    if (program) pin(program.fd, join(directory, programFile(name)));
  }
}

/**
 * Everything that programs expect in maps that were made as `sizedMaps` says, before the first packet: settings with the values
 * they have in a new data plane, and what must be there already when the maps are full. Throws SystemError.
 */
export function fillSettings(loaded: Pick<LoadedObject, 'maps'>, { connections, mhTableIndex }: Sizes): void {
  const settings = mapRecords(loaded.maps['.data.settings']!, 'settings');
  const hertz = ticksPerSecond();
  settings.set(0, 'layout', layoutId);
  settings.set(0, 'hz', hertz);
  settings.set(0, 'salt', randomInt(2 ** 32));
  settings.set(0, 'hash', numbers.connection_hash.CONNECTION_HASH_CLIENT);
  settings.set(0, 'connections', connections);
  for (const name of tableSysctlNames) settings.set(0, name, sysctlDefaults[name]);
  writeFtpPorts(settings, sysctlDefaults.ftp_ports);
  settings.set(0, 'mh_tab_index', mhTableIndex);
  tcpTimeoutsSeconds.forEach((seconds, state) => {
    settings.set(0, 'timeout', seconds * hertz, state);
  });
  settings.set(0, 'timeout', udpTimeoutsSeconds[0]! * hertz, numbers.state.STATE_UDP);
  sctpTimeoutsSeconds.forEach((seconds, state) => {
    settings.set(0, 'timeout', seconds * hertz, numbers.state.STATE_SCTP_NONE + state);
  });
  buildId.forEach((word, index) => {
    settings.set(0, 'build', word, index);
  });
  settings.close();
  // Where Call-IDs of other directors pass through, which has to be there when the table is full of calls.
  const callIds = loaded.maps.call_ids!;
  callIds.update(0, Buffer.alloc(callIds.valueSize));
}

function hold(loaded: LoadedObject): void {
  const settings = mapRecords(loaded.maps['.data.settings']!, 'settings');
  settings.set(0, 'hold', numbers.hold.HOLD_PASS);
  settings.close();
}

/** Runs the program that arms the sweeper's timer with its own callback. */
export function startSweeper(program: ProgramHandle): void {
  const { returnValue } = testRunSkb(program.fd, Buffer.alloc(64));
  if (returnValue !== 0)
    throw new Error(`start the sweeper: the program answers ${returnValue | 0}, wanted 0`);
}
