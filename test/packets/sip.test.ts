import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { explanationText } from '../../src/cli/explain.ts';
import { explain } from '../../src/control/explain.ts';
import { openConnectionFeed } from '../../src/dataplane/ebpf/connection-feed.ts';
import { mapRecords } from '../../src/dataplane/ebpf/records.ts';
import type { Address } from '../../src/model/address.ts';
import { type SyncedConnection, syncFlags } from '../../src/model/connection-sync.ts';
import { until } from '../proxy/site.ts';
import { requires } from '../requirements.ts';
import { decode, fragments, tcp, udp } from './frame.ts';
import { type Harness, openHarness } from './harness.ts';
import { additions, destination, servicePlan } from './services.ts';
import { callIdIn, invite, messages, randomMessages } from './sip-messages.ts';

/*
 * The persistence engine sip: ip_vs_sched_persist of Linux 6.12 with ip_vs_pe_sip, and where that finds a Call-ID
 * (ct_sip_get_header). test/kernel/oracle-lots-inside.ts holds both against each other.
 */

const vip = '198.51.100.10';
const at = `${vip}:5060`;
/** What a test leaves in the table stays there: each has a network of clients to itself. */
let network = 0;
const client = (port: number, last = 7, other = 0) => `203.0.${network + other}.${last}:${port}`;

const plan = (text = `udp ${at}`, more = {}, persistence = {}, ...servers: readonly string[]) => {
  const places = servers.length > 0 ? servers : ['10.1.0.11:5060', '10.1.0.12:5060'];
  const { service, destinations } = servicePlan(text, 'rr', ...places.map((one) => destination(one)));
  const asked = { timeoutSeconds: 300, netmask: 0xffffffff, engine: 'sip', ...persistence };
  return { service: { ...service, persistence: asked, ...more }, destinations };
};

