import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import type { Address } from '../../model/address.ts';
import type { Operation, ServiceState } from '../../model/table.ts';
import type { Destination, VirtualService } from '../../model/virtual-service.ts';
import { type Beside, besideAfter, isInUse, readBeside, withBeside, writeBeside } from './beside.ts';

const id = { kind: 'address', protocol: 'tcp', address: '192.0.2.10' as Address, port: 80 } as const;
const service: VirtualService = {
  id,
  scheduler: 'rr',
  schedulerFlags: { flag1: false, flag2: false, flag3: false },
  onePacket: false,
};
const destination: Destination = {
  address: '10.0.0.1' as Address,
  port: 80,
  method: 'masquerade',
  weight: 0,
  upperThreshold: 0,
  lowerThreshold: 0,
};
const none = { connections: 0n, packetsIn: 0n, packetsOut: 0n, bytesIn: 0n, bytesOut: 0n };
/** What the kernel lists: it knows nothing of what is beside it. */
const listed: ServiceState = {
  service,
  counters: none,
  rates: none,
  destinations: [
    {
      destination,
      activeConnections: 0,
      inactiveConnections: 0,
      persistentConnections: 0,
      counters: none,
      rates: none,
    },
  ],
};

const after = (...operations: Operation[]): ServiceState =>
  withBeside(listed, operations.reduce(besideAfter, {} as Beside));

const folders: string[] = [];
const folder = () => {
  const made = mkdtempSync(join(tmpdir(), 'hg-beside-'));
  folders.push(made);
  return made;
};
afterEach(() => {
  for (const one of folders.splice(0)) rmSync(one, { recursive: true });
});

test('what becomes of connections is remembered, until an edit says otherwise', () => {
  const add: Operation = { kind: 'add-service', service: { ...service, whenGone: 'keep' } };
  expect(after(add).service.whenGone).toBe('keep');
  expect(after(add, { kind: 'edit-service', service }).service.whenGone).toBe('keep');
  const back: Operation = { kind: 'edit-service', service: { ...service, whenGone: 'drop' } };
  expect(after(add, back).service).toEqual(service);
  expect(after(add, { kind: 'delete-service', id }).service).toEqual(service);
  expect(after(add, { kind: 'flush' }).service).toEqual(service);
});

test('maintenance of a real server is remembered as long as it is in it', () => {
  const made: Operation = { kind: 'add-service', service };
  const set = (kind: 'add-destination' | 'edit-destination', expires: boolean): Operation => ({
    kind,
    id,
    destination: { ...destination, ...(expires && { expiresTemplates: true }) },
  });
  const found = (...operations: Operation[]) =>
    after(made, ...operations).destinations[0]!.destination.expiresTemplates;
  expect(found(set('add-destination', true))).toBe(true);
  expect(found(set('add-destination', true), set('edit-destination', false))).toBeUndefined();
  expect(found(set('add-destination', false), set('edit-destination', true))).toBe(true);
  expect(
    found(set('add-destination', true), { kind: 'delete-destination', id, destination }),
  ).toBeUndefined();
});

test('a service that others made has nothing beside it', () => {
  expect(withBeside(listed, {})).toBe(listed);
});

test('the file is whole, tells that the plane is in use, and is not believed when it is damaged', () => {
  const directory = join(folder(), 'plane');
  expect(isInUse(directory)).toBe(false);
  expect(readBeside(directory)).toEqual({});
  const beside = besideAfter({}, { kind: 'add-service', service: { ...service, whenGone: 'reset' } });
  writeBeside(directory, beside);
  expect(isInUse(directory)).toBe(true);
  expect(readBeside(directory)).toEqual({ 'tcp 192.0.2.10:80': { whenGone: 'reset' } });
  for (const text of ['{', '[]', 'null', '{"version":2,"services":{}}', '{"version":1}']) {
    writeFileSync(join(directory, 'ipvs.json'), text);
    expect(readBeside(directory), text).toEqual({});
  }
});
