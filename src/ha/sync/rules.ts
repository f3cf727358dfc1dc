import type { FeedRule } from '../../model/connection-feed.ts';
import type { SyncedConnection, SyncSettings } from '../../model/connection-sync.ts';
import type { SyncSysctls } from '../../model/sysctls.ts';

/** What a master tells of, and when: as it was started, else as the parameters of connection sync say. */
export function ruleOf(settings: SyncSettings, sysctls: SyncSysctls): FeedRule {
  const threshold = settings.threshold ?? sysctls.sync_threshold;
  const period = settings.threshold === undefined ? sysctls.sync_period : (settings.period ?? 0);
  const isByPackets = settings.threshold !== undefined || threshold > 0 || period > 0;
  const refreshSeconds = settings.refreshSeconds ?? (sysctls.sync_refresh_period || undefined);
  return {
    packets: isByPackets ? { threshold, period } : 'all',
    ...(refreshSeconds !== undefined && { refreshSeconds, retries: sysctls.sync_retries }),
    withoutRuled: sysctls.sync_persist_mode === 1,
    // In an envelope they meet no director of IPVS, which would take them for masqueraded ones.
    ...(settings.secret !== undefined && { localEnds: true }),
  };
}

/** Which of several ports tells of a connection; all messages about one take the same. `ports` is a power of two. */
export const portOf = ({ client, clientPort, virtualPort }: SyncedConnection, ports: number): number =>
  (clientPort ^ virtualPort ^ client[client.length - 1]!) & (ports - 1);
