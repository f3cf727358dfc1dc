import { type FSWatcher, watch } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { serveApi } from '../api/server.ts';
import { readApplied } from '../control/applied.ts';
import type { Controller } from '../control/controller.ts';
import { type FromFile, loadWanted } from '../control/load-wanted.ts';
import { type Intention, intend, putInForce } from '../control/reconcile.ts';
import { HeadgateError } from '../model/errors.ts';
import type { Log } from './log.ts';

/** What a daemon is given from outside. */
export type DaemonOptions = {
  readonly file: string;
  readonly version: string;
  readonly log: Log;
  readonly now: () => Date;
  /** Opens the data plane for the daemon's life. */
  readonly open: (configuration: FromFile) => Promise<Controller>;
  /** Where the control API is served. */
  readonly socketPath: () => string;
};

export type Daemon = {
  /** Puts the configuration in force as the file has it now. A failure is logged and leaves everything as it is. */
  reload(): Promise<void>;
  /** Ends the API and lets go of the data plane, which goes on forwarding where it can. */
  stop(): Promise<void>;
};

/** Several writes of an editor are one change. */
const settleMs = 300;

/** Starts the daemon: the data plane is held, the configuration in force and the API served when it resolves. */
export async function startDaemon({
  file,
  version,
  log,
  now,
  open,
  socketPath,
}: DaemonOptions): Promise<Daemon> {
  const path = resolve(file);
  const first = loadWanted(path);
  const controller = await open(first);
  const startedAt = now().toISOString();
  let failure: string | undefined;
  let generation = 0;
  let watched: readonly string[] = [];
  let watchers: readonly FSWatcher[] = [];
  let settling: NodeJS.Timeout | undefined;
  let stopped = false;
  /** The end of what changes the table: one after the other. */
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const result = last.then(work);
    last = result.catch(() => undefined);
    return result;
  };

  async function force(
    read: FromFile,
    order: { readonly dropRuntimeChanges: boolean; readonly yes: boolean },
  ): Promise<Intention> {
    const intention = await intend(controller, read.wanted, order);
    if (intention.concerns.length > 0 && !order.yes)
      throw new HeadgateError(
        'HG_NEEDS_YES',
        `Cannot reload "${path}" without a word: ${intention.concerns.join('; ')}`,
      );
    generation = await putInForce(controller, read.wanted, intention, { file: path, now: now() });
    return intention;
  }

  async function reloadNow(order: { readonly dropRuntimeChanges: boolean; readonly yes: boolean }) {
    try {
      const read = loadWanted(path);
      watchFiles(read.files);
      const { steps, kept, dropped } = await force(read, order);
      failure = undefined;
      if (steps.length > 0)
        log('info', 'configuration in force', {
          file: path,
          generation,
          steps: steps.length,
          kept: kept.length,
          dropped: dropped.length,
        });
      return { generation, steps: steps.length, kept: kept.length, dropped: dropped.length };
    } catch (error) {
      failure = error instanceof Error ? error.message : String(error);
      throw error;
    }
  }

  async function reload(): Promise<void> {
    try {
      await inTurn(() => reloadNow({ dropRuntimeChanges: false, yes: false }));
    } catch (error) {
      log('error', 'configuration not in force, the one before stays', {
        file: path,
        reason: failure ?? String(error),
        ...(error instanceof HeadgateError && {
          problems: error.problems.map(
            ({ file, at, message }) => `${file}:${at.line}:${at.column}: ${message}`,
          ),
        }),
      });
    }
  }

  function watchFiles(files: readonly string[]): void {
    if (files.join('\n') === watched.join('\n')) return;
    watched = files;
    for (const watcher of watchers) watcher.close();
    const folders = new Map<string, Set<string>>();
    for (const name of files.map((one) => resolve(one)))
      folders.set(dirname(name), (folders.get(dirname(name)) ?? new Set()).add(basename(name)));
    // The folder, not the file: editors put a new one in its place.
    watchers = [...folders].map(([folder, names]) =>
      watch(folder, (_event, name) => {
        if (name !== null && !names.has(name)) return;
        clearTimeout(settling);
        settling = setTimeout(() => void reload(), settleMs);
      }),
    );
  }

  async function stop(): Promise<void> {
    if (stopped) return;
    stopped = true;
    clearTimeout(settling);
    for (const watcher of watchers) watcher.close();
    await api?.close();
    await last;
    await controller.close();
    log('info', 'stopped', { dataPlane: controller.capabilities.name });
  }

  let api: Awaited<ReturnType<typeof serveApi>> | undefined;
  try {
    // A person has started it: that is the word.
    await force(first, { dropRuntimeChanges: false, yes: true });
    watchFiles(first.files);
    api = await serveApi(socketPath(), {
      read: () => inTurn(() => controller.read()),
      apply: (operations) =>
        inTurn(async () => {
          const refusals = await controller.apply(operations);
          const done = refusals.filter((refusal) => refusal === undefined).length;
          log('info', 'changed at runtime', { operations: done, refused: refusals.length - done });
          return refusals;
        }),
      connections: () => inTurn(() => controller.connections()),
      ...(controller.outlook && {
        outlook: (id, addresses) => inTurn(() => controller.outlook!(id, addresses)),
      }),
      diagnosis: () => inTurn(async () => (await import('../control/doctor.ts')).diagnose(controller)),
      status: async () => ({
        pid: process.pid,
        version,
        startedAt,
        dataPlane: controller.capabilities,
        ...(controller.directory !== undefined && { directory: controller.directory }),
        configuration: {
          file: path,
          generation,
          appliedAt: readApplied(controller.directory)?.at ?? startedAt,
          ...(failure !== undefined && { failure }),
        },
      }),
      reload: (order) => inTurn(() => reloadNow(order)),
    });
  } catch (error) {
    await stop();
    throw error;
  }
  log('info', 'running', { file: path, generation, dataPlane: controller.capabilities.name });
  return { reload, stop };
}
