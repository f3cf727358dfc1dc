import { releaseLevel } from '../model/overload.ts';
import { decisionText, type Override } from '../model/override.ts';
import { expectedDelay, overhead } from '../model/schedulers/load.ts';
import type { DestinationView } from '../model/schedulers/scheduler.ts';
import type { DestinationState } from '../model/table.ts';
import type { Destination, SchedulerName } from '../model/virtual-service.ts';

/** One destination as the scheduler sees it. */
export type Candidate = {
  /** What the configuration calls it. */
  readonly name: string;
  readonly destination: Destination;
  readonly active: number;
  readonly inactive: number;
  /** The number it is chosen by, written out; absent where the scheduler counts nothing. */
  readonly figure?: string;
  /** Why it gets no new connection; absent when it may. */
  readonly excluded?: string;
};

/** A destination with the numbers that a scheduler looks at. */
export function viewOf(
  { destination, activeConnections: active, inactiveConnections, overloaded }: DestinationState,
  lastWeight = destination.weight,
): DestinationView {
  const { address, port, weight } = destination;
  const total = active + inactiveConnections;
  return {
    address,
    port,
    weight,
    lastWeight,
    active,
    total,
    overloaded: overloaded ?? false,
    available: true,
  };
}

/** A destination for a person, with the number it is chosen by, or why it gets nothing. */
export function candidateOf(
  name: string,
  one: DestinationState,
  scheduler: SchedulerName | 'none',
  why: {
    readonly decision: Override | undefined;
    readonly down: string | undefined;
    readonly isAbsent: boolean;
  },
): Candidate {
  const { destination, activeConnections, inactiveConnections } = one;
  const figure = figureOf(viewOf(one), scheduler);
  return {
    ...{ name, destination },
    active: activeConnections,
    inactive: inactiveConnections,
    ...(figure === undefined ? {} : { figure }),
    ...excludedBy(one, why),
  };
}

function excludedBy(
  one: DestinationState,
  { decision, down, isAbsent }: Parameters<typeof candidateOf>[3],
): { readonly excluded?: string } {
  const { destination, overloaded } = one;
  if (destination.weight === 0 || isAbsent) {
    const decided = decision && decisionText(decision);
    const found = decision?.state === 'maintenance' ? decided : (down ?? decided);
    return { excluded: found ?? 'weight 0: it keeps what it has and gets no more' };
  }
  return overloaded
    ? { excluded: `overloaded: no more before it has fewer than ${releaseLevel(destination)}` }
    : {};
}

function figureOf(view: DestinationView, scheduler: SchedulerName | 'none'): string | undefined {
  const per = (cost: number, what: string) =>
    view.weight > 0 ? `${what} ${cost} / weight ${view.weight} = ${rounded(cost / view.weight)}` : undefined;
  switch (scheduler) {
    case 'lc':
      return `load ${overhead(view)}`;
    case 'wlc':
    case 'lblc':
    case 'lblcr':
    case 'twos':
      return per(overhead(view), 'load');
    case 'sed':
    case 'nq':
      return per(expectedDelay(view), 'delay');
    case 'ovf':
      return `${view.active} of ${view.weight} active`;
    case 'fo':
    case 'wrr':
      return `weight ${view.weight}`;
    default:
      return undefined;
  }
}

const rounded = (value: number): string => String(Math.round(value * 100) / 100);
