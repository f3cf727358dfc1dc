import { type FSWatcher, statSync, watch } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { serveApi } from '../api/server.ts';
import { absentAddresses } from '../control/absent-addresses.ts';
import { readApplied, unusableApplied } from '../control/applied.ts';
import type { OwnController } from '../control/controller.ts';
import { type FromFile, wantedReader } from '../control/load-wanted.ts';
import { type Intention, intend, putInForce } from '../control/reconcile.ts';
import { changeAtRuntime } from '../control/runtime.ts';
import { HeadgateError } from '../model/errors.ts';
import { countEditions } from './edition.ts';
import { openMemory, type Taken, takenFrom } from './history.ts';
import { describeOn, reportOn, type Standing } from './inspect.ts';
import { coverInterfaces } from './links.ts';
import type { Log } from './log.ts';
import { serveOverrides } from './overrides.ts';
import type { ServiceManager } from './service-manager.ts';

/** What a daemon is given from outside. */
export type DaemonOptions = {
  readonly file: string;
  readonly version: string;
  readonly log: Log;
  readonly now: () => Date;
  /** Opens the data plane for the daemon's life. */
  readonly open: (configuration: FromFile) => Promise<OwnController>;
  /** Where the control API is served. */
  readonly socketPath: () => string;
  /** Who started the daemon and wants to know of it. */
  readonly manager: ServiceManager;
  /** The data plane goes when the daemon ends; otherwise it goes on forwarding where it can. */
  readonly stopForwarding: boolean;
};

export type Daemon = {
  /** Puts the configuration in force as the file has it now. A failure is logged and leaves everything as it is. */
  reload(): Promise<void>;
  /** Ends the API, and lets go of the data plane or removes it. */
  stop(): Promise<void>;
};

/**
 * How long a file has to be left alone before it is read: several writes of an editor are one change. A file that was
 * moved into its place is whole at once, and only its neighbours may still be on their way.
 */
const settleMs = { change: 100, rename: 10 } as const;

