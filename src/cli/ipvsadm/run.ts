import type { Command } from '../../config/ipvsadm/command.ts';
import { CommandFailure, exitStatus } from '../../config/ipvsadm/failure.ts';
import type { Controller } from '../../control/controller.ts';
import { HeadgateError } from '../../model/errors.ts';
import { serviceKey } from '../../model/service-id.ts';
import type { Operation } from '../../model/table.ts';
import { helpText } from './help.ts';
import { noSuchService, refusalText, versionLine } from './messages.ts';
import { type Names, systemNames } from './names.ts';
import { parseCommand } from './parse-command.ts';
import { printConnections, printServices, printTimeouts, versionTitle } from './print.ts';
import { parseRules, readRules } from './restore.ts';
import { printRules } from './save.ts';

type Writer = { write(text: string): unknown };

/** What a command reads and writes; `names` defaults to this machine's resolver. */
export type Io = {
  readonly stdin: AsyncIterable<Uint8Array | string>;
  readonly stdout: Writer;
  readonly stderr: Writer;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly names?: Names;
};

/** Opens the data plane's controller; called at most once a command, and only when it is needed. */
export type Open = () => Promise<Controller>;

/** What the actions of a command share. */
export type Session = {
  readonly io: Io;
  readonly names: Names;
  readonly program: string;
  controller(): Promise<Controller>;
};

/**
 * Runs `ipvsadm` (argv[0] is the name it was called by): same grammar, output and exit status as ipvsadm 1.31. The
 * status is 0 done, 1 a listing failed, 2 bad arguments, 255 usage or the data plane refused.
 */
export function runIpvsadm(argv: readonly string[], io: Io, open: Open): Promise<number> {
  const [program = 'ipvsadm', ...words] = argv;
  return withSession(program, io, open, async (session) => {
    const list: Command = { kind: 'list', what: 'table', options: plainListing };
    return execute(session, [words.length === 0 ? list : await parseCommand(program, words, session.names)]);
  });
}

const plainListing = {
  format: 'default',
  numeric: false,
  exact: false,
  sorted: true,
  engines: false,
} as const;

/** Runs an action with a session; failures become a message and a status, and the controller is closed. */
export async function withSession(
  program: string,
  io: Io,
  open: Open,
  action: (session: Session) => Promise<number>,
): Promise<number> {
  let opened: Promise<Controller> | undefined;
  const controller = (): Promise<Controller> =>
    (opened ??= open().catch((error) => Promise.reject(initFailure(error))));
  try {
    return await action({ io, names: io.names ?? systemNames(), program, controller });
  } catch (error) {
    const failure = asFailure(error);
    io.stderr.write(`${failure.message}\n`);
    return failure.status;
  } finally {
    await (await opened?.catch(() => undefined))?.close();
  }
}

/**
 * Executes commands in order; the status is that of the last one. Changes are handed to the data plane together, up
 * to the next command that shows something.
 */
export async function execute(session: Session, commands: readonly Command[]): Promise<number> {
  let status: number = exitStatus.done;
  let pending: Operation[] = [];
  const flush = async (): Promise<void> => {
    if (pending.length > 0) status = await applyAll(session, pending);
    pending = [];
  };
  for (const command of commands) {
    if (command.kind === 'change') {
      pending.push(command.operation);
      continue;
    }
    await flush();
    status = await perform(session, command);
    if (command.kind === 'help' || command.kind === 'version') return status;
  }
  await flush();
  return status;
}

async function applyAll(session: Session, operations: readonly Operation[]): Promise<number> {
  const results = await (await session.controller()).apply(operations);
  const complaints = operations.flatMap((operation, index) => {
    const refusal = results[index];
    return refusal ? [`${refusalText(operation, refusal)}\n`] : [];
  });
  if (complaints.length > 0) session.io.stderr.write(complaints.join(''));
  return results.at(-1) ? exitStatus.failed : exitStatus.done;
}

async function perform(session: Session, command: Exclude<Command, { kind: 'change' }>): Promise<number> {
  const { io, names, program } = session;
  switch (command.kind) {
    case 'help':
      io.stdout.write(helpText(program));
      return exitStatus.done;
    case 'version':
      io.stdout.write(versionLine);
      return exitStatus.done;
    case 'restore': {
      const text = await readRules(io.stdin);
      if (text.trim() !== '') await getReady(session);
      return execute(session, await parseRules(program, text, names));
    }
    case 'save': {
      const { services } = await (await session.controller()).read();
      io.stdout.write(await printRules(services, command.numeric, names));
      return exitStatus.done;
    }
    case 'start-daemon':
    case 'stop-daemon':
      return (await import('./sync.ts')).performSync(session, command);
    case 'list':
      await list(session, command, (text) => io.stdout.write(text));
      return exitStatus.done;
  }
}

/** A data plane that cannot be opened is told of when there is something for it. */
async function getReady({ controller }: Session): Promise<void> {
  const plane = await controller().catch(() => undefined);
  await plane?.getReady?.();
}

async function list(
  { controller, names }: Session,
  command: Extract<Command, { kind: 'list' }>,
  write: (text: string) => void,
): Promise<void> {
  const plane = await controller();
  switch (command.what) {
    case 'connections':
      for await (const text of printConnections(plane.connections(), command.options, names)) write(text);
      return;
    case 'daemons':
      return write(await (await import('./sync.ts')).listSync(plane));
    case 'timeouts':
      return write(printTimeouts((await plane.read()).timeouts));
    case 'table': {
      const observed = await plane.read();
      return write(versionTitle(observed) + (await printServices(observed.services, command.options, names)));
    }
    case 'service': {
      const key = serviceKey(command.id);
      const found = (await plane.read()).services.find(({ service }) => serviceKey(service.id) === key);
      if (!found) throw new CommandFailure(exitStatus.listingFailed, noSuchService);
      return write(await printServices([found], command.options, names));
    }
  }
}

function initFailure(error: unknown): CommandFailure {
  const words =
    error instanceof HeadgateError && error.code === 'HG_NOT_ROOT'
      ? 'Permission denied (you must be root)'
      : messageOf(error);
  const hint = error instanceof HeadgateError ? `\n${error.hint}` : '';
  return new CommandFailure(exitStatus.badArguments, `Can't initialize ipvs: ${words}${hint}`);
}

function asFailure(error: unknown): CommandFailure {
  if (error instanceof CommandFailure) return error;
  const hint = error instanceof HeadgateError ? `\n${error.hint}` : '';
  return new CommandFailure(exitStatus.failed, `${messageOf(error)}${hint}`);
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
