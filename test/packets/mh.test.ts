import { expect, it } from 'vitest';
import { startScheduler } from '../../src/model/schedulers/by-name.ts';
import { mhTableSize } from '../../src/model/schedulers/mh.ts';
import type { DestinationView } from '../../src/model/schedulers/scheduler.ts';
import type { Operation } from '../../src/model/table.ts';
import { requires } from '../requirements.ts';
import { encode, udp } from './frame.ts';
import { openHarness } from './harness.ts';
import { at, destination, virtualService } from './services.ts';

/*
 * Tables of mh of every size the kernel can be built with (ip_vs_mh.c): each choice of the program is the reference
 * algorithm's, also where a fallback looks further, and the map has room for the services that are promised.
 */

requires(
  'root',
  'netns',
  'bpf',
)('tables of mh', () => {
  const weights = [1, 5, 0, 30, 2];
  const list = weights.map((weight, i) => destination(`10.1.0.${11 + i}:53`, 'masquerade', weight));
  /** One was drained: it keeps its places, and a fallback finds others. */
  const views: DestinationView[] = list.map((one, i) => ({
    ...one,
    lastWeight: i === 2 ? 20 : one.weight,
    ...{ active: 0, total: 0, overloaded: false, available: true },
  }));
  const services = [
    virtualService('udp 198.51.100.10:53', 'mh'),
    virtualService('udp 198.51.100.10:54', 'mh', { flag1: true, flag2: true }),
  ];

  const sizes: readonly (readonly [index: number, room: number])[] = [
    [10, 1024],
    [13, 128],
    [17, 64],
  ];
  // Each is a load of its own, which takes half a minute where the processor is emulated.
  const tried = process.env.SHORT ? sizes.slice(-1) : sizes;
  it.each(tried)('with index %i: the reference’s choices, and room for %i services', async (index, room) => {
    const harness = await openHarness(`mh${index}`, 1 << 14, { mh_tab_index: index });
    try {
      expect((await harness.read()).sysctls?.mh_tab_index).toBe(index);
      for (const service of services) {
        await harness.apply(
          { kind: 'add-service', service },
          ...[...list].reverse().map(
            (one, i): Operation => ({
              kind: 'add-destination',
              id: service.id,
              destination: i === 2 ? { ...one, weight: 20 } : one,
            }),
          ),
          { kind: 'edit-destination', id: service.id, destination: list[2]! },
        );
        const { id } = service;
        if (id.kind !== 'address') throw new Error('read a service: wanted an address');
        const reference = startScheduler('mh', views, 4, index);
        const chosen = new Set<number | undefined>();
        for (let n = 0; n < 300; n++) {
          const [source, sourcePort] = [`203.0.${n & 7}.${n >> 3}` as const, 2000 + n];
          const choice = reference.choose(views, {
            packet: {
              ...{ source: source as typeof id.address, sourcePort },
              ...{ destination: id.address, destinationPort: id.port, inverse: false },
            },
            flags: service.schedulerFlags,
            nowMs: 0,
            random: () => 0,
          });
          chosen.add(choice);
          const outcome = harness.receive('c0', udp(at(source, sourcePort), at(id.address, id.port)));
          // Where nobody serves, the packet is unchanged: the client is to hear so.
          const wanted =
            choice === undefined
              ? udp(at(source, sourcePort), at(id.address, id.port))
              : udp(at(source, sourcePort), at(list[choice]!.address, 53), { ttl: 63 });
          const found = outcome.bytes.subarray(14).toString('hex');
          expect(found, `client ${n} of ${id.port}`).toBe(encode(wanted).toString('hex'));
        }
        expect(chosen).toEqual(
          new Set(service.schedulerFlags.flag1 ? [0, 1, 3, 4] : [undefined, 0, 1, 3, 4]),
        );
      }
      const more = (n: number): Operation => ({
        kind: 'add-service',
        service: virtualService(`tcp 198.51.100.10:${1000 + n}`, 'mh'),
      });
      await harness.apply(...Array.from({ length: room - services.length }, (_, n) => more(n)));
      await expect(harness.apply(more(room))).rejects.toThrow(`there is room for ${room} services with mh`);
      expect(harness.instance.map('hash_tables').maxEntries).toBe(
        Math.max(4096, Math.ceil(mhTableSize(index) / 256) * 64),
      );
    } finally {
      await harness.close();
    }
  });
});
