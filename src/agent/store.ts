import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HeadgateError } from '../model/errors.ts';
import { isSystemError } from '../sys/ffi.ts';
import { acquireLock, LockHeldError, tryLock } from '../sys/lock.ts';
import { isNetnsGone, netnsCookie, netnsHandle } from '../sys/netns.ts';
import { type AgentRecord, recordVersion } from './record.ts';

/** Where everything of Headgate's that runs is kept: a folder for each network namespace, named by its cookie. */
const runDirectory = '/run/headgate';
const [recordFile, lockFile] = ['agent.json', 'agent.lock'];
const lockWaitMs = 10_000;

/** The record of this network namespace, open under its lock. */
export type Store = {
  /** What has been recorded; undefined when nothing is set up. Throws HG_AGENT_RECORD when it cannot be read. */
  read(): AgentRecord | undefined;
  /** Puts a record in place of the last one in one step; without entries it is removed. */
  write(record: AgentRecord | undefined): void;
  /** Lets go of the lock. */
  close(): void;
};

/** Opens the record of this process's network namespace. Rejects with HG_LOCK_HELD or HG_RUN_DIRECTORY. */
export async function openStore(): Promise<Store> {
  const folder = join(runDirectory, String(netnsCookie()));
  const path = join(folder, recordFile);
  const lock = await takeLock(folder);
  const namespace = netnsHandle();
  return {
    read: () => readRecord(path),
    write(record) {
      if (record === undefined) {
        rmSync(path, { force: true });
        return;
      }
      const whole = { ...record, ...(namespace !== undefined && { namespace }) };
      writeFileSync(`${path}.new`, `${JSON.stringify(whole)}\n`, { mode: 0o600 });
      renameSync(`${path}.new`, path);
    },
    close() {
      if (existsSync(path)) lock.release();
      else lock.remove();
    },
  };
}

/** The record without the lock, for those who only look. */
export function lookAtRecord(): AgentRecord | undefined {
  return readRecord(join(runDirectory, String(netnsCookie()), recordFile));
}

/** Whether the agent of a network namespace, by its cookie, has recorded anything: it does so before it changes anything. */
export const hasRecord = (cookie: string): boolean => existsSync(join(runDirectory, cookie, recordFile));

/** Removes the records of network namespaces that are gone: with them went all that could be put back. */
export function removeLeftRecords(): void {
  for (const name of foldersThere()) {
    const path = join(runDirectory, name, recordFile);
    const isLeft = () => {
      const namespace = namespaceIn(path);
      return namespace !== undefined && isNetnsGone(namespace);
    };
    if (!/^\d+$/.test(name) || !isLeft()) continue;
    const lock = tryLock(join(runDirectory, name, lockFile));
    if (!('remove' in lock)) continue;
    if (isLeft()) rmSync(path, { force: true });
    lock.remove();
  }
}

function foldersThere(): readonly string[] {
  try {
    return readdirSync(runDirectory);
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'EACCES')) return [];
    throw error;
  }
}

/** Of which namespace a record says that it is; undefined where it does not, or is none that can be read. */
function namespaceIn(path: string): string | undefined {
  try {
    return readRecord(path)?.namespace;
  } catch {
    return undefined;
  }
}

async function takeLock(folder: string) {
  try {
    for (const path of [runDirectory, folder]) if (!existsSync(path)) makeFolder(path);
    return await acquireLock(join(folder, lockFile), { waitMs: lockWaitMs });
  } catch (error) {
    if (error instanceof LockHeldError)
      throw new HeadgateError('HG_LOCK_HELD', `Cannot change this host: ${error.message}`, { cause: error });
    if (isSystemError(error, 'EACCES', 'EPERM', 'EROFS', 'ENOENT')) {
      const why = error.code === 'EROFS' ? 'the file system is read-only' : error.code;
      throw new HeadgateError('HG_RUN_DIRECTORY', `Cannot write to "${runDirectory}": ${why}`, {
        cause: error,
      });
    }
    throw error;
  }
}

/** One by one: a recursive mkdir does not tell a read-only file system from a missing folder. */
function makeFolder(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (!isSystemError(error, 'EEXIST')) throw error;
  }
}

function readRecord(path: string): AgentRecord | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  }
  try {
    const record = JSON.parse(text) as AgentRecord;
    if (record.version === recordVersion && Array.isArray(record.entries)) return record;
  } catch {
    // Said below: whatever stands there is not a record.
  }
  throw new HeadgateError(
    'HG_AGENT_RECORD',
    `Cannot read "${path}": wanted a record of version ${recordVersion}, found something else`,
  );
}
