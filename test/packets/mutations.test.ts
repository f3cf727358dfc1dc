import { afterAll, beforeAll, expect, it } from 'vitest';
import { encodeAddress } from '../../src/dataplane/ebpf/encoding.ts';
import { filterBit } from '../../src/dataplane/ebpf/filter-bit.ts';
import { tcpStateNames } from '../../src/model/connection-states.ts';
import { requires } from '../requirements.ts';
import { disagreement } from './agreement.ts';
import { encode, filler, fragments, icmp, type Packet, tcp, udp } from './frame.ts';
import { type Harness, inbound, openHarness } from './harness.ts';
import { amount, type Numbers, randomNumbers, startOf } from './random.ts';
import { createReference } from './reference.ts';
import { additions, destination, servicePlan } from './services.ts';
import type { DeviceName } from './world.ts';

/*
 * Packets of living connections, cut short and with bytes changed: what passes is untouched, what is rewritten is what
 * the reference makes of it, and the two agree on every connection at the end.
 */

const vip = '198.51.100.10';
const vip6 = '[2001:db8:100::10]';
const plans = [
  servicePlan(`tcp ${vip}:80`, 'rr', destination('10.1.0.11:8080'), destination('10.1.0.12:8081')),
  servicePlan(`udp ${vip}:53`, 'rr', destination('10.1.0.12:5353')),
  servicePlan(`tcp ${vip6}:80`, 'rr', destination('[fd10::11]:8080')),
  servicePlan(`udp ${vip6}:53`, 'rr', destination('[fd10::12]:5353'), destination('[fd10::13]:53')),
  servicePlan(`tcp ${vip}:81`, 'rr', destination('10.1.0.11:81', 'direct-routing')),
  servicePlan(`udp ${vip6}:82`, 'rr', destination('[fd10::12]:82', 'direct-routing')),
  servicePlan(`tcp ${vip}:86`, 'rr', destination('10.2.0.11:8080')),
  servicePlan(`tcp ${vip}:88`, 'rr', destination('10.1.0.1:8080')),
  servicePlan(`tcp ${vip}:84`, 'rr', destination('10.1.0.13:84', 'masquerade', 0)),
];

const ethertype = { ipv4: 0x0800, ipv6: 0x86dd };

type Sent = { readonly device: DeviceName; readonly packet: Packet };

const options = Buffer.from([7, 7, 4, 0, 0, 0, 0, 1, 1, 1, 1, 0]);
const extensions = [{ kind: 'destination' as const, bytes: Buffer.from([1, 4, 0, 0, 0, 0]) }];

/** Packets worth damaging: all kinds, from few clients, so that changed bytes still hit connections. */
function specimens(random: Numbers): Sent[] {
  const client = `203.0.113.${random.below(4)}:${4000 + random.below(4)}`;
  const client6 = `[2001:db8:c::${random.below(4)}]:${4000 + random.below(4)}`;
  const flags = random.pick(['S', 'A', 'PA', 'FA', 'R', 'SA', '']);
  const payload = filler(random.below(60));
  const ttl = random.pick([1, 2, 64, 64, 64, 64, 255]);
  const id = random.below(5);
  const from = (device: DeviceName, packet: Packet): Sent => ({ device, packet });
  const quoted = (packet: Packet, length: number) => encode(packet).subarray(0, length);
  const length = 28 + random.below(30);
  const error = random.pick([
    { type: 3, code: 3 },
    { type: 3, code: 4, rest: 1400 },
    { type: 11, code: 0 },
  ]);
  const error6 = random.pick([
    { type: 1, code: 4 },
    { type: 2, code: 0, rest: 1280 },
    { type: 3, code: 0 },
  ]);
  return [
    from('c0', tcp(client, `${vip}:80`, flags, { payload, ttl })),
    from('c0', tcp(client, `${vip}:80`, flags, { payload, ttl, options })),
    from('c0', udp(client, `${vip}:53`, { payload, ttl, checksum: random.below(4) > 0 })),
    from('c0', tcp(client6, `${vip6}:80`, flags, { payload, ttl })),
    from('c0', udp(client6, `${vip6}:53`, { payload, ttl, extensions })),
    from('c0', udp(client6, `${vip6}:53`, { payload, ttl })),
    from('c0', tcp(client, `${vip}:81`, flags, { payload, ttl })),
    from('c0', udp(client6, `${vip6}:82`, { payload, ttl })),
    from(
      'c0',
      tcp(client, `${vip}:86`, flags, {
        payload: filler(1200 + random.below(80)),
        ttl,
        doNotFragment: random.below(2) > 0,
      }),
    ),
    from('c0', tcp(client, `${vip}:88`, flags, { payload, ttl })),
    from('c0', tcp(client, `${vip}:84`, flags, { payload, ttl })),
    from('r0', tcp('10.1.0.11:8080', client, flags, { payload, ttl })),
    from('r0', tcp('10.1.0.12:8081', client, flags, { payload, ttl, options })),
    from('r0', udp('10.1.0.12:5353', client, { payload, ttl })),
    from('r0', tcp('[fd10::11]:8080', client6, flags, { payload, ttl })),
    from('r0', udp('[fd10::12]:5353', client6, { payload, ttl, extensions })),
    from('r0', udp('[fd10::13]:53', client6, { payload, ttl })),
    from('c0', random.pick(fragments(udp(client, `${vip}:53`, { payload: filler(300), id, ttl }), 150))),
    from('c0', random.pick(fragments(udp(client6, `${vip6}:53`, { payload: filler(300), id, ttl }), 150))),
    from('r0', random.pick(fragments(udp('10.1.0.12:5353', client, { payload: filler(300), id, ttl }), 150))),
    from(
      'c0',
      icmp(
        client.replace(/:.*/, ''),
        vip,
        { ...error, payload: quoted(udp(`${vip}:53`, client), length) },
        { ttl },
      ),
    ),
    from(
      'r0',
      icmp(
        '10.1.0.99',
        client.replace(/:.*/, ''),
        { ...error, payload: quoted(tcp(client, '10.1.0.11:8080', 'A', { payload }), length) },
        { ttl },
      ),
    ),
    from(
      'c0',
      icmp(
        '2001:db8:c::1',
        vip6.slice(1, -1),
        { ...error6, payload: quoted(udp(`${vip6}:53`, client6), length + 20) },
        { ttl },
      ),
    ),
    from(
      'r0',
      icmp(
        'fd10::99',
        '2001:db8:c::1',
        { ...error6, payload: quoted(tcp(client6, '[fd10::11]:8080', 'A', { payload }), length + 20) },
        { ttl },
      ),
    ),
  ];
}

