import type { Span } from '../../../model/problem.ts';
import type { TreeNode } from '../../tree.ts';
import { shown } from './addresses.ts';
import type { Statement } from './blocks.ts';
import type { CheckerContext } from './checker-context.ts';
import { listAt, mapAt, restOf, scalarAt } from './scope.ts';
import { firstWord, noteRest, yesOrNo } from './values.ts';
import { escapedWords, type Word } from './words.ts';

/** What an HTTP_GET or SSL_GET says besides where and when. */
export type HttpSettings = {
  urls: Url[];
  virtualHost?: string;
  version?: 'HTTP/1.0' | 'HTTP/1.1';
  serverName?: boolean | string;
};

type Url = {
  readonly span: Span;
  path?: string;
  digest?: string;
  status: (number | string)[];
  virtualHost?: string;
  regex?: string;
  noMatch?: boolean;
  options: string[];
};

/** Takes a keyword of HTTP_GET; false where it is one that all checkers have. */
export function takeHttp(statement: Statement, settings: HttpSettings, context: CheckerContext): boolean {
  const { notes } = context;
  const { keyword, span } = statement;
  switch (keyword) {
    case 'url': {
      const url = readUrl(statement, context);
      if (url) settings.urls.push(url);
      return true;
    }
    case 'virtualhost': {
      const word = firstWord(statement, 'the name of a host', context);
      noteRest(statement, 1, context);
      if (word) settings.virtualHost = word.text;
      notes.kept(span, 'the host that is asked');
      return true;
    }
    case 'http_protocol':
      readVersion(statement, settings, context);
      return true;
    case 'enable_sni': {
      const value = yesOrNo(statement, context);
      if (value !== undefined) settings.serverName ??= value;
      notes.kept(span, 'the name asked for in the handshake');
      return true;
    }
    case 'sni_name': {
      const word = firstWord(statement, 'a name', context);
      if (word) settings.serverName = word.text;
      notes.kept(span, 'the name asked for in the handshake');
      return true;
    }
    case 'fast_recovery':
      notes.changed(span, 'all pages are asked for in one check, so there is nothing to wait for');
      return true;
    case 'tls_compliant':
      notes.ignored(span, 'how TLS is ended does not count');
      return true;
    default:
      return false;
  }
}

function readVersion(statement: Statement, settings: HttpSettings, context: CheckerContext): void {
  const word = firstWord(statement, '1.0, 1.0C or 1.1', context);
  if (!word) return;
  if (/^1\.0[Cc]?$/.test(word.text)) settings.version = 'HTTP/1.0';
  else if (word.text === '1.1') settings.version = 'HTTP/1.1';
  else {
    context.notes.wrong('ignored', word.span, `"${shown(word.text)}": wanted 1.0, 1.0C or 1.1`);
    return;
  }
  if (/c$/i.test(word.text)) context.notes.changed(statement.span, 'version 1.0 without "Connection: close"');
  else context.notes.kept(statement.span, 'the version of HTTP');
}

function readUrl(statement: Statement, context: CheckerContext): Url | undefined {
  const { notes } = context;
  const url: Url = { span: statement.span, status: [], options: [] };
  for (const inner of statement.statements) takeUrl(inner, url, context);
  if (url.path === undefined) {
    notes.wrong('ignored', statement.span, '"url" without "path"');
    return undefined;
  }
  notes.kept(statement.span, 'a page');
  if (url.regex === undefined && (url.noMatch || url.options.length > 0))
    notes.wrong('ignored', statement.span, 'options of a regular expression without "regex"');
  return url;
}

function takeUrl(statement: Statement, url: Url, context: CheckerContext): void {
  const { notes } = context;
  const { keyword, span, words } = statement;
  switch (keyword) {
    case 'path': {
      const word = firstWord(statement, 'a path', context);
      noteRest(statement, 1, context);
      if (!word) return;
      url.path = word.text.startsWith('/') ? word.text : `/${word.text}`;
      if (url.path === word.text) notes.kept(span, 'what is asked for');
      else notes.changed(span, `what is asked for is "${shown(url.path)}": a path begins with /`);
      return;
    }
    case 'digest':
      takeDigest(statement, url, context);
      return;
    case 'status_code':
      for (const word of words) takeStatus(word, url, context);
      notes.kept(span, 'answers that are good');
      return;
    case 'virtualhost': {
      const word = firstWord(statement, 'the name of a host', context);
      noteRest(statement, 1, context);
      if (word) url.virtualHost = word.text;
      notes.kept(span, 'the host that is asked');
      return;
    }
    case 'regex':
      takeRegex(statement, url, context);
      return;
    case 'regex_no_match':
      url.noMatch = true;
      notes.kept(span, 'the body must not match');
      return;
    case 'regex_options':
      for (const word of words) takeOption(word, url, context);
      notes.kept(span, 'how the regular expression is read');
      return;
    case 'regex_stack':
      notes.changed(span, 'regular expressions need no stack of their own here');
      return;
    default:
      notes.ignored(span, `no check can say "${keyword}": ${shown(restOf(statement))}`);
      return;
  }
}

