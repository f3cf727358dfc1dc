import type { LoadedObject } from '../../src/sys/bpf/load.ts';
import { testRunSkb } from '../../src/sys/bpf/test-run.ts';

const places = {
  base: 0,
  mask: 4,
  multiplier: 8,
  increment: 12,
  flow: 16,
  timeout: 20,
  destination: 24,
  missing: 28,
  longest: 32,
  expired: 40,
  unfinished: 44,
} as const;

export type Flows = {
  /** Client address of the first flow. */
  readonly base: number;
  /** A power of two. */
  readonly count: number;
  readonly order: 'rising' | 'scattered';
  /** Jiffies that entered connections live. */
  readonly timeout: number;
};

/** Never, within a bench. */
export const forever = 0x3fffffff;
/** Slot of the destination that all connections belong to. */
export const destination = 2;
const frame = Buffer.alloc(64);

/** The work order of one process's programs. */
export type Work = {
  begin(flows: Flows): void;
  /** Nanoseconds a run. */
  run(program: string, repeat: number): number;
  get(field: keyof typeof places): number;
  longestNanoseconds(): number;
};

export function openWork(loaded: LoadedObject): Work {
  const view = loaded.variable('work');
  const put = (field: keyof typeof places, value: number) => view.setUint32(places[field], value, true);
  const get = (field: keyof typeof places) => view.getUint32(places[field], true);
  return {
    begin({ base, count, order, timeout }) {
      put('base', base);
      put('mask', count - 1);
      put('multiplier', order === 'rising' ? 1 : 1_664_525);
      put('increment', order === 'rising' ? 1 : 1_013_904_223);
      if (order === 'rising') put('flow', 0xffffffff);
      put('timeout', timeout);
      put('destination', destination);
      put('missing', 0);
      view.setBigUint64(places.longest, 0n, true);
      put('expired', 0);
    },
    run: (program, repeat) =>
      testRunSkb(loaded.programs[program]!.fd, frame, {}, { repeat }).durationNanoseconds,
    get,
    longestNanoseconds: () => Number(view.getBigUint64(places.longest, true)),
  };
}
