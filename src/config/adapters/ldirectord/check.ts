import { formatDurationMs } from '../../quantities.ts';
import type { ScalarNode, ScalarValue } from '../../tree.ts';
import { listAt, scalarAt } from '../build-tree.ts';
import type { Settings } from './directives.ts';
import { type Entries, type Findings, type Found, typeNode, use } from './findings.ts';
import { negotiated } from './negotiate.ts';
import { forwardedPort, portOfService, type Real, type Service } from './service.ts';

/** What becomes of the real servers of a service, and of its check. */
export type CheckPlan = {
  /** `on`: always up; `off`: never. */
  readonly state: 'checked' | 'on' | 'off';
  /** The check of a real server; undefined where it has none. */
  of(real: Real | undefined): Entries | undefined;
};

const longestIntervalMs = 24 * 3_600_000;
const longestTimeoutMs = 3_600_000;
const mostFailures = 1000;

/**
 * How the real servers of a service are checked. `checktype`, and with it what stands for the type `negotiate`; times
 * and counts with ldirectord's defaults, written out where ours differ.
 */
export function planCheck(service: Service, all: Settings, findings: Findings): CheckPlan {
  const type = service.settings.given.get('checktype')?.text ?? 'negotiate';
  const isCombined = /^\d+$/.test(type);
  if (type === 'on' || type === 'off') return { state: type, of: () => undefined };
  const line = service.settings.given.get('checktype')?.line ?? service.head;
  if (isCombined && Number(type) > 0)
    findings.tell('changed', line.span, 'every check is a full one, none only connects');
  const kind = type === 'negotiate' || isCombined ? 'negotiate' : kindOf(type, service);
  const of = (real: Real | undefined) => {
    const own = ownEntries(kind, service, real, findings);
    if (!own) return undefined;
    return {
      ...portEntry(kind, service, real, findings),
      ...own.entries,
      ...timing(kind, own.timeoutBy, service, all, findings),
    };
  };
  return { state: kind === 'negotiate' && service.service === 'none' ? 'on' : 'checked', of };
}

type Kind = 'negotiate' | 'connect' | 'ping' | 'external' | 'external-perl';

/** With UDP there is no connection to be made: ldirectord pings instead. */
function kindOf(type: string, { protocol }: Service): Kind {
  return type === 'connect' && protocol === 'udp' ? 'ping' : (type as Kind);
}

function ownEntries(
  kind: Kind,
  service: Service,
  real: Real | undefined,
  findings: Findings,
): Found | undefined {
  if (kind === 'negotiate') return negotiated(service, real, findings);
  const timeoutBy = 'checktimeout';
  if (kind === 'connect') return { entries: { type: typeNode('tcp', service) }, timeoutBy };
  if (kind === 'ping') return { entries: { type: typeNode('ping', service) }, timeoutBy };
  const command = use(service, 'checkcommand', findings);
  const text = command?.text ?? '/bin/true';
  const span = command?.span ?? service.head.span;
  const words = kind === 'external' ? [text] : ['perl', text];
  if (kind === 'external-perl') findings.tell('changed', span, 'each check is a process of its own');
  return {
    entries: {
      type: typeNode('script', service),
      command: listAt(
        span,
        words.map((word) => scalarAt(span, word)),
      ),
      appendTarget: true,
    },
    timeoutBy,
  };
}

/**
 * Where the check goes: `checkport`, else the real server's own port, else that of the service. Left out where it is
 * the port that connections go to.
 */
function portEntry(kind: Kind, service: Service, real: Real | undefined, findings: Findings): Entries {
  if (kind === 'ping' || kind === 'external' || kind === 'external-perl') return {};
  const asked = use(service, 'checkport', findings);
  const span = asked?.span ?? real?.line.span ?? service.head.span;
  const named = asked ? Number(asked.text) : real && real.port > 0 ? real.port : undefined;
  const port = named ?? portOfService(service.service);
  const forwarded = real && forwardedPort(service, real);
  const taken = port ?? forwarded;
  if (taken === undefined || taken === 0) return {};
  return real && taken === forwarded ? {} : real || asked ? { port: scalarAt(span, taken) } : {};
}

function timing(
  kind: Kind,
  timeoutBy: Found['timeoutBy'],
  service: Service,
  all: Settings,
  findings: Findings,
): Entries {
  const { settings, head } = service;
  const isForking = all.given.get('fork')?.text === 'yes';
  const interval =
    (isForking ? settings.given.get('checkinterval') : undefined) ?? all.given.get('checkinterval');
  const [first, second] =
    timeoutBy === 'checktimeout'
      ? (['checktimeout', 'negotiatetimeout'] as const)
      : (['negotiatetimeout', 'checktimeout'] as const);
  const timeout =
    settings.given.get(first) ?? settings.given.get(second) ?? all.given.get(first) ?? all.given.get(second);
  const failures = settings.given.get('failurecount') ?? all.given.get('failurecount');
  const quiescent = settings.given.get('quiescent') ?? all.given.get('quiescent');
  const count = settings.given.get('checkcount') ?? all.given.get('checkcount');
  const at = (given: { line: { span: typeof head.span } } | undefined, value: ScalarValue) =>
    scalarAt(given?.line.span ?? head.span, value);
  const bounded = (given: typeof interval, seconds: number, mostMs: number): ScalarNode => {
    const ms = Math.min(seconds * 1000, mostMs);
    if (given && ms < seconds * 1000)
      findings.tell(
        'changed',
        given.line.span,
        `${given.text} s are ${formatDurationMs(mostMs)}, the longest`,
      );
    return at(given, formatDurationMs(ms));
  };
  const fall = Math.min(Number(failures?.text ?? 1), mostFailures);
  if (failures && fall < Number(failures.text))
    findings.tell('changed', failures.line.span, `${failures.text} failures are ${fall}, the most`);
  return {
    ...(interval && { interval: bounded(interval, Number(interval.text), longestIntervalMs) }),
    timeout: bounded(
      timeout,
      Number(timeout?.text ?? (timeoutBy === 'checktimeout' ? 5 : 30)),
      longestTimeoutMs,
    ),
    fall: at(failures, fall),
    initial: at(undefined, 'down'),
    warmup: at(undefined, '0s'),
    ...(quiescent?.text === 'yes' && { whenDown: at(quiescent, 'quiesce') }),
    ...(kind === 'ping' && count && { attempts: at(count, Math.min(Number(count.text), 10)) }),
  };
}
