import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Sysctls } from '../../src/model/sysctls.ts';
import { requires } from '../requirements.ts';
import { decode, encode, icmp, type Packet, tcp, udp } from './frame.ts';
import { type Harness, inbound, openHarness } from './harness.ts';
import { additions, destination, serviceId, servicePlan } from './services.ts';

/*
 * The sysctls schedule_icmp and nat_icmp_send: ip_vs_in_icmp, ip_vs_schedule, ip_vs_leave, ip_vs_conn_new and ip_vs_out_hook of
 * Linux 6.12 (net/netfilter/ipvs/ip_vs_core.c, ip_vs_conn.c).
 */

const families = [
  {
    family: 4,
    vip: '198.51.100.10',
    other: '198.51.100.20',
    client: '203.0.113.5',
    router: '192.0.2.77',
    real: (n: number, port: number) => `10.1.0.1${n}:${port}`,
    own: '10.1.0.1',
    error: { type: 3, code: 4, rest: 1400 },
    unreachable: { type: 3, code: 3 },
    tos: 0xc0,
    header: 20,
  },
  {
    family: 6,
    vip: '2001:db8:100::10',
    other: '2001:db8:2::1',
    client: '2001:db8:c::5',
    router: '2001:db8:9::1',
    real: (n: number, port: number) => `[fd10::1${n}]:${port}`,
    own: 'fd10::1',
    error: { type: 2, code: 0, rest: 1280 },
    unreachable: { type: 1, code: 4 },
    tos: 0,
    header: 40,
  },
] as const;

const at = (address: string, port: number) =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;

