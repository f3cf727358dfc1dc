import { hostname } from 'node:os';
import type { Source } from '../control/configuration-report.ts';
import type { Controller } from '../control/controller.ts';
import type { Problem } from '../control/problems.ts';
import type { StatusReport } from '../control/status.ts';
import type { RunningSync } from '../model/connection-sync.ts';
import { HeadgateError } from '../model/errors.ts';
import type { PeerStatus } from '../model/peer.ts';
import type { Question } from '../model/question.ts';
import type { VrrpStatus } from '../model/vrrp.ts';
import type { Standing } from './keeper.ts';

/** What the daemon knows of itself when it is asked how things stand. */
export type Inspected = Standing & {
  readonly controller: Controller;
  readonly file: string;
  readonly version: string;
  readonly startedAt: string;
  readonly vrrp: readonly VrrpStatus[];
  readonly sync: readonly RunningSync[];
  readonly peers: readonly PeerStatus[];
  readonly aloneMs: number | undefined;
};

/** What `GET /v1/report` answers: every service and real server with its state, and what is wrong. */
export async function reportOn(standing: Inspected): Promise<StatusReport> {
  const { statusOf } = await import('../control/status.ts');
  return statusOf(standing.controller, sourceOf(standing), placeOf(standing));
}

/** What `GET /v1/summary` answers: the same summed up. */
export async function summaryOn(standing: Inspected): Promise<object> {
  const { summaryOf } = await import('../control/summary.ts');
  return summaryOf(await reportOn(standing));
}

/** What `POST /v1/describe` answers: everything about one object. Rejects with HG_UNKNOWN_NAME. */
export async function describeOn(standing: Inspected, name: string): Promise<object> {
  const { describe } = await import('../control/describe.ts');
  return describe(standing.controller, sourceOf(standing), placeOf(standing), name);
}

/** What `POST /v1/explain` answers: what becomes of a client, and why. */
export async function explainOn({ controller, wanted }: Inspected, question: Question): Promise<object> {
  const { explain } = await import('../control/explain.ts');
  return explain(controller, question, wanted.names);
}

const placeOf = ({ version, startedAt, vrrp, sync, peers, aloneMs }: Inspected) => ({
  host: hostname(),
  ...(peers.length > 0 && { peers }),
  ...(aloneMs !== undefined && { aloneMs }),
  ...(sync.length > 0 && { sync }),
  ...(vrrp.length > 0 && { vrrp }),
  daemon: { pid: process.pid, version, startedAt },
});

function sourceOf({ file, wanted, generation, at, refused }: Inspected): Source {
  const taken = { generation, at };
  return { file, wanted, taken, ...(refused !== undefined && { problem: refusalProblem(file, refused) }) };
}

/** What keeps a file from being in force, and the next step. */
function refusalProblem(file: string, refused: unknown): Problem {
  const message = refused instanceof Error ? refused.message : String(refused);
  const what = `what it said before stays in force: ${message}`;
  if (!(refused instanceof HeadgateError)) return { what, remedy: 'headgate reload' };
  if (refused.code.startsWith('HG_CONFIG')) return { what, remedy: `headgate validate ${file}` };
  if (refused.code === 'HG_NEEDS_YES')
    return { what, remedy: `headgate plan ${file}, and if it is what you want: headgate reload --yes` };
  return { what, remedy: refused.hint };
}
