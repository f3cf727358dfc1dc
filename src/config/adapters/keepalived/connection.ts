import type { Address } from '../../../model/address.ts';
import type { TreeNode } from '../../tree.ts';
import { addressIn } from './addresses.ts';
import type { Statement } from './blocks.ts';
import type { CheckerContext } from './checker-context.ts';
import { type Timing, takeTiming } from './timing.ts';
import { firstWord, noteRest, numberIn } from './values.ts';

/** Where a checker connects to and from. */
export type Connection = { address?: Address; port?: number; source?: Address };

type Keys = Record<string, TreeNode | string | number | boolean | undefined>;

/** The keys of a check about where it connects. */
export function connectionKeys(
  { address, port }: Connection,
  { port: usual, checkPort, needsPort }: CheckerContext,
): Keys {
  const wanted = port ?? (checkPort === 0 ? undefined : checkPort);
  return { address, port: wanted === usual && !needsPort ? undefined : wanted };
}

/** Keywords that every checker over the network has. */
export function takeCommon(
  statement: Statement,
  timing: Timing,
  connection: Connection,
  context: CheckerContext,
): void {
  const { keyword, span } = statement;
  const { notes } = context;
  if (takeTiming(timing, statement, context)) return;
  if (keyword === 'connect_ip') setAddress('address');
  else if (keyword === 'bindto') setAddress('source');
  else if (keyword === 'connect_port') {
    const word = firstWord(statement, 'a port', context);
    const port = word && numberIn(word, [1, 65_535], context);
    noteRest(statement, 1, context);
    if (port) connection.port = port;
    if (port) notes.kept(span, 'the port that is checked');
  } else notes.ignored(span, notSayable[keyword] ?? `no check can say "${keyword}"`);

  function setAddress(key: 'address' | 'source') {
    const word = firstWord(statement, 'an address', context);
    const address = word && addressIn(word, context);
    noteRest(statement, 1, context);
    if (address === undefined) return;
    connection[key] = address;
    notes.kept(span, `"${key}" of the check`);
  }
}

const notSayable: Readonly<Record<string, string>> = {
  bind_if: 'checks leave by the interface the route to the real server names',
  bind_port: 'the kernel chooses the port checks come from',
  fwmark: 'packets of checks have no mark',
  log_all_failures: 'every result that changes a state is an event: see "headgate events"',
};
