import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { mapRecords } from '../../src/dataplane/ebpf/records.ts';
import { wakeSlices } from '../../src/dataplane/ebpf/slices.ts';
import { requires } from '../requirements.ts';
import { encode, type Packet, type Settings, tcp, text } from './frame.ts';
import { babble, client, meant, real, vip } from './ftp-words.ts';
import { type EventName, type Harness, openHarness } from './harness.ts';
import { amount, randomNumbers, startOf } from './random.ts';
import { additions, at, destination, servicePlan } from './services.ts';

/*
 * FTP behind masquerade: RFC 959 (PORT, 227), RFC 2428 (EPRT, 229), and what net/netfilter/ipvs/ip_vs_ftp.c does with
 * them. Every packet is compared whole, with checksums summed anew.
 */

const otherVip = '198.51.100.20';
const vip6 = '2001:db8:100::10';
const client6 = '2001:db8:c::5';
const real6 = 'fd10::11';
/** Has more digits than the virtual address. */
const longReal = '198.18.100.200';

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 20));
}

const plans = [
  servicePlan(`tcp ${vip}:21`, 'rr', destination(`${real}:21`)),
  servicePlan(`tcp ${vip}:2121`, 'rr', destination(`${real}:2121`)),
  // By its last six bits it might be 21.
  servicePlan(`tcp ${vip}:85`, 'rr', destination(`${real}:85`)),
  servicePlan(`tcp ${otherVip}:21`, 'rr', destination(`${longReal}:2121`)),
  servicePlan(`tcp ${at(vip6, 21)}`, 'rr', destination(at(real6, 21))),
];

