import { mapMemory, pageBytes } from '../ffi.ts';
import type { MapHandle } from './map.ts';

/** The consumer's side of a BPF_MAP_TYPE_RINGBUF. One consumer at a time: its position lives in the map. */
export type RingBuffer = {
  /** Becomes readable (epoll) when there are events. */
  readonly fd: number;
  /**
   * Hands over every committed event, at most `most` of them; the bytes are only valid during the call. Returns how
   * many there were. It never waits.
   */
  drain(consume: (event: Buffer) => void, most?: number): number;
  close(): void;
};

const BUSY = 0x80000000;
const DISCARDED = 0x40000000;
const HEADER = 8;

/**
 * Maps a ring buffer: a page with the consumer's position, then, read-only, a page with the producer's and the data
 * twice in a row, so that no event is ever split (kernel/bpf/ringbuf.c).
 */
export function openRingBuffer(map: MapHandle): RingBuffer {
  const pageSize = pageBytes();
  const size = map.maxEntries;
  const consumer = mapMemory(map.fd, pageSize, 'read-write', 0, `ring buffer "${map.name}"`);
  const producer = mapMemory(map.fd, pageSize + 2 * size, 'read', pageSize, `ring buffer "${map.name}"`);
  const consumed = new BigUint64Array(consumer.buffer, 0, 1);
  const produced = new BigUint64Array(producer.buffer, 0, 1);
  const headers = new Uint32Array(producer.buffer, pageSize);
  const data = Buffer.from(producer.buffer, pageSize);
  let position = Number(Atomics.load(consumed, 0));
  return {
    fd: map.fd,
    drain(consume, most = Number.POSITIVE_INFINITY) {
      let events = 0;
      const end = Number(Atomics.load(produced, 0));
      const start = position;
      try {
        while (position < end && events < most) {
          const at = position % size;
          const header = Atomics.load(headers, at / 4) >>> 0;
          // Reserved but not committed: everything behind it waits, too.
          if ((header & BUSY) !== 0) break;
          const length = header % DISCARDED;
          position += Math.ceil((length + HEADER) / 8) * 8;
          if ((header & DISCARDED) !== 0) continue;
          events++;
          consume(data.subarray(at + HEADER, at + HEADER + length));
        }
      } finally {
        if (position !== start) Atomics.store(consumed, 0, BigInt(position));
      }
      return events;
    },
    close() {
      consumer.close();
      producer.close();
    },
  };
}