/** Starts the daemon: the data plane is held, the configuration in force and the API served when it resolves. */
export async function startDaemon({
  file,
  version,
  log,
  now,
  open,
  socketPath,
  manager,
  stopForwarding,
}: DaemonOptions): Promise<Daemon> {
  const path = resolve(file);
  const readFile = wantedReader(path);
  const first = readFile();
  const startedAt = now().toISOString();
  const { controller, edition } = countEditions(await open(first), `${Date.parse(startedAt).toString(36)}`);
  let { wanted } = first;
  let failure: string | undefined;
  let succeededAt = startedAt;
  let refused: unknown;
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
  /** In its turn, and only if the rules are those that an If-Match header names. */
  const ifMatch = <T>(expected: string | undefined, work: () => Promise<T>) =>
    inTurn(async () => {
      edition.require(expected);
      const value = await work();
      return { tag: edition.tag(), value };
    });
  const statusLine = () => {
    const services = wanted.table.services.length;
    const state = `Generation ${generation} of ${path}: ${services} virtual services, data plane ${controller.capabilities.name}`;
    return failure === undefined ? state : `${state}; the file as it is now is not in force: ${failure}`;
  };

  async function force(
    taken: Taken,
    order: { readonly dropRuntimeChanges: boolean; readonly yes: boolean },
  ): Promise<{ readonly generation: number; readonly intention: Intention }> {
    const intention = await intend(controller, taken.wanted, order);
    if (intention.concerns.length > 0 && !order.yes)
      throw new HeadgateError(
        'HG_NEEDS_YES',
        `Cannot ${taken.origin.by === 'rollback' ? 'roll back' : 'reload'} "${path}" without a word: ${intention.concerns.join('; ')}`,
      );
    const origin = { file: path, now: now(), ...taken.origin, ...memory.telling };
    generation = await putInForce(controller, taken.wanted, intention, origin);
    ({ wanted } = taken);
    succeededAt = now().toISOString();
    memory.taken(taken);
    const [absent, ...others] = await absentAddresses(controller, intention.steps);
    if (absent)
      log('info', 'virtual address on no interface of this host', { ...absent, others: others.length });
    return { generation, intention };
  }

  const memory = openMemory({ controller, path, log, now, inTurn, force });

  async function reloadNow(order: { readonly dropRuntimeChanges: boolean; readonly yes: boolean }) {
    manager.reloading();
    try {
      const read = readFile();
      watchFiles(read.files);
      const { steps, kept, dropped, overrides } = (await force(takenFrom(read, 'reload'), order)).intention;
      failure = undefined;
      refused = undefined;
      if (steps.length > 0)
        log('info', 'configuration in force', {
          file: path,
          generation,
          steps: steps.length,
          kept: kept.length,
          dropped: dropped.length,
        });
      return { generation, steps: steps.length, kept: kept.length, dropped: dropped.length, overrides };
    } catch (error) {
      failure = error instanceof Error ? error.message : String(error);
      refused = error;
      memory.note({
        ...{ kind: 'configuration-refused', what: `${path} is not in force: ${failure}` },
        ...{ file: path, by: 'reload', reason: failure },
      });
      throw error;
    } finally {
      manager.ready(statusLine());
    }
  }

  async function reload(): Promise<void> {
    // A signal that comes while it ends finds no data plane.
    if (stopped) return;
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

  /** What a rollback has put aside is taken when it has changed. */
  async function takeChange(): Promise<void> {
    if (!memory.isPutAside()) await reload();
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
      watch(folder, (event, name) => {
        if (name !== null && !names.has(name)) return;
        clearTimeout(settling);
        settling = setTimeout(
          () => void takeChange(),
          settleMs[isWhole(event, folder, name) ? 'rename' : 'change'],
        );
      }),
    );
  }

  /** A file that is made in its place is empty at first. */
  function isWhole(event: string, folder: string, name: string | null): boolean {
    if (event !== 'rename' || name === null) return false;
    return (statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0) > 0;
  }

  const standing = (): Standing => ({
    ...{ controller, file: path, version, startedAt, wanted, refused },
    taken: { generation, at: succeededAt },
  });

  async function stop(): Promise<void> {
    if (stopped) return;
    stopped = true;
    manager.stopping();
    clearTimeout(settling);
    links?.stop();
    for (const watcher of watchers) watcher.close();
    if (api) memory.note({ kind: 'daemon-stopped', what: `process ${process.pid} ends`, pid: process.pid });
    await api?.close();
    await last;
    await (stopForwarding ? controller.cleanUp() : controller.close());
    log('info', 'stopped', {
      dataPlane: controller.capabilities.name,
      ...(stopForwarding && { forwarding: 'stopped' }),
    });
    manager.close();
  }

  let links: ReturnType<typeof coverInterfaces> | undefined;
  let api: Awaited<ReturnType<typeof serveApi>> | undefined;
  try {
    const unusable = unusableApplied(controller.directory);
    if (unusable !== undefined)
      log(
        'error',
        'what the last configuration made is not known: what is there counts as nobody changed it',
        {
          file: unusable,
        },
      );
    // A person has started it: that is the word.
    await force(memory.atStart(first), { dropRuntimeChanges: false, yes: true });
    watchFiles(first.files);
    links = coverInterfaces({ controller, inTurn, log, note: memory.note });
    api = await serveApi(socketPath(), {
      ...memory.served,
      read: () => ifMatch(undefined, () => controller.read()),
      apply: (operations, by, expected) =>
        ifMatch(expected, async () => {
          const refusals = await changeAtRuntime(controller, operations);
          memory.noteOperations(operations, refusals, by);
          const done = refusals.filter((refusal) => refusal === undefined).length;
          log('info', 'changed at runtime', { operations: done, refused: refusals.length - done });
          return refusals;
        }),
      connections: () => inTurn(() => controller.connections()),
      ...(controller.outlook && {
        outlook: (id, addresses) => inTurn(() => controller.outlook!(id, addresses)),
      }),
      diagnosis: () => inTurn(async () => (await import('../control/doctor.ts')).diagnose(controller)),
      report: () => inTurn(() => reportOn(standing())),
      describe: (name) => inTurn(() => describeOn(standing(), name)),
      status: async () => ({
        tag: edition.tag(),
        value: {
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
            ...(memory.rolledBackTo() !== undefined && { rolledBackTo: memory.rolledBackTo() }),
          },
        },
      }),
      metrics: () =>
        inTurn(async () =>
          (await import('./metrics.ts')).measure(controller, wanted.names, {
            version,
            dataPlane: controller.capabilities.name,
            startedAt: Date.parse(startedAt) / 1000,
            configuration: {
              generation,
              succeededAt: Date.parse(succeededAt) / 1000,
              failed: failure !== undefined,
            },
          }),
        ),
      reload: (order, expected) => ifMatch(expected, () => reloadNow(order)),
      ...serveOverrides({ controller, names: () => wanted, inTurn, log, note: memory.note, now }),
    });
  } catch (error) {
    await stop();
    throw error;
  }
  memory.note({
    ...{
      kind: 'daemon-started',
      what: `process ${process.pid}, version ${version}, generation ${generation} of ${path}`,
    },
    ...{ pid: process.pid, version, file: path, generation, dataPlane: controller.capabilities.name },
  });
  log('info', 'running', {
    file: path,
    generation,
    dataPlane: controller.capabilities.name,
    socket: socketPath(),
  });
  manager.ready(statusLine());
  manager.watch(() => inTurn(async () => undefined));
  return { reload, stop };
}
