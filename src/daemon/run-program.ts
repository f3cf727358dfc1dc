import { spawn } from 'node:child_process';
import { identityOf } from '../sys/user.ts';

/** What programs see of the environment of this process: not its passwords, nor the socket of its service manager. */
const passedOn = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ'];

/** What a program is run with. */
export type ProgramOptions = {
  readonly environment?: Readonly<Record<string, string>>;
  readonly user?: string | undefined;
  readonly group?: string | undefined;
  /** When it is ended, with all it has started, milliseconds. */
  readonly limitMs: number;
};

/** A program that runs. */
export type RunningProgram = {
  /** Why it was not good, once it is over; undefined: exit code 0. */
  readonly over: Promise<string | undefined>;
  /** Ends it at once, with all it has started. */
  kill(): void;
};

/**
 * Runs a program without a shell, in a session of its own, its working folder `/`, its input and output nowhere. What it leaves
 * behind when it is over goes on: such a program starts services.
 */
export function runProgram(
  [program = '', ...words]: readonly string[],
  { environment = {}, user, group, limitMs }: ProgramOptions,
): RunningProgram {
  let end: () => void = () => undefined;
  const over = new Promise<string | undefined>((resolve) => {
    const own = Object.fromEntries(passedOn.map((name) => [name, process.env[name]]));
    let child: ReturnType<typeof spawn>;
    try {
      child = spawn(program, words, {
        ...identityOf({ user, group }),
        ...{ cwd: '/', env: { ...own, ...environment }, stdio: 'ignore', detached: true },
      });
    } catch (error) {
      resolve(`cannot run "${program}": ${error instanceof Error ? error.message : error}`);
      return;
    }
    let late = false;
    end = () => killGroup(child.pid);
    const limit = setTimeout(() => {
      late = true;
      end();
    }, limitMs);
    const done = (fault: string | undefined) => {
      clearTimeout(limit);
      resolve(late ? `no result within ${limitMs} ms` : fault);
    };
    child.once('error', ({ message }) => done(`cannot run "${program}": ${message}`));
    child.once('exit', (code, signal) =>
      done(code === 0 ? undefined : signal ? `ended by ${signal}` : `exit code ${code}`),
    );
  });
  return { over, kill: () => end() };
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Nobody is left in it.
  }
}
