import { createHash } from 'node:crypto';
import { type CheckContext, CheckFailure, type CheckOf, type Passed, type RunCheck } from './check.ts';
import { contentProblem } from './content.ts';
import { converse } from './dialogue.ts';
import { type PageAnswer, readAnswer } from './http-answer.ts';
import { type PagePlace, placeAfter } from './http-redirect.ts';
import { hostOf, type PageRequest, requestText } from './http-request.ts';
import { type TlsSession, withExpiry } from './tls-session.ts';

type WebCheck = CheckOf<'http' | 'https'>;

/** One page, with what its answer must be. */
type Page = Pick<
  WebCheck,
  'path' | 'host' | 'status' | 'contains' | 'matches' | 'notMatches' | 'matchOptions' | 'sha256' | 'md5'
>;

/** Asks for a page, or several. */
export const runHttp: RunCheck<'http'> = async (check, context) => await askAll(check, context);

/** The same over TLS. */
export const runHttps: RunCheck<'https'> = async (check, context) => await askAll(check, context);

async function askAll(check: WebCheck, context: CheckContext): Promise<Passed> {
  const pages = pagesOf(check);
  let detail = '';
  let session: TlsSession | undefined;
  const digest = check.compare && createHash('sha256');
  for (const page of pages) {
    try {
      const answer = await askFollowing(check, page, context);
      session = answer.session ?? session;
      judge(check, page, answer);
      detail = statusText(answer);
      // With its status: an empty page is not the same as none.
      digest?.update(`${answer.status} ${answer.body.length} `).update(answer.body);
    } catch (error) {
      if (pages.length === 1 || !(error instanceof CheckFailure)) throw error;
      throw new CheckFailure(error.phase, `${page.path}: ${error.message}`);
    }
  }
  if (pages.length > 1) detail = `${pages.length} pages, ${detail}`;
  return {
    ...(check.type === 'https' ? withExpiry(detail, session, check) : { detail }),
    ...(digest && { digest: digest.digest('hex') }),
  };
}

function pagesOf(check: WebCheck): readonly Page[] {
  if (check.pages === undefined) return [check];
  return check.pages.map((page) => ({
    ...page,
    host: page.host ?? check.host,
    status: page.status ?? check.status,
  }));
}

type Answer = PageAnswer & { readonly session?: TlsSession | undefined };

/** Asks, and asks on where a redirection leads. */
async function askFollowing(check: WebCheck, page: Page, context: CheckContext): Promise<Answer> {
  const { address, port } = context.target;
  const scheme = check.type;
  const host = hostOf(scheme, page.host, page.path, address, port);
  let place: PagePlace = { scheme, port, host, target: page.path };
  for (let followed = 0; ; followed++) {
    const answer = await ask(check, place, context);
    const next = followed < check.redirects ? placeAfter(place, answer) : undefined;
    if (next === undefined) return answer;
    place = next;
  }
}

async function ask(check: WebCheck, place: PagePlace, context: CheckContext): Promise<Answer> {
  const { version, method, maxBody } = check;
  const request: PageRequest = { method, version, ...place };
  const there = { ...context, target: { ...context.target, port: place.port } };
  const name = place.host.replace(/:[0-9]+$/, '');
  const tls =
    place.scheme === 'http'
      ? undefined
      : {
          ...(check.type === 'https' ? check : { verify: false }),
          ...serverNameOf(check, name),
          protocols: version === 'HTTP/2' ? ['h2'] : ['http/1.1'],
        };
  return await converse(there, { source: check.source, tls }, async (dialogue) => {
    const session = dialogue.session();
    if (version !== 'HTTP/2') {
      await dialogue.send(requestText(request));
      return { ...(await readAnswer(dialogue, method, maxBody)), session };
    }
    if (session && session.protocol !== 'h2') {
      throw new CheckFailure('tls', 'the server does not offer HTTP/2');
    }
    const { askByHttp2 } = await import('./http2-answer.ts');
    return { ...(await askByHttp2(dialogue, request, maxBody, context)), session };
  });
}

/** The name asked for by SNI: a host name, never an address (RFC 6066, section 3). */
function serverNameOf(check: WebCheck, host: string): { serverName?: string } {
  const configured = check.type === 'https' ? check.serverName : undefined;
  if (configured !== undefined) return { serverName: configured };
  return /[a-z]/i.test(host) && !host.startsWith('[') ? { serverName: host } : {};
}

function judge(check: WebCheck, page: Page, answer: PageAnswer): void {
  const { status, body, isWhole } = answer;
  if (!page.status.some(({ from, to }) => status >= from && status <= to)) {
    throw new CheckFailure('expect', `got ${statusText(answer)}, want ${rangesText(page.status)}`);
  }
  const problem = contentProblem(page, body, 'body', isWhole);
  if (problem !== undefined) throw new CheckFailure('expect', problem);
  for (const [name, algorithm] of [['SHA-256', 'sha256'] as const, ['MD5', 'md5'] as const]) {
    const wanted = page[algorithm];
    if (wanted === undefined) continue;
    if (!isWhole) {
      throw new CheckFailure(
        'expect',
        `body has more than ${check.maxBody} bytes: raise maxBody to compare its ${name}`,
      );
    }
    const got = createHash(algorithm).update(body).digest('hex');
    if (got !== wanted) throw new CheckFailure('expect', `body with ${name} ${got}, want ${wanted}`);
  }
}

function statusText({ status, reason }: PageAnswer): string {
  return reason === '' ? String(status) : `${status} ${reason}`;
}

function rangesText(ranges: Page['status']): string {
  return ranges.map(({ from, to }) => (from === to ? String(from) : `${from}-${to}`)).join(', ');
}
