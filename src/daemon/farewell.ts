import type { Wanted } from '../control/wanted.ts';
import type { NewEvent } from '../model/event.ts';
import type { Health } from '../model/health.ts';
import { memberKey } from '../model/override.ts';
import { serviceKey } from '../model/service-id.ts';

const reason = 'the daemon ends, and its forwarding with it';

/**
 * What is told at the end of a daemon that takes its forwarding with it, of virtual services that say `downOnStop`: each
 * real server that was up is down, then the quorum is lost where there was one. keepalived's `omega`.
 */
export function downsAtEnd(
  { table, names, pools, reactions }: Wanted,
  { members, lost }: Pick<Health, 'members' | 'lost'>,
): NewEvent[] {
  const down = new Set(
    members.flatMap(({ service, destination, isUp }) => (isUp ? [] : [memberKey(service, destination)])),
  );
  const wasLost = new Set(lost);
  return table.services.flatMap(({ service: { id }, destinations }) => {
    const service = names.serviceName(id);
    if (!reactions?.services.get(service)?.downOnStop) return [];
    const up = destinations.filter((destination) => !down.has(memberKey(id, destination)));
    const downs = up.map((destination): NewEvent => {
      const realServer = names.realServer(id, destination);
      const what = `${service}/${realServer} is down: ${reason}`;
      return { kind: 'real-server-down', what, service, realServer, reason };
    });
    const quorum = pools?.get(serviceKey(id))?.quorum;
    if (quorum === undefined || wasLost.has(serviceKey(id))) return downs;
    const what = `${names.service(id)} has lost its quorum of ${quorum}: ${reason}`;
    return [...downs, { kind: 'quorum-lost', what, service: names.service(id), quorum }];
  });
}
