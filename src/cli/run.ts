import { chmodSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Controller } from '../control/controller.ts';
import type { FromFile } from '../control/load-wanted.ts';
import { lineLog } from '../daemon/log.ts';
import { startDaemon } from '../daemon/run.ts';
import { HeadgateError } from '../model/errors.ts';
import { openDaemon, socketPath } from './connect.ts';
import { productVersion, type Streams } from './context.ts';

/** `run FILE`: the daemon. Resolves to the exit code when it has been told to end. */
export async function run(file: string, { stderr }: Streams): Promise<number> {
  const log = lineLog(
    (text) => stderr.write(text),
    () => new Date(),
  );
  const path = await socketPath();
  const other = await openDaemon();
  if (other)
    throw new HeadgateError(
      'HG_DAEMON',
      `Cannot run a second daemon: process ${other.status.pid} keeps the data plane as "${other.status.configuration.file}" says`,
      { hint: 'headgate reload, or end that process' },
    );
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  if (process.env.HEADGATE_SOCKET === undefined) chmodSync(dirname(path), 0o700);
  const daemon = await startDaemon({
    file,
    version: productVersion(),
    log,
    now: () => new Date(),
    open: (configuration) => openFor(configuration, log),
    socketPath: () => path,
  });
  process.on('SIGHUP', () => void daemon.reload());
  await new Promise<void>((resolve) => {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => resolve());
  });
  await daemon.stop();
  return 0;
}

/** The data plane a configuration asks for: `auto` is the program in the kernel, or sockets where that cannot be had. */
async function openFor(
  { dataPlane, connections }: FromFile,
  log: ReturnType<typeof lineLog>,
): Promise<Controller> {
  if (dataPlane === 'ipvs')
    throw new HeadgateError('HG_USAGE', 'Cannot run on the data plane "ipvs": it is not there yet', {
      hint: 'dataPlane: auto, ebpf or proxy',
    });
  if (dataPlane !== 'proxy') {
    const { openController } = await import('../control/embedded.ts');
    try {
      return await openController(connections === undefined ? {} : { connections });
    } catch (error) {
      const impossible = error instanceof HeadgateError && ['HG_NOT_ROOT', 'HG_NO_BPF'].includes(error.code);
      if (dataPlane === 'ebpf' || !impossible) throw error;
      log('info', 'forwards on sockets of this process', { dataPlane: 'proxy', reason: error.message });
    }
  }
  const { openProxyController } = await import('../control/proxy.ts');
  return openProxyController();
}

/** `reload`: the daemon takes its file as it is now. */
export async function reload(
  options: {
    readonly output: 'text' | 'json';
    readonly yes?: boolean;
    readonly dropRuntimeChanges?: boolean;
  },
  { stdout }: Streams,
): Promise<void> {
  const daemon = await openDaemon();
  if (!daemon)
    throw new HeadgateError('HG_SOCKET', `Cannot reload: no daemon listens at "${await socketPath()}"`, {
      hint: 'headgate run FILE, or without a daemon: headgate apply FILE',
    });
  const { yes = false, dropRuntimeChanges = false } = options;
  const outcome = await daemon.reload({ yes, dropRuntimeChanges });
  stdout.write(
    options.output === 'json'
      ? `${JSON.stringify(outcome)}\n`
      : `Generation ${outcome.generation} of ${daemon.status.configuration.file} is in force.\n`,
  );
}
