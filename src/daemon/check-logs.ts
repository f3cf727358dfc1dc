import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { CheckResult } from '../model/check-result.ts';
import type { Log } from './log.ts';

/** Lines that come within this time are written together. */
const batchMs = 100;
/** What waits for a file that cannot be written fast enough, characters; further lines are lost. */
const mostWaiting = 1024 * 1024;
/** Never waits: a pipe that nobody reads is an error. */
const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK;

/** Files that get a line for each result of a check. */
export type CheckLogs = {
  add(path: string, line: string): void;
  /** Writes what still waits. */
  stop(): void;
};

/** Each file is opened anew for what is written at one time, so that it may be moved away while it grows. */
export function openCheckLogs(log: Log): CheckLogs {
  const files = new Map<string, { text: string; isWriting: boolean; isFailing: boolean }>();

  async function write(path: string): Promise<void> {
    const file = files.get(path)!;
    file.isWriting = true;
    await new Promise((resolve) => setTimeout(resolve, batchMs));
    const { text } = file;
    file.text = '';
    try {
      const handle = await open(path, flags, 0o644);
      try {
        await handle.appendFile(text);
      } finally {
        await handle.close();
      }
      file.isFailing = false;
    } catch (error) {
      if (!file.isFailing) log('error', 'results of checks cannot be written', { file: path, ...why(error) });
      file.isFailing = true;
    }
    file.isWriting = false;
    if (file.text !== '') void write(path);
  }

  return {
    add(path, line) {
      const file = files.get(path) ?? { text: '', isWriting: false, isFailing: false };
      files.set(path, file);
      if (file.text.length + line.length > mostWaiting) return;
      file.text += line;
      if (!file.isWriting) void write(path);
    },
    stop() {
      for (const [path, file] of files) {
        const { text } = file;
        file.text = '';
        if (text === '') continue;
        try {
          const descriptor = openSync(path, flags, 0o644);
          writeSync(descriptor, text);
          closeSync(descriptor);
        } catch {
          // It has been told of, or nobody is left to be told.
        }
      }
    },
  };
}

function why(error: unknown): { readonly reason: string } {
  return { reason: error instanceof Error ? error.message : String(error) };
}

/** What was checked, for a line. */
export type Checked = {
  readonly type: string;
  readonly protocol: string;
  readonly address: string;
  readonly port: number;
};

/**
 * A result as ldirectord writes it to its monitorfile: `[Thu Jan  1 00:00:00 1970] [PID] http tcp 10.0.0.11 80 [up] 200 OK`,
 * local time, `-` where there is nothing to say; what would end a line or a column is written as `%` with two digits.
 */
export function checkLogLine(checked: Checked, result: CheckResult, now: Date, pid: number): string {
  const { type, protocol, address, port } = checked;
  const said = result.isGood ? result.detail : `${result.phase}: ${result.reason}`;
  const message = said.replaceAll(
    /[%|\r\n]/g,
    (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  );
  const state = result.isGood ? 'up' : 'down';
  return `[${asctime(now)}] [${pid}] ${type} ${protocol} ${address} ${port} [${state}] ${message || '-'}\n`;
}

/** asctime(3): `Thu Jan  1 00:00:00 1970`. */
function asctime(time: Date): string {
  const [day, month, date, year, clock] = time.toString().split(' ');
  return `${day} ${month} ${String(Number(date)).padStart(2)} ${clock} ${year}`;
}
