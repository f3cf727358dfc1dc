import type { MapNode } from '../../tree.ts';
import { shown } from './addresses.ts';
import type { Statement } from './blocks.ts';
import type { CheckerContext } from './checker-context.ts';
import { type Connection, connectionKeys, takeCommon } from './connection.ts';
import { commandOf, mapAt, restOf } from './scope.ts';
import { type Timing, takeTiming, timingKeys, usualDefaults } from './timing.ts';
import { firstWord, noteRest, numberIn, wholeNumber } from './values.ts';

const records = ['A', 'AAAA', 'CNAME', 'MX', 'NS', 'SOA', 'TXT', 'PTR', 'SRV'];

/** DNS_CHECK: three retries, at the distance of the loop. */
export function dnsCheck(statement: Statement, context: CheckerContext): MapNode {
  const { notes } = context;
  const timing: Timing = {};
  const connection: Connection = {};
  let record: string | undefined;
  let query: string | undefined;
  for (const inner of statement.statements) {
    if (inner.keyword !== 'type' && inner.keyword !== 'name') {
      takeCommon(inner, timing, connection, context);
      continue;
    }
    const word = firstWord(inner, inner.keyword === 'type' ? records.join(', ') : 'a name', context);
    if (!word) continue;
    noteRest(inner, 1, context);
    if (inner.keyword === 'type') {
      record = records.find((one) => one === word.text) ?? record;
      if (!records.includes(word.text))
        notes.wrong('ignored', word.span, `record "${shown(word.text)}": wanted ${records.join(', ')}`);
      else notes.kept(inner.span, '"record"');
    } else if (word.text !== '.' && /^\.|\.\./.test(word.text))
      notes.wrong('ignored', word.span, `name "${shown(word.text)}": wanted no empty label`);
    else if (query !== undefined) notes.wrong('ignored', word.span, 'a second name: the first one counts');
    else {
      query = word.text;
      notes.kept(inner.span, '"query"');
    }
  }
  notes.kept(statement.span, 'check dns');
  const dnsDefaults = { retry: 3, delayBeforeRetryMs: undefined };
  return mapAt(statement.span, {
    type: 'dns',
    ...connectionKeys(connection, context),
    query: query === '.' ? undefined : query,
    record: record === 'SOA' ? undefined : record,
    ...timingKeys([timing, ...context.timings], dnsDefaults, statement.span, context),
    source: connection.source,
  });
}

/** Who SMTP_CHECK says it is. */
const heloName = 'smtpchecker.keepalived.org';

/** SMTP_CHECK: one check, or one for each of the old blocks `host`. */
export function smtpChecks(statement: Statement, context: CheckerContext): MapNode[] {
  const { notes } = context;
  const timing: Timing = {};
  const outer: Connection = {};
  let helo = heloName;
  const hosts: Connection[] = [];
  for (const inner of statement.statements) {
    if (inner.keyword === 'host') {
      const host: Connection = {};
      for (const one of inner.statements) takeCommon(one, timing, host, context);
      hosts.push(host);
      notes.changed(inner.span, 'a check of its own');
    } else if (inner.keyword === 'helo_name') {
      helo = firstWord(inner, 'the name of a host', context)?.text ?? helo;
      noteRest(inner, 1, context);
      notes.kept(inner.span, '"helo"');
    } else takeCommon(inner, timing, outer, context);
  }
  notes.kept(statement.span, 'check smtp');
  return (hosts.length > 0 ? hosts : [outer]).map((connection) =>
    mapAt(statement.span, {
      type: 'smtp',
      ...connectionKeys(connection, context),
      helo,
      ...timingKeys([timing, ...context.timings], usualDefaults, statement.span, context),
      source: connection.source,
    }),
  );
}

/** UDP_CHECK: a datagram, and perhaps what must come back. */
export function udpCheck(statement: Statement, context: CheckerContext): MapNode {
  const { notes } = context;
  const timing: Timing = {};
  const connection: Connection = {};
  let payload: string | undefined;
  let reply: string | undefined;
  let needsReply = false;
  let [least, most] = [0, 255];
  for (const inner of statement.statements) {
    const { keyword, span } = inner;
    if (keyword === 'payload') {
      payload = digitsIn(inner, /^(?:[0-9a-f]{2})+$/i, context) ?? payload;
    } else if (keyword === 'require_reply') {
      needsReply = true;
      notes.kept(span, '"answer"');
      if (inner.words.length > 0) reply = digitsIn(inner, /^(?:[0-9a-fx]{2})+$/i, context) ?? reply;
    } else if (keyword === 'min_reply_length' || keyword === 'max_reply_length') {
      const value = wholeNumber(inner, [0, 65_535], context);
      if (value === undefined) continue;
      if (keyword === 'min_reply_length') least = value;
      else most = value;
      notes.kept(span, 'how long an answer may be');
    } else takeCommon(inner, timing, connection, context);
  }
  if (least > most)
    notes.wrong(
      'changed',
      statement.span,
      'no answer is as long as "min_reply_length" and as short as "max_reply_length"',
    );
  if (payload === undefined)
    notes.changed(statement.span, 'an empty datagram is sent, not one of random bytes');
  else notes.kept(statement.span, 'check udp');
  return mapAt(statement.span, {
    type: 'udp',
    ...connectionKeys(connection, context),
    sendHex: payload,
    expectHex: reply,
    answer: needsReply && reply === undefined ? true : undefined,
    minLength: needsReply && least > 0 ? least : undefined,
    maxLength: needsReply ? most : undefined,
    ...timingKeys([timing, ...context.timings], usualDefaults, statement.span, context),
    source: connection.source,
  });
}

