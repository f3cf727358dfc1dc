import { parseAddress } from '../../../model/address.ts';
import type { Span } from '../../../model/problem.ts';
import type { TreeNode } from '../../tree.ts';
import { listAt, scalarAt } from '../build-tree.ts';
import { askedAt, type Entries, type Findings, type Found, type Placed, typeNode, use } from './findings.ts';
import { expectationOf } from './perl-expression.ts';
import type { Real, Service } from './service.ts';

const mostRedirects = 7;

/** The check that `checktype = negotiate` makes of the service; undefined where nothing is checked. */
export function negotiated(service: Service, real: Real | undefined, findings: Findings): Found | undefined {
  const entries = entriesOf(service, real, findings);
  // Only these two look at the other one.
  const timeoutBy = ['ldap', 'ldaps', 'radius'].includes(service.service)
    ? 'checktimeout'
    : 'negotiatetimeout';
  return entries && { entries, timeoutBy };
}

function entriesOf(service: Service, real: Real | undefined, findings: Findings): Entries | undefined {
  const type = (name: string) => typeNode(name, service);
  const { protocol } = service;
  switch (service.service) {
    case 'http':
    case 'https':
    case 'http_proxy':
      return web(service, real, findings);
    case 'smtp':
    case 'submission':
      return { type: type('smtp') };
    case 'pop':
    case 'pops':
    case 'imap':
    case 'imaps': {
      const isSecure = service.service.endsWith('s');
      return {
        type: type(isSecure ? service.service.slice(0, -1) : service.service),
        transport: isSecure ? 'tls' : undefined,
        ...account(service, findings, 'login'),
      };
    }
    case 'ftp':
      return {
        type: type('ftp'),
        ...account(service, findings, 'anonymous'),
        path: asked(service, real, findings, (path) => path),
        ...expected(service, real, findings),
      };
    case 'nntp':
      return { type: type('nntp') };
    case 'ldap':
    case 'ldaps':
      return {
        type: type('ldap'),
        transport: service.service === 'ldaps' ? 'tls' : undefined,
        ...account(service, findings, 'both'),
        base: asked(service, real, findings, withoutSlash),
        ...expected(service, real, findings, 'matches'),
      };
    case 'dns':
      return {
        type: type('dns'),
        transport: protocol === 'tcp' ? 'tcp' : undefined,
        ...question(service, real, findings),
        ...expected(service, real, findings, 'matches'),
      };
    case 'mysql':
    case 'pgsql':
      return database(service, real, findings);
    case 'oracle': {
      findings.tell(
        'ignored',
        askedAt(service),
        'there is no check of Oracle: only whether it takes connections',
      );
      return { type: type('tcp') };
    }
    case 'radius':
      return radius(service, findings);
    case 'sip':
      return {
        type: type('sip'),
        transport: protocol === 'udp' ? undefined : 'tcp',
        user: text(use(service, 'login', findings)),
      };
    case 'simpletcp':
      return simple(service, real, findings);
    case 'none':
      return undefined;
  }
}

