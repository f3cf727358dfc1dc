import type { z } from 'zod';
import type { Problem } from '../model/errors.ts';
import type { Memory } from './memory.ts';
import { readValues, type Values } from './read-values.ts';
import type { Entry } from './report.ts';
import { type Claim, problemsOfRules } from './rules.ts';
import {
  type AlertsConfiguration,
  type Configuration,
  configuration,
  type FailoverConfiguration,
  type ServiceConfiguration,
} from './schema/configuration.ts';
import { failover } from './schema/failover.ts';
import { virtualService } from './schema/service.ts';
import { type MapNode, nodeAt, type TreeNode } from './tree.ts';

/** The configuration a tree of values is, or what keeps it from being one, unsorted. */
export function judgeTree(
  root: MapNode,
  memory?: Memory,
): { configuration?: Configuration; problems: Problem[] } {
  const own = withoutOwnKeys(root);
  const { value, problems: found } =
    (memory && readByMemory(own, memory)) ?? readValues(own, configuration, 'configuration');
  const parts = value ? partsOf(value) : soundPartsOf(own);
  const problems = [...found, ...problemsOfRules(parts, own, memory?.sound)];
  return problems.length === 0 && value ? { configuration: value, problems } : { problems };
}

/** The same as `readValues`, with each virtual service judged by itself, once; undefined where something is wrong. */
function readByMemory(root: MapNode, { services }: Memory): Values<Configuration> | undefined {
  const member = root.members.get('virtualServices');
  if (member?.value.kind !== 'list') return undefined;
  const list: ServiceConfiguration[] = [];
  for (const item of member.value.items) {
    const service = services.get(item) ?? soundService(item);
    if (!service) return undefined;
    services.set(item, service);
    list.push(service);
  }
  const empty = { ...member, value: { ...member.value, items: [] } };
  const rest = { ...root, members: new Map([...root.members, ['virtualServices', empty] as const]) };
  const { value, problems } = readValues(rest, configuration, 'configuration');
  return value && problems.length === 0
    ? { value: { ...value, virtualServices: list }, problems }
    : undefined;
}

function soundService(node: TreeNode): ServiceConfiguration | undefined {
  const { value, problems } = readValues(node, virtualService, 'virtual service');
  return problems.length === 0 ? value : undefined;
}

/** The tree without the keys that are the writer's own: those at the top that begin with `x-`. */
function withoutOwnKeys(root: MapNode): MapNode {
  const members = new Map([...root.members].filter(([key]) => !key.startsWith('x-')));
  return members.size === root.members.size ? root : { ...root, members };
}

type Parts = {
  readonly services: readonly Entry<ServiceConfiguration>[];
  readonly claims: readonly Entry<Claim>[];
  readonly failover?: FailoverConfiguration;
  readonly alerts?: AlertsConfiguration;
};

const servicesPath = ['virtualServices'] as const;

function partsOf({ virtualServices, failover, alerts }: Configuration): Parts {
  const services = virtualServices.map((value, i) => ({ value, path: [...servicesPath, i] }));
  return { services, claims: services, ...(failover && { failover }), ...(alerts && { alerts }) };
}

/** Of a configuration with mistakes: what can be judged all the same. */
function soundPartsOf(root: TreeNode): Parts {
  const list = nodeAt(root, servicesPath);
  const services: Entry<ServiceConfiguration>[] = [];
  const claims = (list?.kind === 'list' ? list.items : []).map((node, i): Entry<Claim> => {
    const { value } = readValues(node, virtualService, 'virtual service');
    const path = [...servicesPath, i];
    if (value) services.push({ value, path });
    return { value: value ?? claimOf(node), path };
  });
  const node = nodeAt(root, ['failover']);
  const { value } = node ? readValues(node, failover, 'failover') : {};
  return { services, claims, ...(value && { failover: value }) };
}

/** What a service with mistakes wants for itself, as far as that is right. */
function claimOf(node: TreeNode): Claim {
  const { name, address, fwmark, family } = virtualService.shape;
  const part = <S extends z.ZodType>(key: string, schema: S) => {
    const found = nodeAt(node, [key]);
    return found && readValues(found, schema, key).value;
  };
  return {
    name: part('name', name),
    address: part('address', address),
    fwmark: part('fwmark', fwmark),
    family: part('family', family) ?? 'ipv4',
  };
}
