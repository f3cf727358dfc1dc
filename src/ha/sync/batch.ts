import type { SyncedConnection } from '../../model/connection-sync.ts';
import {
  encodeMessage,
  encodeOldMessage,
  headerBytes,
  mostConnections,
  recordLength,
  type SyncVersion,
} from './message.ts';

/** Collects connections into messages. */
export type Batch = {
  /**
   * Adds a connection; what was collected goes out first where it does not fit any more. One that a message of this version
   * cannot hold is left out. `place` is whatever the sender knows it by.
   */
  add(connection: SyncedConnection, place?: number): void;
  /** Sends what is there. */
  flush(): void;
  /** Messages from here on are of this version; 1 until then. */
  speak(version: SyncVersion): void;
};

/** Messages of at most `longest` bytes (room for one connection at least), handed to `send` with the places of their connections. */
export function openBatch(
  id: number,
  longest: number,
  send: (message: Buffer, places: readonly number[]) => void,
): Batch {
  let collected: SyncedConnection[] = [];
  let places: number[] = [];
  let length = headerBytes;
  let version: SyncVersion = 1;
  const flush = () => {
    if (collected.length === 0) return;
    const message = version === 1 ? encodeMessage(id, collected) : encodeOldMessage(id, collected);
    const told = places;
    [collected, places, length] = [[], [], headerBytes];
    send(message, told);
  };
  return {
    add(connection, place = 0) {
      const more = recordLength(connection, version);
      if (more === 0) return;
      if (length + more > longest || collected.length === mostConnections) flush();
      collected.push(connection);
      places.push(place);
      length += more;
    },
    flush,
    speak(next) {
      if (next === version) return;
      flush();
      version = next;
    },
  };
}
