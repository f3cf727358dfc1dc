import { setTimeout as sleep } from 'node:timers/promises';
import type { SyncDaemon, SyncedConnection } from '../../model/connection-sync.ts';
import { openBatch } from './batch.ts';
import { openSyncSender } from './exchange.ts';
import { encodeEnd } from './message.ts';

/** Sent without a pause: what a socket buffer of the system's usual size takes on the other side. */
const messagesAtOnce = 20;
const pauseMs = 10;

/** Who tells of connections that no feed has, and hears nothing. */
export type Telling = {
  /** Sends them in messages of version 1, and at the end of a whole table says so. Resolves to how many messages it took. */
  tell(connections: readonly SyncedConnection[], isWhole: boolean): Promise<number>;
  close(): void;
};

/** Undefined where there is no such interface. Throws SystemError, and so does what it opens. */
export function openTelling(daemon: SyncDaemon): Telling | undefined {
  const opened = openSyncSender(daemon);
  if (!opened) return undefined;
  const { sender, maxLength, close } = opened;
  return {
    async tell(connections, isWhole) {
      const messages: Buffer[] = [];
      const batch = openBatch(daemon.id, maxLength, (message) => void messages.push(message));
      for (const one of connections) batch.add(one);
      batch.flush();
      const end = isWhole ? [encodeEnd(daemon.id, 1)] : [];
      for (const [i, message] of [...messages, ...end].entries()) {
        // The queue of the interface empties by itself.
        while (!sender.send(message)) await sleep(pauseMs);
        if (i % messagesAtOnce === messagesAtOnce - 1) await sleep(pauseMs);
      }
      return messages.length;
    },
    close,
  };
}
