import * as z from 'zod';
import { alertKinds } from '../../model/alert.ts';
import { eventKinds } from '../../model/event.ts';
import { duration, flag, key, list, object, parsed, program, text, word } from './keys.ts';

const day = 86_400_000;

const when = {
  on: key(
    list(word(...eventKinds), 'kinds of events')
      .min(1, { error: 'wanted one kind of event or more' })
      .default([...alertKinds]),
    'Which events are told.',
    { examples: [['real-server-down']], leftOut: alertKinds.join(', ') },
  ),
  services: key(list(text(), 'virtual services').optional(), 'Only events of these virtual services.', {
    examples: [['web']],
    leftOut: 'all events',
  }),
};

/** A host and a port; an IPv6 address in brackets. */
function parseServer(given: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([1-9]\d{0,4}))?$/.exec(given);
  const port = Number(match?.[3] ?? 25);
  return match && port <= 65_535 ? { host: (match[1] ?? match[2])!, port } : undefined;
}

/** An address as SMTP carries it (RFC 5321, 4.1.2): nothing that would end the command it stands in. */
const mailboxForm = /^[^\s<>()[\],;:\\"@\p{Cc}]{1,64}(?:@[^\s<>()[\],;:\\"@\p{Cc}]{1,255})?$/u;

export const isMailbox = (given: string): boolean => mailboxForm.test(given);

const mailbox = () => {
  const error = 'wanted an address such as admin@example.org';
  return z.string({ error }).regex(mailboxForm, { error }).meta({ kind: 'mail address' });
};

const mail = object({
  server: key(
    parsed('a host, with or without a port, such as mail.example.org:25', parseServer, 'host[:port]'),
    'The mail server.',
    { examples: ['mail.example.org:25', '127.0.0.1'] },
  ),
  transport: key(
    word('plain', 'tls', 'startTls').default('plain'),
    'Whether TLS is used: not at all, from the first byte, or asked for first.',
  ),
  serverName: key(text('a host name').optional(), 'The name asked for in the handshake (SNI).', {
    leftOut: 'the host of `server`, where it is no address',
  }),
  verify: key(flag().default(true), 'Whether the certificate must be valid for that name.'),
  user: key(text().optional(), 'Who signs in (AUTH PLAIN); wants TLS.', { leftOut: 'nobody' }),
  password: key(text().optional(), `The password; best from the environment: \`"\${MAIL_PASSWORD}"\`.`, {
    leftOut: 'none',
  }),
  from: key(mailbox(), 'Who it is from.', { examples: ['headgate@example.org'] }),
  to: key(list(mailbox(), 'addresses').min(1, { error: 'wanted one address or more' }), 'Who gets it.', {
    examples: [['admin@example.org']],
  }),
  repeat: key(
    duration(0, 31 * day).default(0),
    'How often a real server that stays down is told of again; 0s: once.',
    { examples: ['1h'], leftOut: '0s' },
  ),
  ...when,
});

const webhook = object({
  url: key(
    text('a URL').regex(/^https?:\/\/[^\s/]+/, {
      error: 'wanted a URL that begins with http:// or https://',
    }),
    'Where events are posted as JSON.',
    { examples: ['https://chat.example.org/hooks/lvs'] },
  ),
  secret: key(
    text().optional(),
    `Sent as \`Authorization: Bearer\`; best from the environment: \`"\${HOOK_SECRET}"\`.`,
    {
      leftOut: 'no such header',
    },
  ),
  ...when,
});

const command = object({
  command: key(
    program(),
    'The program with its arguments, without a shell. The event is in its environment.',
    { examples: [['/usr/local/bin/tell-people']] },
  ),
  ...when,
});

/** One of them, or a list. */
function several<S extends z.ZodType>(one: S, what: string) {
  return z
    .union([one, list(one, what).min(1, { error: `wanted one of ${what} or more` })], {
      error: `wanted keys and values, or a list of ${what}`,
    })
    .transform((value): z.output<S>[] => (Array.isArray(value) ? value : [value]) as z.output<S>[])
    .optional();
}

/** Who is told of events, and how. */
export const alerts = object({
  mail: key(several(mail, 'mails'), 'Mail, one or a list.', {
    leftOut: 'none',
    kind: '[mail](#mail), or a list of them',
  }),
  webhook: key(several(webhook, 'webhooks'), 'Web servers that are told, one or a list.', {
    leftOut: 'none',
    kind: '[webhook](#webhook), or a list of them',
  }),
  command: key(several(command, 'commands'), 'Programs that are run, one or a list.', {
    leftOut: 'none',
    kind: '[command](#command), or a list of them',
  }),
});
