import { overloadAfterEdit, type Thresholds } from '../../model/overload.ts';
import { numbers } from './layout.generated.ts';
import type { Records } from './records.ts';

const { DESTINATION_OVERLOAD } = numbers.destination_flag;

/** Sets and clears flags of a destination in one step: the program does the same at the same time. */
export function changeFlags(
  destinations: Records<'destination'>,
  slot: number,
  { set = 0, clear = 0 }: { readonly set?: number; readonly clear?: number },
): void {
  for (;;) {
    const flags = destinations.get(slot, 'flags');
    if (destinations.swap(slot, 'flags', flags, (flags & ~clear) | set)) return;
  }
}

/** Whether a destination is overloaded once its thresholds are others. */
export function judgeOverload(
  destinations: Records<'destination'>,
  slot: number,
  before: Thresholds,
  after: Thresholds,
): void {
  const overloaded = (destinations.get(slot, 'flags') & DESTINATION_OVERLOAD) !== 0;
  const total = destinations.get(slot, 'active') + destinations.get(slot, 'inactive');
  const flag = overloadAfterEdit(overloaded, total, before, after) ? 'set' : 'clear';
  changeFlags(destinations, slot, { [flag]: DESTINATION_OVERLOAD });
}
