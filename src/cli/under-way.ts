import type { Streams } from './context.ts';

/** Does work that may take long; every `everyMs` a person is told that `what` goes on, and for how long it has. */
export async function tellUnderWay<T>(
  { stderr }: Pick<Streams, 'stderr'>,
  what: string,
  work: () => Promise<T>,
  everyMs = 2000,
): Promise<T> {
  const started = performance.now();
  const timer = setInterval(
    () => stderr.write(`${what}: ${Math.round((performance.now() - started) / 1000)} s so far\n`),
    everyMs,
  );
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}
