import type { VrrpStatus } from '../model/vrrp.ts';
import { type Notice, nothingTold, noticesOf, type Transition } from '../model/vrrp-notice.ts';
import { type Fifo, openFifo } from '../sys/fifo.ts';
import type { FailoverWanted } from './failover-orders.ts';
import type { Log } from './log.ts';
import { type RunningProgram, runProgram } from './run-program.ts';

/** Tells programs and a pipe what becomes of VRRP instances and groups, as keepalived does. */
export type Notices = {
  /** Who is told from now on. */
  take(wanted: FailoverWanted | undefined): void;
  /** An instance entered a state. */
  entered(transition: Transition): void;
  /** How they stand whom a process keeps that an earlier daemon left: nobody is told of it. */
  found(statuses: readonly VrrpStatus[]): void;
  /** Resolves when no program runs and none waits, or after a while. Programs that still run go on. */
  stop(): Promise<void>;
};

/** How long a program may take. */
const limitMs = 60_000;
/** Programs that may wait for those before them, of an instance or group. */
const mostWaiting = 100;
const farewellMs = 5_000;

type Programs = NonNullable<FailoverWanted['vrrp'][number]['notify']>;
type Program = {
  readonly command: readonly string[];
  readonly notice: Notice;
  readonly user: string | undefined;
  readonly group: string | undefined;
};

const keys = { MASTER: 'master', BACKUP: 'backup', FAULT: 'fault', STOP: 'stop' } as const;

/** Programs of one instance or group run one after the other, in the order of its changes. */
export function openNotices(log: Log): Notices {
  let groups: FailoverWanted['groups'] = [];
  let told = nothingTold;
  let pipe: { readonly path: string; readonly fifo: Fifo | undefined } | undefined;
  /** Of instances and groups that are gone as well: their end is still told. */
  const programs = new Map<string, Programs | undefined>();
  const queues = new Map<string, Program[]>();
  const running = new Map<string, RunningProgram>();

  function tell(notice: Notice): void {
    const { kind, name, state, priority } = notice;
    try {
      if (pipe?.fifo?.write(`${kind} "${name}" ${state} ${priority}\n`) === false)
        log('error', 'the pipe for VRRP is full: nobody reads it', { pipe: pipe.path });
    } catch (error) {
      log('error', 'cannot write to the pipe for VRRP', { pipe: pipe!.path, reason: String(error) });
    }
    const { user, group, change, ...own } = programs.get(`${kind} ${name}`) ?? {};
    const first = own[keys[state]];
    if (first) put({ ...{ command: first, notice }, user, group });
    if (change)
      put({ ...{ command: [...change, kind, name, state, String(priority)], notice }, user, group });
  }

  function put(program: Program): void {
    const queue = `${program.notice.kind} ${program.notice.name}`;
    const waiting = queues.get(queue) ?? [];
    queues.set(queue, waiting);
    waiting.push(program);
    if (waiting.length > mostWaiting) {
      waiting.shift();
      log('error', 'too many notify programs wait, the oldest is left out', { of: queue });
    }
    if (!running.has(queue)) void work(queue, waiting);
  }

  async function work(queue: string, waiting: Program[]): Promise<void> {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const { command, notice, user, group } = next;
      const environment = {
        HEADGATE_VRRP_KIND: notice.kind,
        HEADGATE_VRRP_NAME: notice.name,
        HEADGATE_VRRP_STATE: notice.state,
        HEADGATE_VRRP_PRIORITY: String(notice.priority),
        HEADGATE_VRRP_REASON: notice.reason.replaceAll('\0', ' '),
      };
      const one = runProgram(command, { environment, user, group, limitMs });
      running.set(queue, one);
      const fault = await one.over;
      if (fault !== undefined)
        log('error', 'notify program failed', { program: command[0], of: notice.name, reason: fault });
    }
    running.delete(queue);
  }

  function usePipe(path: string | undefined): void {
    if (pipe?.path === path) return;
    pipe?.fifo?.close();
    pipe = undefined;
    if (path === undefined) return;
    try {
      pipe = { path, fifo: openFifo(path) };
    } catch (error) {
      pipe = { path, fifo: undefined };
      log('error', 'no pipe for VRRP', { pipe: path, reason: (error as Error).message });
    }
  }

  return {
    take(wanted) {
      if (!wanted) return;
      ({ groups } = wanted);
      const { user, group } = wanted;
      const note = (kind: string, name: string, own: Programs | undefined) =>
        programs.set(`${kind} ${name}`, own && { user, group, ...own });
      for (const { name, notify } of wanted.vrrp) note('INSTANCE', name, notify);
      for (const { name, notify } of wanted.groups) note('GROUP', name, notify);
      usePipe(wanted.pipe);
    },
    entered(transition) {
      const next = noticesOf(told, transition, groups);
      told = next.told;
      next.notices.forEach(tell);
    },
    found(statuses) {
      for (const { name, state, reason, priority } of statuses)
        if (!told.instances.has(name))
          told = noticesOf(told, { instance: name, state, reason, priority }, groups).told;
    },
    async stop() {
      const untilMs = performance.now() + farewellMs;
      while (running.size > 0 && performance.now() < untilMs)
        await new Promise((done) => setTimeout(done, 20));
      usePipe(undefined);
    },
  };
}
