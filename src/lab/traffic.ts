import { createSocket } from 'node:dgram';
import { connect, isIPv4 } from 'node:net';
import type { TrafficOrder, TrafficReport } from './traffic-report.ts';

/** A traffic generator: opens connections at a steady rate and asks each who serves it. */
export type Generator = {
  /** Opens no more; what is open still counts. */
  end(): void;
  /** The last report, with `done`: after `total`, or after `end`. */
  readonly finished: Promise<TrafficReport>;
};

const tickMs = 10;
const defaultTimeoutMs = 3000;
const defaultReportEveryMs = 1000;

/** Opens one TCP connection, sends an HTTP request and resolves to the server's name. Rejects with the reason. */
function askByTcp(order: TrafficOrder): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: order.address, port: order.port });
    const chunks: Buffer[] = [];
    const fail = (reason: string) => {
      socket.destroy();
      reject(new Error(reason));
    };
    socket.setTimeout(order.timeoutMs ?? defaultTimeoutMs, () => fail('timeout'));
    socket.on('error', (error: NodeJS.ErrnoException) => fail(error.code ?? error.message));
    socket.on('connect', () => socket.write('GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n'));
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('end', () => {
      const body = /\r\n\r\n(?:[0-9a-f]+\r\n)?([^\r\n]+)/.exec(Buffer.concat(chunks).toString());
      if (body) resolve(body[1]!);
      else fail('no answer');
    });
  });
}

/** Sends one datagram from a fresh port and resolves to the name in the reply. */
function askByUdp(order: TrafficOrder): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(isIPv4(order.address) ? 'udp4' : 'udp6');
    const timer = setTimeout(
      () => finish(() => reject(new Error('timeout'))),
      order.timeoutMs ?? defaultTimeoutMs,
    );
    const finish = (outcome: () => void) => {
      clearTimeout(timer);
      socket.close();
      outcome();
    };
    socket.on('error', (error: NodeJS.ErrnoException) =>
      finish(() => reject(new Error(error.code ?? error.message))),
    );
    socket.on('message', (reply) => finish(() => resolve(reply.toString().split(' ')[0]!)));
    // A connected socket hears the ICMP error of a closed port, and no reply from an address it did not ask.
    socket.connect(order.port, order.address, () => socket.send('who'));
  });
}

/** Starts at once; `onReport` gets a report per interval, and the last one. */
export function generateTraffic(order: TrafficOrder, onReport: (report: TrafficReport) => void): Generator {
  const answered: Record<string, number> = {};
  const failed: Record<string, number> = {};
  let opened = 0;
  let open = 0;
  let ending = false;
  let times: number[] = [];
  const start = performance.now();
  const ask = order.protocol === 'tcp' ? askByTcp : askByUdp;

  const report = (done: boolean): TrafficReport => {
    times.sort((a, b) => a - b);
    const median = times[times.length >> 1];
    const worst = times.at(-1);
    const now: TrafficReport = {
      elapsedMs: Math.round(performance.now() - start),
      opened,
      answered: { ...answered },
      failed: { ...failed },
      ...(median === undefined || worst === undefined
        ? {}
        : { medianMs: round(median), worstMs: round(worst) }),
      done,
    };
    times = [];
    onReport(now);
    return now;
  };

  const one = async () => {
    opened++;
    open++;
    const since = performance.now();
    try {
      const name = await ask(order);
      answered[name] = (answered[name] ?? 0) + 1;
      times.push(performance.now() - since);
    } catch (error) {
      const reason = (error as Error).message;
      failed[reason] = (failed[reason] ?? 0) + 1;
    }
    open--;
  };

  const finished = new Promise<TrafficReport>((resolve) => {
    const reporter = setInterval(() => report(false), order.reportEveryMs ?? defaultReportEveryMs);
    const ticker = setInterval(() => {
      const due = Math.floor(((performance.now() - start) / 1000) * order.perSecond) + 1;
      const limit = Math.min(due, order.total ?? due);
      while (!ending && opened < limit) void one();
      if ((ending || opened === order.total) && open === 0) {
        clearInterval(reporter);
        clearInterval(ticker);
        resolve(report(true));
      }
    }, tickMs);
  });
  return {
    finished,
    end() {
      ending = true;
    },
  };
}

const round = (ms: number): number => Math.round(ms * 10) / 10;