const text = (found: Placed): TreeNode | undefined => found && scalarAt(found.span, found.text);
const withoutSlash = (path: string): string => path.replace(/^\//, '');

/** What is asked for: of the real server's own line, else of the service. `undefined` where nothing is said. */
function request(service: Service, real: Real | undefined, findings: Findings): Placed {
  const own = real?.places.request;
  const common = use(service, 'request', findings);
  return own !== undefined && real ? { text: own, span: real.line.value?.span ?? real.line.span } : common;
}

function receive(service: Service, real: Real | undefined, findings: Findings): Placed {
  const own = real?.places.receive;
  const common = use(service, 'receive', findings);
  const found =
    own !== undefined && real ? { text: own, span: real.line.value?.span ?? real.line.span } : common;
  return found?.text === '' ? undefined : found;
}

function asked(
  service: Service,
  real: Real | undefined,
  findings: Findings,
  shape: (request: string) => string,
): TreeNode | undefined {
  const found = request(service, real, findings);
  const shaped = found && shape(found.text.startsWith('/') ? found.text : `/${found.text}`);
  return found && shaped ? scalarAt(found.span, shaped) : undefined;
}

/** What must come back, which ldirectord takes as a regular expression of Perl. */
function expected(service: Service, real: Real | undefined, findings: Findings, only?: 'matches'): Entries {
  const found = receive(service, real, findings);
  if (!found) return {};
  const expectation = expectationOf(found.text);
  if (!expectation) {
    const reason = 'a regular expression that only Perl knows: what comes back is not looked at';
    findings.tell('ignored', found.span, reason);
    return {};
  }
  if ('contains' in expectation) return { [only ?? 'contains']: scalarAt(found.span, expectation.contains) };
  const options = expectation.options.map((option) => scalarAt(found.span, option));
  return {
    matches: scalarAt(found.span, expectation.matches),
    matchOptions: options.length > 0 ? listAt(found.span, options) : undefined,
  };
}

/** Who signs in: nobody without a login; for FTP anonymous; for LDAP only with both. */
function account(service: Service, findings: Findings, rule: 'login' | 'anonymous' | 'both'): Entries {
  const user = use(service, 'login', findings);
  const password = use(service, 'passwd', findings);
  if (rule === 'anonymous')
    return { user: text(user) ?? 'anonymous', password: text(password) ?? 'ldirectord@localhost' };
  return user && (password || rule === 'login') ? { user: text(user), password: text(password) } : {};
}

function web(service: Service, real: Real | undefined, findings: Findings): Entries {
  const isProxy = service.service === 'http_proxy';
  const scheme = isProxy ? 'http' : service.service;
  const found = request(service, real, findings);
  const virtualHost = use(service, 'virtualhost', findings);
  const method = use(service, 'httpmethod', findings);
  if (virtualHost?.text === '')
    findings.tell('changed', virtualHost.span, 'no virtual host: that of the real server’s address is asked');
  return {
    type: typeNode(scheme, service),
    ...(found && pathOf(found, scheme, isProxy, real?.places.request !== undefined)),
    method: method && method.text !== 'GET' ? text(method) : undefined,
    host: virtualHost && virtualHost.text !== '' && !isProxy ? text(virtualHost) : undefined,
    redirects: mostRedirects,
    ...expected(service, real, findings),
  };
}

/** The path that is asked for, and where: a whole URL goes to its own address, or to a proxy as it is. */
function pathOf(
  { text: asked, span }: NonNullable<Placed>,
  scheme: string,
  isProxy: boolean,
  isOwn: boolean,
): Entries {
  const whole = withoutSlash(asked);
  if (isProxy) return { path: scalarAt(span, escaped(/^http:\/\//.test(whole) ? whole : `/${whole}`)) };
  const url = isOwn && new RegExp(`^${scheme}://([^/:]+|\\[[^\\]]*\\])(?::(\\d+))?(/.*)?$`).exec(whole);
  const address = url ? parseAddress(url[1]!.replace(/^\[(.*)\]$/, '$1')) : undefined;
  if (!url || address === undefined)
    return whole === '' ? {} : { path: scalarAt(span, escaped(`/${whole}`)) };
  return {
    address: scalarAt(span, address),
    port: url[2] === undefined ? undefined : scalarAt(span, Number(url[2])),
    path: url[3] === undefined ? undefined : scalarAt(span, escaped(url[3])),
  };
}

/** Signs a request line cannot carry, as libwww-perl escapes them. */
const escaped = (path: string): string =>
  path.replaceAll(/[^\x21-\x7e]+/g, (signs) => [...Buffer.from(signs)].map(percent).join(''));

const percent = (byte: number): string => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;

/** The name or address that is asked for; ldirectord looks at A and PTR records. */
function question(service: Service, real: Real | undefined, findings: Findings): Entries {
  const found = request(service, real, findings);
  const name = found ? withoutSlash(found.text) : '';
  if (!found || name === '') return {};
  const record = parseAddress(name) === undefined ? 'A' : 'PTR';
  return { query: scalarAt(found.span, name), record };
}

function database(service: Service, real: Real | undefined, findings: Findings): Entries | undefined {
  const isMysql = service.service === 'mysql';
  const user = use(service, 'login', findings);
  const found = request(service, real, findings);
  const password = text(use(service, 'passwd', findings));
  const name = text(use(service, 'database', findings));
  const query = found && withoutSlash(found.text);
  if (!user || !query) {
    const what = !user ? 'login' : 'request';
    findings.tell(
      'changed',
      askedAt(service),
      `ldirectord wants "${what}" and never brings the servers up without it`,
    );
  }
  return {
    type: typeNode(isMysql ? 'mysql' : 'postgresql', service),
    user: text(user),
    password,
    database: name,
    query: found && query ? scalarAt(found.span, query) : undefined,
  };
}

function radius(service: Service, findings: Findings): Entries | undefined {
  const secret = text(use(service, 'secret', findings));
  const entries = account(service, findings, 'login');
  if (secret) return { type: typeNode('radius', service), ...entries, secret };
  findings.tell('ignored', askedAt(service), 'a check of RADIUS wants "secret": nothing is checked');
  return undefined;
}

/** Sends the request, in which `\n` is a line feed, and looks at all that comes back. */
function simple(service: Service, real: Real | undefined, findings: Findings): Entries {
  const found = request(service, real, findings);
  const sent = found && withoutSlash(found.text).replaceAll('\\n', '\n');
  const send = found && sent ? scalarAt(found.span, sent) : undefined;
  if (service.protocol !== 'udp') {
    const answer = expected(service, real, findings);
    // An answer must come, whatever it is.
    const least: Entries = Object.keys(answer).length > 0 ? answer : { matches: '.' };
    return { type: typeNode('tcp', service), send, endSending: true, ...least };
  }
  const answer = receive(service, real, findings);
  if (answer) begins(answer.span, findings);
  return {
    type: typeNode('udp', service),
    send,
    ...(answer ? { expect: text(answer) } : { answer: true }),
  };
}

function begins(span: Span, { tell }: Findings): void {
  tell('changed', span, 'the answer must begin with it, as it is written');
}
