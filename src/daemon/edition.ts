import { namesTag } from '../api/etag.ts';
import { type OwnController, over } from '../control/controller.ts';
import { HeadgateError } from '../model/errors.ts';

/** Which rules are in force: a name that changes with every change of them. */
export type Edition = {
  /** Of the rules as they are now. */
  tag(): string;
  /** Throws HG_CHANGED unless `expected`, the tags of an If-Match header, has that of the rules in force. */
  require(expected: string | undefined): void;
};

/** Counts what is done to the rules through a controller. `start` tells this daemon's editions from another's. */
export function countEditions(
  controller: OwnController,
  start: string,
): { readonly controller: OwnController; readonly edition: Edition; readonly changed: () => void } {
  let count = 0;
  const tag = () => `${start}-${count}`;
  return {
    controller: over(controller, {
      async apply(operations) {
        const refusals = await controller.apply(operations);
        // Counters that start over change no rule.
        if (operations.some(({ kind }, i) => refusals[i] === undefined && kind !== 'zero')) count++;
        return refusals;
      },
    }),
    // Others changed the rules, past the controller.
    changed() {
      count++;
    },
    edition: {
      tag,
      require(expected) {
        if (expected === undefined || namesTag(expected, tag())) return;
        throw new HeadgateError(
          'HG_CHANGED',
          `Cannot change the rules: wanted those of ${expected}, found those of "${tag()}"`,
        );
      },
    },
  };
}
