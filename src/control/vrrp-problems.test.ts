import { expect, test } from 'vitest';
import type { Address } from '../model/address.ts';
import type { RejectedAdvertisement, VrrpTrouble } from '../model/vrrp.ts';
import { vrrpProblems } from './vrrp-problems.ts';

const source = '192.0.2.3' as Address;
const rival: VrrpTrouble = { kind: 'rival', interface: 'eth0', source, priority: 100 };
const claim: VrrpTrouble = {
  ...{ kind: 'claim', interface: 'eth0', address: '192.0.2.10' as Address },
  mac: '02:00:00:00:00:01',
};

test('nothing wrong is no problem', () => {
  expect(vrrpProblems({ name: 'front' })).toEqual([]);
});

test('two masters are one problem, whoever answers for the address', () => {
  const found = vrrpProblems({ name: 'front', trouble: [rival, claim] });
  expect(found).toHaveLength(1);
  expect(found[0]!.what).toContain('two masters: 192.0.2.3 is master of front as well, with priority 100');
  expect(vrrpProblems({ name: 'front', trouble: [claim] })[0]!.what).toBe(
    'another host on eth0 has 192.0.2.10 as well: 02:00:00:00:00:01',
  );
});

test.each(['authentication', 'version', 'interval', 'addresses', 'peer'] as RejectedAdvertisement[])(
  '%s has a next step',
  (why) => {
    const [found] = vrrpProblems({
      name: 'front',
      trouble: [{ kind: 'refused', interface: 'eth0', source, why }],
    });
    expect(found!.what).toContain('192.0.2.3');
    expect(found!.remedy.length).toBeGreaterThan(10);
  },
);
