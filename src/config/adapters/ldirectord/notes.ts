import type { NoteKind, Tell } from '../adapter.ts';
import type { DirectiveName, Settings } from './directives.ts';
import type { Section } from './lines.ts';
import type { Service } from './service.ts';
import { nameOf } from './tree.ts';

type Fate = readonly [kind: NoteKind, reason: string];

/** Directives that no key says, and why. The others are kept. */
const fates: { readonly [Name in DirectiveName]?: Fate } = {
  autoreload: ['changed', 'the daemon takes every change of the file'],
  cleanstop: ['changed', 'forwarding goes on when the daemon ends, unless it runs with --stop-forwarding'],
  fork: ['changed', 'checks run side by side in one process'],
  logfile: ['ignored', 'the log goes to standard error, and from there to the journal'],
  maintenancedir: [
    'changed',
    'a file is looked for by address and by the name the line has, not by reverse DNS',
  ],
  readdquiescent: ['changed', 'a real server with weight 0 stays where it is'],
  supervised: ['changed', 'the daemon stays in the foreground'],
  load: ['changed', 'ldirectord does nothing with it'],
  servicename: ['changed', 'it becomes a comment'],
  comment: ['changed', 'it becomes a comment'],
  checkcount: ['changed', 'only checks by ping look at it'],
};

/** Notes what becomes of the lines for all services. */
export function noteGlobals({ given }: Settings, tell: Tell): void {
  for (const [name, { line }] of given) {
    const [kind, reason] = fates[name] ?? ['kept', 'for all virtual services'];
    tell(kind, line.span, reason);
  }
}

/** Notes what becomes of the lines of a section. */
export function noteSection({ head, lines }: Section, service: Service, all: Settings, tell: Tell): void {
  const { settings } = service;
  const kept = `virtual service "${nameOf(service)}"`;
  tell('kept', head.span, kept);
  const gap = lines.find(({ isApart }) => isApart);
  if (gap)
    tell('changed', gap.span, 'the virtual service goes on below an empty line, which ends it in ldirectord');
  const isForking = all.given.get('fork')?.text === 'yes';
  for (const { line } of settings.reals) tell('kept', line.span, kept);
  for (const [directive, { line }] of settings.given) {
    const isIdle = directive === 'checkinterval' && !isForking;
    const isPing = directive === 'checkcount' && settings.given.get('checktype')?.text === 'ping';
    const fate: Fate | undefined = isIdle
      ? ['changed', 'it has no effect without "fork = yes"']
      : isPing
        ? undefined
        : fates[directive];
    tell(...(fate ? ([fate[0], line.span, fate[1]] as const) : (['kept', line.span, kept] as const)));
  }
}
