import { HeadgateError, type Problem } from '../model/errors.ts';
import { countMistakes, sortProblems } from '../model/problem.ts';
import { type Files, machineFiles } from './files.ts';
import { locate, readFiles } from './read-files.ts';
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
import { type MapNode, nodeAt, type Path, type TreeNode } from './tree.ts';
import type { Environment } from './variables.ts';

/** A configuration that was read, or what keeps it from being one. */
export type Loaded = {
  /** Present exactly when there is no problem. */
  readonly configuration?: Configuration;
  /** Every mistake of every file, sorted by file and place. */
  readonly problems: readonly Problem[];
  /** Every file that was read, the first one first. */
  readonly files: readonly string[];
  /**
   * Which file says what a path of the configuration leads to, and the path in that file, for `editDocument`; undefined
   * where no file says it. What several files say together is the first one's.
   */
  readonly locate: (path: Path) => { readonly file: string; readonly path: Path } | undefined;
};

export type LoadOptions = {
  readonly files?: Files;
  readonly environment?: Environment;
};

/** Reads headgate.yaml with all it includes. Throws nothing: mistakes and unreadable files are `problems`. */
export function loadConfiguration(
  path: string,
  { files = machineFiles, environment = process.env }: LoadOptions = {},
): Loaded {
  const read = readFiles(path, files, environment);
  const { root, names, problems } = read;
  const rest = { files: names, locate: (of: Path) => locate(read, of) };
  if (!root) return { problems: sortProblems(problems, names), ...rest };
  const own = withoutOwnKeys(root);
  const { value, problems: found } = readValues(own, configuration, 'configuration');
  problems.push(...found, ...problemsOfRules(value ? partsOf(value) : soundPartsOf(own), own));
  const loaded = { problems: sortProblems(problems, names), ...rest };
  return problems.length === 0 && value ? { configuration: value, ...loaded } : loaded;
}

/** Like loadConfiguration; throws HG_CONFIG with all problems where there are some. */
export function readConfiguration(path: string, options: LoadOptions = {}): Configuration {
  const { configuration: read, problems } = loadConfiguration(path, options);
  if (read !== undefined) return read;
  throw new HeadgateError('HG_CONFIG', `Cannot use "${path}": ${countMistakes(problems)}`, { problems });
}

/** Reads a text that is in no file; `name` stands for it in messages. It may include files of `options`. */
export function loadText(text: string, name: string, options: LoadOptions = {}): Loaded {
  const others = options.files ?? machineFiles;
  const files: Files = {
    ...others,
    read: (path) => (path === name ? new TextEncoder().encode(text) : others.read(path)),
  };
  return loadConfiguration(name, { ...options, files });
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
