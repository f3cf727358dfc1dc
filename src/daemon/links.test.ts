import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { coverInterfaces } from './links.ts';

/** What the daemon does about interfaces, on a clock of the test; test/daemon has the kernel. */
const lines: string[] = [];
const told: string[] = [];
let changed = false;
let cover: () => Promise<readonly string[]>;
let calls = 0;
const watch = () =>
  coverInterfaces({
    controller: {
      interfacesChanged: () => {
        const was = changed;
        changed = false;
        return was;
      },
      cover: () => {
        calls++;
        return cover();
      },
    },
    inTurn: (work) => work(),
    log: (level, message, fields) => lines.push(`${level} ${message} ${JSON.stringify(fields)}`),
    note: ({ kind, what }) => told.push(`${kind}: ${what}`),
  });

beforeEach(() => {
  vi.useFakeTimers();
  lines.length = 0;
  told.length = 0;
  calls = 0;
  changed = false;
  cover = async () => [];
});
afterEach(() => {
  vi.useRealTimers();
});

test('looks where the kernel said something, and now and then where it did not', async () => {
  const { stop } = watch();
  await vi.advanceTimersByTimeAsync(5000);
  expect(calls).toBe(0);
  cover = async () => ['x0', 'x1'];
  changed = true;
  await vi.advanceTimersByTimeAsync(250);
  expect(lines).toEqual(['info interface covered {"device":"x0"}', 'info interface covered {"device":"x1"}']);
  expect(told).toEqual([
    'interface-attached: x0 takes packets now',
    'interface-attached: x1 takes packets now',
  ]);
  cover = async () => [];
  await vi.advanceTimersByTimeAsync(20_000);
  expect(calls).toBe(3);
  stop();
  changed = true;
  await vi.advanceTimersByTimeAsync(20_000);
  expect(calls).toBe(3);
});

test('is at it once at a time, and loses nothing that is said meanwhile', async () => {
  let done: (names: readonly string[]) => void = () => undefined;
  cover = () =>
    new Promise((resolve) => {
      done = resolve;
    });
  const { stop } = watch();
  changed = true;
  await vi.advanceTimersByTimeAsync(250);
  changed = true;
  await vi.advanceTimersByTimeAsync(1000);
  expect(calls).toBe(1);
  done([]);
  await vi.advanceTimersByTimeAsync(250);
  expect(calls).toBe(2);
  stop();
});

test('says once why it cannot, and tries again', async () => {
  cover = async () => {
    throw new Error('no memory');
  };
  const { stop } = watch();
  await vi.advanceTimersByTimeAsync(30_000);
  expect(calls).toBe(3);
  expect(lines).toEqual(['error interfaces not covered {"reason":"no memory"}']);
  cover = async () => ['x0'];
  await vi.advanceTimersByTimeAsync(10_000);
  expect(lines.at(-1)).toBe('info interface covered {"device":"x0"}');
  stop();
});

test('has nothing to do for a plane that is not put on interfaces', async () => {
  const { stop } = coverInterfaces({
    controller: {},
    inTurn: () => {
      throw new Error('called');
    },
    log: () => undefined,
    note: () => undefined,
  });
  await vi.advanceTimersByTimeAsync(20_000);
  stop();
});
