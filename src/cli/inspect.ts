import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import type { Remote } from '../api/client.ts';
import { type Applied, readApplied } from '../control/applied.ts';
import type { Source } from '../control/configuration-report.ts';
import type { Controller } from '../control/controller.ts';
import type { FromFile } from '../control/load-wanted.ts';
import type { Place, StatusReport } from '../control/status.ts';
import type { StatusSummary } from '../control/summary.ts';
import { HeadgateError } from '../model/errors.ts';
import { connect, openDaemon } from './connect.ts';

/** The configuration where none is named. */
const usualFile = '/etc/headgate/headgate.yaml';

/** How everything stands: what the daemon says, or held against `file` where one is named. Rejects with a HeadgateError. */
export function look(file: string | undefined): Promise<StatusReport> {
  return inspect(file, {
    daemon: (daemon) => daemon.report<StatusReport>(),
    here: async (...found) => (await import('../control/status.ts')).statusOf(...found),
  });
}

/** The same summed up. */
export function glance(file: string | undefined): Promise<StatusSummary> {
  return inspect(file, {
    daemon: (daemon) => daemon.summary<StatusSummary>(),
    here: async (...found) => {
      const { statusOf } = await import('../control/status.ts');
      return (await import('../control/summary.ts')).summaryOf(await statusOf(...found));
    },
  });
}

/**
 * Asks the daemon where one runs and no other file is named; else looks with the file, through the daemon where one runs.
 * What reads configurations is loaded only then: it takes longer than the answer of a daemon.
 */
export async function inspect<T>(
  file: string | undefined,
  ask: {
    readonly daemon: (daemon: Remote) => Promise<T>;
    readonly here: (controller: Controller, source: Source, place: Place) => Promise<T>;
  },
): Promise<T> {
  const daemon = await openDaemon();
  if (daemon && (file === undefined || resolve(file) === daemon.status.configuration.file))
    return ask.daemon(daemon);
  const controller = await connect();
  try {
    const source = await sourceFrom(file, controller);
    const sync = (await controller.syncDaemons?.()) ?? [];
    return await ask.here(controller, source, { ...placeOf(daemon), ...(sync.length > 0 && { sync }) });
  } finally {
    await controller.close();
  }
}

function placeOf(daemon: Remote | undefined): Place {
  const host = hostname();
  if (!daemon) return { host };
  const { pid, version, startedAt } = daemon.status;
  return { host, daemon: { pid, version, startedAt } };
}

/** The configuration where none is named and no daemon has one: the usual one, else what was applied last, unless it is gone. */
export function fileHere(applied: Applied | undefined): string {
  const file = existsSync(usualFile) ? undefined : applied?.file;
  return file !== undefined && existsSync(file) ? file : usualFile;
}

/** What a configuration says; the usual one need not be there. */
async function sourceFrom(
  given: string | undefined,
  { directory, capabilities: { name: dataPlane } }: Controller,
): Promise<Source> {
  const file = given ?? fileHere(readApplied(directory));
  if (given === undefined && !existsSync(file)) return { file };
  const { loadWanted } = await import('../control/load-wanted.ts');
  let read: FromFile;
  try {
    read = loadWanted(file);
  } catch (error) {
    if (!(error instanceof HeadgateError)) throw error;
    const what = `it is not compared with what is in force: ${error.message}`;
    return { file, problem: { what, remedy: `headgate validate ${file}` } };
  }
  const isOther = (read.dataPlane === 'proxy' || read.dataPlane === 'ipvs') && read.dataPlane !== dataPlane;
  if (isOther)
    return {
      file,
      problem: {
        what: `it wants the data plane "${read.dataPlane}", and this is ${dataPlane}`,
        remedy: `headgate run ${file}, or dataPlane: auto in it`,
      },
    };
  return { file, wanted: read.wanted };
}