/** Most damage is done to headers, and most of it is small. */
function damage(frame: Buffer, random: Numbers): Buffer {
  const out = Buffer.from(frame);
  const changes = random.pick([0, 0, 1, 1, 1, 2, 4]);
  for (let i = 0; i < changes; i++) {
    const reach = random.pick([out.length, Math.min(out.length, 80), Math.min(out.length, 40)]);
    const at = random.pick([random.below(reach), 14 + random.below(reach - 14)]);
    if (random.below(2)) out[at] = random.below(256);
    else out[at]! ^= 1 << random.below(8);
  }
  switch (random.below(6)) {
    case 0: {
      const least = shortest(out);
      return out.subarray(0, least + random.below(Math.max(1, out.length + 1 - least)));
    }
    case 1:
      return Buffer.concat([out, filler(1 + random.below(20))]);
    default:
      return out;
  }
}

/** BPF_PROG_TEST_RUN refuses frames without a whole IP header; wire.test.ts sends those. */
function shortest(frame: Buffer): number {
  return { [ethertype.ipv4]: 34, [ethertype.ipv6]: 54 }[frame.readUInt16BE(12)] ?? 15;
}

requires(
  'root',
  'netns',
  'bpf',
)('damaged packets', () => {
  let harness: Harness;
  beforeAll(async () => {
    harness = await openHarness('mutations', 65_536);
    await harness.apply(...additions(plans));
  });
  afterAll(() => harness?.close());

  const count = amount({ short: 3000, usual: 100_000, long: 400_000 });
  it(`${count.toLocaleString('en')} of them`, { timeout: 600_000 }, async () => {
    const start = startOf('PACKET_START');
    const random = randomNumbers(start);
    const reference = createReference(plans, (address) => filterBit(encodeAddress(address)));
    // Nothing is to expire while this runs.
    harness.setLifetimes(3600 * harness.instance.settings.get(0, 'hz'));
    const verdicts: Record<string, number> = {};
    const started = performance.now();
    let forgotten = started;
    for (let done = 0; done < count; ) {
      // Before first fragments age, at a moment nobody can foresee.
      if (performance.now() - forgotten > 10_000) {
        harness.forgetFragments();
        reference.forgetFragments();
        forgotten = performance.now();
      }
      for (const { device, packet } of specimens(random)) {
        const frame = damage(inbound(device, packet), random);
        const outcome = harness.run('headgate_ethernet', frame, { ifindex: harness.world.index[device] });
        const expected = reference.receiveFrame(device, frame);
        const problem = disagreement(expected, outcome, frame, { limited: true });
        if (problem) {
          throw new Error(
            `packet ${done} of PACKET_START=${start}, in at ${device}: ${frame.toString('hex')}\n` +
              `from ${JSON.stringify(packet)}\n${problem}`,
          );
        }
        verdicts[expected.verdict] = (verdicts[expected.verdict] ?? 0) + 1;
        done++;
      }
    }
    const seconds = (performance.now() - started) / 1000;
    console.log(`PACKET_START=${start}: ${JSON.stringify(verdicts)} in ${seconds.toFixed(1)} s`);
    // The reference's connections are the program's, state by state.
    const shown = (await harness.connections()).map((one) =>
      [
        one.protocol,
        one.client.address,
        one.client.port,
        one.virtual.address,
        one.virtual.port,
        one.destination.address,
        one.destination.port,
        one.state,
      ].join(' '),
    );
    const wanted = reference.connections.map((one) =>
      [
        one.protocol === 6 ? 'tcp' : 'udp',
        one.client,
        one.clientPort,
        one.virtual,
        one.virtualPort,
        one.real,
        one.realPort,
        tcpStateNames[one.state] ?? 'UDP',
      ].join(' '),
    );
    expect(shown.sort()).toEqual(wanted.sort());
    expect(wanted.length).toBeGreaterThan(100);
    for (const verdict of ['pass', 'drop', 'redirect', 'report']) {
      expect(verdicts[verdict], verdict).toBeGreaterThan(count / 200);
    }
  });
});
