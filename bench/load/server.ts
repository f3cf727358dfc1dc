/**
 * A real server that can do so many requests a second, one after the other, whatever the machine can: `NAME PORT MS FILE`.
 * Each request takes MS milliseconds of its one worker; others wait. What is left of the worker, in percent, stands in FILE
 * as an agent's answer. Prints `ready`.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';

const [name, port, took, file] = process.argv.slice(2) as [string, string, string, string];
const serviceMs = Number(took);
const spanMs = 1000;

const queue: ServerResponse[] = [];
let isWorking = false;
/** When the worker is done with what it has begun. */
let freeAtMs = 0;
/** Begin and end of what it did lately. */
let done: (readonly [number, number])[] = [];

function work(): void {
  const response = queue.shift();
  isWorking = response !== undefined;
  if (!response) return;
  // Timers are late and the worker is not: what one request lost, the next one gains.
  const beginMs = Math.max(freeAtMs, performance.now() - serviceMs);
  freeAtMs = beginMs + serviceMs;
  done.push([beginMs, freeAtMs]);
  setTimeout(
    () => {
      response.end(`${name}\n`);
      work();
    },
    Math.max(0, freeAtMs - performance.now()),
  );
}

function tell(): void {
  const now = performance.now();
  done = done.filter(([, end]) => end > now - spanMs);
  const busyMs = done.reduce(
    (sum, [begin, end]) => sum + Math.min(end, now) - Math.max(begin, now - spanMs),
    0,
  );
  const left = Math.min(Math.max(Math.round(100 * (1 - busyMs / spanMs)), 1), 100);
  writeFileSync(`${file}.new`, `${left}% #worker ${100 - left}%\n`);
  renameSync(`${file}.new`, file);
}

tell();
setInterval(tell, 200);
createServer((_request, response) => {
  if (!isWorking) freeAtMs = performance.now();
  queue.push(response);
  if (!isWorking) work();
}).listen({ port: Number(port), host: '0.0.0.0', backlog: 4096 }, () => process.stdout.write('ready\n'));
