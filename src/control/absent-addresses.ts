import { type Address, familyOf } from '../model/address.ts';
import type { Step } from './change.ts';
import type { Controller } from './controller.ts';

/** A virtual address that no interface of this host has, and the command that gives it one. */
export type AbsentAddress = { readonly address: Address; readonly fix: string };

/**
 * The virtual addresses of services that come with a change and that this host does not have: nothing new is taken for
 * them, which is right on a standby director only. None where the plane does not say.
 */
export async function absentAddresses(
  controller: Pick<Controller, 'outlook'>,
  steps: readonly Pick<Step, 'operation'>[],
): Promise<AbsentAddress[]> {
  const coming = new Set(steps.flatMap(({ operation }) => addressOf(operation)));
  if (coming.size === 0 || !controller.outlook) return [];
  const { paths } = await controller.outlook(undefined, [...coming]);
  return [...coming].flatMap((address) => {
    const path = paths.get(address);
    if (!path || path.kind === 'local') return [];
    const [length, more] = familyOf(address) === 6 ? [128, ' nodad'] : [32, ''];
    const device = path.kind === 'neighbour' ? path.device : 'lo';
    return [{ address, fix: `ip address add ${address}/${length} dev ${device}${more}` }];
  });
}

function addressOf(operation: Step['operation']): Address[] {
  if (operation.kind !== 'add-service' || operation.service.id.kind !== 'address') return [];
  return [operation.service.id.address];
}
