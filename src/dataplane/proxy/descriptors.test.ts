import { expect, test } from 'vitest';
import { affordableConnections } from './descriptors.ts';

// The form of proc(5).
const limits = (files: string) =>
  [
    'Limit                     Soft Limit           Hard Limit           Units     ',
    'Max processes             63448                63448                processes ',
    `Max open files            ${files.padEnd(20)} 1048576              files     `,
    'Max locked memory         8388608              8388608              bytes     ',
  ].join('\n');

test('a connection takes two descriptors, and some are kept', () => {
  expect(affordableConnections(65_536, limits('1024'))).toBe(480);
  expect(affordableConnections(100, limits('1024'))).toBe(100);
  expect(affordableConnections(65_536, limits('1048576'))).toBe(65_536);
});

test('without a limit, or one the system tells, it is as many as are wanted', () => {
  expect(affordableConnections(65_536, limits('unlimited'))).toBe(65_536);
  expect(affordableConnections(65_536, undefined)).toBe(65_536);
  expect(affordableConnections(65_536, '')).toBe(65_536);
});

test('a limit that leaves nothing still lets some through', () => {
  expect(affordableConnections(65_536, limits('20'))).toBe(16);
});
