import { endpointIn } from './addresses.ts';
import type { Statement } from './blocks.ts';
import { readForwarding } from './forwarding.ts';
import { commandOf, ignoreAll, type Scope } from './scope.ts';
import type { RealServerDraft, ServiceDraft } from './service-draft.ts';
import { takeTiming } from './timing.ts';
import { firstWord, noteRest, unsignedMax, wholeNumber } from './values.ts';

const greatestWeight = 65_535;

/** Reads a block `real_server`; undefined where it begins with no address, as keepalived passes over it. */
export function readRealServer(
  statement: Statement,
  service: ServiceDraft,
  scope: Scope,
): RealServerDraft | undefined {
  const address = firstWord(statement, 'an address', scope);
  const endpoint = address && endpointIn(address, statement.words[1], scope);
  noteRest(statement, 2, scope);
  if (!endpoint) {
    ignoreAll(statement.statements, 'its real server is ignored', scope);
    return undefined;
  }
  scope.notes.kept(statement.span, 'a real server');
  const draft: RealServerDraft = {
    ...{ span: statement.span, endpoint, timing: {}, checkers: [] },
    // What stands below in the virtual server counts where nothing stands above.
    ...(service.forwarding && { forwarding: service.forwarding }),
  };
  for (const inner of statement.statements) takeKeyword(inner, draft, scope);
  return draft;
}

function takeKeyword(statement: Statement, draft: RealServerDraft, scope: Scope): void {
  const { keyword, span } = statement;
  const { notes } = scope;
  if (takeTiming(draft.timing, statement, scope, 1)) return;
  switch (keyword) {
    case 'weight': {
      const value = wholeNumber(statement, [0, 2_147_483_647], scope);
      if (value === undefined) return;
      draft.weight = Math.min(value, greatestWeight);
      if (value > greatestWeight) notes.changed(span, `weight ${value} is ${greatestWeight}, the greatest`);
      notes.kept(span, '"weight"');
      return;
    }
    case 'lvs_method':
      draft.forwarding = readForwarding(statement, scope) ?? draft.forwarding;
      return;
    case 'uthreshold':
    case 'lthreshold': {
      const value = wholeNumber(statement, [0, unsignedMax], scope);
      if (value === undefined) return;
      draft[keyword === 'uthreshold' ? 'upper' : 'lower'] = { value, span };
      notes.kept(span, keyword === 'uthreshold' ? '"upperThreshold"' : '"lowerThreshold"');
      return;
    }
    case 'virtualhost': {
      const word = firstWord(statement, 'the name of a host', scope);
      if (word) draft.virtualHost = word.text;
      notes.kept(span, 'the host that is asked');
      return;
    }
    case 'snmp_name': {
      const word = firstWord(statement, 'a name', scope);
      if (word) draft.name = word.text;
      notes.kept(span, 'the name of the real server');
      return;
    }
    case 'notify_up':
    case 'notify_down': {
      const key = keyword === 'notify_up' ? 'onUp' : 'onDown';
      if (draft[key]) {
        notes.wrong('ignored', span, `a second "${keyword}": the first one counts`);
        return;
      }
      notes.kept(span, `"${key}"`);
      const command = commandOf(statement, scope);
      if (command) draft[key] = command;
      return;
    }
    case 'smtp_alert':
      notes.ignored(span, 'who is told of what is said for all services at once');
      return;
    default:
      draft.checkers.push(statement);
  }
}
