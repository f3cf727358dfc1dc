import type { Activity, PlaneEvent } from '../../model/activity.ts';
import { splitPerCpu } from '../../sys/bpf/map.ts';
import type { Instance } from './instance.ts';
import { numbers } from './layout.generated.ts';

const eventNames = Object.keys(numbers.event).flatMap((name) =>
  name === 'EVENT_COUNT' ? [] : [name as Exclude<keyof typeof numbers.event, 'EVENT_COUNT'>],
);

/** How often an event was counted since the plane was set up, over all CPUs. */
export function countEvent(instance: Instance, name: keyof typeof numbers.event): bigint {
  const map = instance.map('events');
  const value = map.lookup(numbers.event[name]);
  return value ? splitPerCpu(map, value).reduce((sum, cpu) => sum + cpu.readBigUInt64LE(0), 0n) : 0n;
}

/** Entries of the connection table now, and how often each thing has happened since the instance is there. */
export function readActivity(instance: Instance): Activity {
  return {
    entries: instance.runtime.get(0, 'entries'),
    events: Object.fromEntries(
      eventNames.map((name) => [
        name.replace('EVENT_', '').toLowerCase() as PlaneEvent,
        countEvent(instance, name),
      ]),
    ),
  };
}
