import { setTimeout as sleep } from 'node:timers/promises';
import { readKernelConnections } from '../control/kernel-table.ts';
import { openTelling } from '../ha/sync/telling.ts';
import type { SyncDaemon, SyncedConnection } from '../model/connection-sync.ts';
import { syncFlags } from '../model/connection-sync.ts';
import { HeadgateError } from '../model/errors.ts';
import { type Told, travelKey } from '../model/travel.ts';

/** How long connections stay untold that came after the last look. */
const lookMs = 1_000;
/** All of them again: no message of this protocol is acknowledged. */
const roundMs = 30_000;

/** What was sent at one look. */
export type Sent = {
  readonly connections: number;
  readonly templates: number;
  readonly messages: number;
  /** What of the table no message can hold, by reason. */
  readonly untold: Told['untold'];
  /** The whole table, not only what is new or in another state. */
  readonly whole: boolean;
};

export type SyncSend = {
  readonly daemon: SyncDaemon;
  /** Goes on with what is new until then; absent: the table once. */
  readonly until?: AbortSignal;
  /** After each look at which anything was sent. */
  readonly onSent: (sent: Sent) => void;
};

/**
 * Tells other directors of every connection that the kernel's IPVS has here, also of those its own sync daemon says nothing of
 * because no packet moves. Rejects with HG_IPVS, HG_NOT_ROOT, HG_USAGE.
 */
export async function sendKernelConnections({ daemon, until, onSent }: SyncSend): Promise<void> {
  const telling = openTelling(daemon);
  if (!telling)
    throw new HeadgateError('HG_USAGE', `Cannot send: there is no interface "${daemon.interface}"`, {
      hint: 'ip link',
    });
  try {
    let told = new Map<string, number>();
    let wholeAtMs = 0;
    do {
      const { connections, untold } = await readKernelConnections();
      const whole = performance.now() >= wholeAtMs;
      if (whole) wholeAtMs = performance.now() + roundMs;
      const news = whole ? connections : connections.filter((one) => told.get(keyOf(one)) !== one.state);
      told = until ? new Map(connections.map((one) => [keyOf(one), one.state])) : told;
      const messages = await telling.tell(news, whole);
      const templates = news.filter(({ flags }) => flags & syncFlags.template).length;
      if (whole || news.length > 0)
        onSent({ connections: news.length - templates, templates, messages, untold, whole });
      if (until) await sleep(lookMs, undefined, { signal: until }).catch(() => undefined);
    } while (until && !until.aborted);
  } finally {
    telling.close();
  }
}

const keyOf = (one: SyncedConnection): string => `${travelKey(one)} ${one.real} ${one.realPort}`;
