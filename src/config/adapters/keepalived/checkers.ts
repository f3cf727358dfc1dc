import type { MapNode } from '../../tree.ts';
import type { Statement } from './blocks.ts';
import type { CheckerContext } from './checker-context.ts';
import { type Connection, connectionKeys, takeCommon } from './connection.ts';
import { type HttpSettings, httpKeys, takeHttp } from './http-checker.ts';
import { dnsCheck, fileCheck, pingCheck, scriptCheck, smtpChecks, udpCheck } from './other-checkers.ts';
import { ignoreAll, mapAt } from './scope.ts';
import { type Timing, timingKeys, usualDefaults } from './timing.ts';

/** The checks a checker is: one; none where no check can say it, or where it is none. */
export function checkNodes(statement: Statement, context: CheckerContext): readonly MapNode[] {
  switch (statement.keyword) {
    case 'TCP_CHECK':
      return [tcpCheck(statement, context)];
    case 'HTTP_GET':
    case 'SSL_GET':
      return listed(webCheck(statement, context));
    case 'SMTP_CHECK':
      return smtpChecks(statement, context);
    case 'DNS_CHECK':
      return [dnsCheck(statement, context)];
    case 'UDP_CHECK':
      return [udpCheck(statement, context)];
    case 'PING_CHECK':
      return [pingCheck(statement, context)];
    case 'MISC_CHECK':
      return listed(scriptCheck(statement, context));
    case 'FILE_CHECK':
      return listed(fileCheck(statement, context));
    default:
      ignoreAll([statement], 'BFD is not spoken: another check must find what it would', context);
      return [];
  }
}

function tcpCheck(statement: Statement, context: CheckerContext): MapNode {
  const timing: Timing = {};
  const connection: Connection = {};
  for (const inner of statement.statements) takeCommon(inner, timing, connection, context);
  context.notes.kept(statement.span, 'check tcp');
  return mapAt(statement.span, {
    type: 'tcp',
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

const listed = (node: MapNode | undefined): readonly MapNode[] => (node ? [node] : []);