function takeDigest(statement: Statement, url: Url, context: CheckerContext): void {
  const { notes } = context;
  const word = firstWord(statement, 'an MD5 digest', context);
  if (!word) return;
  noteRest(statement, 1, context);
  if (url.digest !== undefined)
    notes.wrong('ignored', statement.span, 'a second digest: the first one counts');
  else if (!/^[0-9a-fA-F]{32}$/.test(word.text))
    notes.wrong('ignored', word.span, `digest "${shown(word.text)}": wanted 32 hexadecimal digits`);
  else {
    url.digest = word.text.toLowerCase();
    notes.kept(statement.span, 'the MD5 of the body');
  }
}

function takeStatus({ text, span }: Word, url: Url, { notes }: CheckerContext): void {
  const match = /^(\d+)(?:-(\d+))?$/.exec(text);
  const [least, most] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
  if (!(least >= 100 && most <= 599 && least <= most))
    notes.wrong('ignored', span, `status "${shown(text)}": wanted a code from 100 to 599, or a range`);
  else url.status.push(least === most ? least : `${least}-${most}`);
}

const optionNames: Readonly<Record<string, string>> = {
  caseless: 'ignoreCase',
  multiline: 'multiline',
  dotall: 'dotAll',
};
const needless = new Set([
  'no_auto_capture',
  'utf',
  'no_utf_check',
  'ucp',
  'never_utf',
  'never_ucp',
  'no_start_optimize',
]);

function takeOption({ text, span }: Word, url: Url, { notes }: CheckerContext): void {
  const option = Object.hasOwn(optionNames, text) ? optionNames[text] : undefined;
  if (option !== undefined) url.options.push(option);
  else if (needless.has(text)) notes.changed(span, `"${text}" changes nothing here`);
  else notes.ignored(span, `option "${shown(text)}": JavaScript has no such option of a regular expression`);
}

function takeRegex(statement: Statement, url: Url, { notes }: CheckerContext): void {
  const words = escapedWords(statement.line);
  const [, word] = words ?? [];
  if (!word || words?.length !== 2) {
    notes.wrong('ignored', statement.span, '"regex": wanted one word, quoted where there are blanks');
    return;
  }
  try {
    new RegExp(word.text);
    url.regex = word.text;
    notes.kept(statement.span, 'the regular expression the body must match');
  } catch {
    notes.ignored(statement.span, `"${shown(word.text)}": JavaScript has no such regular expression`);
  }
}

type Keys = Record<string, TreeNode | string | number | boolean | undefined>;

/** The keys of a check about pages; undefined where there is no page. */
export function httpKeys(
  type: 'http' | 'https',
  { urls, virtualHost, version = 'HTTP/1.0', serverName }: HttpSettings,
  span: Span,
  { virtualHost: outer, certificates }: CheckerContext,
): Keys | undefined {
  const [first, ...more] = urls;
  if (!first) return undefined;
  const host = virtualHost ?? outer;
  const named = urls.map((url) => url.virtualHost ?? host).find((one) => one !== undefined);
  const hashed = urls.some((url) => url.digest !== undefined || url.regex !== undefined);
  return {
    ...(more.length === 0
      ? {
          path: first.path === '/' ? undefined : first.path,
          ...pageKeys(first, first.virtualHost ?? host),
        }
      : {
          host,
          pages: listAt(
            span,
            urls.map((url) => mapAt(url.span, { path: url.path, ...pageKeys(url, url.virtualHost) })),
          ),
        }),
    version: version === 'HTTP/1.1' ? undefined : version,
    maxBody: hashed ? '16Mi' : undefined,
    ...(type === 'https' && {
      serverName: typeof serverName === 'string' ? serverName : serverName ? named : undefined,
      certificate: certificates.certificate,
      privateKey: certificates.key,
      privateKeyPassword: certificates.password,
    }),
  };
}

function pageKeys(url: Url, host: string | undefined): Keys {
  const usual = url.status.length === 0 || (url.status.length === 1 && url.status[0] === '200-299');
  return {
    host,
    status: usual
      ? undefined
      : listAt(
          url.span,
          url.status.map((one) => scalarAt(url.span, one)),
        ),
    [url.noMatch ? 'notMatches' : 'matches']: url.regex,
    matchOptions:
      url.regex === undefined || url.options.length === 0
        ? undefined
        : listAt(
            url.span,
            url.options.map((one) => scalarAt(url.span, one)),
          ),
    md5: url.digest,
  };
}