requires(
  'root',
  'netns',
  'bpf',
)('FTP', () => {
  let harness: Harness;
  let port = 30_000;
  const events: readonly EventName[] = ['EVENT_FTP_NO_ROOM', 'EVENT_FTP_REFUSED'];
  let before: readonly number[];

  beforeAll(async () => {
    harness = await openHarness('ftp');
    await harness.apply(...additions(plans));
  });
  afterAll(() => harness?.close());
  beforeEach(() => {
    before = events.map((one) => harness.event(one));
    forget();
  });
  /** What was counted in the course of a test. */
  const counted = () => events.map((one, i) => harness.event(one) - before[i]!);
  const expectations = () => [...harness.instance.map('expectations').keys()];
  const forget = () => {
    for (const key of expectations()) harness.instance.map('expectations').delete(key);
  };

  type Way = { readonly from: string; readonly virtual: string; readonly server: string };
  const request = (packet: Packet) => harness.receive('c0', packet);
  const answer = (packet: Packet) => harness.receive('r0', packet);
  const ip = ({ bytes }: { bytes: Buffer }) => bytes.subarray(14).toString('hex');
  const hex = (packet: Packet) => encode(packet).toString('hex');

  /** An established control connection from a port of its own. */
  function control(
    { client: who = client, virtual = at(vip, 21), server = at(real, 21) } = {},
    from = at(who, ++port),
  ): Way {
    request(tcp(from, virtual, 'S'));
    answer(tcp(server, from, 'SA'));
    request(tcp(from, virtual, 'A'));
    return { from, virtual, server };
  }
  const control6 = () => control({ client: client6, virtual: at(vip6, 21), server: at(real6, 21) });

  /** What the server says comes to the client as `heard`. */
  function reply({ from, virtual, server }: Way, said: string, heard = said, settings: Settings = {}): void {
    const { verdict, ...out } = answer(tcp(server, from, 'PA', { ...settings, payload: text(said) }));
    expect(verdict).toBe('redirect');
    expect(out.bytes.subarray(out.bytes.length - said.length).toString('latin1')).toBe(heard);
    expect(ip(out)).toBe(hex(tcp(virtual, from, 'PA', { ...settings, payload: text(heard), ttl: 63 })));
  }
  /** What the client says comes to the server to the byte. */
  function command({ from, virtual, server }: Way, said: string): void {
    const { verdict, ...out } = request(tcp(from, virtual, 'PA', { payload: text(said) }));
    expect(verdict).toBe('redirect');
    expect(ip(out)).toBe(hex(tcp(from, server, 'PA', { payload: text(said), ttl: 63 })));
  }
  /** A client's SYN comes to a real server, and the answer back. */
  function opens(from: string, to: string, server: string): void {
    const { verdict, ...out } = request(tcp(from, to, 'S'));
    expect(verdict).toBe('redirect');
    expect(ip(out)).toBe(hex(tcp(from, server, 'S', { ttl: 63 })));
    expect(ip(answer(tcp(server, from, 'SA')))).toBe(hex(tcp(to, from, 'SA', { ttl: 63 })));
  }
  /** A real server's SYN comes to a client from the virtual address, and the answer back. */
  function opensBack(server: string, virtual: string, to: string): void {
    const { verdict, ...out } = answer(tcp(server, to, 'S'));
    expect(verdict).toBe('redirect');
    expect(ip(out)).toBe(hex(tcp(virtual, to, 'S', { ttl: 63 })));
    expect(ip(request(tcp(to, virtual, 'SA')))).toBe(hex(tcp(to, server, 'SA', { ttl: 63 })));
  }
  const isIgnored = (packet: Packet, by: typeof request = request) => expect(by(packet).verdict).toBe('pass');

  describe('a reply to PASV names the virtual address, in as many bytes', () => {
    it.each([
      // What servers say: vsftpd and ProFTPD, Pure-FTPd and FileZilla, without parentheses, with more behind it.
      [
        '227 Entering Passive Mode (10,1,0,11,200,7).\r\n',
        '227 Entering Passive  (198,51,100,10,200,7).\r\n',
      ],
      ['227 Entering Passive Mode (10,1,0,11,4,0)\r\n', '227 Entering Passive  (198,51,100,10,4,0)\r\n'],
      ['227 Entering Passive Mode. 10,1,0,11,200,7\r\n', '227 Entering Passive M 198,51,100,10,200,7\r\n'],
      ['227 ok 2 go 10,1,0,11,200,7 bye\r\n', '227 ok  198,51,100,10,200,7 bye\r\n'],
      ['227 abcd (10,1,0,11,200,7)\r\n', '227  (198,51,100,10,200,7)\r\n'],
      ['227 abc (10,1,0,11,200,7)\r\n', '227 (198,51,100,10,200,7)\r\n'],
      ['227 abc 10,1,0,11,200,7\r\n', '227 198,51,100,10,200,7\r\n'],
      ['227 (10,1,0,11,4,400) (10,1,0,11,200,7)\r\n', '227 (10,1,0,11,4, (198,51,100,10,200,7)\r\n'],
      [`227 Hello (10,1,0,11,200,7)${'x'.repeat(300)}`, `227 H (198,51,100,10,200,7)${'x'.repeat(300)}`],
    ])('%j', (said, heard) => {
      const way = control();
      reply(way, said, heard);
      // Sent again, and behind options of both headers.
      reply(way, said, heard);
      reply(way, said, heard, { options: Uint8Array.from([1, 1, 1, 0]) });
      expect(expectations()).toHaveLength(1);
      expect(counted()).toEqual([0, 0]);
    });

    it.each([
      [
        '227 Entering Passive Mode (198,18,100,200,200,7).\r\n',
        '227 Entering Passive Mode  (198,51,100,20,200,7).\r\n',
      ],
      ['227 198,18,100,200,200,7\r\n', '227  198,51,100,20,200,7\r\n'],
      ['227 =198,18,100,200,200,7\r\n', '227  =198,51,100,20,200,7\r\n'],
    ])('that is shorter: %j', (said, heard) => {
      const server = at(longReal, 2121);
      const way = control({ virtual: at(otherVip, 21), server });
      reply(way, said, heard);
      opens(at(client, ++port), at(otherVip, 51207), at(longReal, 51207));
    });

    it.each([
      '227 (10,1,0,11,200,7)\r\n',
      '227 =10,1,0,11,200,7\r\n',
      '227 10,1,0,11,200,7\r\n',
      '227 ab 10,1,0,11,200,7\r\n',
    ])('and what has no words to give is passed on and counted: %j', (said) => {
      reply(control(), said);
      expect(counted()).toEqual([1, 0]);
      expect(expectations()).toEqual([]);
    });
  });

  it.each([
    '227 Entering Passive Mode (10,1,0,11,200,7',
    '227 Entering Passive Mode (10,1,0,11,200)\r\n',
    '227 Entering Passive Mode (10,1,0,11,200,7,1)\r\n',
    '227 Entering Passive Mode (10,1,0,11,256,7)\r\n',
    '227 Entering Passive Mode (10,1,0,11,200,0007)\r\n',
    '227 Entering Passive Mode (99999999999999910,1,0,11,200,7)\r\n',
    '227 Entering Passive Mode (10.1.0.11.200.7)\r\n',
    '227 Entering Passive Mode (10, 1, 0, 11, 200, 7)\r\n',
    '227 Entering Passive Mode (10,1,0,11,0,0)\r\n',
    `227 ${'a'.repeat(120)} (10,1,0,11,200,7)\r\n`,
    '227-Entering Passive Mode (10,1,0,11,200,7)\r\n',
    '226 Entering Passive Mode (10,1,0,11,200,7)\r\n',
    'x227 Entering Passive Mode (10,1,0,11,200,7)\r\n',
    '229 Entering Extended Passive Mode (|||51207\r\n',
    '229 Entering Extended Passive Mode (|||512071|)\r\n',
    '229 Entering Extended Passive Mode (|||65536|)\r\n',
    '229 Entering Extended Passive Mode (||||)\r\n',
    '229 Entering Extended Passive Mode (|||-1|)\r\n',
    '229 Entering Extended Passive Mode |||51207|\r\n',
    '229 Entering Extended Passive Mode (1115120711)\r\n',
    '229 (',
    '227 ',
    '',
  ])('what is no such reply is nothing to anybody: %j', (said) => {
    reply(control(), said);
    expect(expectations()).toEqual([]);
    expect(counted()).toEqual([0, 0]);
  });

  it.each([
    ['another real server', '227 Entering Passive Mode (10,1,0,12,200,7)\r\n'],
    ['a privileged port', '227 Entering Passive Mode (10,1,0,11,0,22)\r\n'],
    ['a privileged port of the virtual address', '227 Entering Passive Mode (198,51,100,10,3,255)\r\n'],
    ['a privileged port by itself', '229 Entering Extended Passive Mode (|||1023|)\r\n'],
  ])('a reply that names %s is passed on and counted', (_name, said) => {
    reply(control(), said);
    expect(expectations()).toEqual([]);
    expect(counted()).toEqual([0, 1]);
  });

  describe('passive data connections', () => {
    it.each([
      [
        '227',
        '227 Entering Passive Mode (10,1,0,11,200,7).\r\n',
        '227 Entering Passive  (198,51,100,10,200,7).\r\n',
      ],
      ['227 with the virtual address', '227 Passive (198,51,100,10,200,7)\r\n', undefined],
      ['229', '229 Entering Extended Passive Mode (|||51207|)\r\n', undefined],
      ['229 with another delimiter', '229 Extended (!!!51207!)\r\n', undefined],
    ])('after %s: one, from any port of this client alone', (_name, said, heard) => {
      reply(control(), said, heard);
      isIgnored(tcp(at('203.0.113.6', 40_000), at(vip, 51207), 'S'));
      isIgnored(tcp(at(client, 40_000), at(vip, 51208), 'S'));
      isIgnored(tcp(at(client, 40_000), at(otherVip, 51207), 'S'));
      const from = at(client, ++port);
      opens(from, at(vip, 51207), at(real, 51207));
      opens(from, at(vip, 51207), at(real, 51207));
      isIgnored(tcp(at(client, ++port), at(vip, 51207), 'S'));
    });

    it('over IPv6', () => {
      const way = control6();
      reply(way, '229 Entering Extended Passive Mode (|||51207|)\r\n');
      isIgnored(tcp(at('2001:db8:c::6', 40_000), at(vip6, 51207), 'S'));
      opens(at(client6, ++port), at(vip6, 51207), at(real6, 51207));
      // PASV knows no IPv6.
      reply(way, '227 Entering Passive Mode (10,1,0,11,200,7).\r\n');
      expect(expectations()).toEqual([]);
    });

    it('are expected for as long as the kernel keeps a listening entry', () => {
      const { settings } = harness.instance;
      const listening = settings.get(0, 'timeout', 9);
      reply(control(), '229 Extended (|||51207|)\r\n');
      try {
        settings.set(0, 'timeout', 0, 9);
        const untilMs = performance.now() + 50;
        while (performance.now() < untilMs);
        isIgnored(tcp(at(client, ++port), at(vip, 51207), 'S'));
      } finally {
        settings.set(0, 'timeout', listening, 9);
      }
    });

    it.each([
      ['is reset', 'R'],
      ['is closed', 'FA'],
    ])('are not expected any more when the control connection %s', (_name, flags) => {
      const way = control();
      reply(way, '229 Extended (|||51207|)\r\n');
      request(tcp(way.from, way.virtual, flags));
      isIgnored(tcp(at(client, ++port), at(vip, 51207), 'S'));
    });
  });

  describe('active data connections', () => {
    it.each([
      ['PORT', (n: number) => `PORT 203,0,113,5,${n >> 8},${n & 255}\r\n`],
      ['port', (n: number) => `port 203,0,113,5,${n >> 8},${n & 255}\r\n`],
      ['EPRT', (n: number) => `EPRT |1|203.0.113.5|${n}|\r\n`],
      // A bounce (RFC 2577): there is nothing expected of anybody but the client itself.
      [
        'PORT with an address that is not its own',
        (n: number) => `PORT 203,0,113,6,${n >> 8},${n & 255}\r\n`,
      ],
    ])('after %s: one, from the port before that of the service', (_name, say) => {
      const n = ++port;
      command(control(), say(n));
      isIgnored(tcp(at(real, 20), at(client, n + 1), 'S'), answer);
      isIgnored(tcp(at(real, 20), at('203.0.113.6', n), 'S'), answer);
      isIgnored(tcp(at('10.1.0.12', 20), at(client, n), 'S'), answer);
      opensBack(at(real, 20), at(vip, 20), at(client, n));
      // It is sent again; another one is not expected.
      opensBack(at(real, 20), at(vip, 20), at(client, n));
      isIgnored(tcp(at(real, 4711), at(client, n), 'S'), answer);
    });

    it('from a server at another port, and from any port', () => {
      const way = control({ virtual: at(otherVip, 21), server: at(longReal, 2121) });
      for (const [from, seen] of [
        [2120, 20],
        [40_001, 40_001],
        [20, 20],
      ] as const) {
        command(way, `EPRT |1|${client}|${++port}|\r\n`);
        opensBack(at(longReal, from), at(otherVip, seen), at(client, port));
      }
    });

    it('over IPv6', () => {
      const way = control6();
      command(way, `EPRT |2|${client6}|${++port}|\r\n`);
      opensBack(at(real6, 20), at(vip6, 20), at(client6, port));
    });

    it.each([
      'PORT 203,0,113,5,200,7',
      'PORT 203,0,113,5,200\r\n',
      'PORT  203,0,113,5,200,7\r\n',
      'PORT x203,0,113,5,200,7\r\n',
      'PORT 203,0,113,5,256,7\r\n',
      'PORTS 203,0,113,5,200,7\r\n',
      'NOOP\r\nPORT 203,0,113,5,200,7\r\n',
      'EPRT |1|203.0.113.5|51207\r\n',
      'EPRT |1|203.0.113.5|99999|\r\n',
      'EPRT |1|203.0.113.5|5120x|\r\n',
      'EPRT |1|203.0.113.5||\r\n',
      'EPRT 1120301135151207\r\n',
      'EPRT\r\n|1|203.0.113.5|51207|\r\n',
      `EPRT |1|${'0'.repeat(120)}|51207|\r\n`,
    ])('what is no such command is nothing to anybody: %j', (said) => {
      command(control(), said);
      expect(expectations()).toEqual([]);
    });
  });

  it.each([
    ['another service', { virtual: at(vip, 2121), server: at(real, 2121) }],
    ['one whose port is much like it', { virtual: at(vip, 85), server: at(real, 85) }],
    ['no service of FTP with headgate.ftp_ports=0', {}],
  ])('is nothing to %s', async (name, where) => {
    const off = name.includes('=');
    if (off) await harness.apply({ kind: 'set-sysctls', sysctls: { ftp_ports: [] } });
    const way = control(where);
    reply(way, '227 Entering Passive Mode (10,1,0,11,200,7).\r\n');
    reply(way, '229 Entering Extended Passive Mode (|||51207|)\r\n');
    command(way, `EPRT |1|${client}|51207|\r\n`);
    expect(expectations()).toEqual([]);
    if (off) await harness.apply({ kind: 'set-sysctls', sysctls: { ftp_ports: [21] } });
  });

  it('is heard at other ports of services that are said to be of FTP, up to eight', async () => {
    const ports = [2121, 85, 3, 4, 5, 6, 7, 65535];
    await harness.apply({ kind: 'set-sysctls', sysctls: { ftp_ports: ports } });
    expect((await harness.plane.read()).sysctls?.ftp_ports).toEqual(ports);
    try {
      for (const service of [2121, 85]) {
        const way = control({ virtual: at(vip, service), server: at(real, service) });
        reply(way, '229 Entering Extended Passive Mode (|||51207|)\r\n');
        opens(at(client, ++port), at(vip, 51207), at(real, 51207));
        // From the port before that of the service (ip_vs_ftp_in).
        command(way, `EPRT |1|${client}|51208|\r\n`);
        opensBack(at(real, service - 1), at(vip, service - 1), at(client, 51208));
      }
      reply(control(), '229 Entering Extended Passive Mode (|||51207|)\r\n');
      expect(expectations()).toEqual([]);
    } finally {
      await harness.apply({ kind: 'set-sysctls', sysctls: { ftp_ports: [21] } });
    }
  });

  it('is nothing on a connection that is not established', () => {
    const from = at(client, ++port);
    request(tcp(from, at(vip, 21), 'S'));
    const way = { from, virtual: at(vip, 21), server: at(real, 21) };
    reply(way, '227 Entering Passive Mode (10,1,0,11,200,7).\r\n');
    expect(expectations()).toEqual([]);
  });

  describe('the control connection', () => {
    const details = () => mapRecords(harness.instance.map('connection_details'), 'connection_detail');
    const entries = () => mapRecords(harness.instance.map('connections'), 'connection');
    /** Slots of live connections from a port. */
    function slotsFrom(from: string): number[] {
      const map = entries();
      const wanted = Number(from.split(':').at(-1));
      const found = Array.from({ length: map.count - 1 }, (_, n) => n + 1).filter((slot) => {
        const raw = map.get(slot, 'client_port');
        return map.get(slot, 'word') & 0x100 && (((raw & 0xff) << 8) | (raw >> 8)) === wanted;
      });
      map.close();
      return found;
    }

    it('rules the connections of its data, and outlives them', async () => {
      const ticks = harness.instance.settings.get(0, 'hz');
      const way = control();
      const from = at(client, ++port);
      reply(way, '229 Extended (|||51207|)\r\n');
      opens(from, at(vip, 51207), at(real, 51207));
      const [ruler] = slotsFrom(way.from);
      const [data] = slotsFrom(from);
      const map = details();
      expect(map.get(data!, 'control')).toBe(ruler);
      expect(map.get(ruler!, 'ruled')).toBe(1);
      map.close();
      const live = entries();
      try {
        // Its time is up long before that of its data.
        harness.instance.settings.set(0, 'timeout', ticks, 1);
        request(tcp(way.from, way.virtual, 'A'));
        await until(() => live.get(ruler!, 'timeout') === 60 * ticks);
        reply(way, '226 Transfer complete.\r\n');
        live.set(data!, 'timeout', 0);
        wakeSlices(harness.instance.map('slices'), harness.instance.runtime.get(0, 'tick_jiffies'), data!);
        await until(() => slotsFrom(from).length === 0);
        // Without data it goes, as any other.
        reply(way, '221 Goodbye.\r\n');
        await until(() => slotsFrom(way.from).length === 0);
      } finally {
        harness.instance.settings.set(0, 'timeout', 900 * ticks, 1);
        live.close();
      }
    });
  });

  it('is safe from whatever is said', () => {
    const start = startOf('FTP_START');
    const numbers = randomNumbers(start);
    let way = control();
    const seen = { renamed: 0, expected: 0, commands: 0 };
    for (let round = 0; round < amount({ short: 300, usual: 3000, long: 30_000 }); round++) {
      if (round % 50 === 0) {
        forget();
        way = control();
      }
      const said = babble(numbers);
      const context = `FTP_START=${start}, round ${round}: ${JSON.stringify(said)}`;
      const known = expectations().length;
      const payload = Buffer.from(said, 'latin1');
      if (numbers.below(2)) {
        const wanted = meant(said);
        const out = answer(tcp(way.server, way.from, 'PA', { payload }));
        const heard = Buffer.from(wanted.heard, 'latin1');
        expect(ip(out), context).toBe(hex(tcp(way.virtual, way.from, 'PA', { payload: heard, ttl: 63 })));
        if (wanted.heard !== said) seen.renamed++;
        if (wanted.port === undefined) expect(expectations(), context).toHaveLength(known);
        else {
          opens(at(client, ++port), at(vip, wanted.port), at(real, wanted.port));
          seen.expected++;
        }
      } else {
        command(way, said);
        seen.commands += expectations().length - known;
      }
    }
    expect(
      Object.values(seen).every((count) => count > 0),
      JSON.stringify(seen),
    ).toBe(true);
  });
});
