import * as z from 'zod';
import { address } from './addresses.ts';
import { duration, flag, integer, key, list, object, program, size, text, word } from './keys.ts';

const hour = 3_600_000;

const damping = object({
  falls: key(integer(2, 20).default(3), 'How many times it must go down within `within` to be held.'),
  within: key(
    duration(1000, 24 * hour).default(300_000),
    'The time in which its falls count; after so long without one they are forgotten.',
    { examples: ['10m'], leftOut: '5m' },
  ),
  hold: key(
    duration(1000, 24 * hour).default(60_000),
    'How long it is held at first; each time it goes down again within `within` after that, twice as long as before.',
    { examples: ['2m'], leftOut: '1m' },
  ),
  longest: key(duration(1000, 24 * hour).default(1_800_000), 'The longest time it is held.', {
    examples: ['1h'],
    leftOut: '30m',
  }),
});

/** What every check has. */
const common = {
  interval: key(duration(10, 24 * hour).default(10_000), 'From one check to the next.', {
    examples: ['2s'],
    leftOut: '10s',
  }),
  timeout: key(duration(1, hour).default(5_000), 'How long a check may take, all of it.', {
    examples: ['1s'],
    leftOut: '5s',
  }),
  retryInterval: key(
    duration(0, 24 * hour).optional(),
    'From a bad result to the next check, while a real server is not yet taken out.',
    { examples: ['1s'], leftOut: 'the interval' },
  ),
  rise: key(integer(1, 1000).default(1), 'Good results in a row that bring a real server back.'),
  fall: key(integer(1, 1000).default(3), 'Bad results in a row that take it out.'),
  initial: key(word('up', 'down').default('up'), 'What a real server counts as before its first result.'),
  warmup: key(duration(0, hour).optional(), 'The first check comes at a random time within this.', {
    leftOut: 'the interval',
  }),
  slowStart: key(
    duration(0, 24 * hour).default(0),
    'After its return its weight rises to the full one within this time.',
    { examples: ['30s'], leftOut: '0s' },
  ),
  damping: key(
    damping.optional(),
    'A real server that comes and goes is held down for a while, however good its checks are meanwhile. `{}` takes every default.',
    {
      examples: [{ falls: 3, within: '5m', hold: '1m', longest: '30m' }],
      leftOut: 'it comes back each time',
    },
  ),
  whenDown: key(
    word('remove', 'quiesce').default('remove'),
    '`remove` takes it out of the service; `quiesce` gives it weight 0, so that its connections go on.',
  ),
  source: key(address.optional(), 'The address checks come from.', { leftOut: 'the kernel’s choice' }),
};

/** Keys of checks of every type. */
export const checkKeys: readonly string[] = Object.keys(common);

/** Where a check over the network goes. */
const target = {
  address: key(address.optional(), 'The address that is checked.', { leftOut: 'that of the real server' }),
  port: key(integer(1, 65_535).optional(), 'The port that is checked.', {
    leftOut: 'that of the real server',
  }),
};

const tls = {
  serverName: key(text('a host name').optional(), 'The name asked for in the handshake (SNI).', {
    examples: ['www.example.org'],
    leftOut: '`host` where there is one, else none',
  }),
  verify: key(
    flag().default(false),
    'Whether the certificate must be valid: in time, of an authority that is trusted, for `serverName` or else the address.',
  ),
  ca: key(
    text('a path').optional(),
    'A file with the certificates of the authorities that are trusted, PEM.',
    {
      examples: ['/etc/ssl/certs/ca-certificates.crt'],
      leftOut: 'those that come with Node',
    },
  ),
  expiryWarning: key(
    duration(0, 365 * 24 * hour).default(14 * 24 * hour),
    'A good result, and status, say so where the certificate ends within this. 0s: never.',
    { examples: ['30d'], leftOut: '14d' },
  ),
  certificate: key(text('a path').optional(), 'A file with a certificate that is shown to the server, PEM.', {
    leftOut: 'none',
  }),
  privateKey: key(text('a path').optional(), 'The file with the key of `certificate`, PEM.', {
    leftOut: 'the file `certificate`',
  }),
  privateKeyPassword: key(text().optional(), 'The password of that key.', { leftOut: 'none' }),
};

const transport = key(
  word('plain', 'tls', 'startTls').default('plain'),
  'Whether it speaks TLS from the beginning, or turns the connection into TLS (STARTTLS).',
);

const databaseTransport = key(
  word('plain', 'startTls').default('plain'),
  'Whether the connection is turned into TLS, as the protocol has it, before anyone signs in.',
);

const account = {
  user: key(text().optional(), 'Who signs in.', { leftOut: 'nobody' }),
  password: key(text().optional(), `The password; best from the environment: \`"\${CHECK_PASSWORD}"\`.`, {
    leftOut: 'none',
  }),
};

