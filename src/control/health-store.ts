import type { Health } from '../model/health.ts';
import type { Controller } from './controller.ts';
import { openDocument } from './kept-document.ts';

/*
 * What checks have found, beside the plane: it ends with the table that it has shaped. After the machine has started, what
 * was found before it stopped counts for nothing.
 */

type Kept = Pick<Health, 'members' | 'lost' | 'agents'>;
type Place = Pick<Controller, 'directory'>;

const document = openDocument<Kept>('health.json', { lost: [], members: [] });

/** What was found last. */
export const readHealth = (place: Place): Kept => document.read(place);

/** Whole or not at all; nothing where nothing changes. Throws HG_STATE. */
export const writeHealth = (place: Place, kept: Kept): void => document.write(place, kept);

/** How everybody who is checked stands, wherever that is known; those of these services, where they are named. */
export async function healthOf(controller: Controller, services?: ReadonlySet<string>): Promise<Health> {
  return controller.health ? controller.health(services) : { ...readHealth(controller), isChecking: false };
}
