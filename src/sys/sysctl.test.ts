import { expect, it } from 'vitest';
import { sysctlPath } from './sysctl.ts';

// The rule of sysctl(8): the first separator decides, the other character is literal, "/" between dots stands for a dot.
it.each([
  ['net.ipv4.ip_forward', '/proc/sys/net/ipv4/ip_forward'],
  ['net/ipv4/ip_forward', '/proc/sys/net/ipv4/ip_forward'],
  ['net/ipv4/conf/eth0.100/rp_filter', '/proc/sys/net/ipv4/conf/eth0.100/rp_filter'],
  ['net.ipv4.conf.eth0/100.rp_filter', '/proc/sys/net/ipv4/conf/eth0.100/rp_filter'],
])('%s is %s', (name, path) => {
  expect(sysctlPath(name)).toBe(path);
});

it.each(['', 'net..ipv4', 'net/../../etc/passwd', '/net', 'net.ipv4.'])('refuses "%s"', (name) => {
  expect(() => sysctlPath(name)).toThrow(RangeError);
});
