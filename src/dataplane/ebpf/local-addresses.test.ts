import { expect, test } from 'vitest';
import { portsFor } from './local-addresses.ts';

// Documentation/networking/ip-sysctl.rst: ip_local_port_range is the first and the last port; RFC 6335, 6: those below
// 1024 are system ports.
test.each([
  ['32768\t60999', { first: 1024, count: 31_744 }],
  ['10000 20000', { first: 20_001, count: 45_535 }],
  ['1024 40000', { first: 40_001, count: 25_535 }],
  ['1 65535', undefined],
  ['1024 65535', undefined],
  ['15000 65535', { first: 1024, count: 13_976 }],
])('ports that a range of %s leaves', (range, ports) => {
  expect(portsFor(range)).toEqual(ports);
});