const statusRange = z
  .union(
    [
      integer(100, 599),
      z.string().regex(/^[1-5][0-9][0-9]-[1-5][0-9][0-9]$/, { error: 'wanted a range such as 200-299' }),
    ],
    { error: 'wanted a status code such as 200, or a range such as 200-299' },
  )
  .transform((value) => {
    const [from, to] = String(value).split('-').map(Number);
    return { from: from!, to: to ?? from! };
  });

/** A regular expression, compiled by `new RegExp`. */
const expression = text('a regular expression').superRefine((source, context) => {
  try {
    new RegExp(source);
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/^.*: /, '') : String(error);
    context.addIssue({ code: 'custom', message: `wanted a regular expression of JavaScript: ${reason}` });
  }
});

/** What an answer must contain. */
const content = {
  contains: key(text().optional(), 'What it must contain.', { leftOut: 'anything' }),
  matches: key(
    expression.optional(),
    'The regular expression (of JavaScript) that must match somewhere in it.',
    { examples: ['"^(ready|well)"'], leftOut: 'anything' },
  ),
  matchOptions: key(
    list(word('ignoreCase', 'multiline', 'dotAll'), 'options').default([]),
    'How regular expressions are read: without regard to case; `^` and `$` at every line; `.` matches line ends too.',
    { leftOut: 'none' },
  ),
};

/** What may be sent and wanted over a plain connection. */
const exchange = {
  send: key(text().optional(), 'What is sent after connecting.', {
    examples: ['"PING\\r\\n"'],
    leftOut: 'nothing',
  }),
  endSending: key(flag().default(false), 'Whether our side of the connection is ended after sending.'),
  ...content,
};

function digest(digits: number) {
  const error = `wanted ${digits} hexadecimal digits in lower case`;
  return z
    .string({ error })
    .regex(new RegExp(`^[0-9a-f]{${digits}}$`), { error })
    .meta({ kind: `${digits} hexadecimal digits` });
}

const pathKey = text('a path such as /health').regex(/^(\/|http:\/\/[^/])/, {
  error: 'wanted a path that begins with /, or http://host/path for a proxy',
});

const statusKey = list(statusRange, 'status codes').min(1, { error: 'wanted one status code or more' });

const pageContent = {
  ...content,
  notMatches: key(expression.optional(), 'The regular expression that must match nowhere in the body.', {
    leftOut: 'nothing',
  }),
  sha256: key(digest(64).optional(), 'The SHA-256 of the body.', { leftOut: 'any' }),
  md5: key(digest(32).optional(), 'The MD5 of the body.', { leftOut: 'any' }),
};

const statusDoc = { examples: [['200-299', 401]], kind: 'list of status codes and ranges' };

/** One of several pages: a path, and what differs from the check's own keys. */
const page = object({
  path: key(pathKey, 'What is asked for.', { examples: ['/login'] }),
  host: key(text('a host name').optional(), 'The virtual host that is asked.', {
    leftOut: 'that of the check',
  }),
  status: key(statusKey.optional(), 'Good answers.', { ...statusDoc, leftOut: 'those of the check' }),
  contains: key(text().optional(), 'What the body must contain.', { leftOut: 'anything' }),
  matches: key(expression.optional(), 'The regular expression that must match somewhere in the body.', {
    leftOut: 'anything',
  }),
  notMatches: pageContent.notMatches,
  matchOptions: content.matchOptions,
  sha256: pageContent.sha256,
  md5: pageContent.md5,
});

const web = {
  path: key(
    pathKey.default('/'),
    'What is asked for; `http://host/path` is sent as it is, as a proxy wants it.',
    { examples: ['/health'] },
  ),
  method: key(word('GET', 'HEAD').default('GET'), 'The method of the request.'),
  version: key(word('HTTP/1.0', 'HTTP/1.1', 'HTTP/2').default('HTTP/1.1'), 'The version of HTTP.'),
  host: key(text('a host name').optional(), 'The virtual host that is asked.', {
    examples: ['www.example.org'],
    leftOut: 'the address of the real server',
  }),
  status: key(statusKey.default([{ from: 200, to: 299 }]), 'Good answers, single ones and ranges.', {
    ...statusDoc,
    leftOut: '200-299',
  }),
  ...pageContent,
  maxBody: key(size(0, 16 * 1024 * 1024).default(65_536), 'How much of the body is read; 0: none of it.', {
    examples: ['64Ki'],
    leftOut: '64Ki',
  }),
  compare: key(
    word('report', 'fail').optional(),
    'The page must be the same on all real servers of the service. `report`: status says whose is not that of most others; `fail`: its check is bad as well.',
    { leftOut: 'pages may differ' },
  ),
  redirects: key(
    integer(0, 20).default(0),
    'How many redirections are followed, always to the same real server, at the port the new address names.',
  ),
  pages: key(
    list(page, 'pages').min(1, { error: 'wanted one page or more' }).optional(),
    'Several pages instead of `path` and what its body must be; all must be good, asked one after the other.',
    { leftOut: 'one page: `path`' },
  ),
};

