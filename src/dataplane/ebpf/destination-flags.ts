import { overloadAfterEdit, type Thresholds } from '../../model/overload.ts';
import type { Destination } from '../../model/virtual-service.ts';
import { numbers } from './layout.generated.ts';
import type { Records } from './records.ts';

const { DESTINATION_USED, DESTINATION_AVAILABLE, DESTINATION_OVERLOAD, DESTINATION_EXPIRES_TEMPLATES } =
  numbers.destination_flag;

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

/** Whether connections or templates name a destination. */
export function isBusy(destinations: Records<'destination'>, slot: number): boolean {
  return (
    destinations.get(slot, 'active') +
      destinations.get(slot, 'inactive') +
      destinations.get(slot, 'persistent') >
    0
  );
}

/** Puts a destination on its list; one that comes back is as overloaded as it was. */
export function makeAvailable(
  destinations: Records<'destination'>,
  slot: number,
  destination: Destination,
  revived: boolean,
): void {
  const templates = templateFlag(destination);
  changeFlags(destinations, slot, {
    set: DESTINATION_USED | DESTINATION_AVAILABLE | templates.set,
    clear: (revived ? 0 : DESTINATION_OVERLOAD) | templates.clear,
  });
}

/** Whether persistence brings clients to a destination without weight. */
export function noteTemplates(
  destinations: Records<'destination'>,
  slot: number,
  destination: Destination,
): void {
  changeFlags(destinations, slot, templateFlag(destination));
}

function templateFlag({ expiresTemplates }: Destination): { readonly set: number; readonly clear: number } {
  return expiresTemplates
    ? { set: DESTINATION_EXPIRES_TEMPLATES, clear: 0 }
    : { set: 0, clear: DESTINATION_EXPIRES_TEMPLATES };
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
