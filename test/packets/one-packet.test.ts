import { afterAll, beforeAll, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { filler, fragments, tcp, udp } from './frame.ts';
import { type Harness, openHarness } from './harness.ts';
import { additions, destination, type ServicePlan, servicePlan } from './services.ts';

/* One-packet scheduling: IP_VS_SVC_F_ONEPACKET and IP_VS_CONN_F_ONE_PACKET of Linux 6.12, ip_vs_core.c and ip_vs_conn.c. */

const vip = '198.51.100.10';
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function plan(text: string, persistent = false, ...servers: readonly string[]): ServicePlan {
  const { service, destinations } = servicePlan(text, 'rr', ...servers.map((at) => destination(at)));
  const persistence = { timeoutSeconds: 300, netmask: text.includes('[') ? 128 : 0xffffffff };
  return { service: { ...service, onePacket: true, ...(persistent && { persistence }) }, destinations };
}

const plans = [
  plan(`udp ${vip}:53`, false, '10.1.0.11:5353', '10.1.0.12:5353'),
  plan('udp [2001:db8:100::10]:53', false, '[fd10::11]:5353', '[fd10::12]:5353'),
  plan(`udp ${vip}:54`, true, '10.1.0.13:54', '10.1.0.14:54'),
  plan(`tcp ${vip}:80`, false, '10.1.0.15:80'),
];

requires(
  'root',
  'netns',
  'bpf',
)('one-packet services', () => {
  const size = 600;
  let harness: Harness;
  beforeAll(async () => {
    harness = await openHarness('ops', size);
    await harness.apply(...additions(plans));
  });
  afterAll(() => harness?.close());

  const entries = () => harness.instance.runtime.get(0, 'entries');
  const last = (bytes: Buffer) => bytes[14 + 19]!;

  it.each([
    ['IPv4', vip, '203.0.113.7', '10.1.0.11', 19],
    ['IPv6', '[2001:db8:100::10]', '[2001:db8:c::7]', '[fd10::11]', 39],
  ])(
    '%s: every datagram is scheduled for itself, and nothing is left of it',
    async (_, at, from, real, end) => {
      const entriesBefore = entries();
      const found: number[] = [];
      for (let n = 0; n < 2 * size; n++) {
        const { verdict, bytes } = harness.receive('c0', udp(`${from}:1000`, `${at}:53`));
        expect(verdict).toBe('redirect');
        found.push(bytes[14 + end]!);
      }
      expect(new Set(found).size).toBe(2);
      for (let n = 2; n < found.length; n++) expect(found[n]).toBe(found[n - 2]);
      expect(entries()).toBe(entriesBefore);
      const { services } = await harness.read();
      const { destinations, counters } = services.find(({ service: { id } }) => {
        return id.kind === 'address' && id.port === 53 && at.includes(id.address);
      })!;
      expect(counters.connections).toBe(BigInt(2 * size));
      expect(destinations.map((one) => [one.activeConnections, one.inactiveConnections])).toEqual([
        [0, 0],
        [0, 0],
      ]);
      // Nobody knows of the datagram that it answers.
      expect(harness.receive('r0', udp(`${real}:5353`, `${from}:1000`)).verdict).toBe('pass');
    },
  );

  it('later fragments follow the first, and the slot comes back', async () => {
    const client = '203.0.113.7:1000';
    const found: number[] = [];
    for (let id = 1; id <= 40; id++) {
      const pieces = fragments(udp(client, `${vip}:53`, { payload: filler(3000), id }), 1480);
      const outcomes = pieces.map((piece) => harness.receive('c0', piece));
      expect(outcomes.map(({ verdict }) => verdict)).toEqual(['redirect', 'redirect', 'redirect']);
      const servers = new Set(outcomes.map(({ bytes }) => last(bytes)));
      expect(servers.size).toBe(1);
      found.push(...servers);
    }
    expect(new Set(found).size).toBe(2);
    expect(entries()).toBe(0);
    expect(await harness.connections()).toEqual([]);
    await sleep(1800);
    for (let n = 0; n < size; n++)
      expect(harness.receive('c0', tcp(`203.0.113.9:${1024 + n}`, `${vip}:80`, 'S')).verdict).toBe(
        'redirect',
      );
    harness.setLifetimes(1);
    for (let n = 0; n < size; n++)
      for (const flags of ['A', 'R'])
        harness.receive('c0', tcp(`203.0.113.9:${1024 + n}`, `${vip}:80`, flags));
    await sleep(800);
    harness.setLifetimes(60 * harness.instance.settings.get(0, 'hz'));
  });

  it('with persistence the client stays, by its template alone', async () => {
    const ask = (from: string) => last(harness.receive('c0', udp(from, `${vip}:54`)).bytes);
    const first = ask('203.0.113.7:1000');
    const other = ask('203.0.113.8:1000');
    expect(other).not.toBe(first);
    for (let n = 1; n < 5; n++) {
      expect(ask(`203.0.113.7:${1000 + n}`)).toBe(first);
      expect(ask(`203.0.113.8:${1000 + n}`)).toBe(other);
    }
    const rows = await harness.connections();
    expect(rows.map(({ template, virtual }) => [template, virtual.port])).toEqual([
      [true, 54],
      [true, 54],
    ]);
  });

  it('TCP has connections all the same', () => {
    const before = entries();
    harness.receive('c0', tcp('203.0.113.10:1000', `${vip}:80`, 'S'));
    expect(entries()).toBe(before + 1);
    expect(harness.receive('r0', tcp('10.1.0.15:80', '203.0.113.10:1000', 'SA')).verdict).toBe('redirect');
  });
});
