import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Message } from '../../model/alert.ts';
import type { Event } from '../../model/event.ts';
import { type Deliver, DeliveryFailure, openOutlet } from './outlet.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const limits = { attemptMs: 1000, pauseMs: 100, longestPauseMs: 400, attempts: 5, waiting: 3 };
const message = (id: number): Message => ({ events: [{ id } as Event], more: 0 });
const idOf = ({ events }: Message): number => events[0]!.id;

function opened(deliver: Deliver) {
  const lines: string[] = [];
  const outlet = openOutlet('mail 1', deliver, limits, (_, text, fields) =>
    lines.push(`${text}: ${fields?.reason ?? JSON.stringify(fields)}`),
  );
  return { outlet, lines };
}

test('what fails is tried again, each time later, and what comes after it waits', async () => {
  const at: [number, number][] = [];
  const { outlet, lines } = opened(async (one) => {
    at.push([idOf(one), Date.now() - start]);
    if (at.length < 5) throw new DeliveryFailure('refused');
  });
  const start = Date.now();
  outlet.put(message(1));
  outlet.put(message(2));
  await vi.runAllTimersAsync();
  await outlet.idle();
  expect(at).toEqual([
    [1, 0],
    [1, 100],
    [1, 300],
    [1, 700],
    [1, 1100],
    [2, 1100],
  ]);
  expect(lines).toEqual(['alert not delivered, is tried again: refused']);
});

test('a final refusal, or too many failures, and the next one has its turn', async () => {
  const { outlet, lines } = opened(async (one) => {
    if (idOf(one) === 1) throw new DeliveryFailure('no such address', true);
    if (idOf(one) === 2) throw new Error('down');
  });
  for (const id of [1, 2, 3]) outlet.put(message(id));
  await vi.runAllTimersAsync();
  await outlet.idle();
  expect(lines).toEqual([
    'alert given up: no such address',
    'alert not delivered, is tried again: down',
    'alert given up: down',
  ]);
});

test('an attempt that never ends is ended, and giving a message never waits', async () => {
  const seen: number[] = [];
  const { outlet, lines } = opened(
    (one, signal) =>
      new Promise((resolve, reject) => {
        seen.push(idOf(one));
        if (idOf(one) !== 1) resolve();
        signal.addEventListener('abort', () => reject(new DeliveryFailure('no answer', true)));
      }),
  );
  for (const id of [1, 2, 3, 4, 5, 6]) outlet.put(message(id));
  expect(seen).toEqual([1]);
  await vi.advanceTimersByTimeAsync(limits.attemptMs);
  await outlet.idle();
  // The oldest went: three may wait.
  expect(seen).toEqual([1, 4, 5, 6]);
  expect(lines).toEqual([
    'alert given up: no answer',
    'alerts lost, too many waited: {"alert":"mail 1","lost":3}',
  ]);
});

test('stopped, it lets go of everything', async () => {
  const { outlet } = opened(
    (_, signal) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('ended')))),
  );
  outlet.put(message(1));
  outlet.put(message(2));
  outlet.stop();
  await outlet.idle();
  expect(vi.getTimerCount()).toBe(0);
});
