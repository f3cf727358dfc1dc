import { expect, test } from 'vitest';
import { openMemoryPlane } from '../dataplane/memory/plane.ts';
import type { Address } from '../model/address.ts';
import type { Destination, VirtualService } from '../model/virtual-service.ts';
import type { Names } from './ipvsadm/names.ts';
import { rulesOf } from './ipvsadm/save.ts';

const id = { kind: 'address', protocol: 'tcp', address: '192.0.2.10' as Address, port: 80 } as const;
const service: VirtualService = {
  id,
  scheduler: 'wrr',
  schedulerFlags: { flag1: false, flag2: false, flag3: false },
  onePacket: false,
};
const destination = (last: number, thresholds: Partial<Destination> = {}): Destination => ({
  address: `10.0.0.${last}` as Address,
  port: 80,
  method: 'masquerade',
  weight: 2,
  upperThreshold: 0,
  lowerThreshold: 0,
  ...thresholds,
});

test('rules have the thresholds and timeouts that ipvsadm-save leaves out', async () => {
  const plane = openMemoryPlane();
  await plane.apply([
    { kind: 'add-service', service },
    { kind: 'add-destination', id, destination: destination(2, { upperThreshold: 9, lowerThreshold: 4 }) },
    { kind: 'add-destination', id, destination: destination(1) },
  ]);
  const rules = '-A -t 192.0.2.10:80 -s wrr\n-a -t 192.0.2.10:80 -r 10.0.0.1:80 -m -w 2\n';
  const last = '-a -t 192.0.2.10:80 -r 10.0.0.2:80 -m -w 2 -x 9 -y 4\n';
  expect(await rulesOf(await plane.read(), {} as Names)).toBe(rules + last);
  await plane.apply([{ kind: 'set-timeouts', timeouts: { udp: 60 } }]);
  expect(await rulesOf(await plane.read(), {} as Names)).toBe(`${rules + last}--set 900 120 60\n`);
});
