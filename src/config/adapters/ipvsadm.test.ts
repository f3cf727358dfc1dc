// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are variables of shell scripts
import { describe, expect, test } from 'vitest';
import type { Problem } from '../../model/errors.ts';
import { toDesired } from '../desired.ts';
import type { Files } from '../files.ts';
import { type Imported, importFile } from '../import.ts';
import { limits } from '../limits.ts';
import { loadConfiguration } from '../load.ts';
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

const nothing = machineNames(() => new Uint8Array());

function imported(text: string | Uint8Array, environment: Record<string, string> = {}): Imported {
  return importFile('r.sh', {
    files: machine({ 'r.sh': text }),
    names: nothing,
    environment,
    from: 'ipvsadm',
  });
}

const yamlOf = (text: string, environment = {}) => {
  const { yaml, problems } = imported(text, environment);
  expect(problems).toEqual([]);
  return yaml!.replace(/^# Imported.*\n\n/, '');
};
test('full NAT, which headgate ipvsadm has and ipvsadm does not', () => {
  const server = 'ipvsadm -a -t 192.0.2.10:80 -r';
  const yaml = yamlOf(
    [
      'ipvsadm -A -t 192.0.2.10:80',
      `${server} 10.0.0.11:8080 --full-nat`,
      `${server} 10.0.0.12 --full-nat --local-addresses 10.0.0.2,10.0.0.3 --client-address tcp-option`,
    ].join('\n'),
  );
  const { configuration } = loadConfiguration('h.yaml', { files: machine({ 'h.yaml': yaml }) });
  expect(toDesired(configuration!).services[0]!.destinations).toMatchObject([
    { port: 8080, method: 'full-nat', fullNat: { localAddresses: [], clientAddress: 'hidden' } },
    {
      port: 80,
      method: 'full-nat',
      fullNat: { localAddresses: ['10.0.0.2', '10.0.0.3'], clientAddress: 'tcp-option' },
    },
  ]);
});

const notesOf = (text: string) =>
  imported(text).notes.map(({ line, kind, reason }) => `${line} ${kind}: ${reason}`);
const places = (problems: readonly Problem[]) =>
  problems.map(({ at, message }) => `${at.line}:${at.column}: ${message}`);

describe('the text', () => {
  test('has what is not default, the method most real servers have, names made of addresses', () => {
    const rules = `
-A -t 192.0.2.10:80 -s wlc -p 300 -M 255.255.255.0
-a -t 192.0.2.10:80 -r 10.0.0.11:8080 -m -w 3 -x 200 -y 100
-a -t 192.0.2.10:80 -r 10.0.0.12 -m
-a -t 192.0.2.10:80 -r 10.0.0.13 -g -w 0
-A -t [2001:db8::10]:8080 -s sh -b sh-fallback,sh-port
-a -t [2001:db8::10]:8080 -r [2001:db8:1::11]:80 -m
-A -u 192.0.2.10:80 -o
-A -u 192.0.2.10:0 -p 90061
-A -f 7 -6 -s rr
-a -f 7 -6 -r 2001:db8:1::12 -i --tun-type gue --tun-port 6080
--set 900 0 300
--start-daemon backup --mcast-interface eth1 --syncid 5
--start-daemon master --mcast-interface eth1 --syncid 5
`;
    expect(yamlOf(rules)).toBe(`timeouts: { tcp: 15m, udp: 5m }
virtualServices:
  - name: http-192.0.2.10
    address: 192.0.2.10:80
    method: masquerade
    persistence: { timeout: 5m, netmask: 24 }
    whenGone: drop
    realServers:
      - { address: 10.0.0.11:8080, weight: 3, upperThreshold: 200, lowerThreshold: 100 }
      - { address: 10.0.0.12 }
      - { address: 10.0.0.13, weight: 0, method: direct-routing }

  - name: tcp-8080-2001-db8--10
    address: "[2001:db8::10]:8080"
    scheduler: sh
    schedulerFlags: [ fallback, port ]
    method: masquerade
    whenGone: drop
    realServers:
      - { address: "[2001:db8:1::11]:80" }

  - name: http-udp-192.0.2.10
    address: 192.0.2.10:80/udp
    onePacket: true
    whenGone: drop

  - name: all-udp-192.0.2.10
    address: 192.0.2.10:*/udp
    persistence: 1d1h1m1s
    whenGone: drop

  - name: fwmark-7-ipv6
    fwmark: 7
    family: ipv6
    scheduler: rr
    method: tunnel
    tunnel: { type: gue, port: 6080 }
    whenGone: drop
    realServers:
      - { address: 2001:db8:1::12 }
failover:
  connectionSync: { interface: eth1, role: both, id: 5 }
`);
  });

  test('keeps comments above what they stand before, and the head of the file', () => {
    const rules = `#!/bin/sh
# The shop.
# Ask Anna.

echo hello # not this
# web
ipvsadm -A -t 192.0.2.10:80   # first
#one
ipvsadm -a -t 192.0.2.10:80 -r 10.0.0.11 -g
\t# last \u0007\u2028 bell
ipvsadm -a -t 192.0.2.10:80 -r 10.0.0.12 -g
`;
    expect(imported(rules).yaml).toBe(`# Imported from r.sh, rules of ipvsadm.

# The shop.
# Ask Anna.

virtualServices:
  # web
  # first
  - name: http-192.0.2.10
    address: 192.0.2.10:80
    whenGone: drop
    realServers:
      # one
      - { address: 10.0.0.11 }
      # last    bell
      - { address: 10.0.0.12 }
`);
  });

  test('is that of a service whatever else the file says', () => {
    const rules = ['-A -t 192.0.2.10:80', '-A -u 192.0.2.10:53', '-A -t 192.0.2.10:53'];
    const names = (lines: string[]) =>
      [...yamlOf(lines.join('\n')).matchAll(/name: (\S+)/g)].map(([, name]) => name);
    expect(names(rules)).toEqual(['http-192.0.2.10', 'dns-192.0.2.10', 'dns-tcp-192.0.2.10']);
    expect(names(rules.toReversed())).toEqual(names(rules).toReversed());
  });
});

test('each line that says something has a note', () => {
  const rules = `VIP=192.0.2.10
echo up
ipvsadm -C
ipvsadm -A -t $VIP:http -p 60 -M 255.0.255.0

ipvsadm -A -t $VIP:80
ipvsadm -a -t $VIP:80 -r 10.0.0.11:8080 -g -w 70000
ipvsadm -a -t 192.0.2.99:80 -r 10.0.0.11 -g
ipvsadm -A -t 192.0.2.12:80 -s best; ipvsadm -Z
ipvsadm -A -u $VIP:53 -M 255.255.0.0
ipvsadm -Ln
ipvsadm-restore < other
ipvsadm
ipvsadm -A -t $VIP:5060 -p 60 --pe sip
`;
  expect(notesOf(rules)).toEqual([
    '1 kept: a variable',
    '2 ignored: "echo" is no command of ipvsadm',
    '3 changed: "own: true" would delete what is not described here',
    '4 ignored: no configuration can say this "-M": its ones must be together, and at least one',
    '6 ignored: ipvsadm refuses it: tcp 192.0.2.10:80 is there already',
    '7 changed: port 8080 is 80: only masquerading (-m) can change the port; weight 70000 is 65535, the greatest',
    '8 ignored: ipvsadm refuses it: tcp 192.0.2.99:80 is not there',
    expect.stringMatching(
      /^9 ignored: ipvsadm refuses it: "best" is not one of .*; counters are no configuration$/,
    ),
    '10 changed: "-M" is left out: it has no effect without "-p"',
    '11 ignored: it shows something: nothing is set by it',
    '12 ignored: it loads rules of another file: import that file',
    '13 ignored: it lists: nothing is set by it',
    '14 ignored: "--pe sip" goes with UDP only',
  ]);
});

describe('a script', () => {
  const web = '-A -t 192.0.2.10:80\n';
  const servers = (text: string, environment = {}) =>
    [...yamlOf(web + text, environment).matchAll(/\{ address: (\S+) \}/g)].map(([, address]) => address);
  const add = 'ipvsadm -a -t 192.0.2.10:80 -g -r';

  test.each([
    ['variables', `A=10.0.0.1\nexport B="\${A}1" C=10.0.0.2\n${add} $A\n${add} \${B}\n${add} "$C"`, '1 11 2'],
    ['defaults', `${add} \${NOBODY:-10.0.0.3}`, '3'],
    ['the environment', `${add} $FROM_OUTSIDE`, '9'],
    ['quotes', `${add} '10.0.0.1'\n"ipvsadm" -a "-t" 192.0.2.10:80 -r 10.0.0."2"`, '1 2'],
    [
      'continued lines',
      `ipvsadm -a -t 192.0.2.10:80 \\\n  -r 10.0.0.1 -g\n${add} 10.0.0.2 \\\r\n -w 1`,
      '1 2',
    ],
    [
      'several commands a line',
      `${add} 10.0.0.1; ${add} 10.0.0.2 && ${add} 10.0.0.3 || ${add} 10.0.0.4`,
      '1 2 3',
    ],
    [
      'redirections',
      `${add} 10.0.0.1 >/dev/null 2>&1\n${add} 10.0.0.2 &> log\n2>log ${add} 10.0.0.3`,
      '1 2 3',
    ],
    [
      'programs in front',
      `sudo /usr/sbin/${add} 10.0.0.1\nX=/sbin/ipvsadm\n$X -a -t 192.0.2.10:80 -r 10.0.0.2`,
      '1 2',
    ],
    ['for', `R="10.0.0.1 10.0.0.2"\nfor r in $R 10.0.0.3; do\n ${add} $r\ndone`, '1 2 3'],
    ['for in for', `for a in 1 2\ndo for b in 3 4; do ${add} 10.0.0.$a$b; done; done`, '13 14 23 24'],
    ['functions', `up() {\n ${add} 10.0.0.1\n}\nfunction more { ${add} 10.0.0.2; }\nmore\nup`, '2 1'],
    [
      'case',
      `case "$1" in\n start|up) ${add} 10.0.0.1\n ;;\n stop) ipvsadm -C;;\nesac\n${add} 10.0.0.2`,
      '1 2',
    ],
    [
      'case, short',
      `case $1 in start) for i in 1 2; do ${add} 10.0.0.$i; done;; *) exit;; esac; ${add} 10.0.0.3`,
      '1 2 3',
    ],
    ['exit', `${add} 10.0.0.1\nexit 0\n${add} 10.0.0.2`, '1'],
    ['exit that may not happen', `[ -x /sbin/ipvsadm ] || exit 0\ntest -f x && exit 1\n${add} 10.0.0.1`, '1'],
    ['if', `if [ -f x ]; then\n ${add} 10.0.0.1\nelse ${add} 10.0.0.2; fi\n${add} 10.0.0.3`, '3'],
    ['while', `while read r; do ${add} $r; done < file\n${add} 10.0.0.3`, '3'],
  ])('%s', (_what, text, wanted) => {
    const addresses = wanted.split(' ').map((last) => `10.0.0.${last}`);
    expect(servers(text, { FROM_OUTSIDE: '10.0.0.9' })).toEqual(addresses);
  });

  test('says of each rule that does not run why', () => {
    const text = `${web}if true; then ipvsadm -C; fi
case $1 in
  stop) ipvsadm -C
esac
ipvsadm -A -t 192.0.2.10:81 || ipvsadm -C
for i in $(cat list); do ipvsadm -C; done
never() { ipvsadm -C; }
`;
    expect(notesOf(text).filter((note) => note.includes('ignored'))).toEqual([
      '2 ignored: "true" is no command of ipvsadm; it stands inside "if", and whether it runs is not known before',
      '4 ignored: it stands in the branch "stop)", only "start)" is followed',
      '6 ignored: it runs only if the command before fails',
      '7 ignored: it stands inside "for", and over what that goes is not known before',
      '8 ignored: it stands in the function "never", which is not called',
    ]);
  });
});

describe('a mistake', () => {
  test.each([
    ['-A -t 192.0.2.10:80 - rr', '1:21: rule: wanted an option, found "-"', 'did you mean "-s rr"?'],
    [
      'ipvsadm -A -t 192.0.2.10:80\nipvsadm -a -t 192.0.2.10:80 -r 10.0.0.11 -w heavy',
      '2:45: "-w": wanted a whole number from 0 to 2147483647, found "heavy"',
      undefined,
    ],
    [
      '-A -t nonsense',
      '1:7: "-t": wanted an address and a port, such as 192.0.2.10:80, or names that are known here, found "nonsense"',
      'write the address instead of "nonsense", or give that name an address in /etc/hosts',
    ],
    [
      '-A -t 192.0.2.10:80 --scheduller rr',
      '1:21: rule: --scheduller: unknown option',
      'did you mean "--scheduler"?',
    ],
    ['-a -t 192.0.2.10:80 -r', '1:21: rule: -r: missing argument', undefined],
    ['-A -t 192.0.2.10', '1:1: rule: zero port specified for non-persistent service', undefined],
    [
      '-a -t 192.0.2.10:80',
      `1:1: rule: you need to supply the 'real-server' option for the 'add-server' command`,
      undefined,
    ],
    ['-q', '1:1: "-q": wanted a command such as -A, -a or -C, found "-q"', undefined],
    [
      '-A -t $VIP:80',
      '1:7: variable "VIP": wanted a value set in this file or the environment, found none',
      'write the value; or run the script and import what "ipvsadm-save -n" prints',
    ],
    [
      '-A -t $(hostname):80',
      '1:7: value: wanted one that stands in the file, found "$(hostname)"',
      undefined,
    ],
  ])('%s', (text, wanted, hint) => {
    const { problems, yaml } = imported(text);
    expect(yaml).toBeUndefined();
    expect(places(problems)).toEqual([wanted]);
    expect(problems[0]!.code).toBe('HG_CONFIG_RULE');
    if (hint !== undefined) expect(problems[0]!.hint).toBe(hint);
  });

  test('is told with all the others, sorted by place', () => {
    const text = '-A -t x\nup() { ipvsadm -A -t y; }\n-A -t z\nup\n';
    expect(imported(text).problems.map(({ at }) => at.line)).toEqual([1, 2, 3]);
  });

  test('in what comes of the rules has its place in the old file', () => {
    const { problems } = imported('\n-A -t 192.0.2.10:80\n--start-daemon master --mcast-interface a/b\n');
    expect(problems.map(({ at, code }) => `${at.line} ${code}`)).toEqual(['3 HG_CONFIG_VALUE']);
  });
});

describe('loadConfiguration', () => {
  const rules = 'echo 1\n-A -t 192.0.2.10:80 -s rr\n-a -t 192.0.2.10:80 -r web1:8080 -m\n';
  const hosts = '10.0.0.11 web1\n::1 web1\n';

  test('takes rules as they are, with warnings, and host names of /etc/hosts', () => {
    const files = machine({ 'x.ipvs': rules, '/etc/hosts': hosts });
    const { configuration, warnings, problems } = loadConfiguration('x.ipvs', { files });
    expect(problems).toEqual([]);
    expect(toDesired(configuration!).services).toMatchObject([
      {
        service: { id: { address: '192.0.2.10', port: 80 }, scheduler: 'rr' },
        destinations: [{ address: '10.0.0.11', port: 8080, method: 'masquerade' }],
      },
    ]);
    expect(warnings.map(({ file, line, kind }) => `${file}:${line}: ${kind}`)).toEqual([
      'x.ipvs:1: ignored',
      'x.ipvs:3: changed',
    ]);
  });

  test('takes them as a file that is included, and tells of services that are there twice', () => {
    const own = 'include: [x.ipvs]\nvirtualServices: [{ name: a, address: 192.0.2.11:80 }]\n';
    const files = machine({ 'h.yaml': own, 'x.ipvs': rules, '/etc/hosts': hosts });
    const { configuration } = loadConfiguration('h.yaml', { files });
    expect(configuration?.virtualServices.map(({ name }) => name)).toEqual(['a', 'http-192.0.2.10']);
    const twice = machine({
      'h.yaml': own.replace('.11:80', '.10:80'),
      'x.ipvs': rules,
      '/etc/hosts': hosts,
    });
    expect(loadConfiguration('h.yaml', { files: twice }).problems).toMatchObject([
      { file: 'x.ipvs', at: { line: 2 }, code: 'HG_CONFIG_CONFLICT' },
    ]);
  });

  test('tells mistakes in rules', () => {
    const files = machine({ 'x.ipvs': '-A -t 192.0.2.10:80 -s\n' });
    const { problems, configuration } = loadConfiguration('x.ipvs', { files });
    expect(configuration).toBeUndefined();
    expect(problems).toMatchObject([{ code: 'HG_CONFIG_RULE', file: 'x.ipvs', at: { line: 1, column: 21 } }]);
  });
});

describe('what a file is', () => {
  test.each([
    ['what ipvsadm-save prints', '-A -t 192.0.2.10:80 -s rr\n', 'x'],
    ['long options', '--add-service -t 192.0.2.10:80\n', 'x'],
    ['a script', '#!/bin/sh\nset -e\nsudo /sbin/ipvsadm -A -t 192.0.2.10:80\n', 'x.sh'],
    ['a loop in one line', 'for i in 1; do ipvsadm -C; done', 'x.sh'],
    ['a program in a variable', '${IPVSADM} -A -t 192.0.2.10:80', 'x.sh'],
    ['no-break spaces', '\ufeff-A\u00a0-t\u00a0192.0.2.10:80', 'x'],
    ['no rules', '# none yet\n\n', '/etc/ipvsadm.rules'],
  ])('%s: rules of ipvsadm', (_what, text, name) => {
    expect(adapterFor(() => text, name)?.name).toBe('ipvsadm');
  });

  test.each([
    ['a configuration', 'virtualServices:\n  - name: a\n    address: 192.0.2.10:80\n', 'x'],
    ['a configuration that speaks of rules', '# ipvsadm -A -t 192.0.2.10:80\nown: true\n', 'x'],
    ['a configuration by its name', '-A -t 192.0.2.10:80\n', 'x.yaml'],
    ['an empty file', '', 'x'],
    [
      'a listing',
      'IP Virtual Server version 1.2.1\nTCP  192.0.2.10:80 rr\n  -> 10.0.0.1:80 Masq 1 0 0\n',
      'x',
    ],
    ['binary data', '\0\n-A -t 192.0.2.10:80', 'x'],
  ])('%s: not rules of ipvsadm', (_what, text, name) => {
    expect(adapterFor(() => text, name)).toBeUndefined();
  });

  test('is said where it is nothing that can be imported', () => {
    const attempt = (text: string | Uint8Array, from?: string) => () =>
      importFile('x', {
        files: machine({ x: text }),
        names: nothing,
        environment: {},
        ...(from !== undefined && { from }),
      });
    expect(attempt('frontend web\n')).toThrow(/file "x": wanted .*rules of ipvsadm, .*found "frontend web"/);
    expect(attempt('')).toThrow('found an empty file');
    expect(attempt(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 0, 0))).toThrow('found binary data');
    expect(attempt(Uint8Array.of(0, 1), 'ipvsadm')().problems).toMatchObject([
      { code: 'HG_CONFIG_CHARACTER' },
    ]);
    expect(attempt('', 'ipvsadm')().yaml).toContain('virtualServices: []');
    expect(attempt('', 'ipvsdam')).toThrow(/format "ipvsdam": wanted .*ipvsadm, /);
  });
});

