import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { HeadgateError } from '../../model/errors.ts';
import { destinationKey, serviceKey } from '../../model/service-id.ts';
import type { Operation, ServiceState } from '../../model/table.ts';
import type { Destination, VirtualService, WhenGone } from '../../model/virtual-service.ts';
import { withWhenGone } from '../../model/when-gone.ts';
import { ipvsFile } from '../instance-folder.ts';

/*
 * What was said of services and IPVS has no place for, and which services were made here: in a file beside the plane. It
 * is there from the first change on, which is how a later command knows that this plane is in use.
 */

type BesideService = {
  readonly whenGone?: WhenGone;
  /** Destinations, by destinationKey, to which persistence is to bring nobody back. */
  readonly expiresTemplates?: readonly string[];
};

/** Services made here, by serviceKey. */
export type Beside = Readonly<Record<string, BesideService>>;

const version = 1;

/** Whether something was changed by this plane since the folder was made. */
export const isInUse = (directory: string | undefined): boolean =>
  directory === undefined || existsSync(ipvsFile(directory));

/** What the file says; nothing where it is not there, or is another build's. */
export function readBeside(directory: string | undefined): Beside {
  if (directory === undefined || !existsSync(ipvsFile(directory))) return {};
  try {
    const read = JSON.parse(readFileSync(ipvsFile(directory), 'utf8')) as {
      version?: number;
      services?: Beside;
    };
    return read.version === version && read.services ? read.services : {};
  } catch {
    return {};
  }
}

/** Whole or not at all. Throws HG_STATE. */
export function writeBeside(directory: string | undefined, services: Beside): void {
  if (directory === undefined) return;
  const path = ipvsFile(directory);
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    writeFileSync(`${path}.new`, `${JSON.stringify({ version, services })}\n`, { mode: 0o600 });
    renameSync(`${path}.new`, path);
  } catch (error) {
    throw new HeadgateError('HG_STATE', `Cannot write "${path}": ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** What is beside the table after an operation that was not refused. Pure; the same object where nothing changes. */
export function besideAfter(beside: Beside, operation: Operation): Beside {
  switch (operation.kind) {
    case 'add-service':
      return { ...beside, [serviceKey(operation.service.id)]: withFate({}, operation.service.whenGone) };
    case 'edit-service': {
      const { id, whenGone } = operation.service;
      return whenGone === undefined
        ? beside
        : changed(beside, serviceKey(id), (one) => withFate(one, whenGone));
    }
    case 'delete-service': {
      const { [serviceKey(operation.id)]: gone, ...rest } = beside;
      return gone ? rest : beside;
    }
    case 'add-destination':
    case 'edit-destination':
    case 'delete-destination': {
      const key = destinationKey(operation.destination);
      const expires =
        operation.kind !== 'delete-destination' && operation.destination.expiresTemplates === true;
      const service = serviceKey(operation.id);
      if ((beside[service]?.expiresTemplates ?? []).includes(key) === expires) return beside;
      return changed(beside, service, ({ expiresTemplates = [], ...rest }) => {
        const list = expires ? [...expiresTemplates, key] : expiresTemplates.filter((one) => one !== key);
        return { ...rest, ...(list.length > 0 && { expiresTemplates: list }) };
      });
    }
    case 'flush':
      return {};
    default:
      return beside;
  }
}

/** A service of the kernel's with what is beside it. */
export function withBeside(state: ServiceState, beside: Beside): ServiceState {
  const found = beside[serviceKey(state.service.id)];
  if (!found) return state;
  const service: VirtualService = withWhenGone(state.service, found.whenGone ?? 'drop');
  const expires = new Set(found.expiresTemplates);
  if (expires.size === 0) return { ...state, service };
  const destinations = state.destinations.map((one) =>
    expires.has(destinationKey(one.destination))
      ? { ...one, destination: { ...one.destination, expiresTemplates: true } satisfies Destination }
      : one,
  );
  return { ...state, service, destinations };
}

function withFate({ whenGone: _, ...rest }: BesideService, whenGone: WhenGone | undefined): BesideService {
  return whenGone === undefined || whenGone === 'drop' ? rest : { ...rest, whenGone };
}

function changed(beside: Beside, key: string, change: (one: BesideService) => BesideService): Beside {
  return { ...beside, [key]: change(beside[key] ?? {}) };
}
