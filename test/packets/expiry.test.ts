import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { mapRecords } from '../../src/dataplane/ebpf/records.ts';
import { destinationKey } from '../../src/model/service-id.ts';
import { requires } from '../requirements.ts';
import { tcp, udp } from './frame.ts';
import { type Harness, openHarness } from './harness.ts';
import { amount, randomNumbers, startOf } from './random.ts';
import { additions, destination, servicePlan } from './services.ts';

const vip = '198.51.100.10';
const vip6 = '[2001:db8:100::10]';
const plans = [
  servicePlan(`udp ${vip}:53`, 'rr', destination('10.1.0.11:53'), destination('10.1.0.12:53')),
  servicePlan(`tcp ${vip}:80`, 'rr', destination('10.1.0.11:80'), destination('10.1.0.12:80')),
  servicePlan(`udp ${vip6}:53`, 'rr', destination('[fd10::11]:53')),
];

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

requires(
  'root',
  'netns',
  'bpf',
)('expiry, by the sweeper alone', () => {
  const size = 600;
  let harness: Harness;
  beforeEach(async () => {
    harness = await openHarness('expiry', size);
    await harness.apply(...additions(plans));
  });
  afterEach(() => harness?.close());

  const jiffies = (ms: number) =>
    Math.max(1, Math.round((ms * harness.instance.settings.get(0, 'hz')) / 1000));
  const entries = () => harness.instance.runtime.get(0, 'entries');
  const counted = () => {
    const { destinations } = harness;
    let sum = 0;
    for (let slot = 1; slot <= harness.instance.settings.get(0, 'destination_slots'); slot++) {
      sum += destinations.get(slot, 'active') + destinations.get(slot, 'inactive');
    }
    return sum;
  };
  const client = (n: number) => `203.0.${113 + (n >> 14)}.7:${1024 + (n & 0x3fff)}`;
  const client6 = (n: number) => `[2001:db8:c::7]:${1024 + n}`;
  const open = (n: number) => harness.receive('c0', udp(client(n), `${vip}:53`)).verdict;
  /** Where a client's packet goes: last byte of the real server's address. */
  const servedBy = (n: number) => harness.receive('c0', udp(client(n), `${vip}:53`)).bytes[14 + 19]!;

  /** Milliseconds until the count is what is wanted. */
  async function until(count: () => number, wanted: number): Promise<number> {
    const started = performance.now();
    while (count() !== wanted) {
      const waited = performance.now() - started;
      expect(waited, `${count()} of ${wanted}`).toBeLessThan(20_000);
      await sleep(2);
    }
    return performance.now() - started;
  }

  it('an expired entry is not found at once, swept or not', () => {
    harness.setLifetimes(jiffies(60_000));
    expect(open(1)).toBe('redirect');
    expect(harness.receive('r0', udp('10.1.0.12:53', client(1))).verdict).toBe('redirect');
    // The sweeper holds still, as it does during a layout conversion, so that only lookups can tell.
    harness.instance.settings.set(0, 'hold', 1);
    const connections = mapRecords(harness.instance.map('connections'), 'connection');
    for (let slot = 1; slot <= size; slot++) connections.add(slot, 'seen', -jiffies(61_000));
    connections.close();
    expect(entries()).toBe(1);
    expect(harness.receive('r0', udp('10.1.0.12:53', client(1))).verdict).toBe('pass');
    const held = harness.event('EVENT_HELD');
    expect(open(1)).toBe('drop');
    expect(harness.event('EVENT_HELD')).toBe(held + 1);
    harness.instance.settings.set(0, 'hold', 0);
    const before = servedBy(1);
    expect([11, 12]).toContain(before);
  });

  it('packets in either direction keep an entry alive', async () => {
    const lifetimeMs = 1500;
    harness.setLifetimes(jiffies(lifetimeMs));
    const first = servedBy(1);
    const real = `10.1.0.${first}:53`;
    const started = performance.now();
    while (performance.now() - started < 2 * lifetimeMs) {
      await sleep(40);
      expect(harness.receive('r0', udp(real, client(1))).verdict).toBe('redirect');
    }
    expect(servedBy(1)).toBe(first);
    expect(entries()).toBe(1);
    expect(await until(entries, 0)).toBeGreaterThan(lifetimeMs / 3);
  });

  it('counts follow within 250 ms, and slots come back', async () => {
    const lifetimeMs = 300;
    const delays: number[] = [];
    for (let round = 0; round < 5; round++) {
      harness.setLifetimes(jiffies(lifetimeMs));
      for (let n = 0; n < 500; n++) expect(open(round * 500 + n)).toBe('redirect');
      for (let n = 0; n < 100; n++) {
        const packet = udp(client6(round * 100 + n), `${vip6}:53`);
        expect(harness.receive('c0', packet).verdict).toBe('redirect');
      }
      const last = performance.now();
      await until(counted, 0);
      delays.push(performance.now() - last - lifetimeMs);
      expect(entries()).toBe(0);
      expect(await harness.connections()).toEqual([]);
      // A grace passes before slots are used again; 600 at once need all of them.
      await sleep(400);
    }
    // What a busy machine adds to a measurement is not the sweeper's.
    expect(Math.min(...delays), `delays ${delays.map(Math.round).join(', ')} ms`).toBeLessThanOrEqual(250);
    expect(harness.event('EVENT_TABLE_FULL')).toBe(0);
  });

  it('a full table refuses, counts, lists all, and evicts nobody', async () => {
    await harness.close();
    // More than one batch of a listing.
    const size = 4500;
    harness = await openHarness('expiry', size);
    await harness.apply(...additions(plans));
    harness.setLifetimes(jiffies(60_000));
    for (let n = 0; n < size; n++) expect(open(n), `connection ${n}`).toBe('redirect');
    expect(entries()).toBe(size);
    for (let n = size; n < size + 50; n++) expect(open(n)).toBe('drop');
    expect(harness.event('EVENT_TABLE_FULL')).toBe(50);
    expect(counted()).toBe(size);
    // Those that were there first are served on.
    for (let n = 0; n < size; n++) expect(open(n), `connection ${n}`).toBe('redirect');
    const listed = (await harness.connections()).map(({ client }) => destinationKey(client));
    expect(listed.toSorted()).toEqual(Array.from({ length: size }, (_, n) => client(n)).toSorted());
    // Their time runs out: new ones get in again.
    harness.setLifetimes(jiffies(100));
    for (let n = 0; n < size; n++) open(n);
    await until(entries, 0);
    await sleep(400);
    for (let n = 0; n < size; n++) expect(open(5000 + n), `connection ${n} after`).toBe('redirect');
    // Who is in the middle of the list when the plane is closed does not take the beginning for all of it.
    const listing = harness.plane.connections()[Symbol.asyncIterator]();
    expect((await listing.next()).done).toBe(false);
    await harness.plane.close();
    await expect(listing.next()).rejects.toMatchObject({ code: 'HG_CHANGED' });
  });

  it('a SYN that reuses ports of an ended connection costs one slot at a time', async () => {
    harness.setLifetimes(jiffies(60_000));
    const at = client(1);
    for (let round = 0; round < 800; round++) {
      expect(harness.receive('c0', tcp(at, `${vip}:80`, 'S')).verdict, `round ${round}`).toBe('redirect');
      expect(harness.receive('c0', tcp(at, `${vip}:80`, 'A')).verdict).toBe('redirect');
      expect(harness.receive('c0', tcp(at, `${vip}:80`, 'R')).verdict).toBe('redirect');
      expect(entries()).toBe(1);
      // The table has room for 600: dead slots must come back.
      if (round % 100 === 99) await sleep(350);
    }
    expect(counted()).toBe(1);
    expect(harness.event('EVENT_TABLE_FULL')).toBe(0);
  });

  it('a storm of opening, closing and expiring: counts are entries', { timeout: 60_000 }, async () => {
    const start = startOf('STORM_START');
    console.log(`STORM_START=${start}`);
    const random = randomNumbers(start);
    const rounds = amount({ short: 3, usual: 12, long: 60 });
    for (let round = 0; round < rounds; round++) {
      harness.setLifetimes(jiffies(random.pick([8, 40, 150, 400])));
      for (let i = 0; i < 1500; i++) {
        const at = client(random.below(900));
        const flags = random.pick(['S', 'S', 'A', 'FA', 'R']);
        const packets = [
          tcp(at, `${vip}:80`, flags),
          tcp(at, `${vip}:80`, flags),
          udp(at, `${vip}:53`),
          udp(client6(random.below(300)), `${vip6}:53`),
        ];
        harness.receive('c0', random.pick(packets));
        if (random.below(3) === 0) harness.receive('r0', tcp(`10.1.0.${11 + random.below(2)}:80`, at, flags));
      }
      // The sweeper may be at work between the two reads.
      let agreed = false;
      for (let look = 0; look < 50 && !agreed; look++) agreed = entries() === counted();
      expect(agreed, `STORM_START=${start}, round ${round}: ${entries()} entries, ${counted()} counted`).toBe(
        true,
      );
      await sleep(random.below(200));
    }
    await until(entries, 0);
    expect(counted()).toBe(0);
    await sleep(500);
    // Every slot has come back.
    harness.setLifetimes(jiffies(60_000));
    for (let n = 0; n < size; n++) expect(open(10_000 + n), `connection ${n}`).toBe('redirect');
  });

  it('a storm on all CPUs at once: counts are entries', { timeout: 60_000 }, async () => {
    const start = startOf('STORM_START');
    console.log(`STORM_START=${start}`);
    const lastsMs = amount({ short: 3000, usual: 3000, long: 20_000 });
    // 16 ms to live, four jiffies: entries expire under the hands of those who use them.
    harness.setLifetimes(jiffies(16));
    const { index } = harness.world;
    const storm = Array.from({ length: Math.max(2, availableParallelism()) }, (_, n) =>
      finished(
        spawn(
          process.execPath,
          ['--import', 'tsx', path.join(import.meta.dirname, 'storm-process.ts')].concat(
            [harness.instance.directory, index.c0, index.r0, start + n, lastsMs].map(String),
          ),
          { stdio: ['ignore', 'pipe', 'inherit'] },
        ),
      ),
    );
    const sent = (await Promise.all(storm)).map(Number);
    for (const packets of sent) expect(packets, `sent ${sent}`).toBeGreaterThan(1000);
    await until(entries, 0);
    expect(counted()).toBe(0);
    expect(await harness.connections()).toEqual([]);
    await sleep(500);
    // While it lasted, slots in their grace may have filled the table.
    const full = harness.event('EVENT_TABLE_FULL');
    harness.setLifetimes(jiffies(60_000));
    for (let n = 0; n < size; n++) expect(open(10_000 + n), `connection ${n}`).toBe('redirect');
    expect(harness.event('EVENT_TABLE_FULL')).toBe(full);
  });
});

/** What a process printed; rejects when it failed. */
async function finished(child: ChildProcessByStdio<null, Readable, null>): Promise<string> {
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`storm process ended with ${code}`);
  return output;
}
