import { afterEach, beforeEach, expect, it } from 'vitest';
import { linkIndex } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { netnsPath, withNetns } from '../../src/sys/netns.ts';
import { openUdpReceiver, openUdpSender } from '../../src/sys/udp-socket.ts';
import { until, type Wire } from '../ha/link.ts';
import { requires } from '../requirements.ts';
import type { Site } from './site.ts';
import { openPair, type Pair, vip } from './two-directors.ts';

const key = ', key: "a key of sixteen or more"';
const configuration = (priority: number, sync: string, realServer = '10.77.0.1:8080') => `
virtualServices:
  - name: web
    address: ${vip}:80
    method: masquerade
    realServers: [{ address: ${realServer} }]
failover:
  vrrp:
    - name: front
      interface: eth0
      routerId: 51
      priority: ${priority}
      advertisementInterval: 500ms
      addresses: [${vip}]
  connectionSync: { interface: eth0, id: 3${sync} }
`;

type Shown = {
  readonly peers?: readonly {
    readonly source: string;
    readonly authenticated: boolean;
    readonly agoMs: number;
    readonly sameServices?: boolean;
    readonly vrrp: readonly { readonly state: string; readonly priority: number }[];
  }[];
  readonly aloneMs?: number;
  readonly problems: readonly { readonly what: string }[];
};

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('status of two directors', () => {
  let a: Site;
  let b: Site;
  let wire: Wire;
  let pair: Pair;
  beforeEach(() => {
    pair = openPair();
    ({ a, b, wire } = pair);
  });
  afterEach(() => pair.close());
  const start = (site: Site) => pair.start(site);
  const text = (site: Site) => site.run('headgate', 'status').stdout;
  const status = (site: Site) => JSON.parse(site.run('headgate', 'status', '-o', 'json').stdout) as Shown;
  const shows = (site: Site, what: RegExp) => until(() => what.test(text(site)), `${what}`);
  const peerOf = (site: Site) => status(site).peers?.[0];
  const inside = <T>(site: Site, work: (index: number) => T): T =>
    withNetns(netnsPath(site.netns), () => work(withNetlink({}, (netlink) => linkIndex(netlink, 'eth0'))));
  const place = (index: number, port: number) => ({
    ...{ group: '224.0.0.81', port },
    device: { name: 'eth0', index },
  });

  it('has both side by side on either, and says when the other one is not heard any more', async () => {
    a.write(configuration(150, key));
    b.write(configuration(100, key));
    const [first, second] = [await start(a), await start(b)];
    await until(() => wire.has(a.netns, vip), 'the higher priority has the address');
    await until(
      () => peerOf(a)?.vrrp[0]?.state === 'backup' && peerOf(b)?.vrrp[0]?.state === 'master',
      'each knows of the other',
    );
    expect(peerOf(a)).toMatchObject({ source: '10.77.0.2', authenticated: true, sameServices: true });
    expect(peerOf(b)).toMatchObject({ source: '10.77.0.1', vrrp: [{ priority: 150 }] });
    await shows(
      b,
      /^peer +\S+ at 10\.77\.0\.1: heard \d\.\ds ago, the same services \(generation 1 there\), sync/m,
    );
    await shows(b, /^INSTANCE +DIRECTOR +STATE +PRIORITY +SINCE +HEARD +REASON$/m);
    await shows(b, /^front +\S+ \(this one\) +BACKUP +100 +\S+ +\d\.\ds ago +\S.*$/m);
    await shows(b, /^front +\S+ at 10\.77\.0\.1 +MASTER +150 +\S+ +- +\S.*$/m);
    // Another real server there is a problem of the pair.
    b.write(configuration(100, key, '10.77.0.1:8081'));
    await until(() => peerOf(a)?.sameServices === false, 'the other one has other services');
    expect(text(a)).toContain('its configuration has other virtual services or real servers');
    b.write(configuration(100, key));
    await until(() => peerOf(a)?.sameServices === true, 'it has the same again');
    // A daemon that hangs, or is cut off, says nothing more; what it said is not taken for what is.
    second.process.kill('SIGSTOP');
    await until(() => text(a).includes('at 10.77.0.2: not heard for '), 'the other one is not heard');
    await shows(a, /^front +\S+ at 10\.77\.0\.2 +\? +100 +- +- +not heard for \d+s; it was BACKUP then$/m);
    await shows(a, /this director at 10\.77\.0\.2 has not been heard for/);
    expect(a.run('headgate', 'status').status).toBe(1);
    second.process.kill('SIGCONT');
    await until(() => (peerOf(a)?.agoMs ?? 1e6) < 3000, 'it is heard again');
    // However long the daemon of a master hangs: its addresses are another process's business.
    const before = second.log().length;
    first.process.kill('SIGSTOP');
    await until(() => text(b).includes('at 10.77.0.1: not heard for '), 'the master is not heard');
    expect([wire.has(a.netns, vip), wire.has(b.netns, vip)]).toEqual([true, false]);
    expect(second.log().slice(before)).not.toContain('state=master');
    first.process.kill('SIGCONT');
  });

  it('believes no one without the key, and IPVS next to it hears nothing of it', async () => {
    const overheard = inside(b, (index) => openUdpReceiver(place(index, 8848), 1 << 20));
    const statements = inside(b, (index) => openUdpReceiver(place(index, 8849), 1 << 20));
    a.write(configuration(150, ''));
    const first = await start(a);
    let said: Buffer | undefined;
    await until(() => {
      const one = statements.receive();
      if (one) said = Buffer.from(one);
      return said !== undefined;
    }, 'it speaks of itself');
    // Without a key anybody is heard, and the status says so.
    const sender = inside(b, (index) => openUdpSender(place(index, 8849), 1));
    await until(() => {
      sender.send(said!);
      return peerOf(a)?.source === '10.77.0.2';
    }, 'it hears what it has said itself');
    await until(() => {
      sender.send(said!);
      return /^peer +\S+ at 10\.77\.0\.2, without a key: heard/m.test(text(a));
    }, 'it says that it had no key');
    for (let one = overheard.receive(); one; one = overheard.receive()) expect(one[5]).not.toBe(0x50);
    a.write(configuration(150, key));
    await until(() => status(a).peers === undefined, 'what was heard without the key is forgotten');
    await until(() => {
      sender.send(said!);
      return /do not tell each other of themselves .*it is not encrypted/.test(first.log());
    }, 'what is not encrypted is refused, with a word');
    expect(status(a).peers).toBeUndefined();
    // The other one would have the key: that it has never been heard is a problem too.
    await shows(a, /^peer +none has been heard, for \d+s$/m);
    await shows(a, /no other director has been heard for \d+s: nobody would take over/);
    expect(status(a).aloneMs).toBeGreaterThan(5000);
    expect(a.run('headgate', 'status').status).toBe(1);
    sender.close();
    overheard.close();
    statements.close();
  });
});
