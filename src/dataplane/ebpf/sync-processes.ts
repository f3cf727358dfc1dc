import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { RunningSync, SyncOrder, SyncRefusal, SyncRole } from '../../model/connection-sync.ts';
import { moduleProgram } from '../../sys/program.ts';
import type { DataPlane } from '../data-plane.ts';

/**
 * Connection sync of the ebpf plane is a process a role, which outlives whoever started it. It is known by a socket beside
 * the plane: `status` is answered with a line of RunningSync, `stop` by the end of the process.
 */

const roles: readonly SyncRole[] = ['master', 'backup'];
const answerMs = 5000;
const startMs = 60_000;

const socketOf = (directory: string, role: SyncRole) => join(directory, `sync-${role}.sock`);

/** The plane's methods, for a plane that keeps its things in `directory` and is set up. */
export function syncProcesses(
  directory: string,
): Required<Pick<DataPlane, 'startSync' | 'stopSync' | 'syncDaemons'>> {
  return {
    async startSync(settings) {
      const socket = socketOf(directory, settings.role);
      if (await ask(socket, 'status'))
        return { reason: 'running', detail: `a ${settings.role} sync process runs already` };
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      return startProcess({ socket, settings });
    },
    async stopSync(role) {
      const answer = await ask(socketOf(directory, role), 'stop');
      return answer === undefined
        ? { reason: 'not-running', detail: `no ${role} sync process runs` }
        : undefined;
    },
    async syncDaemons() {
      const answers = await Promise.all(roles.map((role) => ask(socketOf(directory, role), 'status')));
      return answers.flatMap((answer) => (answer ? [JSON.parse(answer) as RunningSync] : []));
    },
  };
}

/** Starts a sync process; resolves when it works, or to why it does not. */
export function startProcess(order: SyncOrder): Promise<SyncRefusal | undefined> {
  const child = spawn(process.execPath, moduleProgram('daemon/sync-process'), {
    detached: true,
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  child.stdin!.on('error', () => undefined).end(JSON.stringify(order));
  return new Promise((resolve) => {
    let said = '';
    const end = (refusal: SyncRefusal | undefined) => {
      clearTimeout(timer);
      child.stdout!.destroy();
      child.unref();
      resolve(refusal);
    };
    const failed = (detail: string) => end({ reason: 'invalid', detail });
    const timer = setTimeout(() => {
      child.kill();
      failed(`the sync process does not start within ${startMs / 1000} s`);
    }, startMs);
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      if (said.endsWith('\n')) end((JSON.parse(said) as { refusal?: SyncRefusal }).refusal);
    });
    child.on('error', (error) => failed(error.message));
    child.on('exit', (code) => failed(`the sync process ended with ${code} before it worked`));
  });
}

/** What a process answers; for `stop` the empty text, when it has ended. Undefined: there is none. */
function ask(path: string, what: 'status' | 'stop'): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
    let said = '';
    let reached = false;
    const end = () => {
      socket.destroy();
      resolve(reached ? said : undefined);
    };
    socket.setTimeout(answerMs, end).setEncoding('utf8');
    socket.on('connect', () => {
      reached = true;
      socket.write(`${what}\n`);
    });
    socket.on('data', (text) => {
      said += text;
    });
    socket.on('error', end).on('close', end);
  });
}
