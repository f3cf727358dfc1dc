import type { Problem } from '../model/errors.ts';
import { readValues } from './read-values.ts';
import type { Entry } from './report.ts';
import { problemsOfRules } from './rules.ts';
import {
  type Configuration,
  configuration,
  type FailoverConfiguration,
  type ServiceConfiguration,
} from './schema/configuration.ts';
import { failover } from './schema/failover.ts';
import { virtualService } from './schema/service.ts';
import { type MapNode, nodeAt, type TreeNode } from './tree.ts';

/** The configuration a tree of values is, or what keeps it from being one, unsorted. */
export function judgeTree(root: MapNode): { configuration?: Configuration; problems: Problem[] } {
  const own = withoutOwnKeys(root);
  const { value, problems: found } = readValues(own, configuration, 'configuration');
  const problems = [...found, ...problemsOfRules(value ? partsOf(value) : soundPartsOf(own), own)];
  return problems.length === 0 && value ? { configuration: value, problems } : { problems };
}

/** The tree without the keys that are the writer's own: those at the top that begin with `x-`. */
function withoutOwnKeys(root: MapNode): MapNode {
  const members = new Map([...root.members].filter(([key]) => !key.startsWith('x-')));
  return members.size === root.members.size ? root : { ...root, members };
}

type Parts = {
  readonly services: readonly Entry<ServiceConfiguration>[];
  readonly failover?: FailoverConfiguration;
};

const servicesPath = ['virtualServices'] as const;

function partsOf({ virtualServices, failover }: Configuration): Parts {
  const services = virtualServices.map((value, i) => ({ value, path: [...servicesPath, i] }));
  return failover ? { services, failover } : { services };
}

/** Of a configuration with mistakes: what can be judged all the same. */
function soundPartsOf(root: TreeNode): Parts {
  const list = nodeAt(root, servicesPath);
  const services = (list?.kind === 'list' ? list.items : []).flatMap((node, i) => {
    const { value } = readValues(node, virtualService, 'virtual service');
    return value ? [{ value, path: [...servicesPath, i] }] : [];
  });
  const node = nodeAt(root, ['failover']);
  const { value } = node ? readValues(node, failover, 'failover') : {};
  return value ? { services, failover: value } : { services };
}
