import { isDearer, overhead } from './load.ts';
import { isEligible, statelessScheduler } from './scheduler.ts';

/**
 * Power of two choices (ip_vs_twos.c): draw two destinations by weight and take the one with the lower overhead per
 * weight, the first draw if they are equal. Draws are 0..sum inclusive, first the first, so the first eligible
 * destination is drawn a little more often than its weight says.
 */
export const powerOfTwoChoices = statelessScheduler((destinations, { random }) => {
  const eligible = [...destinations.keys()].filter((i) => isEligible(destinations[i]!));
  if (eligible.length === 0) return undefined;
  const sum = eligible.reduce((weights, i) => weights + destinations[i]!.weight, 0);
  const draw = () => {
    let rest = random(sum + 1);
    return eligible.find((i) => {
      rest -= destinations[i]!.weight;
      return rest <= 0;
    })!;
  };
  const first = draw();
  const second = draw();
  const a = destinations[first]!;
  const b = destinations[second]!;
  return isDearer(overhead(a), a.weight, overhead(b), b.weight) ? second : first;
});
