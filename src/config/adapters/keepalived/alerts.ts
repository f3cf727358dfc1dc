import { parseAddress } from '../../../model/address.ts';
import { alertKinds } from '../../../model/alert.ts';
import type { Span } from '../../../model/problem.ts';
import type { TreeNode } from '../../tree.ts';
import { mapAt, type Scope, scalarAt, wordList } from './scope.ts';
import { numberIn } from './values.ts';
import type { Word } from './words.ts';

/** What `global_defs` says about mails. */
export type MailSettings = {
  server?: Word | undefined;
  port?: Word | undefined;
  from?: Word | undefined;
  readonly to: Word[];
  /** Where `smtp_alert` or `smtp_alert_checker` says that no mail is wanted. */
  off?: Span | undefined;
  /** Whether changes of VRRP are told as well. */
  vrrp?: boolean;
};

const mailbox = /^[^\s<>()[\],;:\\"@\p{Cc}]{1,64}(?:@[^\s<>()[\],;:\\"@\p{Cc}]{1,255})?$/u;
const hostForm = /^[A-Za-z0-9._-]+$/;

/**
 * Who is told by mail: keepalived tells of real servers once there is a server and somebody to tell. Of virtual servers it is
 * told here as well, of VRRP where that is wished.
 */
export function alertsNode(mail: MailSettings, hostName: string, scope: Scope): TreeNode | undefined {
  const { server, port, from, to, off } = mail;
  const { notes } = scope;
  const spans = [server, from, ...to].flatMap((word) => word?.span ?? []);
  const ignore = (reason: string): undefined => {
    for (const span of spans) notes.ignored(span, reason);
    return undefined;
  };
  if (off && !mail.vrrp) return ignore('no mail is wanted');
  const people = to.filter((word) => {
    const address = plainAddress(word.text);
    if (!mailbox.test(address)) notes.ignored(word.span, 'it is no mail address');
    return mailbox.test(address);
  });
  if (!server || people.length === 0) return ignore('no mail is sent: a server and an address are needed');
  const isIpv6 = server.text.includes(':');
  if (isIpv6 ? parseAddress(server.text) === undefined : !hostForm.test(server.text))
    return ignore('its mail server is no host');
  const host = isIpv6 ? `[${server.text}]` : server.text;
  const number = port ? numberIn(port, [1, 65_535], scope) : undefined;
  const sender = from ? plainAddress(from.text) : `keepalived@${hostName}`;
  if (!mailbox.test(sender)) return ignore('its sender is no mail address');
  notes.kept(server.span, '"alerts.mail"');
  return mapAt(server.span, {
    mail: mapAt(server.span, {
      server: number === undefined || number === 25 ? host : `${host}:${number}`,
      from: from ? scalarAt(from.span, sender) : sender,
      to: wordList(
        people.map(({ text, span }) => ({ text: plainAddress(text), span })),
        people[0]!.span,
      ),
      on: mail.vrrp ? wordList([...(off ? [] : alertKinds), 'vrrp-transition'], server.span) : undefined,
    }),
  });
}

/** The address of `Name <address>`. */
function plainAddress(text: string): string {
  return /<([^<>]*)>/.exec(text)?.[1] ?? text;
}
