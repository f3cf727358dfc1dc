import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { destinationKey, equalDestination, equalService, serviceKey } from '../model/service-id.ts';
import type { Operation, ServiceEntry, Table } from '../model/table.ts';
import type { Destination, VirtualService } from '../model/virtual-service.ts';
import { type Applied, readApplied, writeApplied } from './applied.ts';
import { tableOf } from './change.ts';
import type { Controller } from './controller.ts';
import { readDocument, writeDocument } from './whole-file.ts';

/*
 * A configuration comes into force step by step, and the process may end between any two of them. Then some entries are
 * as they were and some as they were to become, while applied.json still tells of the configuration before: the
 * difference, which is what people changed at runtime, would be an invention. So what is about to be done is written
 * down first. The invariant, at every moment and whoever looks:
 *
 *   an entry that a step was to change, and that is as this step leaves it, was made by the new configuration;
 *   every other entry was made by the one before.
 *
 *   crash before the record is whole          nothing was done, the configuration before is in force
 *   after it, before, between and after steps each entry by the rule above
 *   after applied.json, before its removal    the record is of an older generation, and ignored
 *   while what was refused is taken back      each entry by the rule above
 *
 * Whoever next holds the lock and is to change something settles it first: the rule's result becomes applied.json. A
 * crash in the course of that changes nothing about the result. docs/adr/0010-write-ahead.md.
 */

/** A configuration on its way into force. */
export type Underway = {
  /** The generation it will be. */
  readonly generation: number;
  /** Of what it makes, the services that a step is about. */
  readonly table: Table;
  /** What is done, in order. */
  readonly steps: readonly Operation[];
};

const version = 1;
const fileIn = (directory: string): string => join(directory, 'applying.json');

/** Writes down what is about to be done. Throws HG_STATE, and then nothing may be done. */
export function beginWork(directory: string | undefined, { table, steps, generation }: Underway): void {
  if (directory === undefined) return;
  const named = new Set(steps.map(serviceOf));
  const services = table.services.filter(({ service }) => named.has(serviceKey(service.id)));
  writeDocument(fileIn(directory), version, { generation, table: { services }, steps }, 'process');
}

function serviceOf(step: Operation): string | undefined {
  if ('service' in step) return serviceKey(step.service.id);
  return 'id' in step && step.id ? serviceKey(step.id) : undefined;
}

/** What was written down is done, or taken back. */
export function endWork(directory: string | undefined): void {
  if (directory !== undefined) rmSync(fileIn(directory), { force: true });
}

/** Whether something was begun and not ended. One file system call. */
export function isWorkUnderway(directory: string | undefined): directory is string {
  return directory !== undefined && existsSync(fileIn(directory));
}

/** What configurations made of the table that is there: `readApplied`, also when one was cut off. */
export function readBaseline(directory: string | undefined, found: Table): Applied | undefined {
  const applied = readApplied(directory);
  if (!isWorkUnderway(directory)) return applied;
  const work = readDocument<Underway>(fileIn(directory), version);
  const before = applied?.generation ?? 0;
  if (!work || work.generation <= before) return applied;
  const table = tableInBetween(applied?.table ?? { services: [] }, work, found);
  return applied ? { ...applied, table } : { generation: 0, file: '', at: new Date(0).toISOString(), table };
}

/** Makes applied.json what `readBaseline` says, so that from here on changes are people's. Rejects with HG_STATE. */
export async function settle(controller: Pick<Controller, 'directory' | 'read'>): Promise<void> {
  const { directory } = controller;
  if (!isWorkUnderway(directory)) return;
  const found = tableOf((await controller.read({ counters: false })).services);
  const baseline = readBaseline(directory, found);
  if (baseline) writeApplied(directory, baseline);
  endWork(directory);
}

/**
 * A controller that was just opened, with what an earlier holder of the lock left settled. Where that cannot be written the
 * table can be read but not changed.
 */
export async function settled<C extends Controller>(controller: C): Promise<C> {
  try {
    await settle(controller);
    return controller;
  } catch (error) {
    return { ...controller, apply: () => Promise.reject(error) };
  }
}

/** What configurations made of a table that stopped halfway from `before` to what was under way. Pure. */
export function tableInBetween(before: Table, { table: wanted, steps }: Underway, found: Table): Table {
  const [was, will, is] = [before, wanted, found].map(indexOf) as [Index, Index, Index];
  const done = new Set(steps.flatMap((step) => doneBy(step, was, is)));
  const services: ServiceEntry[] = [];
  for (const key of new Set([...will.keys(), ...was.keys()])) {
    const [old, next] = [was.get(key), will.get(key)];
    const members = new Set([...(next?.destinations.keys() ?? []), ...(old?.destinations.keys() ?? [])]);
    const destinations = [...members].flatMap(
      (member) => (done.has(`${key} ${member}`) ? next : old)?.destinations.get(member) ?? [],
    );
    // A service that nobody described before, as it is described now, needs no step to belong to the new configuration.
    const joined = old ?? (destinations.length > 0 ? next : undefined);
    const service = (done.has(key) ? next : joined)?.service;
    if (!service) continue;
    services.push({ service, destinations });
  }
  return { services };
}

type Entry = { readonly service: VirtualService; readonly destinations: ReadonlyMap<string, Destination> };
type Index = ReadonlyMap<string, Entry>;

function indexOf({ services }: Table): Index {
  return new Map(
    services.map(({ service, destinations }) => [
      serviceKey(service.id),
      { service, destinations: new Map(destinations.map((one) => [destinationKey(one), one])) },
    ]),
  );
}

/** Names of the entries that are as a step leaves them. */
function doneBy(step: Operation, was: Index, is: Index): string[] {
  switch (step.kind) {
    case 'add-service':
    case 'edit-service': {
      const key = serviceKey(step.service.id);
      const there = is.get(key);
      return there && equalService(there.service, step.service) ? [key] : [];
    }
    case 'delete-service': {
      const key = serviceKey(step.id);
      if (is.has(key)) return [];
      return [key, ...[...(was.get(key)?.destinations.keys() ?? [])].map((member) => `${key} ${member}`)];
    }
    case 'add-destination':
    case 'edit-destination': {
      const [key, member] = [serviceKey(step.id), destinationKey(step.destination)];
      const there = is.get(key)?.destinations.get(member);
      return there && equalDestination(there, step.destination) ? [`${key} ${member}`] : [];
    }
    case 'delete-destination': {
      const [key, member] = [serviceKey(step.id), destinationKey(step.destination)];
      return is.get(key)?.destinations.has(member) ? [] : [`${key} ${member}`];
    }
    default:
      return [];
  }
}
