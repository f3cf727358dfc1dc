/**
 * New connections at random times, so many a second, one request each, whether or not the ones before are answered:
 * `ADDRESS PORT PER_SECOND WARM_SECONDS SECONDS`. Prints the milliseconds that those begun after the warm-up took, by who
 * answered, as JSON.
 */
import { get } from 'node:http';

const [host, port, perSecond, warm, seconds] = process.argv.slice(2) as string[];
const limitMs = 10_000;
const began = performance.now();
const [fromMs, endMs] = [Number(warm) * 1000, (Number(warm) + Number(seconds)) * 1000];
const took: Record<string, number[]> = {};
let open = 0;
let isOver = false;

const note = (who: string, ms: number) => {
  const list = took[who] ?? [];
  took[who] = list;
  list.push(Math.round(ms * 10) / 10);
};

function ask(): void {
  const startMs = performance.now();
  const counts = startMs - began >= fromMs;
  open++;
  let isTold = false;
  const end = (who: string, ms: number) => {
    if (isTold) return;
    isTold = true;
    open--;
    if (counts) note(who, ms);
    finish();
  };
  const request = get({ host, port: Number(port), agent: false, timeout: limitMs }, (response) => {
    let text = '';
    response.on('data', (chunk) => {
      text += chunk;
    });
    response.on('end', () => end(text.trim(), performance.now() - startMs));
  });
  request.on('timeout', () => request.destroy());
  // Who gives up has waited so long at least.
  request.on('error', () => end('nobody', limitMs));
}

function finish(): void {
  if (isOver && open === 0) process.stdout.write(`${JSON.stringify(took)}\n`, () => process.exit(0));
}

function next(atMs: number): void {
  if (atMs > endMs) {
    isOver = true;
    finish();
    return;
  }
  setTimeout(
    () => {
      ask();
      next(atMs - (1000 * Math.log(1 - Math.random())) / Number(perSecond));
    },
    Math.max(0, began + atMs - performance.now()),
  );
}

next(0);
