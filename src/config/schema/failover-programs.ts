import { duration, flag, integer, key, name, object, program, text, word } from './keys.ts';

/** What directors run, read and look for: the parts of `failover` that are about programs and files of the host. */

const hour = 3_600_000;
const path = () => text('a path').regex(/^\//, { error: 'wanted a path that begins with "/"' });

/** Whom a program runs as. */
export const runAs = (otherwise: string, description = 'Whom it runs as.') => ({
  user: key(text('a user').optional(), description, { examples: ['nobody'], leftOut: otherwise }),
  group: key(text('a group').optional(), 'The group, too.', { leftOut: 'that of `user`' }),
});

const on = (state: string) => key(program().optional(), `On entering ${state}.`, { leftOut: 'none' });

/** keepalived's notify_master, notify_backup, notify_fault, notify_stop and notify. */
export const notify = object({
  master: key(program().optional(), 'The program with its arguments, without a shell, on becoming master.', {
    examples: [['/usr/local/bin/on-master']],
    leftOut: 'none',
  }),
  backup: on('backup'),
  fault: on('fault'),
  stop: key(program().optional(), 'When the instance ends with the daemon or its configuration.', {
    leftOut: 'none',
  }),
  change: key(
    program().optional(),
    'On each of these, after the program for the state, with four arguments more: `INSTANCE` or `GROUP`, the name, `MASTER`, `BACKUP`, `FAULT` or `STOP`, and the priority.',
    { leftOut: 'none' },
  ),
  ...runAs('that of `failover`', 'Whom they run as.'),
});

/** A file with a number, as an instance counts it. */
export const trackedFile = object({
  name: key(text(), 'An entry of `failover.files`.'),
  weight: key(
    integer(-254, 254).default(1),
    'The number times this is added to the priority; a sum below -253 is a fault. 0: every number but 0 is one.',
  ),
  reverse: key(
    flag().default(false),
    'Whether it is taken away instead, or with weight 0 the number 0 is a fault.',
  ),
});

export const trackFile = object({
  name: key(name(), 'What `trackFiles` calls it.', { examples: ['load'] }),
  path: key(path(), 'The file. Without a number in it, or without a file, the number is 0.', {
    examples: ['/run/load'],
  }),
});

export const processes = object({
  name: key(name(), 'What `trackProcesses` calls it.', { examples: ['haproxy'] }),
  command: key(
    program(),
    'The name of the process as in /proc/PID/comm; with parameters, or with `match`, the words of its command line.',
    { examples: [['haproxy']] },
  ),
  match: key(
    word('exact', 'first', 'prefix').optional(),
    '`exact`: these words and no more; `first`: more may follow; `prefix`: the last one may be longer, and more may follow.',
    { leftOut: '`exact`; of a single word the name counts' },
  ),
  least: key(integer(0, 65_535).default(1), 'How many must run.'),
  most: key(integer(0, 65_535).optional(), 'How many may run.', { leftOut: 'any number' }),
  riseDelay: key(duration(0, hour).default(0), 'How long enough of them run before they count.', {
    leftOut: '0s',
  }),
  fallDelay: key(duration(0, hour).default(0), 'How long they are missed before that counts.', {
    leftOut: '0s',
  }),
});
