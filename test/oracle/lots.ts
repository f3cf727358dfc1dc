import { destinationKey } from '../../src/model/service-id.ts';
import type { Operation } from '../../src/model/table.ts';
import type { Destination } from '../../src/model/virtual-service.ts';
import { tcp } from '../packets/frame.ts';
import { destination, virtualService } from '../packets/services.ts';
import { virtualAddresses } from '../packets/world.ts';
import type { Director } from './director.ts';

/** Where so many new connections went, by destination, in the order of `weights`; and how many were refused. */
export type Spread = { readonly taken: readonly number[]; readonly refused: number };

/**
 * Opens connections to a service with destinations of these weights, and takes the service away again. Each call for a director
 * needs a port of its own: entries outlive their service.
 */
export async function spread(
  director: Director,
  port: number,
  scheduler: 'rr' | 'twos',
  weights: readonly number[],
  connections: number,
): Promise<Spread> {
  const virtual = `${virtualAddresses.ipv4}:${port}`;
  const service = virtualService(`tcp ${virtual}`, scheduler);
  const members = weights.map(
    (weight, n): Destination => destination(`10.1.0.${11 + n}:80`, 'masquerade', weight),
  );
  await director.apply([
    { kind: 'add-service', service },
    ...members.map((one): Operation => ({ kind: 'add-destination', id: service.id, destination: one })),
  ]);
  for (let n = 0; n < connections; n++)
    director.send('c0', tcp(`203.0.${113 + (n >> 7)}.${1 + (n & 127)}:4000`, virtual, 'S'));
  // What entries there are, and not which packets were seen to leave: on a busy machine those may come late.
  const made = (await director.connections()).filter((one) => destinationKey(one.virtual) === virtual);
  const taken = members.map(
    (member) => made.filter((one) => destinationKey(one.destination) === destinationKey(member)).length,
  );
  await director.apply([{ kind: 'delete-service', id: service.id }]);
  return { taken, refused: connections - made.length };
}

/** Chi-square of two samples of the same size: by which they differ more than chance (Numerical Recipes, 14.3). */
export function distance(one: readonly number[], other: readonly number[]): number {
  return one.reduce((sum, count, n) => {
    const both = count + other[n]!;
    return both === 0 ? sum : sum + (count - other[n]!) ** 2 / both;
  }, 0);
}
