import { createHash } from 'node:crypto';
import type { SyncSettings } from '../model/connection-sync.ts';

/** Differs where any setting does, the secret among them: for whoever started a sync process, and nobody else. */
export const digestOf = (settings: SyncSettings): string =>
  createHash('sha256').update(JSON.stringify(settings)).digest('hex').slice(0, 16);
