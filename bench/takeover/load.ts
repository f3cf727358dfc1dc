/**
 * The clients of a take-over, run as a program in their namespace: `{"address","streams","perSecond"}` as its argument. Prints
 * `{"ready":true}` when every stream has been answered, then one line with what became of all when its standard input ends.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, get } from 'node:http';
import { connect, type Socket } from 'node:net';
import { resolve } from 'node:path';
import { generateTraffic } from '../../src/lab/traffic.ts';
import { takePrecedence } from '../machine.ts';
import { type LoadOrder, type LoadResult, type Probed, ports } from './silence.ts';

const order = JSON.parse(process.argv[2]!) as LoadOrder;
const lastWordMs = 8000;
const streamEveryMs = 1000;
/** Clients that keep their connection, and how long each waits from an answer to its next request. */
const [askers, askEveryMs] = [4, 5];
const requestTimeoutMs = 8000;
const sleep = (ms: number) => new Promise<void>((done) => void setTimeout(done, ms));
const say = (value: object) => process.stdout.write(`${JSON.stringify(value)}\n`);

/** A stream that is never closed by us: says something every second, and is told the same. */
type Stream = { readonly socket: Socket; broken?: string; heard: string };

function openStream(): Promise<Stream> {
  return new Promise((opened, reject) => {
    const socket = connect({ host: order.address, port: ports.stream });
    const stream: Stream = { socket, heard: '' };
    socket.on('error', (error: NodeJS.ErrnoException) => {
      stream.broken ??= error.code ?? error.message;
      reject(error);
    });
    socket.on('close', () => {
      stream.broken ??= 'closed';
    });
    socket.on('data', (data) => {
      stream.heard = (stream.heard + data).slice(-64);
      opened(stream);
    });
  });
}

/** One request after the other over one connection, for as long as it lasts. */
const requests = { asked: 0, failed: {} as Record<string, number>, slowestMs: 0 };
async function keepAsking(): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const url = `http://${order.address}:${ports.http}/`;
  while (!ending) {
    const since = performance.now();
    requests.asked++;
    await new Promise<void>((done, failed) => {
      const request = get(url, { agent, timeout: requestTimeoutMs }, (response) => {
        response.resume().on('end', done).on('error', failed);
      });
      request.on('error', failed).on('timeout', () => request.destroy(new Error('timeout')));
    }).then(
      () => {
        requests.slowestMs = Math.max(requests.slowestMs, performance.now() - since);
      },
      (error: NodeJS.ErrnoException) => {
        const why = error.code ?? error.message;
        requests.failed[why] = (requests.failed[why] ?? 0) + 1;
      },
    );
    await sleep(askEveryMs);
  }
  agent.destroy();
}

takePrecedence();
const streams: Stream[] = [];
while (streams.length < order.streams) {
  const some = Array.from({ length: Math.min(50, order.streams - streams.length) }, openStream);
  streams.push(...(await Promise.all(some)));
}

const probe = spawn(
  process.execPath,
  // V8 leaves nothing to threads of its own, which would not be real-time.
  ['--single-threaded', '--import', 'tsx', resolve(import.meta.dirname, 'probe.ts'), order.address],
  { stdio: ['pipe', 'pipe', 'inherit'] },
);
let probed = '';
probe.stdout!.on('data', (data) => {
  probed += data;
});
const probing = once(probe, 'close');

let turn = 0;
const speaking = setInterval(() => {
  const { socket } = streams[turn++ % streams.length]!;
  if (!socket.destroyed) socket.write('.\n');
}, streamEveryMs / Math.max(1, order.streams));
const traffic = generateTraffic(
  {
    protocol: 'tcp',
    address: order.address,
    port: ports.http,
    perSecond: order.perSecond,
    reportEveryMs: 100,
    timeoutMs: 3000,
  },
  ({ worstMs = 0 }) => {
    slowestMs = Math.max(slowestMs, worstMs);
  },
);
let slowestMs = 0;
let ending = false;
const asking = Array.from({ length: askers }, keepAsking);
say({ ready: true });

await new Promise<void>((done) => void process.stdin.resume().on('end', done));
ending = true;
probe.stdin!.end();
traffic.end();
clearInterval(speaking);
await probing;
for (const { socket } of streams) if (!socket.destroyed) socket.write('last word\n');
const deadline = performance.now() + lastWordMs;
const isUnsure = ({ broken, heard }: Stream) => broken === undefined && !heard.includes('last word\n');
while (performance.now() < deadline && streams.some(isUnsure)) await sleep(20);
const { opened, failed } = await traffic.finished;
await Promise.all(asking);
const broken: Record<string, number> = {};
for (const stream of streams) {
  const why = stream.broken ?? (isUnsure(stream) ? 'silent' : undefined);
  if (why !== undefined) broken[why] = (broken[why] ?? 0) + 1;
}
say({
  ...{ ...(JSON.parse(probed) as Probed), streams: streams.length, broken },
  ...{ opened, failed, slowestMs, requests },
} satisfies LoadResult);
process.exit(0);
