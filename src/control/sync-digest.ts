import { digestOf as digestOfSettings } from '../dataplane/sync-digest.ts';
import type { SyncSettings } from '../model/connection-sync.ts';

/** Differs where any setting does: what whoever started a sync process knows it by. */
export const digestOf = (settings: SyncSettings): string => digestOfSettings(settings);
