import { expect, test } from 'vitest';
import { openMemoryPlane } from '../dataplane/memory/plane.ts';
import type { Operation } from '../model/table.ts';
import type { VirtualService } from '../model/virtual-service.ts';
import { countEditions } from './edition.ts';

const service: VirtualService = {
  id: { kind: 'fwmark', mark: 1, family: 4 },
  scheduler: 'rr',
  schedulerFlags: { flag1: false, flag2: false, flag3: false },
  onePacket: false,
};
const add: Operation = { kind: 'add-service', service };

test('every change has a tag of its own; what changes nothing keeps it', async () => {
  const { controller, edition } = countEditions(openMemoryPlane(), 'x');
  const first = edition.tag();
  await controller.read();
  await controller.apply([]);
  expect(edition.tag()).toBe(first);
  await controller.apply([add]);
  const second = edition.tag();
  expect(second).not.toBe(first);
  // It is there already.
  expect(await controller.apply([add])).toMatchObject([{ reason: 'service-exists' }]);
  await controller.apply([{ kind: 'zero' }]);
  expect(edition.tag()).toBe(second);
  expect(countEditions(controller, 'y').edition.tag()).not.toBe(first);
});

test('who expects other rules is told', async () => {
  const { controller, edition } = countEditions(openMemoryPlane(), 'x');
  const seen = `"${edition.tag()}"`;
  edition.require(undefined);
  edition.require(seen);
  await controller.apply([add]);
  expect(() => edition.require(seen)).toThrow(/wanted those of "x-0", found those of "x-1"/);
});
