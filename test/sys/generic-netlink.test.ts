import { afterAll, beforeAll, expect, test } from 'vitest';
import { findFamily } from '../../src/sys/netlink/generic.ts';
import { type Netlink, netlinkProtocols, openNetlink } from '../../src/sys/netlink/socket.ts';

let netlink: Netlink;
beforeAll(() => {
  netlink = openNetlink({ protocol: netlinkProtocols.generic });
});
afterAll(() => netlink.close());

test('the family of families has the number it has in every kernel (GENL_ID_CTRL)', () => {
  expect(findFamily(netlink, 'nlctrl')).toBe(16);
});

test('a family that no kernel has is not found', () => {
  expect(findFamily(netlink, 'no-such')).toBeUndefined();
});

test('all families come in a dump, and pages are counted', () => {
  const { answers, pages } = netlink.dumpInPages('list families', 16, [Buffer.from([3, 1, 0, 0])]);
  expect(answers.length).toBeGreaterThan(0);
  expect(pages).toBeGreaterThan(0);
});
