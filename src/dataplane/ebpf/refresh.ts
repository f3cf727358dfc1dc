import type { FeedRule } from '../../model/connection-feed.ts';

/** A connection in use is told of again before this part of its lifetime is over, where nobody says when. */
const usualPart = 4;
/** IPVS goes by half a lifetime, and no less than this (ip_vs_sync_conn_needed). */
const leastHalfSeconds = 10;
/** What part of the refresh time is between two retries. */
const retryPart = 8;

/** A connection in use since it was told of; times in one unit, of which `second` are a second. */
export type Told = {
  readonly ago: number;
  readonly lifetime: number;
  /** How often it was told of once more since its time had come. */
  readonly retried: number;
  readonly second: number;
};

/** Why it is told of again: its time has come, or it may still be told once more; undefined: not now. */
export function reasonAgain(
  { ago, lifetime, retried, second }: Told,
  { refreshSeconds, retries = 0 }: Pick<FeedRule, 'refreshSeconds' | 'retries'>,
): 'refresh' | 'retry' | undefined {
  if (refreshSeconds === undefined) return ago >= lifetime / usualPart ? 'refresh' : undefined;
  const refresh = refreshSeconds * second;
  if (ago >= Math.min(refresh, Math.max(lifetime / 2, leastHalfSeconds * second))) return 'refresh';
  return retried < retries && ago >= refresh / retryPart ? 'retry' : undefined;
}
