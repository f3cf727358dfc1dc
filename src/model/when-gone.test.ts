import { expect, test } from 'vitest';
import { applyOperation } from './apply-operation.ts';
import { plan } from './plan.ts';
import { equalService } from './service-id.ts';
import type { Table } from './table.ts';
import { type VirtualService, type WhenGone, whenGoneWords } from './virtual-service.ts';

const service = (whenGone?: WhenGone): VirtualService => ({
  id: { kind: 'fwmark', mark: 1, family: 4 },
  scheduler: 'rr',
  schedulerFlags: { flag1: false, flag2: false, flag3: false },
  onePacket: false,
  ...(whenGone && { whenGone }),
});
const tableOf = (whenGone?: WhenGone): Table =>
  applyOperation({ services: [] }, { kind: 'add-service', service: service(whenGone) });
const ways = [undefined, ...whenGoneWords];

test('nothing said is drop, and has one form', () => {
  for (const a of ways)
    for (const b of ways)
      expect(equalService(service(a), service(b)), `${a} ${b}`).toBe((a ?? 'drop') === (b ?? 'drop'));
  expect(tableOf('drop')).toEqual(tableOf());
  expect(tableOf('drop').services[0]!.service).not.toHaveProperty('whenGone');
});

test('an edit that does not say it leaves it as it is', () => {
  for (const before of ways) {
    const edited = applyOperation(tableOf(before), { kind: 'edit-service', service: service() });
    expect(edited, String(before)).toEqual(tableOf(before));
    for (const after of whenGoneWords)
      expect(
        applyOperation(tableOf(before), { kind: 'edit-service', service: service(after) }),
        `${before} ${after}`,
      ).toEqual(tableOf(after));
  }
});

test('a plan comes to what is wanted, and to nothing where that is there', () => {
  for (const before of ways) {
    for (const after of ways) {
      const operations = plan(tableOf(after), tableOf(before));
      expect(operations).toHaveLength(Number((before ?? 'drop') !== (after ?? 'drop')));
      expect(operations.reduce(applyOperation, tableOf(before)), `${before} ${after}`).toEqual(
        tableOf(after),
      );
    }
  }
});