requires(
  'root',
  'netns',
  'bpf',
)('sysctls about ICMP', () => {
  let harness: Harness;
  const set = (sysctls: Partial<Sysctls>) => harness.apply({ kind: 'set-sysctls', sysctls });

  beforeAll(async () => {
    harness = await openHarness('icmpctl');
    for (const { vip, real } of families)
      await harness.apply(
        ...additions([
          servicePlan(
            `tcp ${at(vip, 80)}`,
            'sh',
            destination(real(1, 8080)),
            destination(real(2, 8080)),
            destination(real(3, 8080)),
          ),
          servicePlan(`udp ${at(vip, 53)}`, 'sh', destination(real(1, 5353)), destination(real(2, 5353))),
          servicePlan(`tcp ${at(vip, 81)}`, 'rr', destination(real(4, 81), 'direct-routing')),
          servicePlan(`tcp ${at(vip, 82)}`, 'rr'),
        ]),
      );
  });
  beforeEach(() => harness.clearIcmpLimits());
  afterAll(() => harness?.close());

  describe.each(families)(
    'IPv$family',
    ({ vip, other, client, router, real, own, error, unreachable, tos, header }) => {
      /** What a router says of a packet that a real server sent the client in the name of the virtual address. */
      const about = (reply: Packet, to: string = vip) =>
        icmp(router, to, { ...error, payload: encode(reply).subarray(0, header + 8) });
      const of = async (port: number, protocol = 'tcp') =>
        (await harness.connections()).find(
          (one) => one.client.address === client && one.client.port === port && one.protocol === protocol,
        );
      const wentTo = (bytes: Buffer) => decode(bytes.subarray(14))!.destination;

      describe('schedule_icmp', () => {
        it('0: an error about what no connection claims is for the host', async () => {
          await set({ schedule_icmp: 0 });
          expect(harness.receive('c0', about(tcp(at(vip, 80), at(client, 2000), 'A'))).verdict).toBe('pass');
          expect(await of(2000)).toBeUndefined();
        });

        it.each([
          ['tcp', 80, 'NONE'],
          ['udp', 53, 'UDP'],
        ] as const)('1: goes where the packet of the client would, %s', async (protocol, port, state) => {
          await set({ schedule_icmp: 1 });
          const reply = (to: number) =>
            protocol === 'tcp' ? tcp(at(vip, port), at(client, to), 'A') : udp(at(vip, port), at(client, to));
          const { verdict, bytes } = harness.receive('c0', about(reply(2001)));
          expect(verdict).toBe('redirect');
          const found = (await of(2001, protocol))!;
          // ip_vs_conn_new: three seconds, and ip_vs_in_icmp runs no state machine.
          expect(found).toMatchObject({ state, active: false, template: false });
          expect(found.expiresInMs).toBeLessThanOrEqual(3000);
          expect(wentTo(bytes)).toBe(found.destination.address);
          // The scheduler is sh: the client's own packet, from another port, goes to the same.
          const first =
            protocol === 'tcp'
              ? tcp(at(client, 2002), at(vip, port), 'S')
              : udp(at(client, 2002), at(vip, port));
          expect(wentTo(harness.receive('c0', first).bytes)).toBe(found.destination.address);
          // And the next error finds the connection.
          const before = (await harness.connections()).length;
          expect(harness.receive('c0', about(reply(2001))).verdict).toBe('redirect');
          expect((await harness.connections()).length).toBe(before);
          if (protocol === 'udp') return;
          expect(harness.receive('c0', tcp(at(client, 2001), at(vip, 80), 'A')).verdict).toBe('redirect');
          expect(await of(2001)).toMatchObject({ state: 'ESTABLISHED', active: true });
        });

        it('1: nobody there, and no error is sent about an error (ip_vs_leave)', async () => {
          await set({ schedule_icmp: 1 });
          const { verdict, mark } = harness.receive('c0', about(tcp(at(vip, 82), at(client, 2003), 'A')));
          expect([verdict, mark]).toEqual(['drop', 0]);
        });

        it('1: what is no reply of a virtual service stays for the host', async () => {
          await set({ schedule_icmp: 1 });
          for (const packet of [
            about(tcp(at(vip, 99), at(client, 2004), 'A')),
            // The quoted packet has not been sent by the one who is told.
            about(tcp(at(vip, 80), at(client, 2004), 'A'), other),
            // A real server's own data connections are never scheduled.
            about(tcp(at(vip, 80), at(client, 20), 'A')),
          ]) {
            const { verdict, bytes } = harness.receive('c0', packet);
            expect(verdict).toBe('pass');
            expect(bytes.equals(inbound('c0', packet))).toBe(true);
          }
          expect(await of(2004)).toBeUndefined();
        });
      });

      describe('nat_icmp_send', () => {
        const stray = tcp(real(1, 8080), at(client, 3000), 'A');

        it('0: what a real server sends to nobody is left to the host', async () => {
          await set({ nat_icmp_send: 0 });
          expect(harness.receive('r0', stray).verdict).toBe('pass');
        });

        it.each([
          ['tcp', stray],
          ['udp', udp(real(1, 5353), at(client, 3000))],
          ['tcp, to a virtual address', tcp(real(2, 8080), at(vip, 80), 'S')],
        ])('1: the real server hears that the port is unreachable, %s', async (_name, packet) => {
          await set({ nat_icmp_send: 1 });
          const count = harness.event('EVENT_STRAY');
          const { verdict, mark, bytes } = harness.receive('r0', packet);
          expect(verdict).toBe('redirect');
          expect(harness.event('EVENT_STRAY')).toBe(count + 1);
          const told = harness.run('headgate_report', bytes, { mark });
          const wanted = icmp(
            own,
            packet.source,
            { ...unreachable, payload: encode(packet) },
            { tos, id: 0 },
          );
          expect(told.verdict).toBe('redirect');
          expect(told.bytes.subarray(14).toString('hex')).toBe(encode(wanted).toString('hex'));
        });

        it('1: all else goes its way', async () => {
          await set({ nat_icmp_send: 1 });
          const passed = [
            // Nobody is told of the end of what is not there.
            tcp(real(1, 8080), at(client, 3000), 'R'),
            tcp(real(1, 22), at(client, 3000), 'A'),
            udp(real(1, 8080), at(client, 3000)),
            tcp(real(4, 81), at(client, 3000), 'A'),
          ];
          expect(passed.map((packet) => harness.receive('r0', packet).verdict)).toEqual(
            passed.map(() => 'pass'),
          );
          const id = serviceId(`tcp ${at(vip, 80)}`);
          await harness.apply({ kind: 'delete-destination', id, destination: destination(real(1, 8080)) });
          expect(harness.receive('r0', stray).verdict).toBe('pass');
          await harness.apply({ kind: 'add-destination', id, destination: destination(real(1, 8080)) });
          expect(harness.receive('r0', stray).verdict).toBe('redirect');
        });
      });
    },
  );

  it('nat_icmp_send: the real servers of a mark, by either protocol', async () => {
    await set({ nat_icmp_send: 1 });
    const id = { kind: 'fwmark', mark: 7, family: 4 } as const;
    const schedulerFlags = { flag1: false, flag2: false, flag3: false };
    await harness.apply(
      { kind: 'add-service', service: { id, scheduler: 'rr', schedulerFlags, onePacket: false } },
      { kind: 'add-destination', id, destination: destination('10.1.0.16:9000') },
    );
    for (const packet of [
      tcp('10.1.0.16:9000', '203.0.113.5:3001', 'A'),
      udp('10.1.0.16:9000', '203.0.113.5:3001'),
    ])
      expect(harness.receive('r0', packet).verdict).toBe('redirect');
  });
});
