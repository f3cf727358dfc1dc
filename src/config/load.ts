import { HeadgateError, type Problem } from '../model/errors.ts';
import { countMistakes, sortProblems } from '../model/problem.ts';
import { type Files, machineFiles } from './files.ts';
import { problemsOfIssues } from './issues.ts';
import { readFiles } from './read-files.ts';
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
import { type MapNode, nodeAt, plain, type TreeNode } from './tree.ts';
import type { Environment } from './variables.ts';

/** A configuration that was read, or what keeps it from being one. */
export type Loaded = {
  /** Present exactly when there is no problem. */
  readonly configuration?: Configuration;
  /** Every mistake of every file, sorted by file and place. */
  readonly problems: readonly Problem[];
  /** Every file that was read, the first one first. */
  readonly files: readonly string[];
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
  const { root, names, problems } = readFiles(path, files, environment);
  if (!root) return { problems: sortProblems(problems, names), files: names };
  const values = withoutOwnKeys(root);
  const read = configuration.safeParse(plain(values));
  if (!read.success) problems.push(...problemsOfIssues(read.error.issues, values, 'configuration'));
  problems.push(...problemsOfRules(partsOf(values, read.data), values));
  const loaded = { problems: sortProblems(problems, names), files: names };
  return problems.length === 0 && read.success ? { configuration: read.data, ...loaded } : loaded;
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

/** The parts of a configuration that can be judged together: of one with mistakes, those without. */
function partsOf(
  root: TreeNode,
  whole: Configuration | undefined,
): { services: Entry<ServiceConfiguration>[]; failover?: FailoverConfiguration } {
  const services = nodeAt(root, ['virtualServices']);
  if (whole !== undefined)
    return {
      services: whole.virtualServices.map((value, i) => ({ value, path: ['virtualServices', i] })),
      ...(whole.failover && { failover: whole.failover }),
    };
  const sound = services?.kind === 'list' ? services.items : [];
  const pair = nodeAt(root, ['failover']);
  const readFailover = pair && failover.safeParse(plain(pair));
  return {
    services: sound.flatMap((node, i) => {
      const read = virtualService.safeParse(plain(node));
      return read.success ? [{ value: read.data, path: ['virtualServices', i] }] : [];
    }),
    ...(readFailover?.success && { failover: readFailover.data }),
  };
}
