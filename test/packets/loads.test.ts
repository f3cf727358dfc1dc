import { expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { tcp, udp } from './frame.ts';
import { type Harness, openHarness } from './harness.ts';
import { additions, destination, servicePlan } from './services.ts';

/* Harnesses that follow each other share the programs that the verifier has passed, and nothing else. */

const vip = '198.51.100.10';
const plans = [
  servicePlan(`tcp ${vip}:21`, 'lblc', destination('10.1.0.11:21')),
  servicePlan(`udp ${vip}:53`, 'mh', destination('10.1.0.12:53'), destination('10.2.0.13:53')),
];

/** All that can be told of a plane that is in use. */
async function look({ plane, instance, read, connections }: Harness) {
  const { services, ...rest } = await read();
  const { counters, perCpu } = (await plane.totals!())!;
  const entries = [instance.map('destination_counters'), instance.map('events')].map(
    (map) => [...map.entries()].filter(([, value]) => value.some((byte) => byte !== 0)).length,
  );
  const keys = (['service_index', 'localities', 'expectations', 'icmp_peers', 'fragments'] as const).map(
    (name) => [...instance.map(name).keys()].length,
  );
  return {
    services: services.length,
    rest,
    connections: await connections(),
    counters,
    perCpu,
    entries,
    keys,
  };
}

requires(
  'root',
  'netns',
  'bpf',
)('a harness after another', () => {
  it('has its programs, and maps as if there had been none', async () => {
    const found: Awaited<ReturnType<typeof look>>[] = [];
    const programs: number[] = [];
    for (let turn = 0; turn < 2; turn++) {
      const harness = await openHarness('after', 500);
      try {
        programs.push(harness.instance.program('headgate_ethernet')!.info().id);
        found.push(await look(harness));
        await harness.apply(...additions(plans), { kind: 'set-sysctls', sysctls: { ftp_ports: [] } });
        for (let n = 0; n < 20; n++) {
          const verdicts = [
            harness.receive('c0', tcp(`203.0.113.5:${2000 + n}`, `${vip}:21`, 'S')),
            harness.receive('c0', udp(`203.0.113.5:${2000 + n}`, `${vip}:53`)),
          ].map(({ verdict }) => verdict);
          expect(verdicts).toEqual(['redirect', 'redirect']);
        }
        expect(await look(harness)).not.toEqual(found[turn]);
        const { runtime } = harness.instance;
        expect(runtime.get(0, 'entries')).toBe(40);
        // The sweeper is at work again.
        const tick = runtime.get(0, 'tick_jiffies');
        while (runtime.get(0, 'tick_jiffies') === tick) await new Promise((done) => setTimeout(done, 20));
      } finally {
        await harness.close();
      }
    }
    expect(programs[1]).toBe(programs[0]);
    expect(found[1]).toEqual(found[0]);
    expect(found[0]!.keys).toEqual([0, 0, 0, 0, 0]);
  });
});
