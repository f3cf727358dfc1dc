import { userInfo } from 'node:os';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Names } from '../control/overrides.ts';
import { HeadgateError } from '../model/errors.ts';
import { isReason, type OverrideRequest, type OverrideStatus, readyCommand } from '../model/override.ts';
import { ask, canAsk } from './ask.ts';
import { openDaemon } from './connect.ts';
import type { Streams } from './context.ts';
import { durationArgument } from './duration-argument.ts';
import { type Output, write } from './output.ts';
import { leftText, statusLine } from './override-text.ts';
import { exitCodes } from './report-error.ts';

export type OverrideOptions = {
  readonly output: Output;
  readonly file?: string;
  readonly timeout?: string;
  readonly reason?: string;
  readonly yes?: boolean;
};

/** What people have decided, wherever it is kept. */
type Decisions = {
  list(): Promise<readonly OverrideStatus[]>;
  change(request: OverrideRequest): Promise<readonly OverrideStatus[]>;
};

/**
 * `drain REAL`, `maintenance REAL`, `ready REAL`. With a timeout it waits until no connection is left; exit code 1 when some
 * are, 130 when the waiting was ended by a signal.
 */
export async function overrideServer(
  realServer: string,
  state: OverrideRequest['state'],
  options: OverrideOptions,
  streams: Streams,
): Promise<number> {
  const { output, file, reason, yes = false } = options;
  const waitMs = options.timeout === undefined ? undefined : durationArgument('--timeout', options.timeout);
  if (reason !== undefined && !isReason(reason))
    throw new HeadgateError('HG_USAGE', 'Cannot take the reason: wanted one line of up to 200 characters');
  const request: OverrideRequest = {
    realServer,
    state,
    ...(reason !== undefined && { reason }),
    by: person(),
    yes,
  };
  const servers = await changeOrAsk(file, request, streams);
  const text = output === 'text';
  if (text) streams.stdout.write(servers.map((server) => `${statusLine(server)}\n`).join(''));
  const waited =
    waitMs === undefined ? undefined : await waitUntilNoneIsLeft(file, servers, waitMs, text, streams);
  if (!text) {
    const { servers: last = servers, end } = waited ?? {};
    const value = { overrides: last, ...(end !== undefined && { end }) };
    await write(streams, output, value, () => '');
  }
  if (waited?.end === 'signal') return 128 + 2;
  return waited === undefined || waited.end === 'none left' ? exitCodes.done : exitCodes.failed;
}

/** Asks a person on a terminal where it takes much away. */
async function changeOrAsk(
  file: string | undefined,
  request: OverrideRequest,
  { stderr }: Streams,
): Promise<readonly OverrideStatus[]> {
  try {
    return await withDecisions(file, stderr, (decisions) => decisions.change(request));
  } catch (error) {
    if (!(error instanceof HeadgateError) || error.code !== 'HG_NEEDS_YES') throw error;
    const again = `headgate ${request.state} ${request.realServer} --yes`;
    if (!canAsk()) throw new HeadgateError('HG_NEEDS_YES', error.message, { hint: again });
    stderr.write(`${error.message}.\n`);
    const answer = await ask('Do it? Type yes: ');
    if (answer !== 'yes')
      throw new HeadgateError('HG_NEEDS_YES', `Not done: the answer was "${answer}"`, { hint: again });
    return withDecisions(file, stderr, (decisions) => decisions.change({ ...request, yes: true }));
  }
}

type Waited = {
  /** `over`: somebody made it ready meanwhile. */
  readonly end: 'none left' | 'time' | 'signal' | 'over';
  readonly servers: readonly OverrideStatus[];
};

/** How often is looked, and the share of the time that looking may take: a table of millions is not counted all the time. */
const [lookMs, lookShare] = [1000, 1 / 4];

