import type { Command, SyncDaemon as Wanted } from '../../config/ipvsadm/command.ts';
import { exitStatus } from '../../config/ipvsadm/failure.ts';
import type { Controller } from '../../control/controller.ts';
import { parseAddress } from '../../model/address.ts';
import { type SyncDaemon, type SyncRefusal, syncDefaults } from '../../model/connection-sync.ts';

/** What these commands need of a session. */
type Surroundings = {
  readonly io: { readonly stderr: { write(text: string): unknown } };
  controller(): Promise<Controller>;
};

/** `--start-daemon` and `--stop-daemon`. */
export async function performSync(
  { controller, io }: Surroundings,
  command: Extract<Command, { kind: 'start-daemon' | 'stop-daemon' }>,
): Promise<number> {
  const plane = await controller();
  const [start, stop] = [plane.startSync, plane.stopSync];
  if (!start || !stop) {
    io.stderr.write('Operation not supported: this data plane has no connection sync daemon\n');
    return exitStatus.failed;
  }
  const refusal =
    command.kind === 'start-daemon' ? await start(settingsOf(command.daemon)) : await stop(command.role);
  if (!refusal) return exitStatus.done;
  io.stderr.write(`${words(refusal)}\n`);
  return exitStatus.failed;
}

/** `-L --daemon`: a line each (print_daemon of ipvsadm 1.31). */
export async function listSync(plane: Controller): Promise<string> {
  const daemons = (await plane.syncDaemons?.()) ?? [];
  return daemons.map((one) => `${lineOf(one)}\n`).join('');
}

function lineOf({ role, interface: name, id, maxLength, group, port, ttl }: SyncDaemon): string {
  const items = [
    `mcast=${name}`,
    `syncid=${id}`,
    ...(maxLength ? [`maxlen=${maxLength}`] : []),
    `group=${group}`,
    `port=${port}`,
    `ttl=${ttl}`,
  ];
  return `${role} sync daemon (${items.join(', ')})`;
}

function settingsOf({ role, interface: name, syncId, maximumLength, group, port, ttl }: Wanted): SyncDaemon {
  return {
    role,
    interface: name,
    id: syncId,
    ...(maximumLength !== undefined && { maxLength: maximumLength }),
    group: (group !== undefined && parseAddress(group)) || syncDefaults.group,
    port: port ?? syncDefaults.port,
    ttl: ttl ?? syncDefaults.ttl,
  };
}

/** ip_vs_get_errmsg of libipvs; ENODEV has no text there and is the C library's. */
function words({ reason, detail }: SyncRefusal): string {
  switch (reason) {
    case 'running':
      return 'Daemon has already run';
    case 'not-running':
      return 'No daemon is running';
    case 'no-interface':
      return 'No such device';
    case 'invalid':
      return `Invalid operation: ${detail}`;
  }
}
