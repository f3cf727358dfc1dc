import type { Message } from '../../model/alert.ts';
import type { Log } from '../log.ts';

/** Tells a message; rejects where it could not. What waits is to end when `signal` is aborted. */
export type Deliver = (message: Message, signal: AbortSignal) => Promise<void>;

/** Why a message was not told. Trying again is of no use where it `isFinal`. */
export class DeliveryFailure extends Error {
  readonly isFinal: boolean;
  constructor(reason: string, isFinal = false) {
    super(reason);
    this.isFinal = isFinal;
  }
}

export type OutletLimits = {
  /** How long one attempt may take. */
  readonly attemptMs: number;
  /** From the first failure to the next attempt; each time twice as long, up to `longestPauseMs`. */
  readonly pauseMs: number;
  readonly longestPauseMs: number;
  /** Attempts a message is worth. */
  readonly attempts: number;
  /** Messages that may wait; the oldest go first. */
  readonly waiting: number;
};

/** Where messages go one after the other; nothing that happens there holds up who gives them. */
export type Outlet = {
  put(message: Message): void;
  /** Resolves when nothing waits and nothing is under way. */
  idle(): Promise<void>;
  /** Ends what is under way; what waits is lost. */
  stop(): void;
};

export function openOutlet(name: string, deliver: Deliver, limits: OutletLimits, log: Log): Outlet {
  const waiting: Message[] = [];
  const stopping = new AbortController();
  let working: Promise<void> | undefined;
  let lost = 0;

  async function work(): Promise<void> {
    for (let message = waiting[0]; message; message = waiting[0]) {
      const failure = await deliverAtLast(message);
      // It may have gone meanwhile: too many came.
      if (waiting[0] === message) waiting.shift();
      if (stopping.signal.aborted) return;
      if (failure !== undefined) {
        log('error', 'alert given up', { alert: name, reason: failure, event: message.events[0]?.id });
      } else if (lost > 0) {
        log('error', 'alerts lost, too many waited', { alert: name, lost });
        lost = 0;
      }
    }
  }

  /** Why it was given up; undefined when it was told. */
  async function deliverAtLast(message: Message): Promise<string | undefined> {
    let pauseMs = limits.pauseMs;
    for (let attempt = 1; ; attempt++) {
      const failure = await attemptOnce(message);
      if (!failure) return undefined;
      if (failure.isFinal || attempt >= limits.attempts || stopping.signal.aborted) return failure.message;
      if (attempt === 1)
        log('error', 'alert not delivered, is tried again', { alert: name, reason: failure.message });
      await pause(pauseMs, stopping.signal);
      if (stopping.signal.aborted) return failure.message;
      pauseMs = Math.min(2 * pauseMs, limits.longestPauseMs);
    }
  }

  async function attemptOnce(message: Message): Promise<DeliveryFailure | undefined> {
    const deadline = new AbortController();
    const end = (): void => deadline.abort();
    const timer = setTimeout(end, limits.attemptMs);
    stopping.signal.addEventListener('abort', end, { once: true });
    try {
      await deliver(message, deadline.signal);
      return undefined;
    } catch (error) {
      if (error instanceof DeliveryFailure) return error;
      return new DeliveryFailure(error instanceof Error ? error.message : String(error));
    } finally {
      clearTimeout(timer);
      stopping.signal.removeEventListener('abort', end);
    }
  }

  return {
    put(message) {
      if (stopping.signal.aborted) return;
      waiting.push(message);
      while (waiting.length > limits.waiting) {
        waiting.shift();
        lost++;
      }
      working ??= work().finally(() => {
        working = undefined;
      });
    },
    async idle() {
      while (working) await working;
    },
    stop: () => stopping.abort(),
  };
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
  });
}
