import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { tellUnderWay } from './under-way.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));
const toldOf = (work: () => Promise<unknown>) => {
  const told: string[] = [];
  const done = tellUnderWay({ stderr: { write: (text) => told.push(text) } }, 'Moving', work);
  return { told, done };
};

test('work of a moment is done without a word', async () => {
  const { told, done } = toldOf(() => sleep(1900).then(() => 7));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(await done).toBe(7);
  expect(told).toEqual([]);
});

test('long work is told of until it ends, well or not', async () => {
  const { told, done } = toldOf(() => sleep(5000).then(() => Promise.reject(new Error('no'))));
  const failed = expect(done).rejects.toThrow('no');
  await vi.advanceTimersByTimeAsync(60_000);
  await failed;
  expect(told).toEqual(['Moving: 2 s so far\n', 'Moving: 4 s so far\n']);
});
