import type { Remote } from '../api/client.ts';
import type { Controller } from '../control/controller.ts';
import type { Wish } from '../control/embedded.ts';
import type { Health } from '../model/health.ts';
import { noteDaemon } from './other-build.ts';

/** Where the daemon of this network namespace listens, if one runs. */
export async function socketPath(): Promise<string> {
  const given = process.env.HEADGATE_SOCKET;
  if (given) return given;
  const { controlSocket } = await import('../control/embedded.ts');
  return controlSocket();
}

/** The daemon of this network namespace; undefined when none runs. `by` is which of our programs asks. Rejects with a HeadgateError. */
export async function openDaemon(by?: string): Promise<Remote | undefined> {
  const path = await socketPath();
  const { existsSync } = await import('node:fs');
  // No look at the network stack of Node where there is nobody to talk to.
  if (!existsSync(path)) return undefined;
  const daemon = await (await import('../api/client.ts')).openRemote(path, by);
  if (daemon) noteDaemon(daemon.status);
  return daemon;
}

/**
 * The data plane of this network namespace: through the daemon where one runs, else opened in this process and held under
 * the lock until `close`. Rejects with a HeadgateError.
 */
export async function connect(options: Wish = {}): Promise<Controller> {
  const daemon = await openDaemon();
  return daemon ? through(daemon) : (await import('../control/embedded.ts')).openController(options);
}

/**
 * The same for changes at runtime, as `by` makes them: what people have decided about real servers stays over them, and
 * each is told of in the log of events.
 */
export async function connectForRuntime(
  by: string,
  stderr: { write(text: string): unknown },
): Promise<Controller> {
  const daemon = await openDaemon(by);
  // A daemon sees to it itself.
  if (daemon) return through(daemon);
  const controller = await (await import('../control/embedded.ts')).openController();
  return {
    ...controller,
    async apply(operations) {
      const { changeAtRuntime } = await import('../control/runtime.ts');
      const refusals = await changeAtRuntime(controller, operations);
      // Who empties what was never set up has changed nothing, and leaves no folder to tell of it.
      const isEmptying = operations.every(({ kind }) => kind === 'flush');
      if (isEmptying && controller.activity && !(await controller.activity())) return refusals;
      const { noteRuntime } = await import('../control/runtime-event.ts');
      noteRuntime(controller, { operations, refusals, by }, (text) => stderr.write(`headgate: ${text}\n`));
      return refusals;
    },
  };
}

/** Sync processes are beside the plane, not in the daemon. */
function syncBeside(
  directory: string,
  daemon: Remote,
): Pick<Controller, 'startSync' | 'stopSync' | 'syncDaemons'> {
  const isIpvs = daemon.status.dataPlane.name === 'ipvs';
  const processes = async () => {
    const { kernelSync, syncProcesses } = await import('../control/connection-sync.ts');
    return isIpvs ? kernelSync(directory) : syncProcesses(directory);
  };
  return {
    async startSync(settings) {
      await daemon.apply([{ kind: 'set-timeouts', timeouts: {} }]);
      return (await processes()).startSync(settings);
    },
    stopSync: async (role) => (await processes()).stopSync(role),
    syncDaemons: async () => (await processes()).syncDaemons(),
  };
}

function through(daemon: Remote): Controller {
  const { dataPlane, directory } = daemon.status;
  return {
    capabilities: dataPlane,
    ...(directory !== undefined && { directory }),
    ...(directory !== undefined &&
      (dataPlane.name === 'ebpf' || dataPlane.name === 'ipvs') &&
      syncBeside(directory, daemon)),
    read: daemon.read,
    apply: daemon.apply,
    connections: daemon.connections,
    totals: daemon.totals,
    outlook: daemon.outlook,
    overrides: daemon.overrides,
    health: () => daemon.checks<Health>(),
    close: async () => undefined,
  };
}
