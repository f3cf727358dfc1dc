import { expect, test } from 'vitest';
import type { Capabilities } from '../dataplane/data-plane.ts';
import type { Address } from '../model/address.ts';
import { type Sysctls, sysctlDefaults } from '../model/sysctls.ts';
import type { Observed } from '../model/table.ts';
import type { VirtualService } from '../model/virtual-service.ts';
import { notActedOnIn } from './ignored.ts';
import { plainNames } from './wanted.ts';

const service = (port: number, settings: Partial<VirtualService> = {}): VirtualService => ({
  id: { kind: 'address', protocol: 'tcp', address: '192.0.2.10' as Address, port },
  scheduler: 'rr',
  schedulerFlags: { flag1: false, flag2: false, flag3: false },
  onePacket: false,
  ...settings,
});
const capabilities: Capabilities = {
  name: 'ipvs',
  description: '',
  ignores: ['when-gone', 'maintenance-of-persistent'],
};
const told = (services: readonly VirtualService[], sysctls: Partial<Sysctls> = {}) =>
  notActedOnIn(
    {
      capabilities,
      read: async () => ({ sysctls: { ...sysctlDefaults, ...sysctls } }) as Observed,
    },
    { services: services.map((service) => ({ service, destinations: [] })) },
    plainNames,
  );

test('what a plane does not act on is told once, with the services it is about', async () => {
  const found = await told([
    service(80, { whenGone: 'expire' }),
    service(81, { whenGone: 'expire' }),
    service(82),
    service(83, { whenGone: 'keep' }),
  ]);
  expect(found.map(({ services }) => services)).toEqual([
    ['tcp 192.0.2.10:80', 'tcp 192.0.2.10:81'],
    ['tcp 192.0.2.10:83'],
  ]);
  expect(found[0]).toMatchObject({
    what: expect.stringContaining('whenGone is "expire"'),
    remedy: expect.stringContaining('sysctl -w net.ipv4.vs.expire_nodest_conn=1'),
  });
});

test('a sysctl that does the same for all of them is enough', async () => {
  expect(await told([service(80, { whenGone: 'expire' })], { expire_nodest_conn: 1 })).toEqual([]);
});
