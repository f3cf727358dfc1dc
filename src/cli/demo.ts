import { fileURLToPath } from 'node:url';
import { demo } from '../lab/demo.ts';
import { headgateDirector } from '../lab/demo-plan.ts';
import type { Streams } from './context.ts';

const demoConnections = 65_536;

/**
 * Runs the demonstration with a director worked by this very program. Resolves to its exit status. The first signal
 * ends it in good order; a second one ends the process as usual.
 */
export async function runDemo(streams: Streams): Promise<number> {
  const ended = new AbortController();
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const end = (): void => {
    for (const name of signals) process.off(name, end);
    ended.abort();
  };
  for (const name of signals) process.on(name, end);
  // Three real servers need no table of a million connections; the director's commands inherit this.
  process.env.HEADGATE_CONNECTIONS ??= String(demoConnections);
  const headgate = [process.execPath, fileURLToPath(new URL('../../bin/headgate.js', import.meta.url))];
  try {
    return await demo({
      write: (text) => streams.stdout.write(text),
      isTTY: streams.stdout.isTTY === true,
      signal: ended.signal,
      // Pins outlive a namespace, so the plane is taken away before the namespaces are.
      director: { ...headgateDirector(headgate), cleanUp: () => [[...headgate, 'clean-up']] },
    });
  } finally {
    for (const name of signals) process.off(name, end);
  }
}
