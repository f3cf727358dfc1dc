import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { check as schema } from '../config/schema/check.ts';
import type { Address } from '../model/address.ts';
import type { CheckResult } from '../model/check-result.ts';
import { type Job, openRunner, type Runner } from './runner.ts';

const good: CheckResult = { isGood: true, detail: 'connected', durationMs: 1 };
const job = (settings: object = {}): Job => ({
  check: schema.parse({ type: 'tcp', interval: '10s', ...settings }),
  target: {
    address: '10.0.0.1' as Address,
    port: 80,
    realServer: { address: '10.0.0.1' as Address, port: 80 },
    service: { kind: 'fwmark', mark: 1, family: 4 },
  },
});

describe('the runner of checks', () => {
  let runner: Runner;
  let began: { key: string; atMs: number; end: (result: CheckResult) => void; signal: AbortSignal }[];
  let results: string[];
  let nextMs: number | undefined;
  const open = (most = 100, random = () => 0.5) => {
    runner = openRunner({
      ...{ most, random, nowMs: () => Date.now() },
      onResult: (key) => {
        results.push(key);
        return nextMs ?? 10_000;
      },
      run: (check, _target, options) =>
        new Promise((end) => {
          began.push({ key: String(check.fall), atMs: Date.now(), end, signal: options!.signal! });
        }),
    });
  };
  beforeEach(() => {
    vi.useFakeTimers({ now: 0, toFake: ['setTimeout', 'clearTimeout', 'Date', 'performance'] });
    began = [];
    results = [];
    nextMs = undefined;
  });
  afterEach(() => {
    runner.close();
    vi.useRealTimers();
  });
  const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
  const times = () => began.map(({ atMs }) => atMs);

  test('begins within the warm-up, else within the interval, else at the time it is told', async () => {
    open();
    runner.start('a', job({ fall: 1, warmup: '2s' }));
    runner.start('b', job({ fall: 2 }));
    runner.start('c', job({ fall: 3 }), 200);
    await pass(10_000);
    expect(began.map(({ key, atMs }) => [key, atMs])).toEqual([
      ['3', 100],
      ['1', 1000],
      ['2', 5000],
    ]);
  });

  test('goes on at the interval from beginning to beginning, never later, and at most a twentieth sooner', async () => {
    for (const random of [0, 1]) {
      began = [];
      vi.setSystemTime(0);
      open(100, () => random);
      runner.start('a', job(), 0);
      for (let i = 0; i < 5; i++) {
        await pass(3000);
        began.at(-1)!.end(good);
        await pass(7000);
      }
      const gaps = times()
        .slice(1)
        .map((at, i) => at - times()[i]!);
      expect(new Set(gaps)).toEqual(new Set([random === 0 ? 10_000 : 9500]));
      runner.close();
    }
  });

  test('has one on its way for each, however long that takes', async () => {
    open();
    runner.start('a', job(), 0);
    await pass(100_000);
    expect(times()).toHaveLength(1);
    began[0]!.end(good);
    await pass(1);
    expect(times()).toHaveLength(2);
  });

  test('begins the next when it is told to', async () => {
    open(100, () => 0);
    nextMs = 1000;
    runner.start('a', job(), 0);
    await pass(0);
    began[0]!.end(good);
    await pass(1000);
    expect(times()).toEqual([0, 1000]);
  });

  test('has no more on their way than it may, and the others in their order', async () => {
    open(2, () => 0);
    for (const n of [1, 2, 3, 4]) runner.start(`job ${n}`, job({ fall: n }), 0);
    await pass(1);
    expect(began.map(({ key }) => key)).toEqual(['1', '2']);
    runner.stop('job 3');
    began[0]!.end(good);
    await pass(0);
    expect(began.map(({ key }) => key)).toEqual(['1', '2', '4']);
  });

  test('one that is stopped has no result, and does not come again', async () => {
    open();
    runner.start('a', job(), 0);
    await pass(0);
    runner.stop('a');
    expect(began[0]!.signal.aborted).toBe(true);
    expect(runner.nextMs('a')).toBeUndefined();
    began[0]!.end(good);
    await pass(100_000);
    expect([results, times().length]).toEqual([[], 1]);
  });
});
