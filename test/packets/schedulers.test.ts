import { afterAll, beforeAll, expect, it } from 'vitest';
import { startScheduler } from '../../src/model/schedulers/by-name.ts';
import type { Operation } from '../../src/model/table.ts';
import type { AddressServiceId, Destination } from '../../src/model/virtual-service.ts';
import { requires } from '../requirements.ts';
import { encode, udp } from './frame.ts';
import { type Harness, openHarness } from './harness.ts';
import { amount } from './random.ts';
import { at, destination, serviceId, virtualService } from './services.ts';

/*
 * What choices hang on besides those of test/conformance: the virtual address, the series, room for tables, chance.
 */

requires(
  'root',
  'netns',
  'bpf',
)('schedulers', () => {
  let harness: Harness;
  beforeAll(async () => {
    harness = await openHarness('schedulers', amount({ short: 1 << 16, usual: 1 << 16, long: 1 << 18 }));
    // No connection is to end by itself.
    harness.setLifetimes(3600 * harness.instance.settings.get(0, 'hz'));
  });
  afterAll(() => harness?.close());

  const addAll = (id: AddressServiceId, newestFirst: readonly Destination[]): Operation[] =>
    [...newestFirst].reverse().map((one) => ({ kind: 'add-destination', id, destination: one }));

  it('dh goes by the virtual address', async () => {
    await harness.apply({ kind: 'flush' });
    const list = [11, 12, 13, 14, 15].map((n) => destination(`10.1.0.${n}:53`));
    const views = list.map((one) => ({
      ...one,
      lastWeight: 1,
      active: 0,
      total: 0,
      overloaded: false,
      available: true,
    }));
    const choices = new Set<number | undefined>();
    for (const [n, vip] of ['198.51.100.10', '198.51.100.20'].entries()) {
      const service = virtualService(`udp ${vip}:53`, 'dh');
      const id = service.id as AddressServiceId;
      await harness.apply({ kind: 'add-service', service }, ...addAll(id, list));
      const packet = {
        source: id.address,
        sourcePort: 1,
        destination: id.address,
        destinationPort: 53,
        inverse: false,
      };
      const choice = startScheduler('dh', views, 4).choose(views, {
        packet,
        flags: service.schedulerFlags,
        nowMs: 0,
        random: () => 0,
      });
      choices.add(choice);
      const client = `203.0.113.1:${2000 + n}`;
      const found = harness.receive('c0', udp(client, `${vip}:53`)).bytes.subarray(14);
      const wanted = encode(udp(client, at(list[choice!]!.address, 53), { ttl: 63 }));
      expect(found.toString('hex')).toBe(wanted.toString('hex'));
    }
    expect(choices.size).toBe(2);
  });

  it('wrr starts alike, whether its destinations come one by one or in one series', async () => {
    const [vip, weights] = ['198.51.100.10:7000', [3, 2, 1]];
    const service = virtualService(`udp ${vip}`, 'wrr');
    const id = service.id as AddressServiceId;
    const newestFirst = weights
      .map((weight, n) => destination(`10.1.0.${11 + n}:7000`, 'masquerade', weight))
      .reverse();
    const views = newestFirst.map((one) => ({
      ...one,
      lastWeight: one.weight,
      active: 0,
      total: 0,
      overloaded: false,
      available: true,
    }));
    const reference = startScheduler('wrr', [], 4);
    for (let known = 1; known <= views.length; known++) reference.changed(views.slice(-known));
    await harness.apply({ kind: 'flush' }, { kind: 'add-service', service }, ...addAll(id, newestFirst));
    for (let n = 0; n < 12; n++) {
      const packet = {
        source: id.address,
        sourcePort: 1,
        destination: id.address,
        destinationPort: 7000,
        inverse: false,
      };
      const choice = reference.choose(views, {
        packet,
        flags: service.schedulerFlags,
        nowMs: 0,
        random: () => 0,
      });
      const client = `203.0.113.9:${3000 + n}`;
      const found = harness.receive('c0', udp(client, vip)).bytes.subarray(14);
      const wanted = encode(udp(client, at(newestFirst[choice!]!.address, 7000), { ttl: 63 }));
      expect(found.toString('hex'), `connection ${n}`).toBe(wanted.toString('hex'));
    }
  });

  it('a change to mh that finds no room for its table changes nothing', async () => {
    const service = (port: number, scheduler: 'mh' | 'sh') =>
      virtualService(`udp 198.51.100.10:${port}`, scheduler);
    const last = service(9999, 'sh');
    await harness.apply({ kind: 'flush' }, { kind: 'add-service', service: last });
    // 4,096 tables of 256 buckets, one of them taken by sh: room for 255 tables of 4,093 buckets.
    for (let n = 0; n < 255; n++)
      await harness.apply({ kind: 'add-service', service: service(1000 + n, 'mh') });
    const before = await harness.read();
    const edit: Operation = { kind: 'edit-service', service: { ...last, scheduler: 'mh' } };
    const add: Operation = { kind: 'add-service', service: service(1255, 'mh') };
    // The table it has would be free, but there are no 16 in a row.
    for (const one of [edit, add])
      await expect(harness.apply(one)).rejects.toThrow('there is room for 256 services with mh');
    expect(await harness.read()).toEqual(before);
    await harness.apply({ kind: 'delete-service', id: serviceId('udp 198.51.100.10:1000') }, edit);
    expect((await harness.read()).services.find(({ service }) => service.scheduler === 'sh')).toBeUndefined();
  });

  it('twos, statistically: draws by weight, the lighter of two', async () => {
    const service = virtualService('udp 198.51.100.10:54', 'twos');
    const id = service.id as AddressServiceId;
    // Newest first; the connections they have are put in place before every draw, so that all draws are alike.
    const weights = [1, 2, 5, 0];
    const inactive = [3, 1, 40, 0];
    const list = weights.map((weight, i) => destination(`10.1.0.${11 + i}:54`, 'masquerade', weight));
    await harness.apply({ kind: 'flush' }, { kind: 'add-service', service }, ...addAll(id, list));
    const slots = list.map((one) => slotOf(harness, one));
    const trials = 6000;
    const counts = weights.map(() => 0);
    for (let trial = 0; trial < trials; trial++) {
      for (const [i, slot] of slots.entries()) {
        harness.destinations.set(slot, 'active', 0);
        harness.destinations.set(slot, 'inactive', inactive[i]!);
      }
      const outcome = harness.receive('c0', udp(`203.0.113.1:${4000 + trial}`, '198.51.100.10:54'));
      counts[outcome.bytes[14 + 19]! - 11]!++;
    }
    for (const [i, share] of twosShares(weights, inactive).entries()) {
      const fiveSigma = 5 * Math.sqrt((share * (1 - share)) / trials);
      const label = `destination ${i}: ${counts[i]} of ${trials}, wanted ${share}`;
      expect(Math.abs(counts[i]! / trials - share), label).toBeLessThanOrEqual(fiveSigma);
    }
  });
});

/** ip_vs_twos.c draws from 0 to the sum of weights, inclusive: the first in the list has one chance more. */
function twosShares(weights: readonly number[], loads: readonly number[]): number[] {
  const sum = weights.reduce((a, b) => a + b, 0);
  const draws = weights.map((weight, i) => (weight + (i === 0 ? 1 : 0)) / (sum + 1));
  const shares = weights.map(() => 0);
  for (const [a, first] of draws.entries()) {
    for (const [b, second] of draws.entries()) {
      const dearer = loads[a]! * weights[b]! > loads[b]! * weights[a]!;
      shares[dearer ? b : a]! += first * second;
    }
  }
  return shares;
}

function slotOf({ destinations }: Harness, { address, port }: Destination): number {
  const swapped = ((port & 0xff) << 8) | (port >> 8);
  const last = Number(address.split('.')[3]);
  for (let slot = 1; slot < destinations.count; slot++) {
    const available = destinations.get(slot, 'flags') & 2;
    const samePort = destinations.get(slot, 'port') === swapped;
    if (available && samePort && destinations.address(slot, 'address')[15] === last) return slot;
  }
  throw new Error(`find destination ${address}: there is none`);
}
