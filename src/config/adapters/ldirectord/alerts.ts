import type { Span } from '../../../model/problem.ts';
import { formatDurationMs } from '../../quantities.ts';
import { isMailbox } from '../../schema/alerts.ts';
import type { MapNode } from '../../tree.ts';
import type { Tell } from '../adapter.ts';
import { listAt, mapAt, scalarAt } from '../build-tree.ts';
import type { DirectiveName, Given, Settings } from './directives.ts';
import type { Service } from './service.ts';
import { nameOf } from './tree.ts';

const longestRepeatSeconds = 31 * 86_400;
const mailNames = ['emailalert', 'emailalertfreq', 'emailalertstatus', 'smtp'] as const;

/** Who gets mail about a service, and how. */
type Mail = {
  readonly to: readonly string[];
  readonly span: Span;
  readonly server: string;
  readonly repeatSeconds: number;
};

/**
 * Mail about services, and what is run when the file changes: the key `alerts`. Where the file is not alone, mail is about
 * its own services only.
 */
export function alertsNode(
  services: readonly Service[],
  all: Settings,
  { file, isAlone }: { readonly file: string; readonly isAlone: boolean },
  tell: Tell,
): MapNode | undefined {
  const groups = new Map<string, { mail: Mail; names: string[] }>();
  for (const service of services) {
    const mail = mailOf(service.settings, all, tell);
    if (!mail) continue;
    const { span: _, ...same } = mail;
    const key = JSON.stringify(same);
    const group = groups.get(key) ?? { mail, names: [] };
    group.names.push(nameOf(service));
    groups.set(key, group);
  }
  if (services.length === 0) tellIdle(all, tell);
  const from = senderOf(all, groups.size > 0, tell);
  const mails = [...groups.values()].map(({ mail, names }) =>
    mapAt(mail.span, {
      server: mail.server,
      from,
      to: listAt(
        mail.span,
        mail.to.map((one) => scalarAt(mail.span, one)),
      ),
      repeat: mail.repeatSeconds === 0 ? undefined : formatDurationMs(mail.repeatSeconds * 1000),
      services:
        isAlone && names.length === services.length
          ? undefined
          : listAt(
              mail.span,
              names.map((name) => scalarAt(mail.span, name)),
            ),
    }),
  );
  const callback = callbackNode(all.given.get('callback'), file, tell);
  const [first] = mails;
  const span = first?.span ?? callback?.span;
  return span && mapAt(span, { mail: first && listAt(first.span, mails), command: callback });
}

/** A directive of the service, else of all; told of where it does nothing. */
function mailOf(own: Settings, all: Settings, tell: Tell): Mail | undefined {
  const settle = (name: DirectiveName): Given | undefined => own.given.get(name) ?? all.given.get(name);
  const recipients = settle('emailalert');
  const states = settle('emailalertstatus');
  const words = states?.text.split(',') ?? ['all'];
  if (!recipients) {
    tellIdle(own, tell);
    tellIdle(all, tell);
    return undefined;
  }
  if (states && !words.includes('all')) {
    if (words.includes('none')) return undefined;
    if (!words.includes('running')) {
      tell(
        'ignored',
        states.line.span,
        'there is no mail for the time of starting, stopping and reloading alone',
      );
      return undefined;
    }
    tell('changed', states.line.span, 'there is mail whenever a real server changes its state');
  }
  const { span } = recipients.line;
  const listed = recipients.text.split(/[\s,]+/).filter((one) => one !== '');
  const to = listed.filter(isMailbox);
  if (to.length < listed.length) tell('ignored', span, 'there is a word that is no address');
  if (to.length === 0) return undefined;
  const server = settle('smtp');
  if (!server) tell('changed', span, 'mail goes to the mail server of this host, 127.0.0.1:25');
  const frequency = settle('emailalertfreq');
  const repeatSeconds = Math.min(Number(frequency?.text ?? 0), longestRepeatSeconds);
  if (frequency && repeatSeconds < Number(frequency.text))
    tell('changed', frequency.line.span, `${frequency.text} s are 31 days, the longest`);
  return { to, span, server: server?.text ?? '127.0.0.1', repeatSeconds };
}

function tellIdle({ given }: Settings, tell: Tell): void {
  for (const name of mailNames) {
    const found = given.get(name);
    if (found && name !== 'emailalert')
      tell('changed', found.line.span, 'it has no effect without "emailalert"');
  }
}

function senderOf({ given }: Settings, isUsed: boolean, tell: Tell): string {
  const found = given.get('emailalertfrom');
  if (!found) return 'root@localhost';
  if (!isUsed) tell('changed', found.line.span, 'it has no effect without "emailalert"');
  const address = /<([^<>]*)>/.exec(found.text)?.[1] ?? found.text.replace(/^"(.*)"$/, '$1').trim();
  if (isMailbox(address)) return address;
  tell('changed', found.line.span, 'it is no address: mail is from root@localhost');
  return 'root@localhost';
}

function callbackNode(callback: Given | undefined, file: string, tell: Tell): MapNode | undefined {
  if (!callback || callback.text === '') return undefined;
  const { span } = callback.line;
  tell('changed', span, 'it is run when the file has come into force, at the start as well');
  const words = ['/bin/sh', '-c', `${callback.text} "$0"`, file];
  return mapAt(span, {
    command: listAt(
      span,
      words.map((word) => scalarAt(span, word)),
    ),
    on: listAt(span, [scalarAt(span, 'configuration-applied')]),
  });
}
