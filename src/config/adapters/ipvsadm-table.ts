import { applyOperation } from '../../model/apply-operation.ts';
import type { Span } from '../../model/problem.ts';
import { destinationKey, serviceKey } from '../../model/service-id.ts';
import type { Operation, ServiceEntry } from '../../model/table.ts';
import { checkOperation } from '../../model/validate.ts';
import type { Destination, ServiceId, VirtualService } from '../../model/virtual-service.ts';

/** Where something was said last, and the comments that stand with it. */
export type Origin = { readonly span: Span; readonly comments: readonly string[] };

export type Member = Origin & { readonly destination: Destination };
export type Service = Origin & {
  readonly service: VirtualService;
  readonly members: Map<string, Member>;
};

/** The table that rules make, with the rule each entry comes from; in the order of adding. */
export type RuleTable = {
  readonly services: ReadonlyMap<string, Service>;
  /** Applies a rule by the rules of the model; why not, where it is refused. */
  apply(operation: Operation, origin: Origin): string | undefined;
};

/**
 * Like applyOperation on a table, one entry at a time: rules of a file are many, and a table is copied by each change.
 */
export function ruleTable(): RuleTable {
  const services = new Map<string, Service>();

  function apply(operation: Operation, origin: Origin): string | undefined {
    const id = serviceOf(operation);
    const key = id && serviceKey(id);
    const present = key === undefined ? undefined : services.get(key);
    const server = 'destination' in operation ? destinationKey(operation.destination) : undefined;
    const member = server === undefined ? undefined : present?.members.get(server);
    const before: readonly ServiceEntry[] = present
      ? [{ service: present.service, destinations: member ? [member.destination] : [] }]
      : [];
    const refusal = checkOperation(operation, { services: before });
    if (refusal) return refusal.detail;
    if (operation.kind === 'flush') services.clear();
    if (key === undefined) return undefined;
    const [after] = applyOperation({ services: before }, operation).services;
    if (!after) services.delete(key);
    else if (server === undefined) {
      const comments = [...(present?.comments ?? []), ...origin.comments];
      services.set(key, {
        service: after.service,
        members: present?.members ?? new Map(),
        ...origin,
        comments,
      });
    } else if (present) {
      const [destination] = after.destinations;
      const comments = [...(member?.comments ?? []), ...origin.comments];
      if (destination) present.members.set(server, { destination, ...origin, comments });
      else present.members.delete(server);
    }
    return undefined;
  }

  return { services, apply };
}

function serviceOf(operation: Operation): ServiceId | undefined {
  if ('service' in operation) return operation.service.id;
  return 'id' in operation ? operation.id : undefined;
}
