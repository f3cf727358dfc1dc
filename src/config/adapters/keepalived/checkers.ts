import type { Address } from '../../../model/address.ts';
import type { MapNode, TreeNode } from '../../tree.ts';
import { addressIn, portIn } from './addresses.ts';
import type { Statement } from './blocks.ts';
import type { CheckerContext } from './checker-context.ts';
import { type HttpSettings, httpKeys, takeHttp } from './http-checker.ts';
import { mapAt } from './scope.ts';
import { type Timing, takeTiming, timingKeys, usualDefaults } from './timing.ts';
import { firstWord, noteRest } from './values.ts';

/** Where a checker connects to and from. */
type Connection = { address?: Address; port?: number; source?: Address };

type Keys = Record<string, TreeNode | string | number | boolean | undefined>;

/** The check a checker is; undefined where it can be said by none, or is none. */
export function checkNode(statement: Statement, context: CheckerContext): MapNode | undefined {
  const { notes } = context;
  switch (statement.keyword) {
    case 'TCP_CHECK':
      return plainCheck('tcp', statement, context);
    case 'HTTP_GET':
    case 'SSL_GET':
      return webCheck(statement, context);
    default:
      notes.ignored(statement.span, `no check can say "${statement.keyword}" yet`);
      return undefined;
  }
}

function plainCheck(type: string, statement: Statement, context: CheckerContext): MapNode {
  const timing: Timing = {};
  const connection: Connection = {};
  for (const inner of statement.statements) takeCommon(inner, timing, connection, context);
  context.notes.kept(statement.span, `check ${type}`);
  return mapAt(statement.span, {
    type,
    ...connectionKeys(connection, context),
    ...timingKeys([timing, ...context.timings], usualDefaults, statement.span, context),
    source: connection.source,
  });
}

function webCheck(statement: Statement, context: CheckerContext): MapNode | undefined {
  const timing: Timing = {};
  const connection: Connection = {};
  const settings: HttpSettings = { urls: [] };
  for (const inner of statement.statements)
    if (!takeHttp(inner, settings, context)) takeCommon(inner, timing, connection, context);
  const type = statement.keyword === 'SSL_GET' ? 'https' : 'http';
  const keys = httpKeys(type, settings, statement.span, context);
  if (!keys) {
    context.notes.wrong('ignored', statement.span, 'it asks for no page: no "url" with a "path"');
    return undefined;
  }
  context.notes.kept(statement.span, `check ${type}`);
  const webDefaults = { retry: 1, delayBeforeRetryMs: 3000 };
  return mapAt(statement.span, {
    type,
    ...connectionKeys(connection, context),
    ...keys,
    ...timingKeys([timing, ...context.timings], webDefaults, statement.span, context),
    source: connection.source,
  });
}

function connectionKeys({ address, port }: Connection, { port: usual }: CheckerContext): Keys {
  return { address, port: port === usual ? undefined : port };
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
    const port = word && portIn(word, context);
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