requires(
  'root',
  'netns',
  'bpf',
)('the persistence engine sip', () => {
  let harness: Harness;
  beforeAll(async () => {
    harness = await openHarness('sip', 2000);
  });
  beforeEach(() => {
    network += 2;
  });
  afterEach(() => harness.apply({ kind: 'flush' }));
  afterAll(() => harness?.close());

  const serve = (one = plan()) => harness.apply(...additions([one]));
  const send = (from: string, payload: Uint8Array, to = at) =>
    harness.receive('c0', udp(from, to, { payload }));
  /** Where a message goes: last byte of the real server's address. */
  const servedBy = (from: string, payload: Uint8Array, to = at) => {
    const { verdict, bytes } = send(from, payload, to);
    expect(verdict).toBe('redirect');
    return bytes[14 + 19]!;
  };
  const entries = async () => {
    const own = new RegExp(`^(203\\.0\\.(${network}|${network + 1})\\.|2001:db8:${network}:)`);
    return (await harness.connections()).filter(({ client }) => own.test(client.address));
  };
  const templates = async () => (await entries()).filter(({ template }) => template);
  const calls = async () => (await templates()).map(({ engine }) => engine?.data).toSorted();

  /** Makes every entry an hour older, and the sweeper look at it. */
  function ageAll(): void {
    const { instance } = harness;
    const connections = mapRecords(instance.map('connections'), 'connection');
    const due = Buffer.alloc(4);
    due.writeUInt32LE((instance.runtime.get(0, 'tick_jiffies') | 1) >>> 0);
    for (let slot = 1; slot <= instance.runtime.get(0, 'fresh'); slot++) {
      connections.add(slot, 'seen', -3600 * instance.settings.get(0, 'hz'));
      instance.map('slices').update(slot >> 8, due);
    }
    connections.close();
  }

  it('a call stays with its real server, whatever port its messages come from; others are scheduled', async () => {
    await serve();
    const first = servedBy(client(1000), invite('a@example.org'));
    const other = servedBy(client(1001), invite('b@example.org'));
    expect(other).not.toBe(first);
    for (let port = 1100; port < 1110; port++) {
      expect(servedBy(client(port), invite('a@example.org'))).toBe(first);
      expect(servedBy(client(port + 100), invite('b@example.org'))).toBe(other);
    }
    expect(await calls()).toEqual(['a@example.org', 'b@example.org']);
    expect(await templates()).toMatchObject(
      Array.from({ length: 2 }, () => ({
        protocol: 'udp',
        client: { address: `203.0.${network}.7`, port: 0 },
        virtual: { address: vip, port: 5060 },
        engine: { name: 'sip' },
      })),
    );
  });

  it('a connection goes on without its messages being read', async () => {
    await serve();
    const first = servedBy(client(1000), invite('a'));
    expect(servedBy(client(1000), Buffer.from('no message at all'))).toBe(first);
    expect(servedBy(client(1000), invite('b'))).toBe(first);
    expect(await calls()).toEqual(['a']);
  });

  it('each datagram of a one-packet service is read', async () => {
    await serve(plan(`udp ${at}`, { onePacket: true }));
    const first = servedBy(client(1000), invite('a'));
    const other = servedBy(client(1000), invite('b'));
    expect(other).not.toBe(first);
    for (let n = 0; n < 4; n++) {
      expect(servedBy(client(1000), invite('a'))).toBe(first);
      expect(servedBy(client(1000), invite('b'))).toBe(other);
    }
    expect(send(client(1000), Buffer.from('OPTIONS')).verdict).toBe('drop');
    expect(await entries()).toHaveLength(2);
  });

  it('a Call-ID is one within its network of clients and its port', async () => {
    await harness.apply(
      ...additions([
        plan(`udp ${at}`, {}, { netmask: 0xffffff00 }),
        plan(`udp ${vip}:5062`, {}, {}, '10.1.0.14:5060'),
      ]),
    );
    const first = servedBy(client(1000, 7), invite('a'));
    expect(servedBy(client(1000, 8), invite('a'))).toBe(first);
    expect(servedBy(client(1000, 7, 1), invite('a'))).not.toBe(first);
    expect(servedBy(client(1002), invite('a'), `${vip}:5062`)).toBe(14);
    expect((await templates()).map(({ client }) => client.address).toSorted()).toEqual([
      `203.0.${network}.0`,
      `203.0.${network}.7`,
      `203.0.${network + 1}.0`,
    ]);
  });

  it('IPv6', async () => {
    const six = '[2001:db8:100::10]:5060';
    await serve(plan(`udp ${six}`, {}, { netmask: 64 }, '[fd10::11]:5060', '[fd10::12]:5060'));
    const served = (from: string, id: string) => {
      const { verdict, bytes } = send(from, invite(id), six);
      expect(verdict).toBe('redirect');
      return bytes[14 + 39]!;
    };
    const first = served(`[2001:db8:${network}::7]:1000`, 'a');
    expect(served(`[2001:db8:${network}::7]:1001`, 'b')).not.toBe(first);
    expect(served(`[2001:db8:${network}::8]:1002`, 'a')).toBe(first);
    expect(await calls()).toEqual(['a', 'b']);
  });

  it('what is no SIP over UDP is dropped, and nobody hears of it', async () => {
    await harness.apply(...additions([plan(), plan(`tcp ${vip}:5060`)]));
    const before = harness.event('EVENT_NO_CALL_ID');
    expect(send(client(1000), Buffer.from('hello')).verdict).toBe('drop');
    expect(send(client(1000), new Uint8Array()).verdict).toBe('drop');
    expect(harness.receive('c0', tcp(client(1000), at, 'S')).verdict).toBe('drop');
    expect(harness.event('EVENT_NO_CALL_ID')).toBe(before + 3);
    expect(await entries()).toEqual([]);
  });

  it('a Call-ID in the first fragment serves, one behind it does not', async () => {
    await serve();
    const whole = (payload: Uint8Array, id: number) => fragments(udp(client(id), at, { payload, id }), 600);
    for (const one of whole(invite('early', 2000), 77))
      expect(harness.receive('c0', one).verdict).toBe('redirect');
    const late = Buffer.concat([
      Buffer.from(`INVITE x\r\nX: ${'x'.repeat(1500)}\r\n`),
      Buffer.from('i: late\r\n'),
    ]);
    for (const one of whole(late, 78)) expect(harness.receive('c0', one).verdict).toBe('drop');
    expect(await calls()).toEqual(['early']);
  });

  it('a template goes with its destination, and its text with it', async () => {
    const one = plan();
    await serve(one);
    const first = servedBy(client(1000), invite('a'));
    const left = one.destinations.find(({ address }) => address.endsWith(`.${first}`))!;
    await harness.apply({ kind: 'delete-destination', id: one.service.id, destination: left });
    expect(servedBy(client(1001), invite('a'))).not.toBe(first);
    expect(await templates()).toHaveLength(2);
    await harness.apply({ kind: 'flush' });
    // One whose time is up lives another minute as long as a connection of it does.
    const texts = () => {
      ageAll();
      return [...harness.instance.map('call_ids').keys()].filter((slot) => slot.readUInt32LE(0) > 0);
    };
    await until(() => expect(texts()).toEqual([]), 60_000);
  });

  describe('where a Call-ID stands', () => {
    const rows = messages.map(([name, payload, wanted]) => ({ name, payload, wanted }));
    it.each(rows)('$name', async ({ payload, wanted }) => {
      await serve();
      expect(send(client(1000), payload).verdict).toBe(wanted === undefined ? 'drop' : 'redirect');
      expect(await calls()).toEqual(wanted === undefined ? [] : [wanted]);
    });
  });

  it('another director hears of a call, and tells of one', async () => {
    await serve();
    const feed = openConnectionFeed(harness.instance);
    try {
      feed.begin({ packets: 'all' });
      const told: SyncedConnection[] = [];
      const first = servedBy(client(1000), invite('a'));
      feed.drain((one) => told.push(one));
      const said = told.find(({ flags }) => flags & syncFlags.template)!;
      expect(said).toMatchObject({
        ...{ protocol: 17, clientPort: 0, virtualPort: 5060, timeoutSeconds: 300 },
        real: Uint8Array.of(10, 1, 0, first),
        engine: { name: 'sip', data: Uint8Array.of(97) },
      });
      const other = first === 11 ? 12 : 11;
      const enter = (data: Uint8Array, last: number, name = 'sip') =>
        feed.enter({ ...said, real: Uint8Array.of(10, 1, 0, last), engine: { name, data } });
      for (const id of ['b', 'c', 'd']) expect(enter(Buffer.from(id), other)).toBe('bound');
      for (const [n, id] of ['b', 'c', 'd'].entries())
        expect(servedBy(client(1001 + n), invite(id))).toBe(other);
      expect(servedBy(client(1005), invite('a'))).toBe(first);
      // One that is there goes on where it goes.
      expect(enter(Buffer.from('b'), other)).toBe('bound');
      expect(await calls()).toEqual(['a', 'b', 'c', 'd']);
      expect(enter(Buffer.from('e'), other, 'other')).toBe('refused');
      expect(enter(Buffer.alloc(256, 'x'), other)).toBe('refused');
    } finally {
      feed.end();
      feed.close();
    }
  });

  it('calls take half of the table at most: further ones are refused and counted', async () => {
    const room = 40;
    const small = await openHarness('sip-full', room);
    const feed = openConnectionFeed(small.instance);
    try {
      await small.apply(...additions([plan()]));
      feed.begin({ packets: 'all' });
      const told: SyncedConnection[] = [];
      const call = (n: number) =>
        small.receive('c0', udp(client(1000 + n), at, { payload: invite(`call-${n}@example.org`) })).verdict;
      const most = room / 2 - 1;
      for (let n = 0; n < most; n++) expect(call(n), `call ${n}`).toBe('redirect');
      expect(call(most)).toBe('drop');
      expect(small.event('EVENT_TABLE_FULL')).toBe(1);
      expect(call(0)).toBe('redirect');
      // What another director says of further ones is refused as well, and of those that are there it is taken.
      feed.drain((one) => told.push(one));
      const said = told.find(({ engine }) => engine)!;
      const enter = (id: string) => feed.enter({ ...said, engine: { name: 'sip', data: Buffer.from(id) } });
      expect(enter('another')).toBe('refused');
      expect(enter('call-1@example.org')).toBe('bound');
    } finally {
      feed.end();
      feed.close();
      await small.close();
    }
  });

  describe('a masqueraded real server that sends first', () => {
    const from = (real: string, to: string, payload: Uint8Array) => {
      const { verdict, bytes } = harness.receive('r0', udp(real, to, { payload }));
      const { source, transport } = decode(bytes.subarray(14))!;
      return { verdict, from: `${source}:${bytes.readUInt16BE(14 + transport)}` };
    };
    const spoken = { verdict: 'redirect', from: at };

    it('has the virtual address, and the call stays with it', async () => {
      await serve();
      expect(from('10.1.0.12:5060', client(1000), invite('a'))).toEqual(spoken);
      for (let port = 1001; port < 1004; port++) expect(servedBy(client(port), invite('a'))).toBe(12);
      expect(servedBy(client(1000), Buffer.from('whatever'))).toBe(12);
      expect(await calls()).toEqual(['a']);
      expect(await entries()).toHaveLength(5);
    });

    it('takes a call over from another', async () => {
      await serve();
      const first = servedBy(client(1000), invite('a'));
      const other = first === 11 ? 12 : 11;
      expect(from(`10.1.0.${other}:5060`, client(1001), invite('a'))).toEqual(spoken);
      expect(servedBy(client(1002), invite('a'))).toBe(other);
      expect((await templates()).map(({ virtual }) => virtual.port).toSorted()).toEqual([5060, 65_535]);
    });

    it('answers datagrams that no connection is remembered for', async () => {
      await serve(plan(undefined, { onePacket: true }));
      const first = servedBy(client(1000), invite('a'));
      for (let n = 0; n < 4; n++)
        expect(from(`10.1.0.${first}:5060`, client(1000), invite('a'))).toEqual(spoken);
      expect(await entries()).toHaveLength(1);
    });

    it('passes by without a Call-ID, from another port, and when it is none any more', async () => {
      const one = plan();
      await serve(one);
      const untouched = (real: string, payload: Uint8Array) =>
        expect(from(real, client(1000), payload)).toEqual({ verdict: 'pass', from: real });
      untouched('10.1.0.11:5060', Buffer.from('whatever'));
      untouched('10.1.0.11:5061', invite('a'));
      untouched('10.1.0.14:5060', invite('a'));
      await harness.apply({
        kind: 'delete-destination',
        id: one.service.id,
        destination: one.destinations[0]!,
      });
      untouched('10.1.0.11:5060', invite('a'));
      await harness.apply({
        kind: 'edit-service',
        service: { ...one.service, persistence: { timeoutSeconds: 300, netmask: 0xffffffff } },
      });
      untouched('10.1.0.12:5060', invite('a'));
      expect(await entries()).toEqual([]);
    });
  });

  it('explain says that a call decides, and which there are', async () => {
    await serve(plan(undefined, {}, {}, '10.1.0.11:5060'));
    servedBy(client(1000), invite('a@b'));
    const question = {
      protocol: 'udp',
      client: { address: client(0).split(':')[0] as Address },
      virtual: { address: vip as Address, port: 5060 },
    } as const;
    const text = explanationText(await explain(harness.plane, question));
    expect(text).toMatch(/^persistence +a@b -> 10\.1\.0\.11:5060$/m);
    expect(text).toMatch(/^but +a message of a call that is there goes where the call does/m);
    // One that is there stays.
    const there = await explain(harness.plane, { ...question, client: { ...question.client, port: 1000 } });
    expect(there.uncertain).toBeUndefined();
  });

  it('no bytes whatever do harm', async () => {
    await serve();
    const random = randomMessages(1500);
    const served = random.filter((message, n) => {
      const { verdict } = send(client(2000 + n), Buffer.from(message, 'latin1'));
      expect(verdict, JSON.stringify(message)).toBe(callIdIn(message) === undefined ? 'drop' : 'redirect');
      return verdict === 'redirect';
    });
    expect(served.length).toBeGreaterThan(300);
    expect(served.length).toBeLessThan(1200);
  });
});
