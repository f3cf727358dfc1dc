import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { udp } from './frame.ts';
import { type Harness, openHarness } from './harness.ts';
import { additions, destination, servicePlan } from './services.ts';

/*
 * Rates as net/netfilter/ipvs/ip_vs_est.c has them: every two seconds `rate += (counted - rate) >> 2`, with connections and
 * packets in 1/1024 a second (counted << 9) and bytes in 1/32 (counted << 4), shown rounded up.
 */

const vip = '198.51.100.10:53';
const payload = 72;
/** An IPv4 and a UDP header around it. */
const length = 20 + 8 + payload;

/** What is shown after `counted` came in one period and nothing in `periods` after it. */
function shown(counted: number, periods: number, unit: 'packets' | 'bytes'): bigint {
  let rate = 0n;
  for (let i = 0; i <= periods; i++) {
    const sample = i === 0 ? BigInt(counted) << (unit === 'packets' ? 9n : 4n) : 0n;
    rate += (sample - rate) >> 2n;
  }
  return unit === 'packets' ? (rate + 0x1ffn) >> 10n : (rate + 0xfn) >> 5n;
}

requires(
  'root',
  'netns',
  'bpf',
)('rates', () => {
  let harness: Harness;
  beforeAll(async () => {
    harness = await openHarness('rates', 1 << 12);
  });
  afterAll(() => harness?.close());
  beforeEach(async () => {
    await harness.apply(
      { kind: 'flush' },
      ...additions([
        servicePlan(`udp ${vip}`, 'rr', destination('10.1.0.11:53'), destination('10.1.0.12:53')),
      ]),
    );
    // The first round after a destination came in has nothing to compare with.
    await nextRound();
  });

  async function nextRound(): Promise<void> {
    const { runtime } = harness.instance;
    const before = runtime.get(0, 'estimate_round');
    const deadline = Date.now() + 5000;
    while (runtime.get(0, 'estimate_round') === before || runtime.get(0, 'estimate_cursor') !== 0) {
      if (Date.now() > deadline) throw new Error('no estimate was made for 5 s');
      await sleep(10);
    }
  }

  function send(clients: number, packetsEach: number): void {
    for (let client = 0; client < clients; client++)
      for (let n = 0; n < packetsEach; n++)
        harness.receive('c0', udp(`203.0.113.1:${2000 + client}`, vip, { payload: Buffer.alloc(payload) }));
  }

  it('rise and fall by a quarter every two seconds', async () => {
    send(16, 20);
    for (const periods of [0, 1, 2]) {
      await nextRound();
      const [service] = (await harness.read()).services;
      const rates = (connections: number, packets: number) => ({
        connections: shown(connections, periods, 'packets'),
        packetsIn: shown(packets, periods, 'packets'),
        packetsOut: 0n,
        bytesIn: shown(packets * length, periods, 'bytes'),
        bytesOut: 0n,
      });
      for (const one of service!.destinations) expect(one.rates, `after ${periods}`).toEqual(rates(8, 160));
      expect(service!.rates.packetsIn, `after ${periods}`).toBe(shown(320, periods, 'packets'));
      expect(service!.rates.bytesIn, `after ${periods}`).toBe(shown(320 * length, periods, 'bytes'));
    }
  });

  it('are zero again after zeroing, and for a destination that is new', async () => {
    send(16, 20);
    await nextRound();
    const rates = async () =>
      (await harness.read()).services[0]!.destinations.map((one) => one.rates.packetsIn);
    expect(await rates()).toEqual([shown(160, 0, 'packets'), shown(160, 0, 'packets')]);
    await harness.apply({ kind: 'zero' });
    expect(await rates()).toEqual([0n, 0n]);
  });
});
