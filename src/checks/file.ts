import { constants } from 'node:fs';
import { lstat, open } from 'node:fs/promises';
import { CheckFailure, type Passed, type RunCheck } from './check.ts';
import { endedBy, socketFailure } from './failure-words.ts';
import { shownText } from './shown-text.ts';

/** The number stands within the first bytes, followed by anything. */
const lookedAt = 64;
/** What takes a real server out, as keepalived has it for files it tracks. */
const outAt = -254;
const heaviest = 65_535;

/**
 * Reads the number a file holds; one that is not there, and an empty one, hold 0. Only regular files are read: opening
 * a pipe would wait, and keep a thread of libuv's for it.
 */
export const runFile: RunCheck<'file'> = async ({ mustNotExist, factor, base, ...check }, context) => {
  const { signal, target } = context;
  if (signal.aborted) throw endedBy(signal, 'run');
  const { address, port } = target.realServer;
  const path = check.path.replaceAll('{address}', address).replaceAll('{port}', String(port));
  if (mustNotExist) return await absent(path);
  const number = await numberIn(path);
  if (factor === 0) {
    if (number !== 0) throw new CheckFailure('expect', `"${path}" holds ${number}, want 0`);
    return { detail: 'holds 0' };
  }
  return weightFor(number, factor, base);
};

async function absent(path: string): Promise<Passed> {
  const isThere = await lstat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return false;
      throw new CheckFailure('run', `cannot look for "${path}": ${error.message.split(',')[0]}`);
    },
  );
  if (isThere) throw new CheckFailure('expect', `"${path}" is there`);
  return { detail: 'no such file' };
}

function weightFor(number: number, factor: number, base: number): Passed {
  const change = number * factor;
  if (change <= outAt) {
    throw new CheckFailure(
      'expect',
      `the file holds ${number}, times ${factor} is ${change}: ${outAt} or less is bad`,
    );
  }
  return { detail: `holds ${number}`, weight: Math.min(Math.max(base + change, 0), heaviest) };
}

async function numberIn(path: string): Promise<number> {
  const text = await textIn(path).catch((error: NodeJS.ErrnoException) => {
    if (error instanceof CheckFailure) throw error;
    if (error.code === 'ENOENT') return '';
    if (error.code === 'EMFILE' || error.code === 'ENFILE') throw socketFailure('run', error, undefined);
    throw new CheckFailure('run', `cannot read "${path}": ${error.message.split(',')[0]}`);
  });
  const [first = ''] = text.trim().split(/\s/, 1);
  if (first === '') return 0;
  if (/^[-+]?[0-9]{1,10}$/.test(first)) return Number(first);
  throw new CheckFailure('expect', `"${path}" holds "${shownText(first)}", want a number`);
}

async function textIn(path: string): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!(await file.stat()).isFile()) throw new CheckFailure('run', `"${path}" is no regular file`);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(lookedAt), 0, lookedAt, 0);
    return buffer.toString('latin1', 0, bytesRead);
  } finally {
    await file.close();
  }
}
