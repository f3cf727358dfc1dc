import type { DatagramSender } from '../sys/unix-datagram.ts';

/** What a service manager is told of the daemon: the protocol of sd_notify(3). Without one, nobody is. */
export type ServiceManager = {
  /** It is up, or done with reloading; `status` is one line for people. */
  ready(status: string): void;
  reloading(): void;
  stopping(): void;
  /** From here on it is told that the daemon lives, for as long as `turn` goes on resolving. */
  watch(turn: () => Promise<unknown>): void;
  close(): void;
};

export const noServiceManager: ServiceManager = {
  ready: () => undefined,
  reloading: () => undefined,
  stopping: () => undefined,
  watch: () => undefined,
  close: () => undefined,
};

/** A manager that is busy is told again after this time. */
const retryMs = 100;

/** The manager that started this process, as NOTIFY_SOCKET names it. */
export async function findServiceManager(
  environment: NodeJS.ProcessEnv,
  process: { readonly pid: number; readonly monotonicMicroseconds: () => bigint },
): Promise<ServiceManager> {
  const path = environment.NOTIFY_SOCKET;
  if (!path) return noServiceManager;
  const { openDatagramSender } = await import('../sys/unix-datagram.ts');
  return tellThrough(openDatagramSender(path), environment, process);
}

/** The same over a socket that is open. */
export function tellThrough(
  sender: DatagramSender,
  environment: NodeJS.ProcessEnv,
  { pid, monotonicMicroseconds }: { readonly pid: number; readonly monotonicMicroseconds: () => bigint },
): ServiceManager {
  const waiting: string[] = [];
  let retry: NodeJS.Timeout | undefined;
  let heartbeat: NodeJS.Timeout | undefined;
  let closed = false;

  function tell(...lines: readonly string[]): void {
    if (closed) return;
    waiting.push(lines.join('\n'));
    flush();
  }

  function flush(): void {
    clearTimeout(retry);
    try {
      while (waiting.length > 0 && sender.send(waiting[0]!)) waiting.shift();
    } catch {
      // A manager that is gone is no reason to end: it starts again, and asks the kernel who lives.
      waiting.length = 0;
    }
    if (waiting.length > 0) retry = setTimeout(flush, retryMs);
  }

  return {
    ready: (status) => tell('READY=1', `STATUS=${oneLine(status)}`),
    // The time tells the manager that this is the answer to its signal (Type=notify-reload).
    reloading: () => tell('RELOADING=1', `MONOTONIC_USEC=${monotonicMicroseconds()}`),
    stopping: () => tell('STOPPING=1'),
    watch(turn) {
      const intervalMs = watchdogMs(environment, pid);
      if (intervalMs === undefined) return;
      let underWay = false;
      heartbeat = setInterval(() => {
        if (underWay) return;
        underWay = true;
        void turn().then(() => {
          underWay = false;
          tell('WATCHDOG=1');
        });
      }, intervalMs / 2);
    },
    close() {
      closed = true;
      clearInterval(heartbeat);
      clearTimeout(retry);
      sender.close();
    },
  };
}

/** The time in which a sign of life is wanted; undefined: none is, from this process. */
function watchdogMs({ WATCHDOG_USEC, WATCHDOG_PID }: NodeJS.ProcessEnv, pid: number): number | undefined {
  const microseconds = Number(WATCHDOG_USEC);
  const isMeant = WATCHDOG_PID === undefined || WATCHDOG_PID === String(pid);
  return isMeant && microseconds > 0 ? microseconds / 1000 : undefined;
}

const oneLine = (text: string): string => text.replaceAll(/\s+/g, ' ');
