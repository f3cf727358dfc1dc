import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type Address, type Family, parseAddress } from '../address.ts';
import { overloadAfterConnect, overloadAfterEdit } from '../overload.ts';
import { destinationKey } from '../service-id.ts';
import type { SchedulerName } from '../virtual-service.ts';
import { startScheduler } from './by-name.ts';
import { type DestinationView, lastWeightAfter, type SchedulingRequest } from './scheduler.ts';

/**
 * What IPVS of Linux 6.12.117 (Debian) chose: every scenario is a fwmark service whose destinations were added, edited
 * and deleted with ipvsadm between connections from many clients; the choices were read from /proc/net/ip_vs_conn.
 * Destinations are numbers (10.8.0.N or fd08::N, port 80); a choice of 0 is none.
 */
type Step =
  | readonly ['add' | 'edit', destination: number, weight: number, upper: number, lower: number]
  | readonly ['delete', destination: number]
  | readonly ['connect', source: string, sourcePort: number, destination: string, choice: number];
type Scenario = {
  readonly name: string;
  readonly scheduler: SchedulerName;
  readonly flags: string;
  readonly protocol: 'udp' | 'tcp';
  readonly family: Family;
  readonly steps: readonly Step[];
};

const recorded = JSON.parse(
  readFileSync(new URL('./kernel-choices.json', import.meta.url), 'utf8'),
) as readonly Scenario[];

const address = (text: string): Address => parseAddress(text)!;

type Held = DestinationView & { readonly upperThreshold: number; readonly lowerThreshold: number };

/** The choices our scheduler makes in a scenario. */
function replay({ scheduler, flags, protocol, family, steps }: Scenario): number[] {
  const host = (n: number) => ({ address: address(family === 4 ? `10.8.0.${n}` : `fd08::${n}`), port: 80 });
  const deleted = new Map<string, Held>();
  let list: readonly Held[] = [];
  const scheduling = startScheduler(scheduler, list, family);
  const replace = (held: Held) =>
    list.map((other) => (destinationKey(other) === destinationKey(held) ? held : other));

  const configure = ([kind, number, weight, upperThreshold, lowerThreshold]: Step & {
    0: 'add' | 'edit';
  }) => {
    const key = destinationKey(host(number));
    const before = kind === 'edit' ? list.find((held) => destinationKey(held) === key)! : deleted.get(key);
    const total = before?.total ?? 0;
    const thresholds = { upperThreshold, lowerThreshold };
    const held: Held = {
      ...host(number),
      ...thresholds,
      weight,
      lastWeight: lastWeightAfter(kind === 'edit' ? before!.lastWeight : undefined, weight),
      active: before?.active ?? 0,
      total,
      overloaded: overloadAfterEdit(
        before?.overloaded ?? false,
        total,
        before ?? { upperThreshold: 0, lowerThreshold: 0 },
        thresholds,
      ),
      available: true,
    };
    list = kind === 'edit' ? replace(held) : [held, ...list];
  };
  const connect = (source: string, sourcePort: number, destination: string): number => {
    const request: SchedulingRequest = {
      packet: {
        source: address(source),
        sourcePort,
        destination: address(destination),
        destinationPort: 8080,
        inverse: false,
      },
      flags: { flag1: flags.includes('fallback'), flag2: flags.includes('port'), flag3: false },
      nowMs: 0,
      random: () => 0,
    };
    const choice = scheduling.choose(list, request);
    if (choice === undefined) return 0;
    const chosen = list[choice]!;
    const total = chosen.total + 1;
    list = replace({
      ...chosen,
      total,
      active: chosen.active + (protocol === 'tcp' ? 1 : 0),
      overloaded: overloadAfterConnect(chosen.overloaded, total, chosen),
    });
    return Number(chosen.address.split(/[.:]/).at(-1));
  };

  return steps.flatMap((step) => {
    if (step[0] === 'connect') return [connect(step[1], step[2], step[3])];
    if (step[0] === 'delete') {
      const key = destinationKey(host(step[1]));
      deleted.set(key, list.find((held) => destinationKey(held) === key)!);
      list = list.filter((held) => destinationKey(held) !== key);
    } else {
      configure(step as Step & { 0: 'add' | 'edit' });
    }
    scheduling.changed(list);
    return [];
  });
}

describe('schedulers choose what IPVS chose', () => {
  it.each(recorded)('$name', (scenario) => {
    const wanted = scenario.steps.flatMap((step) => (step[0] === 'connect' ? [step[4]] : []));
    expect(wanted.some((choice) => choice !== 0)).toBe(true);
    expect(replay(scenario)).toEqual(wanted);
  });
});
