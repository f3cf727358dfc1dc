import { type ChildProcess, spawn } from 'node:child_process';
import { groupByName, userByName } from '../sys/user.ts';
import {
  type CheckContext,
  CheckFailure,
  type CheckOf,
  type CheckTarget,
  type EndSignal,
  type Passed,
} from './check.ts';
import { endedBy } from './failure-words.ts';
import { shownText } from './shown-text.ts';

/** How much of the end of a script's output is kept. */
const keptOutput = 4096;
/** How long the last output of a script is waited for; one that left its group may hold the pipes for ever. */
const pipesAfterExitMs = 100;
/** What scripts see of the environment of this process: not its passwords, nor the socket of its service manager. */
const passedOn = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ'];

/**
 * Runs a program of this host, without a shell, in a session and process group of its own. Exit code 0 is good; with
 * `dynamicWeight` 2 to 255 are good as well and set the weight (keepalived's misc_dynamic). When it is over, or its
 * time is, every process of its group is killed. The last line it said stands in the result.
 */
export async function runScript(check: CheckOf<'script'>, context: CheckContext): Promise<Passed> {
  const { target, signal, tell } = context;
  const [program, ...given] = check.command;
  const args = [...given, ...(check.appendTarget ? targetArguments(target) : [])];
  if (signal.aborted) throw endedBy(signal, 'run');
  tell({ direction: 'sent', text: shownText([program, ...args].join(' ')) });
  const end = await runToEnd(program!, args, { ...identity(check), env: environmentFor(target) }, signal);
  if (end.lastLine !== '') tell({ direction: 'received', text: end.lastLine });
  return judge(end, check.dynamicWeight);
}

type End = { readonly code: number | null; readonly signal: string | null; readonly lastLine: string };

function judge({ code, signal, lastLine }: End, isDynamic: boolean): Passed {
  const said = lastLine === '' ? '' : `: ${lastLine}`;
  if (code === null) throw new CheckFailure('run', `ended by ${signal}${said}`);
  if (code === 0) return { detail: `exit code 0${said}` };
  if (isDynamic && code >= 2) return { detail: `exit code ${code}${said}`, weight: code - 2 };
  throw new CheckFailure('run', `exit code ${code}${said}`);
}

type Surroundings = { readonly env: NodeJS.ProcessEnv; readonly uid?: number; readonly gid?: number };

function runToEnd(
  program: string,
  args: readonly string[],
  surroundings: Surroundings,
  signal: EndSignal,
): Promise<End> {
  return new Promise((resolve, reject) => {
    const child = start(program, args, surroundings);
    const lastLine = listen(child);
    const closePipes = (): void => {
      child.stdout?.destroy();
      child.stderr?.destroy();
    };
    const onAbort = (): void => {
      killGroup(child);
      closePipes();
      reject(endedBy(signal, 'run'));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    let timer: NodeJS.Timeout | undefined;
    child.once('exit', () => {
      killGroup(child);
      timer = setTimeout(closePipes, pipesAfterExitMs);
    });
    child.once('error', (error: NodeJS.ErrnoException) => {
      signal.removeEventListener('abort', onAbort);
      closePipes();
      reject(cannotRun(program, error));
    });
    child.once('close', (code, endedBySignal) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      resolve({ code, signal: endedBySignal, lastLine: lastLine() });
    });
  });
}

function start(program: string, args: readonly string[], surroundings: Surroundings): ChildProcess {
  try {
    return spawn(program, args, {
      ...surroundings,
      cwd: '/',
      // A session, and with it a process group, of its own.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  } catch (error) {
    throw cannotRun(program, error as NodeJS.ErrnoException);
  }
}

/** Keeps the end of what the child says; the function returned gives its last line. */
function listen(child: ChildProcess): () => string {
  let tail = Buffer.alloc(0);
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      tail = Buffer.concat([tail, chunk.subarray(-keptOutput)]).subarray(-keptOutput);
    });
    // A pipe that breaks says nothing about the real server.
    stream?.on('error', () => {});
  }
  return () => shownText(tail.toString('utf8').trim().split('\n').at(-1)!.trim());
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Nobody is left in it.
  }
}

const errors: Readonly<Record<string, string>> = {
  ENOENT: 'no such program',
  EACCES: 'not permitted: it must be executable, and so must its folders for whom it runs as',
  EPERM: 'not permitted: to run it as another user takes CAP_SETUID and CAP_SETGID',
  EAGAIN: 'no more processes are allowed',
  EMFILE: 'no file descriptors left: raise the limit of open files of this process',
  ENOMEM: 'no memory left',
};

function cannotRun(program: string, { code, message }: NodeJS.ErrnoException): CheckFailure {
  return new CheckFailure('run', `cannot run "${program}": ${errors[code ?? ''] ?? message}`);
}

function identity({ user, group }: CheckOf<'script'>): { uid?: number; gid?: number } {
  const found = user === undefined ? undefined : userByName(user);
  if (user !== undefined && !found) throw new CheckFailure('run', `cannot run as "${user}": no such user`);
  const gid = group === undefined ? found?.gid : groupByName(group);
  if (group !== undefined && gid === undefined) {
    throw new CheckFailure('run', `cannot run as group "${group}": no such group`);
  }
  return { ...(found && { uid: found.uid }), ...(gid !== undefined && { gid }) };
}

/** What ldirectord's external checks are given: virtual address or mark, its port, real address, its port. */
function targetArguments({ service, realServer }: CheckTarget): readonly string[] {
  const virtual =
    service.kind === 'fwmark' ? [String(service.mark), ''] : [service.address, String(service.port)];
  return [...virtual, realServer.address, String(realServer.port)];
}

/** What is checked, beside a few variables of this process. */
function environmentFor({ service, realServer, address, port }: CheckTarget): NodeJS.ProcessEnv {
  return {
    ...Object.fromEntries(passedOn.map((name) => [name, process.env[name]])),
    ...(service.kind === 'fwmark'
      ? { HEADGATE_MARK: String(service.mark) }
      : {
          HEADGATE_PROTOCOL: service.protocol,
          HEADGATE_VIRTUAL_ADDRESS: service.address,
          HEADGATE_VIRTUAL_PORT: String(service.port),
        }),
    HEADGATE_REAL_ADDRESS: realServer.address,
    HEADGATE_REAL_PORT: String(realServer.port),
    HEADGATE_CHECK_ADDRESS: address,
    HEADGATE_CHECK_PORT: String(port),
  };
}
