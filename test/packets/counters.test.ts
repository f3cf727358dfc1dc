import { expect, it } from 'vitest';
import { type CounterMaps, openCounters } from '../../src/dataplane/ebpf/counters.ts';
import { records } from '../../src/dataplane/ebpf/layout.generated.ts';
import { possibleCpus } from '../../src/sys/bpf/cpus.ts';
import { createMap, joinPerCpu } from '../../src/sys/bpf/map.ts';
import { mapType } from '../../src/sys/bpf/uapi.ts';
import { requires } from '../requirements.ts';

requires('root', 'bpf')('counters of many destinations', () => {
  it('are the sums over all processors, read together or one by one', () => {
    const { size, fields } = records.counters;
    const map = createMap({
      ...{ name: 'hgcount', type: mapType.PERCPU_ARRAY, keySize: 4, valueSize: size, maxEntries: 3000 },
    });
    try {
      const slots = [
        1,
        2,
        3,
        900,
        1023,
        1024,
        1025,
        2047,
        2048,
        2998,
        ...Array.from({ length: 20 }, (_, i) => 40 + i),
      ];
      const value = (slot: number, cpu: number, place: number) =>
        BigInt(slot) * 0x1_0000_0001n + BigInt(cpu * 1000 + place);
      const names = ['connections', 'packets_in', 'packets_out', 'bytes_in', 'bytes_out'] as const;
      for (const slot of slots) {
        const perCpu = Array.from({ length: possibleCpus() }, (_, cpu) => {
          const bytes = Buffer.alloc(size);
          for (const [place, name] of names.entries())
            bytes.writeBigUInt64LE(value(slot, cpu, place), fields[name].offset);
          return bytes;
        });
        map.update(slot, joinPerCpu(map, perCpu));
      }
      const none = { getBig: () => 0n };
      const maps = { destinationCounters: map, destinationBaselines: none, serviceBaselines: none };
      const sum = (slot: number, place: number) =>
        Array.from({ length: possibleCpus() }, (_, cpu) => value(slot, cpu, place)).reduce(
          (a, b) => a + b,
          0n,
        );
      const expected = slots.map((slot) => ({
        connections: sum(slot, 0),
        packetsIn: sum(slot, 1),
        packetsOut: sum(slot, 2),
        bytesIn: sum(slot, 3),
        bytesOut: sum(slot, 4),
      }));
      const read = (known: readonly number[]) =>
        openCounters(maps as unknown as CounterMaps, known)(7, slots);
      expect(read(slots).destinations).toEqual(expected);
      expect(read([]).destinations).toEqual(expected);
      expect(read(slots).service.bytesOut).toBe(
        expected.reduce((total, { bytesOut }) => total + bytesOut, 0n),
      );
    } finally {
      map.close();
    }
  });
});
