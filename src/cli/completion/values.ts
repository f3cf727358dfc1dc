import { builtInClusters } from '../../lab/built-in.ts';
import { schedulerNames } from '../../model/virtual-service.ts';
import type { ArgumentNode, OptionNode } from '../command-tree.ts';

/** Names that are asked from the program when the key is pressed; names.ts answers. */
export type NameKind = 'services' | 'real-servers' | 'objects' | 'generations' | 'labs' | 'nodes' | 'links';

/** What may stand in a place. Empty: anything, nothing is offered. */
export type Values = {
  readonly words?: readonly string[];
  readonly names?: NameKind;
  readonly paths?: 'files' | 'directories';
  /** A program of the PATH, and whatever it takes. */
  readonly command?: true;
};

/** By what the place is called in the commander tree. */
const byPlaceholder: Readonly<Record<string, Values>> = {
  file: { paths: 'files' },
  directory: { paths: 'directories' },
  'name|file': { words: builtInClusters.map(({ name }) => name), paths: 'files' },
  command: { command: true },
  lab: { names: 'labs' },
  node: { names: 'nodes' },
  link: { names: 'links' },
  service: { names: 'services' },
  real: { names: 'real-servers' },
  object: { names: 'objects' },
  generation: { names: 'generations' },
  method: { words: ['direct-routing', 'tunnel', 'masquerade'] },
  scheduler: { words: schedulerNames },
};

/** What may stand where an argument or an option's value stands. */
export function valuesOf({ placeholder, choices }: OptionNode | ArgumentNode): Values {
  if (choices.length > 0) return { words: choices };
  return byPlaceholder[placeholder ?? ''] ?? {};
}
