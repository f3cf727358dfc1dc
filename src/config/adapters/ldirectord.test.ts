import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseAddress } from '../../model/address.ts';
import type { Files } from '../files.ts';
import { type Imported, importFile } from '../import.ts';
import { loadConfiguration } from '../load.ts';
import type { ServiceConfiguration } from '../schema/configuration.ts';
import { adapterFor } from './detect.ts';
import { machineNames } from './machine-names.ts';

function machine(files: Readonly<Record<string, string | Uint8Array>>): Files {
  return {
    read: (path) => {
      const file = files[path];
      if (file === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
      return typeof file === 'string' ? new TextEncoder().encode(file) : file;
    },
    list: () => [],
    identity: (path) => path,
  };
}

const hosts = '192.0.2.10 www\n10.0.0.11 real-1\n10.0.0.13 real-3\n';
const services = 'http 80/tcp\ndomain 53/udp\nsip 5060/udp\n';
const names = machineNames((path) => new TextEncoder().encode(path === '/etc/hosts' ? hosts : services));

function imported(text: string): Imported {
  return importFile('l.cf', { files: machine({ 'l.cf': text }), names, environment: {}, from: 'ldirectord' });
}

const files = (text: string): Files =>
  machine({ 'l.cf': text, '/etc/hosts': hosts, '/etc/services': services });

function servicesOf(text: string): ServiceConfiguration[] {
  const { configuration, problems } = loadConfiguration('l.cf', { files: files(text), environment: {} });
  expect(problems).toEqual([]);
  return configuration!.virtualServices;
}

const serviceOf = (...lines: string[]): ServiceConfiguration =>
  servicesOf(
    `${lines[0]}\n${lines
      .slice(1)
      .map((line) => `\t${line}\n`)
      .join('')}`,
  )[0]!;

const notesOf = (text: string) =>
  imported(text).notes.map(({ line, kind, reason }) => `${line} ${kind}: ${reason}`);
const mistakesOf = (text: string) =>
  imported(text).problems.map(({ at, message }) => `${at.line}:${at.column}: ${message}`);

describe('the lines', () => {
  test('tabs, four blanks and no-break spaces indent; empty lines and comments do not end a service', () => {
    const text = `quiescent = no\n\n# c\nvirtual = 192.0.2.10:80\n\treal=10.0.0.11:80 gate\n# at the margin
    real=10.0.0.12:80\u00a0\u00a0gate # behind\n\n\u00a0\u00a0\u00a0\u00a0real=10.0.0.13:80 gate\r\n`;
    const [service] = servicesOf(text);
    expect(service!.realServers.map(({ address }) => address.address)).toEqual([
      '10.0.0.11',
      '10.0.0.12',
      '10.0.0.13',
    ]);
    expect(notesOf(text)).toEqual([
      '1 kept: for all virtual services',
      '4 kept: virtual service "http-192.0.2.10"',
      '5 kept: virtual service "http-192.0.2.10"',
      '7 kept: virtual service "http-192.0.2.10"',
      '9 changed: the virtual service goes on below an empty line, which ends it in ldirectord',
    ]);
  });

  test.each([
    [
      'virtual=192.0.2.10:80\n  real=10.0.0.11:80 gate\n',
      '2:3: line: wanted an indentation of a tab or 4 blanks, found 2 blanks',
    ],
    [
      '\treal=10.0.0.11:80 gate\n',
      '1:2: line: wanted one that begins without blanks, or a line "virtual" above it, found neither',
    ],
    ['autoload=yes\n', '1:1: "autoload": wanted a directive of ldirectord, found none of that name'],
    ['quiescent=maybe\n', '1:11: "quiescent": wanted yes or no, found "maybe"'],
    ['timeout=5\n', '1:9: "timeout": wanted checktimeout and negotiatetimeout in its place, found "5"'],
    ['checktimeout=0\n', '1:14: "checktimeout": wanted a number of seconds greater than 0, found "0"'],
    [
      'virtual=192.0.2.10:80\n\tautoreload=yes\n',
      '2:2: "autoreload": wanted for all virtual services, not for one',
    ],
    ['scheduler=rr\n', '1:1: "scheduler": wanted below a virtual service, indented'],
    [
      'virtual=192.0.2.10:80\n\trequest=index.html\n',
      '2:10: "request": wanted a text in double quotes, found "index.html"',
    ],
    [
      'virtual=192.0.2.10:80\n\treceive="a#b"\n',
      '2:10: "receive": wanted a text in double quotes, found ""a"',
    ],
    [
      'virtual=192.0.2.10:80\n\tscheduler\n',
      '2:2: "scheduler": wanted "scheduler = a word of lower case letters", found no "="',
    ],
    [
      'virtual=[2001:db8::10]:80\n',
      '1:9: "virtual": wanted an address with its port, or a firewall mark, found "[2001:db8::10]:80"',
    ],
    ['virtual=nobody:80\n', '1:9: "virtual": wanted an IPv4 address or a host that is known, found "nobody"'],
    [
      'virtual=192.0.2.10:nothing\n',
      '1:9: "virtual": wanted a port or a name in /etc/services, found "nothing"',
    ],
    [
      'virtual=192.0.2.10:80\n\treal=10.0.0.11:80\n',
      '2:7: "real": wanted gate, masq or ipip behind "10.0.0.11:80", found nothing',
    ],
    [
      'virtual=192.0.2.10:80\n\treal=10.0.0.11:80 direct\n',
      '2:7: "real": wanted gate, masq or ipip behind the address, found "direct"',
    ],
    [
      'virtual=192.0.2.10:80\n\treal=10.0.0.11:80 gate x\n',
      '2:7: "real": wanted WEIGHT, "REQUEST", "RECEIVE", l:N and u:N, in this order, found "x"',
    ],
    [
      'virtual=192.0.2.10:80\n\treal=10.0.0.5->10.0.0.1:80 gate\n',
      '2:7: "real": wanted a range that ascends, found 10.0.0.5 to 10.0.0.1',
    ],
    [
      'virtual=192.0.2.10:80\n\treal6=[2001:db8::1]:80 gate\n',
      '2:2: "real6": wanted "real" in a service of IPv4',
    ],
    [
      'virtual=192.0.2.10:80\n\tfallback=127.0.0.1:80 drop\n',
      '2:11: "fallback": wanted gate, masq or ipip behind the address, found "drop"',
    ],
    ['virtual=7\n\tprotocol=tcp\n', '2:11: "protocol": wanted fwm with a firewall mark, found "tcp"'],
    [
      'virtual=192.0.2.10:80\nvirtual=192.0.2.10:http\n',
      '2:1: "virtual": wanted each virtual service once, found it in line 1',
    ],
    ['virtual=192.0.2.10:80\n\tscheduler=best\n', '2:12: "scheduler": wanted'],
  ])('%j is refused', (text, mistake) => {
    const [found, ...more] = mistakesOf(text);
    expect(found).toContain(mistake);
    expect(more.filter((one) => !one.includes('name'))).toEqual([]);
  });
});

describe('a virtual service', () => {
  test('has ldirectord’s defaults where ours differ', () => {
    const service = serviceOf('virtual=192.0.2.10:80', 'real=10.0.0.11:80 gate');
    expect(service).toMatchObject({
      name: 'http-192.0.2.10',
      address: [{ address: '192.0.2.10', port: 80, protocol: 'tcp' }],
      scheduler: 'wrr',
      method: 'direct-routing',
    });
    // ldirectord(8): checkinterval 10, negotiatetimeout 30, failurecount 1; real servers wait for their first check.
    expect(service.check).toHaveLength(1);
    expect(service.check![0]).toMatchObject({
      type: 'http',
      path: '/',
      interval: 10_000,
      timeout: 30_000,
      rise: 1,
      fall: 1,
      initial: 'down',
      warmup: 0,
      whenDown: 'remove',
    });
    expect(service.sorryServer).toBeUndefined();
  });

  test('says what a service may be: scheduler, persistence, one packet, firewall mark, IPv6', () => {
    const [http, dns, mark, six] = servicesOf(`virtual = www:http
\tscheduler = sh
\tschedflags = sh-fallback,sh-port
\tpersistent = 600
\tnetmask = 255.255.255.0
virtual=192.0.2.10:domain
\tops=yes
virtual=7
\tpersistent=300
virtual6=[2001:db8::10]:80
\treal6=[2001:db8:1::11]:8080 masq 3 l:100 u:200
\tpersistent=300
\tnetmask=64
\tfallback6=[::1]:80
`);
    expect(http).toMatchObject({ scheduler: 'sh', schedulerFlags: ['fallback', 'port'] });
    expect(http!.persistence).toMatchObject({ timeout: 600, netmask: 24 });
    expect(dns).toMatchObject({
      address: [{ port: 53, protocol: 'udp' }],
      onePacket: true,
      check: [{ type: 'dns' }],
    });
    expect(mark).toMatchObject({ fwmark: 7, family: 'ipv4' });
    expect(six!.persistence).toMatchObject({ timeout: 300, netmask6: 64 });
    expect(six!.realServers).toMatchObject([
      {
        address: { address: '2001:db8:1::11', port: 8080 },
        weight: 3,
        lowerThreshold: 100,
        upperThreshold: 200,
      },
    ]);
    expect(six!.sorryServer).toMatchObject({ address: { address: '::1' }, method: 'direct-routing' });
  });

  test('has the real servers of a range, each by its address', () => {
    const { realServers } = serviceOf('virtual=www:80', 'real=real-1->real-3:http masq 2');
    expect(realServers.map(({ address }) => address.address)).toEqual(
      ['10.0.0.11', '10.0.0.12', '10.0.0.13'].map(parseAddress),
    );
    expect(realServers.map(({ weight }) => weight)).toEqual([2, 2, 2]);
  });

  test('has the port that packets really go to, and is checked at the one that is named', () => {
    const text = `virtual=192.0.2.10:80
\treal=10.0.0.11:8080 gate
\treal=10.0.0.12:8080 masq
\treal=10.0.0.13 gate
`;
    const [{ realServers }] = servicesOf(text) as [ServiceConfiguration];
    expect(
      realServers.map(({ address, check }) => [
        address.port,
        (check as { port?: number }[] | undefined)?.[0]?.port,
      ]),
    ).toEqual([
      [undefined, undefined],
      [8080, undefined],
      [undefined, undefined],
    ]);
    expect(notesOf(text)[1]).toBe('2 changed: port 8080 is 80: only masq can change the port');
  });

  test('global directives hold wherever they stand, those of a service go before', () => {
    const [one, two] = servicesOf(`virtual=192.0.2.10:80
virtual=192.0.2.11:80
\tchecktimeout=7
\tfailurecount=2
\tquiescent=no
\tfallback=10.0.0.98:80 masq
checktimeout=3
failurecount=4
quiescent=yes
fallback=10.0.0.99:8080
`);
    expect(one!.check).toMatchObject([{ timeout: 3_000, fall: 4, whenDown: 'quiesce' }]);
    expect(one!.sorryServer).toMatchObject({ address: { address: '10.0.0.99' } });
    expect(one!.sorryServer!.address.port).toBeUndefined();
    expect(two!.check).toMatchObject([{ timeout: 7_000, fall: 2, whenDown: 'remove' }]);
    expect(two!.sorryServer).toMatchObject({ address: { address: '10.0.0.98' }, method: 'masquerade' });
  });
});

describe('checktype and service', () => {
  const real = 'real=10.0.0.11:80 masq';
  test.each([
    [['checktype=connect'], { type: 'tcp', timeout: 5_000 }],
    [['checktype=connect', 'protocol=udp'], { type: 'ping' }],
    [['checktype=ping', 'checkcount=3', 'checktimeout=2'], { type: 'ping', attempts: 3, timeout: 2_000 }],
    [['checktype=3', 'service=smtp'], { type: 'smtp', timeout: 30_000 }],
    [
      ['checktype=external', 'checkcommand=/bin/x'],
      { type: 'script', command: ['/bin/x'], appendTarget: true },
    ],
    [['checktype=external-perl', 'checkcommand="/bin/x"'], { type: 'script', command: ['perl', '/bin/x'] }],
    [
      ['service=https', 'virtualhost=www.example.org'],
      { type: 'https', host: 'www.example.org', verify: false },
    ],
    [['httpmethod=head', 'request="a b?c"'], { type: 'http', method: 'HEAD', path: '/a%20b?c' }],
    [['receive="Test Page"'], { type: 'http', contains: 'Test Page' }],
    [['receive="^ok: [0-9]+$"'], { type: 'http', matches: '^ok: [0-9]+\\n?$' }],
    [
      ['service=http_proxy', 'request="http://www.example.org/"'],
      { type: 'http', path: 'http://www.example.org/' },
    ],
    [['service=submission'], { type: 'smtp', transport: 'plain' }],
    [
      ['service=imaps', 'login="u"', 'passwd="p"'],
      { type: 'imap', transport: 'tls', user: 'u', password: 'p' },
    ],
    [['service=pop'], { type: 'pop', transport: 'plain' }],
    [
      ['service=ftp', 'request="f"', 'receive="x"'],
      { type: 'ftp', user: 'anonymous', path: '/f', contains: 'x' },
    ],
    [['service=ldaps', 'request="dc=x"'], { type: 'ldap', transport: 'tls', base: 'dc=x' }],
    [['service=nntp'], { type: 'nntp' }],
    [
      ['service=dns', 'request="a.example"'],
      { type: 'dns', query: 'a.example', record: 'A', transport: 'tcp' },
    ],
    [['service=dns', 'request="10.1.2.3"'], { type: 'dns', query: '10.1.2.3', record: 'PTR' }],
    [
      ['service=mysql', 'login="u"', 'request="SELECT 1"', 'database="d"'],
      { type: 'mysql', query: 'SELECT 1', database: 'd' },
    ],
    [['service=pgsql', 'login="u"', 'request="SELECT 1"'], { type: 'postgresql', query: 'SELECT 1' }],
    [['service=oracle'], { type: 'tcp' }],
    [
      ['service=radius', 'login="u"', 'passwd="p"', 'secret="s"'],
      { type: 'radius', secret: 's', timeout: 5_000 },
    ],
    [['service=sip', 'protocol=udp', 'login="a@b"'], { type: 'sip', transport: 'udp', user: 'a@b' }],
    [
      ['service=simpletcp', 'request="PING\\n"', 'receive="PONG"'],
      { type: 'tcp', send: 'PING\n', endSending: true, contains: 'PONG' },
    ],
    [['checkport=8080'], { type: 'http', port: 8080 }],
  ])('%j', (lines, check) => {
    expect(serviceOf('virtual=192.0.2.10:80', real, ...lines).check).toMatchObject([check]);
  });

  test.each([
    ['service=none', 1],
    ['checktype=on', 1],
    ['checktype=off', 0],
  ])('%s: no check', (line, weight) => {
    const service = serviceOf('virtual=192.0.2.10:80', 'fallback=10.0.0.99', real, line);
    expect(service.check).toBeUndefined();
    expect(service.realServers[0]!.weight).toBe(weight);
    expect(service.sorryServer === undefined).toBe(weight === 0);
  });

  test('a real server’s own request is a check of its own', () => {
    const { check, realServers } = serviceOf(
      'virtual=192.0.2.10:80',
      'request="all"',
      'receive="fine"',
      'real=10.0.0.11:80 masq',
      'real=10.0.0.12:80 masq 2 "one", "good"',
      'real=10.0.0.13:80 masq "http://10.0.9.9:8000/two", ""',
    );
    expect(check).toMatchObject([{ path: '/all', contains: 'fine' }]);
    expect(realServers.map((one) => one.check)).toMatchObject([
      undefined,
      [{ path: '/one', contains: 'good' }],
      [{ path: '/two', address: '10.0.9.9', port: 8000 }],
    ] as never[]);
    expect(realServers.map(({ weight }) => weight)).toEqual([1, 2, 1]);
  });
});

test('a file of the folder for maintenance takes a real server out, by any of its names', () => {
  const text = (check: string) =>
    `checkinterval=2\nquiescent=yes\nmaintenancedir=/etc/ha.d/out/\nvirtual=192.0.2.10:80\n\tchecktype=${check}\n\treal=10.0.0.11:80 gate\n\treal=real-3:80 gate\n`;
  const mark = (name: string) => ({
    ...{ type: 'file', path: `/etc/ha.d/out/${name}`, mustNotExist: true, factor: 0, base: 0 },
    ...{ interval: 2000, timeout: 5000, rise: 1, fall: 1, initial: 'up', warmup: 0, slowStart: 0 },
    whenDown: 'quiesce',
  });
  const usual = ['{address}:{port}', '{address}'].map(mark);
  const [{ check, realServers }] = servicesOf(text('connect')) as [ServiceConfiguration];
  expect(check).toEqual([expect.objectContaining({ type: 'tcp' }), ...usual]);
  expect(realServers[0]!.check).toBeUndefined();
  expect(realServers[1]!.check).toEqual([...check!, mark('real-3:{port}'), mark('real-3')]);
  // Whoever is always up is looked for as well.
  expect(servicesOf(text('on'))[0]!.check).toEqual(usual);
});

test('what is not kept is told, with the reason', () => {
  expect(
    notesOf(`checkinterval=5
checkinterval=6
monitorfile=1
virtual=192.0.2.10.80
\tprotocol=fwm
\tnetmask=255.255.255.0
\trequest="x"
\tchecktype=connect
`).filter((note) => !note.includes('kept')),
  ).toEqual([
    '1 changed: "checkinterval" counts as line 2 says it',
    '4 changed: it is firewall mark 192, ".0.2.10.80" behind it counts for nothing: an address needs its port',
    '6 changed: it has no effect without "persistent"',
    '7 changed: it has no effect on this kind of check',
  ]);
});

describe('who is told', () => {
  const alertsOf = (text: string) => {
    const { configuration, problems } = loadConfiguration('l.cf', { files: files(text), environment: {} });
    expect(problems).toEqual([]);
    return configuration!.alerts;
  };
  const [one, two] = ['virtual=192.0.2.10:80\n', 'virtual=192.0.2.11:80\n'];

  test('one mail for all services, or one for each that has its own', () => {
    const text = `emailalert="a@example.org, b@example.org"\nemailalertfrom=Lvs <l@example.org>\nsmtp=mail\n${one}${two}`;
    expect(alertsOf(text)!.mail).toMatchObject([
      {
        server: { host: 'mail', port: 25 },
        from: 'l@example.org',
        to: ['a@example.org', 'b@example.org'],
        repeat: 0,
        on: ['real-server-down', 'real-server-up', 'quorum-lost', 'quorum-gained'],
      },
    ]);
    expect(alertsOf(`${text}\temailalert=c@example.org\n\temailalertfreq=60\n`)!.mail).toMatchObject([
      { to: ['a@example.org', 'b@example.org'], services: ['http-192.0.2.10'] },
      { to: ['c@example.org'], repeat: 60_000, services: ['http-192.0.2.11'] },
    ]);
    expect(alertsOf(`${text}\temailalertstatus=none\n`)!.mail).toMatchObject([
      { services: ['http-192.0.2.10'] },
    ]);
  });

  test('what has no effect, or another one, is told', () => {
    expect(notesOf(`${one}\tsmtp=mail\nemailalertfreq=5\n`).slice(1)).toEqual([
      '2 changed: it has no effect without "emailalert"',
      '3 changed: it has no effect without "emailalert"',
    ]);
    expect(notesOf(`emailalert=a@example.org b c\u0001\nemailalertstatus=running\n${one}`)).toEqual([
      '1 ignored: there is a word that is no address',
      '2 changed: there is mail whenever a real server changes its state',
      '3 kept: virtual service "http-192.0.2.10"',
    ]);
    expect(alertsOf(`emailalert=a@example.org\nemailalertstatus=stopping\n${one}`)).toBeUndefined();
  });

  test('commands are what a shell makes of them', () => {
    const text = `fallbackcommand="/bin/page me"\ncallback="/bin/sync-it"\n${one}virtual=7\n\tfallbackcommand=/bin/x\n`;
    expect(servicesOf(text)).toMatchObject([
      {
        onQuorumDown: ['/bin/sh', '-c', '/bin/page me start 192.0.2.10:80 tcp'],
        onQuorumUp: ['/bin/sh', '-c', '/bin/page me stop 192.0.2.10:80 tcp'],
      },
      { onQuorumDown: ['/bin/sh', '-c', '/bin/x start 7 fwm'] },
    ]);
    expect(alertsOf(text)!.command).toMatchObject([
      { command: ['/bin/sh', '-c', '/bin/sync-it "$0"', 'l.cf'], on: ['configuration-applied'] },
    ]);
  });
});

const more = process.env.EXTRA_FIXTURES;

describe.skipIf(!more)('files of EXTRA_FIXTURES', () => {
  const folder = more ?? '';
  const found = more ? readdirSync(more, { recursive: true, encoding: 'utf8' }) : [];

  test.each(found.filter((file) => /ldirectord\.cf/.test(file)))('%s loads, with its warnings', (file) => {
    const { configuration, problems, warnings } = loadConfiguration(join(folder, file));
    expect(problems).toEqual([]);
    expect(configuration!.virtualServices).toMatchObject([
      {
        address: [{ address: '192.168.136.10', port: 80, protocol: 'tcp' }],
        scheduler: 'rr',
        method: 'tunnel',
        check: [
          {
            path: '/test.html',
            contains: 'Test Page',
            interval: 1000,
            timeout: 3000,
            whenDown: 'quiesce',
          },
        ],
        realServers: [11, 12, 101, 102, 103].map((last) => ({ address: { address: `192.168.136.${last}` } })),
        sorryServer: { address: { address: '127.0.0.1' }, method: 'direct-routing' },
      },
    ]);
    expect(warnings.map(({ reason }) => reason).filter((reason) => !reason.includes('empty line'))).toEqual([
      'the daemon takes every change of the file',
      'the log goes to standard error, and from there to the journal',
      'no virtual host: that of the real server’s address is asked',
    ]);
  });

  test.each(found.filter((file) => /\.(?:rules|sh|conf|txt)|haresources|ha\.cf|authkeys|hosts$/.test(file)))(
    '%s is not taken for one',
    (file) => {
      expect(adapterFor(() => readFileSync(join(folder, file), 'latin1'), file)?.name).not.toBe('ldirectord');
    },
  );
});
