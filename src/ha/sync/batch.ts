import type { SyncedConnection } from '../../model/connection-sync.ts';
import { encodeMessage, headerBytes, mostConnections, recordLength } from './message.ts';

/** Collects connections into messages. */
export type Batch = {
  /** Adds a connection; what was collected goes out first where it does not fit any more. */
  add(connection: SyncedConnection): void;
  /** Sends what is there. */
  flush(): void;
};

/** Messages of at most `longest` bytes (room for one connection at least), handed to `send`. */
export function openBatch(
  id: number,
  longest: number,
  send: (message: Buffer, connections: number) => void,
): Batch {
  let collected: SyncedConnection[] = [];
  let length = headerBytes;
  const flush = () => {
    if (collected.length === 0) return;
    const message = encodeMessage(id, collected);
    const count = collected.length;
    [collected, length] = [[], headerBytes];
    send(message, count);
  };
  return {
    add(connection) {
      const more = recordLength(connection);
      if (length + more > longest || collected.length === mostConnections) flush();
      collected.push(connection);
      length += more;
    },
    flush,
  };
}
