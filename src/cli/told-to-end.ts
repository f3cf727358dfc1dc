import { constants } from 'node:os';

export type EndSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP';

/**
 * Calls `told` at the first of these signals; a later one ends the process at once, as it is then. Within `sameMs` milliseconds
 * a second signal is the first one once more: timeout(1), and whatever else signals a process as well as its group, sends it
 * twice. The function returned ends the listening.
 */
export function whenToldToEnd(signals: readonly EndSignal[], told: () => void, sameMs = 1_000): () => void {
  let toldAtMs: number | undefined;
  const listen = (signal: NodeJS.Signals): void => {
    if (toldAtMs === undefined) {
      toldAtMs = 0;
      told();
      toldAtMs = performance.now();
    } else if (performance.now() - toldAtMs >= sameMs) process.exit(128 + constants.signals[signal]);
  };
  for (const signal of signals) process.on(signal, listen);
  return () => {
    for (const signal of signals) process.off(signal, listen);
  };
}