/** Looks every second or so, and holds nothing between two looks: other commands, and a daemon that starts or ends, go their way. */
async function waitUntilNoneIsLeft(
  file: string | undefined,
  started: readonly OverrideStatus[],
  waitMs: number,
  text: boolean,
  { stdout, stderr }: Streams,
): Promise<Waited> {
  const untilMs = performance.now() + waitMs;
  const interrupt = new AbortController();
  const onSignal = () => interrupt.abort();
  process.once('SIGINT', onSignal);
  let servers = started;
  let dueMs = performance.now() + lookMs;
  const done = (end: Waited['end'], line?: string): Waited => {
    if (text && line !== undefined) stdout.write(`${line}\n`);
    return { end, servers };
  };
  try {
    for (;;) {
      const left = servers.reduce((sum, one) => sum + one.connections, 0);
      if (left === 0) return done('none left', servers === started ? undefined : leftText(0));
      const leftMs = untilMs - performance.now();
      if (leftMs <= 0) return done('time', leftText(left));
      const waitsMs = Math.max(0, Math.min(dueMs - performance.now(), leftMs));
      await sleep(waitsMs, undefined, { signal: interrupt.signal }).catch(() => undefined);
      const lookedMs = performance.now();
      if (interrupt.signal.aborted) {
        const back = started.map(readyCommand).join('; ');
        stderr.write(`Waits no longer: ${leftText(left)}; what is out stays out until: ${back}\n`);
        return done('signal');
      }
      const now = await look(file, started, stderr);
      dueMs = lookedMs + Math.max(lookMs, (performance.now() - lookedMs) / lookShare);
      if (now === undefined) continue;
      const gone = started.find((one) => !now.some((other) => isSame(one, other)));
      servers = now;
      if (gone)
        return done('over', `${gone.service}/${gone.realServer} is ready again: somebody else did that`);
      const secondsLeft = Math.max(0, Math.round((untilMs - performance.now()) / 1000));
      const each = now.map((one) => `${one.service}/${one.realServer}: ${leftText(one.connections)}`);
      stderr.write(`${each.join('; ')}, ${secondsLeft} s to go\n`);
    }
  } finally {
    process.removeListener('SIGINT', onSignal);
  }
}

/** What those that are waited for are now; undefined when nobody could be asked, which is said and passes. */
async function look(
  file: string | undefined,
  waitedFor: readonly OverrideStatus[],
  stderr: Streams['stderr'],
): Promise<readonly OverrideStatus[] | undefined> {
  try {
    const all = await withDecisions(file, stderr, (decisions) => decisions.list());
    return all.filter((one) => waitedFor.some((other) => isSame(one, other)));
  } catch (error) {
    if (!(error instanceof HeadgateError) || !['HG_LOCK_HELD', 'HG_SOCKET'].includes(error.code)) throw error;
    stderr.write(`${error.message}\n`);
    return undefined;
  }
}

const isSame = (one: OverrideStatus, other: OverrideStatus): boolean =>
  one.service === other.service && one.realServer === other.realServer;

/** Through the daemon where one runs, else under the lock, which is held for this one piece of work. */
async function withDecisions<T>(
  file: string | undefined,
  stderr: Streams['stderr'],
  work: (decisions: Decisions) => Promise<T>,
): Promise<T> {
  const daemon = await openDaemon();
  if (daemon) {
    const { file: its } = daemon.status.configuration;
    if (file !== undefined && resolve(file) !== its)
      throw new HeadgateError(
        'HG_DAEMON',
        `Cannot use the names of "${file}": a daemon (process ${daemon.status.pid}) keeps the data plane as "${its}" says`,
        { hint: 'leave --file out' },
      );
    return work({ list: daemon.overrides, change: daemon.override });
  }
  const [{ openController }, { changeOverrides, listOverrides, noteOverrides }] = await Promise.all([
    import('../control/embedded.ts'),
    import('../control/overrides.ts'),
  ]);
  const controller = await openController();
  try {
    const names = await namesInForce(file, controller.directory);
    return await work({
      list: () => listOverrides(controller, names),
      async change(request) {
        const servers = await changeOverrides(controller, names, request, new Date());
        noteOverrides(servers, request.by, (await import('./origin.ts')).noteOf(controller, { stderr }));
        return servers;
      },
    });
  } finally {
    await controller.close();
  }
}

/** Names of the file, else of the one that was applied last, else what things are called in the data plane. */
async function namesInForce(file: string | undefined, directory: string | undefined): Promise<Names> {
  const { loadWanted } = await import('../control/load-wanted.ts');
  if (file !== undefined) return loadWanted(file).wanted;
  const { readApplied } = await import('../control/applied.ts');
  const { plainNames } = await import('../control/wanted.ts');
  const applied = readApplied(directory);
  if (!applied) return { table: { services: [] }, names: plainNames };
  try {
    return { table: applied.table, names: loadWanted(applied.file).wanted.names };
  } catch (error) {
    // It was edited since, or is gone: addresses are names that nobody can take away.
    if (!(error instanceof HeadgateError)) throw error;
    return { table: applied.table, names: plainNames };
  }
}

/** Who asks, for those who read it later. */
function person(): string {
  const { SUDO_USER } = process.env;
  if (SUDO_USER !== undefined && isReason(SUDO_USER)) return SUDO_USER;
  try {
    return userInfo().username;
  } catch {
    // A container without a user database.
    return `user ${process.getuid?.() ?? '?'}`;
  }
}
