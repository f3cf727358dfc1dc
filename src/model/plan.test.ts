import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Address, parseAddress } from './address.ts';
import { applyOperation } from './apply-operation.ts';
import { plan } from './plan.ts';
import { normaliseDestination } from './real-server.ts';
import { destinationKey, serviceFamily, serviceKey } from './service-id.ts';
import type { Operation, ServiceEntry, Table } from './table.ts';
import { checkOperation } from './validate.ts';
import type { Destination, ServiceId, VirtualService } from './virtual-service.ts';

const address = (text: string): Address => parseAddress(text)!;

/** Few names, so that two tables have most of them in common. */
const serviceId: fc.Arbitrary<ServiceId> = fc.oneof(
  fc.record({
    kind: fc.constant('address' as const),
    protocol: fc.constantFrom('tcp' as const, 'udp' as const),
    address: fc.constantFrom(address('192.0.2.1'), address('2001:db8::1')),
    port: fc.constantFrom(80, 443),
  }),
  fc.record({
    kind: fc.constant('fwmark' as const),
    mark: fc.constantFrom(1, 2),
    family: fc.constantFrom(4 as const, 6 as const),
  }),
);

function service(id: ServiceId): fc.Arbitrary<VirtualService> {
  const settings = {
    scheduler: fc.constantFrom('rr' as const, 'wlc' as const, 'none' as const),
    flag1: fc.boolean(),
    onePacket: fc.boolean(),
    timeoutSeconds: fc.constantFrom(0, 300, 360),
  };
  return fc.record(settings).map(({ scheduler, flag1, onePacket, timeoutSeconds }) => ({
    id,
    scheduler,
    schedulerFlags: { flag1, flag2: false, flag3: false },
    onePacket,
    ...(timeoutSeconds > 0 && {
      persistence: { timeoutSeconds, netmask: serviceFamily(id) === 4 ? 0xffffffff : 128 },
    }),
  }));
}

function destination(id: ServiceId): fc.Arbitrary<Destination> {
  const family = serviceFamily(id);
  const settings = {
    host: fc.integer({ min: 1, max: 5 }),
    method: fc.constantFrom('masquerade' as const, 'direct-routing' as const, 'tunnel' as const),
    weight: fc.integer({ min: 0, max: 3 }),
    upperThreshold: fc.constantFrom(0, 10),
    tunnelType: fc.constantFrom('ipip' as const, 'gre' as const),
  };
  return fc.record(settings).map(({ host, method, weight, upperThreshold, tunnelType }) =>
    normaliseDestination(
      {
        address: address(family === 4 ? `10.0.0.${host}` : `fd00::${host}`),
        port: 80,
        method,
        weight,
        upperThreshold,
        lowerThreshold: 0,
        ...(method === 'tunnel' && { tunnel: { type: tunnelType, port: 0, checksum: 'none' as const } }),
      },
      id,
    ),
  );
}

const entry: fc.Arbitrary<ServiceEntry> = serviceId.chain((id) =>
  fc.record({
    service: service(id),
    destinations: fc.uniqueArray(destination(id), { selector: destinationKey, maxLength: 5 }),
  }),
);
const table: fc.Arbitrary<Table> = fc.record({
  services: fc.uniqueArray(entry, { selector: ({ service: { id } }) => serviceKey(id), maxLength: 6 }),
});

const carryOut = (operations: readonly Operation[], start: Table): Table =>
  operations.reduce(applyOperation, start);

/** A table without the order of its entries. */
function asSets(t: Table) {
  return new Map(
    t.services.map((e) => [
      serviceKey(e.service.id),
      { service: e.service, destinations: new Map(e.destinations.map((d) => [destinationKey(d), d])) },
    ]),
  );
}

/** Entries that must be touched: each service and each destination on its own, but a deleted service only once. */
function differingEntries(desired: Table, observed: Table): number {
  const before = asSets(observed);
  const after = asSets(desired);
  const differs = (a: unknown, b: unknown) => Number(JSON.stringify(sorted(a)) !== JSON.stringify(sorted(b)));
  let count = 0;
  for (const [key, e] of after) {
    const old = before.get(key);
    count += differs(e.service, old?.service);
    const names = new Set([...e.destinations.keys(), ...(old?.destinations.keys() ?? [])]);
    for (const name of names) count += differs(e.destinations.get(name), old?.destinations.get(name));
  }
  for (const key of before.keys()) count += Number(!after.has(key));
  return count;
}

function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  return Object.entries(value)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, item]) => [key, sorted(item)]);
}

describe('plan', () => {
  it('reaches the desired table without a refusal, then has nothing to do', () => {
    fc.assert(
      fc.property(table, table, (desired, observed) => {
        let current = observed;
        for (const operation of plan(desired, observed)) {
          expect(checkOperation(operation, current)).toBeUndefined();
          current = applyOperation(current, operation);
        }
        expect(asSets(current)).toEqual(asSets(desired));
        expect(plan(desired, current)).toEqual([]);
      }),
      { numRuns: 1000 },
    );
  });

  it('touches each differing entry once and no other', () => {
    fc.assert(
      fc.property(table, table, (desired, observed) => {
        const operations = plan(desired, observed);
        expect(operations.length).toBe(differingEntries(desired, observed));
        const touched = operations.map((operation) => {
          switch (operation.kind) {
            case 'add-destination':
            case 'edit-destination':
            case 'delete-destination':
              return `${serviceKey(operation.id)} ${destinationKey(operation.destination)}`;
            case 'add-service':
            case 'edit-service':
              return serviceKey(operation.service.id);
            case 'delete-service':
              return serviceKey(operation.id);
            default:
              throw new Error(`Unexpected operation ${operation.kind}`);
          }
        });
        expect(new Set(touched).size).toBe(touched.length);
      }),
      { numRuns: 1000 },
    );
  });

  it('leaves destinations that stay in their places, new ones behind them', () => {
    fc.assert(
      fc.property(table, table, (desired, observed) => {
        const result = carryOut(plan(desired, observed), observed);
        for (const e of result.services) {
          const names = (t: Table) =>
            t.services
              .find((other) => serviceKey(other.service.id) === serviceKey(e.service.id))
              ?.destinations.map(destinationKey) ?? [];
          const wanted = names(desired);
          const stayed = names(observed).filter((name) => wanted.includes(name));
          expect(names(result)).toEqual([...stayed, ...wanted.filter((name) => !stayed.includes(name))]);
        }
      }),
    );
  });

  it('never leaves a service without weight while both tables have some', () => {
    const weight = (e: ServiceEntry | undefined) =>
      e?.destinations.reduce((sum, d) => sum + d.weight, 0) ?? 0;
    fc.assert(
      fc.property(table, table, (desired, observed) => {
        let current = observed;
        for (const operation of plan(desired, observed)) {
          current = applyOperation(current, operation);
          for (const e of current.services) {
            const same = (t: Table) =>
              t.services.find((o) => serviceKey(o.service.id) === serviceKey(e.service.id));
            if (weight(same(desired)) > 0 && weight(same(observed)) > 0) expect(weight(e)).toBeGreaterThan(0);
          }
        }
      }),
      { numRuns: 1000 },
    );
  });
});
