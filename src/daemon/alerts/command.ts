import { spawn } from 'node:child_process';
import { type Message, messageTitle } from '../../model/alert.ts';
import { type Deliver, DeliveryFailure } from './outlet.ts';

/** What programs see of the environment of this process: not its passwords. */
const passedOn = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ'];
const keptOutput = 1000;

/**
 * Runs a program for a message, without a shell, in a process group of its own, with the event in its environment. When it
 * is over, or its time is, every process of its group is killed. It is not run again, whatever its exit code.
 */
export function commandDelivery(command: readonly string[]): Deliver {
  return (message, signal) =>
    new Promise((resolve, reject) => {
      const [program = '', ...args] = command;
      const fail = (reason: string): void => reject(new DeliveryFailure(`${program}: ${reason}`, true));
      const child = spawn(program, args, {
        cwd: '/',
        detached: true,
        env: environmentOf(message),
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      let said = '';
      child.stderr.on('data', (chunk: Buffer) => {
        said = `${said}${chunk.toString('utf8')}`.slice(-keptOutput);
      });
      const killGroup = (): void => {
        child.stderr.destroy();
        if (child.pid === undefined) return;
        try {
          process.kill(-child.pid, 'SIGKILL');
        } catch {
          // Nobody is left in it.
        }
      };
      const onAbort = (): void => {
        killGroup();
        fail('not over in time, killed');
      };
      signal.addEventListener('abort', onAbort, { once: true });
      child.once('error', (error) => {
        signal.removeEventListener('abort', onAbort);
        fail(error.message);
      });
      child.once('exit', (code, endedBy) => {
        signal.removeEventListener('abort', onAbort);
        killGroup();
        if (code === 0) resolve();
        else fail(`${code === null ? `ended by ${endedBy}` : `exit code ${code}`}${lastLine(said)}`);
      });
    });
}

function lastLine(said: string): string {
  const line = said.trim().split('\n').at(-1) ?? '';
  return line === '' ? '' : `: ${line}`;
}

/** The event for a program; of several the first one, and all of them in HEADGATE_EVENTS. */
function environmentOf(message: Message): NodeJS.ProcessEnv {
  const [event] = message.events;
  const told = { ...event } as Readonly<Record<string, unknown>>;
  const text = (name: string): string => (typeof told[name] === 'string' ? (told[name] as string) : '');
  const own = {
    HEADGATE_EVENT: text('kind'),
    HEADGATE_AT: text('at'),
    HEADGATE_WHAT: messageTitle(message),
    HEADGATE_SERVICE: text('service'),
    HEADGATE_REAL_SERVER: text('realServer'),
    HEADGATE_REASON: text('reason'),
    HEADGATE_EVENTS: JSON.stringify(message.events),
  };
  // No program can be given a NUL.
  const clean = Object.entries(own).map(([name, value]) => [name, value.replaceAll('\0', ' ')]);
  return Object.fromEntries([...passedOn.map((name) => [name, process.env[name]]), ...clean]);
}
