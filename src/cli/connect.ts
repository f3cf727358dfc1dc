import type { Remote } from '../api/client.ts';
import type { Controller } from '../control/controller.ts';

/** Where the daemon of this network namespace listens, if one runs. */
export async function socketPath(): Promise<string> {
  const given = process.env.HEADGATE_SOCKET;
  if (given) return given;
  const { controlSocket } = await import('../control/embedded.ts');
  return controlSocket();
}

/** The daemon of this network namespace; undefined when none runs. Rejects with a HeadgateError. */
export async function openDaemon(): Promise<Remote | undefined> {
  const path = await socketPath();
  const { existsSync } = await import('node:fs');
  // No look at the network stack of Node where there is nobody to talk to.
  if (!existsSync(path)) return undefined;
  return (await import('../api/client.ts')).openRemote(path);
}

/**
 * The data plane of this network namespace: through the daemon where one runs, else opened in this process and held under
 * the lock until `close`. Rejects with a HeadgateError.
 */
export async function connect(options: { readonly connections?: number } = {}): Promise<Controller> {
  const daemon = await openDaemon();
  if (!daemon) return (await import('../control/embedded.ts')).openController(options);
  const { dataPlane, directory } = daemon.status;
  return {
    capabilities: dataPlane,
    ...(directory !== undefined && { directory }),
    read: daemon.read,
    apply: daemon.apply,
    connections: daemon.connections,
    outlook: daemon.outlook,
    overrides: daemon.overrides,
    close: async () => undefined,
  };
}

/** The same for changes at runtime, as ipvsadm makes them: what people have decided about real servers stays over them. */
export async function connectForRuntime(): Promise<Controller> {
  const controller = await connect();
  // A daemon sees to it itself.
  if (controller.overrides) return controller;
  const { changeAtRuntime } = await import('../control/runtime.ts');
  return { ...controller, apply: (operations) => changeAtRuntime(controller, operations) };
}