/** Hexadecimal digits, two a byte; `wildcard` may stand for a digit. */
function hexadecimal(wildcard: '' | 'x') {
  const error = 'wanted hexadecimal digits, two for each byte';
  return z
    .string({ error })
    .regex(wildcard === 'x' ? /^([0-9a-fx]{2})+$/i : /^([0-9a-f]{2})+$/i, { error })
    .meta({ kind: 'hexadecimal digits' });
}

/** A name of DNS (RFC 1035, section 2.3.4): labels of 1 to 63 bytes, 253 with the dots between them. */
const domainName = text('a domain name').refine(
  (name) =>
    name === '.' ||
    (Buffer.byteLength(name) <= 254 &&
      name
        .replace(/\.$/, '')
        .split('.')
        .every((label) => label !== '' && Buffer.byteLength(label) <= 63)),
  { error: 'wanted a domain name: labels of 1 to 63 bytes with dots between, 253 bytes at most' },
);

/** One kind of check: its type, what every check has, what it has besides. */
function kind<const Type extends string, Shape extends z.ZodRawShape>(
  type: Type,
  description: string,
  shape: Shape,
) {
  return object({ type: key(z.literal(type), description), ...common, ...shape });
}

/** How real servers are checked. */
export const check = z.discriminatedUnion(
  'type',
  [
    kind('tcp', 'Connects; sends and reads where that is wanted.', { ...target, ...exchange }),
    kind('tls', 'Connects and shakes hands; sends and reads where that is wanted.', {
      ...target,
      ...exchange,
      ...tls,
    }),
    kind('http', 'Asks for a page.', { ...target, ...web }),
    kind('https', 'Asks for a page over TLS.', { ...target, ...web, ...tls }),
    kind('udp', 'Sends a datagram.', {
      ...target,
      send: key(text().optional(), 'What is sent.', { leftOut: 'an empty datagram' }),
      sendHex: key(
        hexadecimal('').optional(),
        'What is sent, as hexadecimal digits (in quotes, or YAML may take them for a number), in place of `send`.',
        {
          examples: ['ffffffff54'],
          leftOut: '`send`',
        },
      ),
      expect: key(text().optional(), 'What the answer must begin with.', {
        leftOut: 'no answer is needed, only no ICMP error within half of `timeout`, one second at most',
      }),
      expectHex: key(
        hexadecimal('x').optional(),
        'What the answer must begin with, as hexadecimal digits, in place of `expect`; `x` is any digit.',
        { examples: ['00000001xxxx'], leftOut: '`expect`' },
      ),
      answer: key(
        flag().default(false),
        'Whether an answer must come. Where something is expected of it, it must.',
      ),
      minLength: key(integer(0, 65_535).default(0), 'The least bytes of an answer.'),
      maxLength: key(integer(0, 65_535).default(65_535), 'The most bytes of an answer.'),
    }),
    kind('ping', 'Sends an ICMP echo request.', {
      address: target.address,
      attempts: key(
        integer(1, 10).default(1),
        'How many requests are sent at most, spread over `timeout`; one answer is enough.',
      ),
    }),
    kind('dns', 'Asks a name server.', {
      ...target,
      transport: key(word('udp', 'tcp').default('udp'), 'How it is asked.'),
      query: key(domainName.default('.'), 'The name that is asked for; for PTR, an address will do.', {
        examples: ['example.org'],
      }),
      record: key(
        word('A', 'AAAA', 'CNAME', 'MX', 'NS', 'PTR', 'SOA', 'SRV', 'TXT').default('SOA'),
        'The kind of record.',
      ),
      rcode: key(
        word('NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED').default('NOERROR'),
        'The response code that is good.',
      ),
      expect: key(text().optional(), 'What one of the records must be, written as `dig +short` does.', {
        leftOut: 'any answer, one without records as well',
      }),
      matches: key(expression.optional(), 'The regular expression one of the records must match.', {
        leftOut: 'any answer, one without records as well',
      }),
      matchOptions: content.matchOptions,
    }),
    kind('smtp', 'Reads the greeting and says EHLO.', {
      ...target,
      transport,
      ...tls,
      helo: key(text('a host name').optional(), 'The name it greets with.', {
        leftOut: 'the name of this host',
      }),
    }),
    kind('imap', 'Reads the greeting, signs in where a user is given.', {
      ...target,
      transport,
      ...tls,
      ...account,
    }),
    kind('pop', 'Reads the greeting, signs in where a user is given.', {
      ...target,
      transport,
      ...tls,
      ...account,
    }),
    kind('ftp', 'Reads the greeting, signs in where a user is given, fetches a file where one is named.', {
      ...target,
      ...account,
      path: key(text('a path').optional(), 'A file that is fetched; without a user by `anonymous`.', {
        examples: ['/pub/alive.txt'],
        leftOut: 'none',
      }),
      ...content,
    }),
    kind('nntp', 'Reads the greeting.', target),
    kind('ldap', 'Signs in where a user is given, and reads an entry.', {
      ...target,
      transport,
      ...tls,
      ...account,
      base: key(text().default(''), 'The distinguished name of the entry.', { leftOut: 'the root' }),
      matches: key(expression.optional(), 'The regular expression that its distinguished name must match.', {
        leftOut: 'anything',
      }),
      matchOptions: content.matchOptions,
    }),
    kind('redis', 'Signs in where a password is given, says PING.', {
      ...target,
      transport: key(word('plain', 'tls').default('plain'), 'Whether it speaks TLS.'),
      ...tls,
      ...account,
    }),
    kind('mysql', 'Signs in where a user is given, asks where a query is given; else reads the greeting.', {
      ...target,
      transport: databaseTransport,
      ...tls,
      ...account,
      database: key(text().optional(), 'The database.', { leftOut: 'none' }),
      query: key(text().optional(), 'A query that must give a row.', { leftOut: 'none' }),
    }),
    kind('postgresql', 'Signs in where a user is given, asks where a query is given; else only knocks.', {
      ...target,
      transport: databaseTransport,
      ...tls,
      ...account,
      database: key(text().optional(), 'The database.', { leftOut: 'that of the user’s name' }),
      query: key(text().optional(), 'A query that must give a row.', { leftOut: 'none' }),
    }),
    kind('radius', 'Asks for access where a user is given, else for the state of the server.', {
      ...target,
      ...account,
      secret: key(text(), 'The shared secret.'),
    }),
    kind('sip', 'Sends OPTIONS.', {
      ...target,
      transport: key(word('udp', 'tcp').default('udp'), 'How it is asked.'),
      user: key(text().optional(), 'Whom it asks for.', { leftOut: 'nobody' }),
    }),
    kind('file', 'Looks at a file of this host.', {
      path: key(
        text('a path'),
        'The file; `{address}` and `{port}` in it are those of the real server. It must hold the number 0, or not be there; see `factor` for other numbers.',
        { examples: ['"/run/out/{address}:{port}"'] },
      ),
      mustNotExist: key(
        flag().default(false),
        'Whether it is bad that there is such a file, or folder, whatever it holds.',
      ),
      factor: key(
        integer(-254, 254).default(0),
        'Where it is not 0, the number in the file is good: times this, and added to `base`, it is the weight. -254 or less, before it is added, is bad.',
      ),
      base: key(integer(0, 65_535).default(0), 'The weight where the file holds 0, for `factor`.'),
    }),
    kind('passive', 'Looks at what becomes of the TCP connections of clients; asks nobody.', {
      interval: key(
        duration(1000, hour).default(5_000),
        'From one look to the next: those of so long are looked at.',
        {
          examples: ['2s'],
          leftOut: '5s',
        },
      ),
      fall: key(integer(1, 1000).default(1), 'Bad results in a row that take it out.'),
      rise: key(
        integer(1, 1000).default(6),
        'Good results in a row that bring it back; nobody connects to it meanwhile, and that is good.',
      ),
      failures: key(
        integer(1, 1_000_000).default(5),
        'Connections that are refused or not answered within `interval` for it to be bad; fewer than are answered are good.',
      ),
    }),
    kind('script', 'Runs a program of this host.', {
      command: key(program(), 'The program with its arguments, without a shell. Exit code 0 is good.', {
        examples: [['/usr/local/bin/check-web', '--fast']],
      }),
      dynamicWeight: key(
        flag().default(false),
        'Exit codes 2 to 255 are good as well, and two less than the code is the weight.',
      ),
      appendTarget: key(
        flag().default(false),
        'Whether four arguments follow those of the command: virtual address (or mark) and port, real address and port.',
      ),
      user: key(text('a user').optional(), 'Whom it runs as.', {
        examples: ['nobody'],
        leftOut: 'the user of the daemon',
      }),
      group: key(text('a group').optional(), 'The group it runs as.', { leftOut: 'that of `user`' }),
    }),
  ],
  { error: 'wanted keys and values, `type` among them' },
);

/** A check as it is once read: defaults filled in, times in milliseconds. */
export type Check = z.output<typeof check>;
