import { expect, test } from 'vitest';
import { openMemoryPlane } from '../dataplane/memory/plane.ts';
import { exchangeable, over } from './controller.ts';

const named = (name: 'ebpf' | 'ipvs') => ({
  ...openMemoryPlane(),
  capabilities: { name, description: '' } as const,
});

test('whoever has the controller goes on with the plane that it was exchanged for', async () => {
  const [first, second] = [named('ipvs'), { ...named('ebpf'), cover: async () => ['eth0'] }];
  const { controller, exchange } = exchangeable(first);
  const above = over(controller, { health: async () => ({ members: [], lost: [], isChecking: true }) });
  expect([controller.capabilities.name, above.capabilities.name]).toEqual(['ipvs', 'ipvs']);
  expect(above.cover).toBeUndefined();
  await above.apply([{ kind: 'set-timeouts', timeouts: { udp: 77 } }]);
  expect((await first.read()).timeouts.udp).toBe(77);
  expect(exchange(second)).toBe(first);
  expect([controller.capabilities.name, above.capabilities.name]).toEqual(['ebpf', 'ebpf']);
  expect(await above.cover?.()).toEqual(['eth0']);
  expect((await above.read()).timeouts.udp).not.toBe(77);
  expect(await above.health?.()).toMatchObject({ isChecking: true });
  expect(controller.health).toBeUndefined();
});
