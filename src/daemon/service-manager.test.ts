import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { tellThrough } from './service-manager.ts';

/** What sd_notify(3) and sd_watchdog_enabled(3) say a service sends, on a clock of the test. */
const told: string[] = [];
let full = false;
const sender = {
  send: (text: string) => {
    if (!full) told.push(text);
    return !full;
  },
  close: () => undefined,
};
const managerFor = (environment: NodeJS.ProcessEnv) =>
  tellThrough(sender, environment, { pid: 7, monotonicMicroseconds: () => 123_456_789n });

beforeEach(() => {
  vi.useFakeTimers();
  told.length = 0;
  full = false;
});
afterEach(() => {
  vi.useRealTimers();
});

test('says each thing in one message of lines', () => {
  const manager = managerFor({});
  manager.ready('generation 1\nof a file');
  manager.reloading();
  manager.stopping();
  manager.close();
  expect(told).toEqual([
    'READY=1\nSTATUS=generation 1 of a file',
    'RELOADING=1\nMONOTONIC_USEC=123456789',
    'STOPPING=1',
  ]);
});

test('says nothing more when it is closed', async () => {
  const manager = managerFor({ WATCHDOG_USEC: '2000000' });
  let end: (value?: unknown) => void = () => undefined;
  manager.watch(() => new Promise((resolve) => (end = resolve)));
  await vi.advanceTimersByTimeAsync(1000);
  manager.close();
  end();
  await vi.advanceTimersByTimeAsync(5000);
  manager.ready('late');
  expect(told).toEqual([]);
});

test('says it again in the same order when the manager is busy', () => {
  const manager = managerFor({});
  full = true;
  manager.reloading();
  manager.ready('done');
  expect(told).toEqual([]);
  full = false;
  vi.advanceTimersByTime(100);
  expect(told.map((text) => text.split('\n')[0])).toEqual(['RELOADING=1', 'READY=1']);
  manager.close();
});

test('does not end when nobody listens any more', () => {
  const manager = tellThrough(
    {
      send: () => {
        throw new Error('ECONNREFUSED');
      },
      close: () => undefined,
    },
    {},
    { pid: 7, monotonicMicroseconds: () => 0n },
  );
  expect(() => manager.ready('done')).not.toThrow();
  manager.close();
});

test('gives a sign of life at half of the time, while turns come to an end', async () => {
  const manager = managerFor({ WATCHDOG_USEC: '2000000', WATCHDOG_PID: '7' });
  let stuck = false;
  manager.watch(() => (stuck ? new Promise(() => undefined) : Promise.resolve()));
  await vi.advanceTimersByTimeAsync(3000);
  expect(told).toEqual(['WATCHDOG=1', 'WATCHDOG=1', 'WATCHDOG=1']);
  stuck = true;
  await vi.advanceTimersByTimeAsync(10_000);
  expect(told).toHaveLength(3);
  manager.close();
});

test.each([{}, { WATCHDOG_USEC: '0' }, { WATCHDOG_USEC: '2000000', WATCHDOG_PID: '8' }])(
  'gives none where none is wanted of it: %o',
  async (environment) => {
    const manager = managerFor(environment);
    manager.watch(async () => undefined);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(told).toEqual([]);
    manager.close();
  },
);
