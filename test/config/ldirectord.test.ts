import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadConfiguration } from '../../src/config/load.ts';
import { requires } from '../requirements.ts';

/*
 * Whether ldirectord itself takes a file: `ldirectord FILE status` reads it and ends with 2 where it is refused, and with
 * 3 where it is not, because none of that name runs.
 */

const virtual = (...lines: string[]): string =>
  `virtual=192.0.2.10:80\n${lines.map((line) => `\t${line}\n`).join('')}`;
const real = 'real=10.0.0.11:80 gate';

/** Files that both take, or both refuse. */
const samples: readonly string[] = [
  '',
  '# nothing\n',
  virtual(real),
  virtual('real=10.0.0.11 masq 5'),
  virtual('real=10.0.0.11->10.0.0.15:http masq 5'),
  virtual('real=localhost:80 ipip'),
  virtual('real=10.0.0.11::80 gate'),
  virtual('real=10.0.0.11:80 gate 1 "a", "b"'),
  virtual('real=10.0.0.11:80 gate "a" "b" l:1 u:2'),
  virtual('real=10.0.0.11:80 gate 1 l:1'),
  virtual('real=10.0.0.11:80'),
  virtual('real=10.0.0.11:80 direct'),
  virtual('real=10.0.0.11:80 gate 1x'),
  virtual('real=10.0.0.11:99999 gate'),
  virtual('real=10.0.0.11:nothing gate'),
  virtual('real=10.0.0.15->10.0.0.11:80 gate'),
  virtual('real=300.0.0.1:80 gate'),
  virtual('real6=[2001:db8::1]:80 gate'),
  virtual(real, 'fallback=127.0.0.1:80'),
  virtual(real, 'fallback=127.0.0.1 masq'),
  virtual(real, 'fallback=127.0.0.1:80 drop'),
  virtual(real, 'fallback=127.0.0.1:nothing'),
  virtual(real, 'fallback6=[::1]:80'),
  virtual(real, 'request="index.html"', 'receive="ok"'),
  virtual(real, 'request=index.html'),
  virtual(real, "request='index.html'"),
  virtual(real, 'request=""'),
  virtual(real, 'receive="a#b"'),
  virtual(real, 'receive="a" # b'),
  virtual(real, 'virtualhost=', 'virtualhost="www.example.org"', 'virtualhost=www.example.org'),
  ...['connect', 'negotiate', 'ping', 'on', 'off', 'external', 'external-perl', '3', '0', 'nothing', ''].map(
    (type) => virtual(real, `checktype=${type}`),
  ),
  ...['http', 'https', 'http_proxy', 'ldaps', 'pgsql', 'oracle', 'simpletcp', 'submission', 'gopher', ''].map(
    (service) => virtual(real, `service=${service}`),
  ),
  ...['tcp', 'udp', 'fwm', 'sctp', ''].map((protocol) => virtual(real, `protocol=${protocol}`)),
  virtual(real, 'checkcommand=/bin/true', 'checkport=8080'),
  virtual(real, 'checkport=0'),
  virtual(real, 'checkport=65536'),
  virtual(real, 'checkcommand='),
  virtual(real, 'checktimeout=3s'),
  virtual(real, 'checktimeout=0'),
  virtual(real, 'connecttimeout=3'),
  virtual(real, 'timeout=3'),
  virtual(real, 'persistent=600', 'netmask=255.255.255.0'),
  virtual(real, 'netmask=24'),
  virtual(real, 'persistent=long'),
  virtual(real, 'scheduler=wlc'),
  virtual(real, 'scheduler=9'),
  virtual(real, 'httpmethod=head'),
  virtual(real, 'httpmethod=POST'),
  virtual(real, 'ops=yes', 'protocol=udp'),
  virtual(real, 'ops=maybe'),
  virtual(real, 'quiescent=no', 'cleanstop=yes', 'load="x"', 'servicename=a', 'comment=b'),
  virtual(real, 'quiescent=true'),
  virtual(
    real,
    'emailalert=a@example.org',
    'emailalertfreq=60',
    'emailalertstatus=starting,running',
    'smtp=mail',
  ),
  virtual(real, 'emailalertstatus=none,all'),
  virtual(real, 'emailalertstatus=never'),
  virtual(real, 'emailalertfrom=a@example.org'),
  virtual(real, 'emailalert='),
  virtual(real, 'emailalertfreq=often'),
  virtual(real, 'readdquiescent=yes'),
  virtual(real, 'autoreload=yes'),
  virtual(real, 'login="a"', 'passwd="b"', 'database="c"', 'secret="d"'),
  virtual(real, 'login=a'),
  virtual(real, 'unknown=1'),
  virtual(real, 'scheduler'),
  `${virtual(real)}# at the margin\n    real=10.0.0.12:80 gate\n`,
  'virtual=192.0.2.10:80\n  real=10.0.0.11:80 gate\n',
  '\treal=10.0.0.11:80 gate\n',
  'virtual=192.0.2.10:http\n\treal=10.0.0.11:http gate\n',
  'virtual=192.0.2.10:domain\n\tprotocol=udp\n',
  'virtual=192.0.2.10:nothing\n',
  'virtual=nowhere.invalid:80\n',
  'virtual=7\n\treal=10.0.0.11 gate\n\tprotocol=fwm\n',
  'virtual=7\n\tprotocol=tcp\n',
  'virtual=192.0.2.10\n\treal=10.0.0.11 gate\n',
  'virtual=\n',
  'virtual=[2001:db8::10]:80\n',
  'virtual6=[2001:db8::10]:80\n\treal6=[2001:db8::11]:80 masq\n\tfallback6=[::1]:80\n\tnetmask=64\n',
  'virtual6=[2001:db8::10]:80\n\treal=10.0.0.11:80 masq\n',
  'virtual6=[2001:db8::10]:80\n\treal6=[2001:db8::11]->[2001:db8::13]:80 masq\n',
  'virtual6=[2001:db8::10]:80\n\tnetmask=255.255.255.0\n',
  'virtual6=[2001:zz::10]:80\n',
  'virtual6=7\n\treal6=[2001:db8::11] masq\n',
  virtual(real) + virtual(real),
  virtual(real) + virtual(real, 'protocol=udp'),
  'checktimeout=3\nnegotiatetimeout=4\ncheckinterval=5\ncheckcount=1\nfailurecount=2\n',
  'checkinterval=0\n',
  'failurecount=none\n',
  'timeout=3\n',
  'connecttimeout=3\n',
  'fallback=127.0.0.1:80 gate\nfallback6=[::1]:80\n',
  'fallback=127.0.0.1:80 gate masq\n',
  'fallbackcommand=/bin/true\n',
  'autoreload=yes\nquiescent=no\nreaddquiescent=yes\ncleanstop=no\nfork=no\nsupervised=no\n',
  'supervised\n',
  'supervised=maybe\n',
  'callback="/bin/true"\n',
  'callback=/bin/true\n',
  'execute=other.cf\n',
  'logfile=local0\n',
  'emailalert="a@example.org, b@example.org"\nemailalertfrom=a@example.org\nsmtp=127.0.0.1\n',
  'emailalertfrom=\n',
  'smtp=!\n',
  'maintenancedir=/tmp\n',
  'maintenancedir=\n',
  ' checktimeout=3\n',
  'scheduler=rr\n',
  'Quiescent=yes\n',
  'nothing\n',
];