/** Hexadecimal digits behind a keyword, with blanks where one likes. */
function digitsIn(statement: Statement, form: RegExp, context: CheckerContext): string | undefined {
  // Two digits a byte; one alone, before a blank or the end, is a byte as well.
  const digits = restOf(statement)
    .replaceAll(/[^\s]+/g, (word) => word.replaceAll(/..?/g, (one) => one.padStart(2, '0')))
    .replaceAll(/\s+/g, '');
  if (digits.length <= 2048 && form.test(digits)) {
    context.notes.kept(statement.span, 'bytes as hexadecimal digits');
    return digits.toLowerCase();
  }
  context.notes.wrong('ignored', statement.span, `"${shown(digits)}": wanted hexadecimal digits, two a byte`);
  return undefined;
}

/** PING_CHECK. */
export function pingCheck(statement: Statement, context: CheckerContext): MapNode {
  const timing: Timing = {};
  const connection: Connection = {};
  for (const inner of statement.statements) {
    takeCommon(inner, timing, connection, context);
    if (inner.keyword === 'connect_port')
      context.notes.changed(inner.span, 'an echo request goes to no port');
  }
  context.notes.kept(statement.span, 'check ping');
  return mapAt(statement.span, {
    type: 'ping',
    address: connection.address,
    ...timingKeys([timing, ...context.timings], usualDefaults, statement.span, context),
    source: connection.source,
  });
}

/** MISC_CHECK: a program, whose time is that of the loop unless it says another one; it is not tried again. */
export function scriptCheck(statement: Statement, context: CheckerContext): MapNode | undefined {
  const { notes } = context;
  const timing: Timing = {};
  let timeoutMs: number | undefined;
  let command: ReturnType<typeof commandOf>;
  let dynamic = false;
  let [user, group] = context.scriptUser ?? [];
  for (const inner of statement.statements) {
    const { keyword, span } = inner;
    if (keyword === 'misc_path') {
      command = commandOf(inner, context);
      notes.kept(span, '"command"');
    } else if (keyword === 'misc_timeout') {
      const seconds = wholeNumber(inner, [0, 4_294], context);
      if (seconds) timeoutMs = seconds * 1000;
      notes.kept(span, '"timeout"');
    } else if (keyword === 'misc_dynamic') {
      dynamic = true;
      notes.kept(span, '"dynamicWeight"');
    } else if (keyword === 'user') {
      [user, group] = inner.words.map(({ text }) => text);
      notes.kept(span, 'whom it runs as');
    } else if (!takeTiming(timing, inner, context))
      notes.ignored(span, 'every result that changes a state is an event: see "headgate events"');
  }
  if (!command) {
    notes.wrong('ignored', statement.span, 'no program is named: "misc_path" is missing');
    return undefined;
  }
  notes.kept(statement.span, 'check script');
  const loopMs = [timing, ...context.timings].find((one) => one.delayLoopMs !== undefined)?.delayLoopMs;
  return mapAt(statement.span, {
    type: 'script',
    command,
    dynamicWeight: dynamic ? true : undefined,
    user,
    group,
    ...timingKeys(
      [timing, ...context.timings],
      { retry: 0, delayBeforeRetryMs: 1000 },
      statement.span,
      context,
      timeoutMs ?? loopMs ?? 60_000,
    ),
  });
}

/** FILE_CHECK: a number in a file, times a weight, is added to the weight of the real server. */
export function fileCheck(statement: Statement, context: CheckerContext): MapNode | undefined {
  const { notes } = context;
  let file: { readonly path: string; readonly weight: number } | undefined;
  let weight: number | undefined;
  for (const inner of statement.statements) {
    const [word, direction] = inner.words;
    if (inner.keyword === 'dynamic') notes.kept(inner.span, 'the file changes the weight');
    else if (!word) firstWord(inner, inner.keyword === 'weight' ? 'a number' : 'a name', context);
    else if (inner.keyword === 'track_file') {
      file = context.trackFiles.get(word.text);
      if (file) notes.kept(inner.span, '"path"');
      else notes.wrong('ignored', word.span, `no track_file is "${shown(word.text)}"`);
    } else {
      const value = numberIn(word, [-65_535, 65_535], context);
      if (value === undefined) continue;
      weight = direction?.text === 'reverse' ? -value : value;
      notes.kept(inner.span, '"factor"');
    }
  }
  if (!file) {
    notes.wrong('ignored', statement.span, 'no file is named');
    return undefined;
  }
  const factor = weight ?? file.weight;
  const bounded = Math.max(-254, Math.min(254, factor));
  if (bounded !== factor)
    notes.changed(statement.span, `weight ${factor} of the file is ${bounded}, the most`);
  notes.changed(statement.span, 'the file is looked at every second, not when it changes');
  const inhibit = context.timings.find((one) => one.inhibit !== undefined)?.inhibit;
  return mapAt(statement.span, {
    type: 'file',
    path: file.path,
    factor: bounded === 0 ? undefined : bounded,
    base: bounded === 0 ? undefined : context.weight,
    interval: '1s',
    fall: 1,
    initial: context.timings.find((one) => one.alpha !== undefined)?.alpha ? 'down' : undefined,
    whenDown: inhibit ? 'quiesce' : undefined,
  });
}
