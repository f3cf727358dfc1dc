import { expect, test } from 'vitest';
import { parseAddress } from '../model/address.ts';
import type { SyncDaemon } from '../model/connection-sync.ts';
import { placeOf, sentText } from './sync.ts';

const master: SyncDaemon = {
  ...{ role: 'master', interface: 'eth1', id: 9, group: parseAddress('ff02::51')!, port: 9000, ttl: 3 },
  maxLength: 1000,
};

test("it goes where the kernel's master sends, and elsewhere as it is told", () => {
  expect(placeOf({ output: 'text' }, master)).toEqual(master);
  const told = {
    ...{ interface: 'lan', id: '0', group: '10.0.0.2', port: '8848', ttl: '64' },
  };
  expect(placeOf({ output: 'text', ...told }, master)).toEqual({
    ...{ role: 'master', interface: 'lan', id: 0, group: '10.0.0.2', port: 8848, ttl: 64, maxLength: 1000 },
  });
});

test("without a master it is IPVS's place on an interface that is named", () => {
  expect(placeOf({ output: 'text', interface: 'eth1' }, undefined)).toEqual({
    ...{ role: 'master', interface: 'eth1', id: 0, group: '224.0.0.81', port: 8848, ttl: 1 },
  });
  expect(() => placeOf({ output: 'text' }, undefined)).toThrow('Cannot send without --interface');
});

test.each([
  [{ id: '256' }, 'wanted a number from 0 to 255 for --id, found "256"'],
  [{ port: '0' }, 'wanted a number from 1 to 65535 for --port, found "0"'],
  [{ ttl: '1.5' }, 'wanted a number from 1 to 255 for --ttl, found "1.5"'],
  [{ group: 'all' }, 'wanted an address for --group'],
])('%j is no place', (options, words) => {
  expect(() => placeOf({ output: 'text', ...options }, master)).toThrow(words);
});

test('what was sent, and what was not', () => {
  const sent = { connections: 3, templates: 1, messages: 1, untold: { gone: 2 }, whole: true };
  expect(sentText(sent, master)).toBe(
    'Sent 3 connections and 1 persistence template in 1 message to ff02::51 port 9000 by eth1, sync id 9\n' +
      'Not sent: 2: its real server is not in the table any more\n',
  );
  expect(sentText({ ...sent, templates: 0, whole: false }, master)).toBe('New: 3 connections in 1 message\n');
});
