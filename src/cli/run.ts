import { accessSync, chmodSync, fstatSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import type { OwnController } from '../control/controller.ts';
import type { FromFile } from '../control/load-wanted.ts';
import { isJournal, type LogForm, lineLog } from '../daemon/log.ts';
import { type Daemon, startDaemon } from '../daemon/run.ts';
import { findServiceManager } from '../daemon/service-manager.ts';
import { HeadgateError } from '../model/errors.ts';
import { openDaemon, socketPath } from './connect.ts';
import { productBuild, productVersion, type Streams } from './context.ts';
import { type Output, write } from './output.ts';
import { overrideLine } from './override-text.ts';
import { whenToldToEnd } from './told-to-end.ts';

const standardError = 2;

/** `run FILE`: the daemon. Resolves to the exit code when it has been told to end. */
export async function run(
  file: string,
  options: { readonly stopForwarding?: boolean; readonly logFormat: LogForm },
  { stderr }: Streams,
): Promise<number> {
  const log = lineLog(
    (text) => stderr.write(text),
    () => new Date(),
    { form: options.logFormat, journal: isJournal(process.env, fstatSync(standardError)) },
  );
  const path = await socketPath();
  const other = await openDaemon();
  if (other)
    throw new HeadgateError(
      'HG_DAEMON',
      `Cannot run a second daemon: process ${other.status.pid} keeps the data plane as "${other.status.configuration.file}" says`,
      { hint: 'headgate reload, or end that process' },
    );
  makeFolderOf(path);
  // From here on a signal is an order, not the end: also one that comes as soon as the log says that it runs.
  let daemon: Daemon | undefined;
  // To end takes a second at most, so who says it again is soon taken at his word.
  const end = new Promise<void>((resolve) => void whenToldToEnd(['SIGINT', 'SIGTERM'], resolve, 150));
  process.on('SIGHUP', () => void daemon?.reload());
  daemon = await startDaemon({
    file,
    version: productVersion(),
    build: productBuild(),
    log,
    now: () => new Date(),
    open: (configuration) => openFor(configuration, log),
    socketPath: () => path,
    manager: await findServiceManager(process.env, {
      pid: process.pid,
      monotonicMicroseconds: () => process.hrtime.bigint() / 1000n,
    }),
    stopForwarding: options.stopForwarding ?? false,
  });
  await (await import('../control/embedded.ts')).removeLeftFolders();
  (await import('../agent/left.ts')).removeLeftOfAgents();
  await end;
  await daemon.stop();
  return 0;
}

/** Makes the folder of the socket, where only its owner may look. Throws HG_NOT_ROOT, HG_SOCKET. */
function makeFolderOf(path: string): void {
  const folder = dirname(path);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (!process.env.HEADGATE_SOCKET) chmodSync(folder, 0o700);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const message = `Cannot listen at "${path}": the folder cannot be made (${code})`;
    if (code === 'EACCES' || code === 'EPERM')
      throw new HeadgateError('HG_NOT_ROOT', message, {
        cause: error,
        hint: 'run it with sudo; without root, with dataPlane: proxy, set HEADGATE_SOCKET to a path in a folder of yours',
      });
    throw new HeadgateError('HG_SOCKET', message, { cause: error, hint: `look at it: ls -ld ${folder}` });
  }
}

/** The data plane a configuration asks for: `auto` is the program in the kernel, or sockets where that cannot be had. */
async function openFor(
  { dataPlane, connections }: FromFile,
  log: ReturnType<typeof lineLog>,
): Promise<OwnController> {
  if (dataPlane !== 'proxy') {
    const { openController } = await import('../control/embedded.ts');
    try {
      const controller = await openController({
        dataPlane,
        ...(connections !== undefined && { connections }),
      });
      const { name, description } = controller.capabilities;
      if (name === 'ipvs')
        log('info', "forwards by the kernel's IPVS", { dataPlane: name, plane: description });
      return controller;
    } catch (error) {
      const impossible = error instanceof HeadgateError && ['HG_NOT_ROOT', 'HG_NO_BPF'].includes(error.code);
      if (dataPlane !== 'auto' || !impossible) throw error;
      log('info', 'forwards on sockets of this process', { dataPlane: 'proxy', reason: error.message });
    }
  }
  const { openProxyController } = await import('../control/proxy.ts');
  return openProxyController();
}

/** Why there is nobody to talk to at a path where no socket was found. */
function unreached(path: string): HeadgateError {
  try {
    accessSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EACCES')
      return new HeadgateError('HG_NOT_ROOT', `Cannot reach the daemon at "${path}": this user may not`);
  }
  return new HeadgateError('HG_SOCKET', `Cannot reload: no daemon listens at "${path}"`, {
    hint: 'headgate run FILE, or without a daemon: headgate apply FILE',
  });
}

/** `reload`: the daemon takes its file as it is now. */
export async function reload(
  options: {
    readonly output: Output;
    readonly yes?: boolean;
    readonly dropRuntimeChanges?: boolean;
  },
  streams: Streams,
): Promise<void> {
  const daemon = await openDaemon();
  if (!daemon) throw unreached(await socketPath());
  const { yes = false, dropRuntimeChanges = false } = options;
  const outcome = await daemon.reload({ yes, dropRuntimeChanges });
  const { file } = daemon.status.configuration;
  await write(streams, options.output, outcome, () =>
    [
      `Generation ${outcome.generation} of ${file} is in force.`,
      ...outcome.overrides.map(overrideLine),
      '',
    ].join('\n'),
  );
}
