import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Address } from '../../model/address.ts';
import type { SyncedConnection, SyncSettings } from '../../model/connection-sync.ts';
import { syncSysctlDefaults } from '../../model/sysctls.ts';
import { portOf, ruleOf } from './rules.ts';

const settings: SyncSettings = {
  ...{ role: 'master', interface: 'eth1', id: 0, group: '224.0.0.81' as Address, port: 8848, ttl: 1 },
};

test('by itself a master tells of everything', () => {
  expect(ruleOf(settings, syncSysctlDefaults)).toEqual({ packets: 'all', withoutRuled: false });
  // With a key nobody but ours listens.
  expect(ruleOf({ ...settings, secret: 'a secret' }, syncSysctlDefaults)).toMatchObject({ localEnds: true });
});

test('it goes by the parameters where its own settings say nothing', () => {
  const sysctls = {
    ...syncSysctlDefaults,
    ...{ sync_threshold: 3, sync_period: 50, sync_refresh_period: 80, sync_retries: 2, sync_persist_mode: 1 },
  };
  expect(ruleOf(settings, sysctls)).toEqual({
    ...{ packets: { threshold: 3, period: 50 }, refreshSeconds: 80, retries: 2, withoutRuled: true },
  });
  expect(ruleOf({ ...settings, threshold: 2, period: 10, refreshSeconds: 5 }, sysctls)).toEqual({
    ...{ packets: { threshold: 2, period: 10 }, refreshSeconds: 5, retries: 2, withoutRuled: true },
  });
  // 0 of 50 is a rule, and so is a threshold that is told of once.
  const packets = ({ packets }: ReturnType<typeof ruleOf>) => packets;
  expect(packets(ruleOf(settings, { ...sysctls, sync_threshold: 0 }))).toEqual({ threshold: 0, period: 50 });
  expect(packets(ruleOf(settings, { ...sysctls, sync_period: 0 }))).toEqual({ threshold: 3, period: 0 });
});

test('every port is one of those there are, and the same for all that is told of a connection', () => {
  const connection = (client: readonly number[], clientPort: number) =>
    ({ client: Uint8Array.from(client), clientPort, virtualPort: 80 }) as unknown as SyncedConnection;
  const bytes = fc.array(fc.nat(255), { minLength: 4, maxLength: 4 });
  fc.assert(
    fc.property(bytes, fc.nat(65_535), fc.nat(6), (client, port, bits) => {
      const found = portOf(connection(client, port), 1 << bits);
      expect(found).toBeGreaterThanOrEqual(0);
      expect(found).toBeLessThan(1 << bits);
      expect(portOf({ ...connection(client, port), state: 4 } as SyncedConnection, 1 << bits)).toBe(found);
    }),
  );
  const used = new Set(
    Array.from({ length: 64 }, (_, i) => portOf(connection([10, 0, 0, 1], 40_000 + i), 8)),
  );
  expect(used.size).toBe(8);
});
