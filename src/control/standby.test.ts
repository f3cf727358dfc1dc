import { expect, test } from 'vitest';
import type { Address } from '../model/address.ts';
import type { Outlook } from '../model/outlook.ts';
import type { VrrpStatus } from '../model/vrrp.ts';
import { reachOf } from './standby.ts';

const vip = '192.0.2.10' as Address;
const elsewhere = { paths: new Map([[vip, { kind: 'none' }]]) } as unknown as Outlook;
const here = { paths: new Map([[vip, { kind: 'local' }]]) } as unknown as Outlook;
const instance = (state: VrrpStatus['state'], addresses = [vip]): VrrpStatus => ({
  ...{ name: 'front', state, reason: 'interface eth0: down', forMs: 1, priority: 100, addresses },
  ...{ sent: 0, received: 0, rejected: {} },
  master: { source: '10.0.0.2' as Address, priority: 150, agoMs: 10 },
});

test('a backup stands by, and nothing is wrong with that', () => {
  expect(reachOf(vip, elsewhere, [instance('backup')])).toEqual({
    problems: [],
    standby: 'standing by: VRRP instance front is backup, 10.0.0.2 is master',
  });
});

test('an instance in fault says why', () => {
  const { problems, standby } = reachOf(vip, elsewhere, [instance('fault')]);
  expect(standby).toBeUndefined();
  expect(problems).toHaveLength(1);
  expect(problems[0]!.what).toContain('interface eth0: down');
});

test('an address that nobody moves is missed, and one that is here is not', () => {
  expect(reachOf(vip, elsewhere).problems[0]!.remedy).toContain('ip address add 192.0.2.10/32');
  expect(reachOf(vip, elsewhere, [instance('backup', [])]).problems).toHaveLength(1);
  expect(reachOf(vip, elsewhere, [instance('master')]).problems).toHaveLength(1);
  expect(reachOf(vip, here, [instance('backup')])).toEqual({ problems: [] });
});