describe('what is too much', () => {
  const lines = (line: string) => line.repeat(Math.floor(limits.fileBytes / line.length));
  const timed = (text: string) => {
    const started = performance.now();
    const found = imported(text);
    expect(performance.now() - started).toBeLessThan(30_000);
    return found.problems.map(({ code }) => code);
  };

  test('a file of more than 4 MiB', () => {
    expect(timed(`${lines('# 3456789\n')}-C\n-C\n-C\n-C\n`)).toEqual(['HG_CONFIG_SIZE']);
  });

  test.each([
    ['loops in loops', `${'for i in 1 2 3 4 5 6 7 8 9; do '.repeat(9)}ipvsadm -C${'; done'.repeat(9)}`],
    ['functions that call themselves', 'f() { f; f; f; }\nf\n'],
    ['words without end', 'a '.repeat(1_000_001)],
  ])(
    '%s',
    (_what, text) => {
      expect(timed(text)).toEqual(['HG_CONFIG_SIZE']);
    },
    20_000,
  );

  test.each([
    ['variables that double', `a=aaaaaaaa\nfor i in ${'1 '.repeat(1000)}; do a="$a$a"; done\necho $a`],
    ['nesting', 'if '.repeat(100_000)],
    ['brackets', '('.repeat(100_000)],
    ['one long line', lines(' ')],
  ])(
    '%s is no harm',
    (_what, text) => {
      expect(timed(text)).toEqual([]);
    },
    20_000,
  );
});
