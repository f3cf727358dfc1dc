/**
 * The process that is measured: `TCP HTTP SECONDS WARM-UP PORT` runs so many checks of each type a second, each of an address of its
 * own, and prints what became of them.
 */

import { runCheck } from '../../src/checks/run-check.ts';
import { openRunner, type Runner } from '../../src/checks/runner.ts';
import { type Check, check as schema } from '../../src/config/schema/check.ts';
import type { Address } from '../../src/model/address.ts';

const given = process.argv.slice(2).map(Number);
const [tcp, http, seconds, warmUp, port] = given as [number, number, number, number, number];
const intervalMs = 1000;
/** Until code is compiled, and every job has had its first turn. */
const warmUpMs = warmUp * 1000;

/** A check began so much later than it was due, milliseconds. */
const lateness: number[] = [];
const dueMs = new WeakMap<object, number>();
const outcomes = { good: 0, bad: 0 };
let reason = '';
let isMeasuring = false;
/** Spreads the first turns over an interval; from then on an interval is what it says. */
let random = Math.random;

const runner: Runner = openRunner({
  nowMs: () => performance.now(),
  random: () => random(),
  onResult(_key, result) {
    if (isMeasuring) outcomes[result.isGood ? 'good' : 'bad']++;
    if (!result.isGood) reason = `${result.phase}: ${result.reason}`;
    return intervalMs;
  },
  run(check, target, options) {
    const now = performance.now();
    const due = dueMs.get(target);
    if (isMeasuring && due !== undefined) lateness.push(Math.max(0, now - due));
    dueMs.set(target, now + intervalMs);
    return runCheck(check, target, options);
  },
});

const addressOf = (i: number) => `127.${1 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}` as Address;
function start(count: number, given: Record<string, unknown>, from: number): void {
  const check: Check = schema.parse({ interval: '1s', timeout: '900ms', ...given });
  for (let i = 0; i < count; i++) {
    const address = addressOf(from + i);
    const realServer = { address, port };
    const service = { kind: 'address', protocol: 'tcp', ...realServer } as const;
    runner.start(`${check.type} ${i}`, { check, target: { ...realServer, realServer, service } }, intervalMs);
  }
}

const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));
const resident = () => Math.round(process.memoryUsage.rss() / 2 ** 20);
const at = (sorted: readonly number[], share: number) =>
  Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) * 10) / 10;

// Code is loaded when the first check of a type runs.
for (const type of ['tcp', 'http'] as const) {
  const realServer = { address: addressOf(0), port };
  const service = { kind: 'address', protocol: 'tcp', ...realServer } as const;
  const { isGood } = await runCheck(schema.parse({ type }), { ...realServer, realServer, service });
  if (!isGood) throw new Error(`the first check of type ${type} is bad`);
}
start(tcp, { type: 'tcp' }, 1);
start(http, { type: 'http', path: '/health' }, 1 + tcp);
random = () => 0;
await sleep(warmUpMs);
isMeasuring = true;
const memory = [resident()];
const [before, began] = [process.cpuUsage(), performance.now()];
for (let third = 0; third < 3; third++) {
  await sleep((seconds * 1000) / 3);
  memory.push(resident());
}
const used = process.cpuUsage(before);
const tookMs = performance.now() - began;
isMeasuring = false;
runner.close();
lateness.sort((a, b) => a - b);
process.stdout.write(
  JSON.stringify({
    ...outcomes,
    ...(reason !== '' && { reason }),
    perSecond: Math.round(((outcomes.good + outcomes.bad) * 1000) / tookMs),
    cpuShare: (used.user + used.system) / 1000 / tookMs,
    userShare: used.user / 1000 / tookMs,
    cpuMicroseconds: (used.user + used.system) / (outcomes.good + outcomes.bad),
    lateness: { p50: at(lateness, 0.5), p99: at(lateness, 0.99), most: at(lateness, 1) },
    memory,
  }),
);
process.exit(0);
