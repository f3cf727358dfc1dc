import { hostname } from 'node:os';
import type { Controller } from '../control/controller.ts';
import type { Problem } from '../control/explain.ts';
import type { Source } from '../control/status.ts';
import type { Wanted } from '../control/wanted.ts';
import { HeadgateError } from '../model/errors.ts';

/** What the daemon knows of itself when it is asked how things stand. */
export type Standing = {
  readonly controller: Controller;
  readonly file: string;
  readonly version: string;
  readonly startedAt: string;
  /** What the file said when it was taken last. */
  readonly wanted: Wanted;
  /** Which generation that was, and when it was put in force. */
  readonly taken: { readonly generation: number; readonly at: string };
  /** Why the file as it is now was not taken; undefined when it was. */
  readonly refused: unknown;
};

/** What `GET /v1/report` answers: every service and real server with its state, and what is wrong. */
export async function reportOn(standing: Standing): Promise<object> {
  const { statusOf } = await import('../control/status.ts');
  return statusOf(standing.controller, sourceOf(standing), placeOf(standing));
}

/** What `POST /v1/describe` answers: everything about one object. Rejects with HG_UNKNOWN_NAME. */
export async function describeOn(standing: Standing, name: string): Promise<object> {
  const { describe } = await import('../control/describe.ts');
  return describe(standing.controller, sourceOf(standing), placeOf(standing), name);
}

const placeOf = ({ version, startedAt }: Standing) => ({
  host: hostname(),
  daemon: { pid: process.pid, version, startedAt },
});

function sourceOf({ file, wanted, taken, refused }: Standing): Source {
  return { file, wanted, taken, ...(refused !== undefined && { problem: refusalProblem(file, refused) }) };
}

/** What keeps a file from being in force, and the next step. */
export function refusalProblem(file: string, refused: unknown): Problem {
  const message = refused instanceof Error ? refused.message : String(refused);
  const what = `what it said before stays in force: ${message}`;
  if (!(refused instanceof HeadgateError)) return { what, remedy: 'headgate reload' };
  if (refused.code.startsWith('HG_CONFIG')) return { what, remedy: `headgate validate ${file}` };
  if (refused.code === 'HG_NEEDS_YES')
    return { what, remedy: `headgate plan ${file}, and if it is what you want: headgate reload --yes` };
  return { what, remedy: refused.hint };
}
