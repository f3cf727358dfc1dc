import type { MapHandle } from '../../sys/bpf/map.ts';
import type { Records } from './records.ts';

/** The maps that make up the table, in this process's memory. */
export type TableMaps = {
  readonly services: Records<'service'>;
  readonly destinations: Records<'destination'>;
  readonly settings: Records<'settings'>;
  readonly runtime: Records<'runtime'>;
  readonly hashTables: Records<'hash_table'>;
  readonly destinationEstimates: Records<'estimate'>;
  readonly destinationBaselines: Records<'counters'>;
  readonly serviceBaselines: Records<'counters'>;
  readonly destinationCounters: MapHandle;
  readonly serviceIndex: MapHandle;
  readonly localAddresses: MapHandle;
};
