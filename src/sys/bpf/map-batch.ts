import { errnoByName } from '../errno.ts';
import { bpfError, newAttributes, putAddress, tryBpf } from './call.ts';

/** `count` entries side by side: keys `keySize` apart, values `transferSize` apart. Overwritten by the next batch. */
export type MapBatch = { readonly count: number; readonly keys: Buffer; readonly values: Buffer };

/** What the walk needs of a map: its descriptor and sizes, and the way key by key. */
type Batchable = {
  readonly fd: number;
  readonly name: string;
  readonly keySize: number;
  readonly transferSize: number;
  readonly maxEntries: number;
  keys(): Iterable<Buffer>;
  lookup(key: Uint8Array): Buffer | undefined;
};

/** The largest batch asked for when a hash bucket does not fit (ENOSPC). */
const largestBatch = 1 << 20;

/**
 * BPF_MAP_LOOKUP_BATCH until the end. ENOENT ends the walk and its count still holds entries; ENOSPC means that one
 * bucket holds more than the batch: it is repeated with room for twice as many. Map types without batches (LPM trie on
 * old kernels, maps of maps) are walked key by key.
 */
export function* lookupBatches(map: Batchable, size: number): Generator<MapBatch> {
  let capacity = Math.max(1, Math.min(size, map.maxEntries || size));
  // The cursor is a bucket number or, for an array, a key.
  const cursors = [Buffer.alloc(Math.max(4, map.keySize)), Buffer.alloc(Math.max(4, map.keySize))] as const;
  let keys = Buffer.alloc(capacity * map.keySize);
  let values = Buffer.alloc(capacity * map.transferSize);
  const attributes = newAttributes(56);
  for (let round = 0; ; ) {
    const from = cursors[round % 2 === 0 ? 0 : 1];
    const to = cursors[round % 2 === 0 ? 1 : 0];
    putAddress(attributes, 0, round === 0 ? undefined : from);
    putAddress(attributes, 8, to);
    putAddress(attributes, 16, keys);
    putAddress(attributes, 24, values);
    attributes.writeUInt32LE(capacity, 32);
    attributes.writeInt32LE(map.fd, 36);
    const result = tryBpf('MAP_LOOKUP_BATCH', attributes, [cursors, keys, values]);
    if (result >= 0) {
      yield { count: attributes.readUInt32LE(32), keys, values };
    } else if (-result === errnoByName.ENOENT) {
      const count = attributes.readUInt32LE(32);
      if (count > 0) yield { count, keys, values };
      return;
    } else if (-result === errnoByName.ENOSPC && capacity < largestBatch) {
      capacity *= 2;
      keys = Buffer.alloc(capacity * map.keySize);
      values = Buffer.alloc(capacity * map.transferSize);
      continue;
    } else if (round === 0 && (-result === errnoByName.ENOTSUPP || -result === errnoByName.EINVAL)) {
      yield* oneByOne(map);
      return;
    } else {
      throw bpfError('MAP_LOOKUP_BATCH', -result, `read map "${map.name}"`);
    }
    round++;
  }
}

function* oneByOne(map: Batchable): Generator<MapBatch> {
  for (const key of map.keys()) {
    const value = map.lookup(key);
    if (value) yield { count: 1, keys: key, values: value };
  }
}