/** Files that are taken though ldirectord refuses them, and the reason. */
const taken: readonly (readonly [because: string, text: string])[] = [
  ['an empty line does not end a service', `${virtual(real)}\n\treal=10.0.0.12:80 gate\n`],
  [
    'no-break spaces are blanks',
    'virtual=192.0.2.10:80\n\u00a0\u00a0\u00a0\u00a0real=10.0.0.11:80\u00a0gate\n',
  ],
  ['blanks behind a value do not count', 'quiescent=yes \n'],
  ['a comment may follow a value', 'quiescent=yes # why not\n'],
  ['a service may consist of its first line', 'virtual=192.0.2.10:80\n'],
  ['lines may end as in DOS', 'quiescent=yes\r\n'],
];

/** Files that are refused though ldirectord takes them, and the reason. */
const refused: readonly (readonly [because: string, text: string])[] = [
  ['ipvsadm knows no such scheduler', virtual(real, 'scheduler=best')],
  ['ipvsadm knows no such mark', 'virtual=0\n\treal=10.0.0.11 gate\n'],
  ['ipvsadm wants a timeout', virtual(real, 'persistent=0')],
  ['every port wants persistence', 'virtual=192.0.2.10:0\n\treal=10.0.0.11 gate\n'],
  ['a fallback has an address', 'fallback=\n'],
  ['text in front of an address', virtual('real="10.0.0.11:80 gate')],
  ['text between the parts', virtual('real=10.0.0.11:80 gate, 5')],
];

requires('ldirectord', 'ipvsadm')('ldirectord itself', () => {
  let folder = '';
  const verdicts = new Map<string, boolean>();

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'headgate-ldirectord-'));
    const all = [...samples, ...taken.map(([, text]) => text), ...refused.map(([, text]) => text)];
    const waiting = all.map((text, i) => ({ text, file: join(folder, `sample-${i}.cf`) }));
    const work = async () => {
      for (let next = waiting.shift(); next; next = waiting.shift())
        verdicts.set(next.text, await isTaken(next.file, next.text));
    };
    await Promise.all([work(), work()]);
  }, 600_000);

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const ours = (text: string) => {
    const file = join(folder, 'ldirectord.cf');
    writeFileSync(file, text);
    const { problems } = loadConfiguration(file);
    return { isTaken: problems.length === 0, because: problems.map(({ message }) => message).join('; ') };
  };

  test.each(samples.map((text, i) => [i, text] as const))('sample %i: %j', (_, text) => {
    expect(ours(text)).toMatchObject({ isTaken: verdicts.get(text) });
  });

  test.each(taken)('more is taken: %s', (_, text) => {
    expect({ theirs: verdicts.get(text), ours: ours(text).isTaken }).toEqual({ theirs: false, ours: true });
  });

  test.each(refused)('more is refused: %s', (_, text) => {
    expect({ theirs: verdicts.get(text), ours: ours(text).isTaken }).toEqual({ theirs: true, ours: false });
  });

  test('the files of the package load', () => {
    for (const file of ['/etc/ha.d/ldirectord.cf', '/usr/share/doc/ldirectord/examples/ldirectord.cf'])
      expect(loadConfiguration(file).problems).toEqual([]);
  });
});

async function isTaken(file: string, text: string): Promise<boolean> {
  writeFileSync(file, text);
  const child = spawn('ldirectord', [file, 'status'], { stdio: 'ignore' });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('exit', resolve);
    child.on('error', reject);
  });
  if (code === 3) return true;
  if (code === 2) return false;
  throw new Error(`Cannot judge ${JSON.stringify(text)}: ldirectord ended with ${code}`);
}
