import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { requires, whyMissing } from '../requirements.ts';
import { type GuestResult, runInGuest } from './guest.ts';
import type { FileResult } from './inside.ts';
import { bundleSuite, resultsIn } from './suite.ts';

/*
 * The packet suite of test/packets against the kernels people run, file by file. An emulated processor is ten times
 * slower: SHORT=1 leaves every test in place and makes the random ones small. LONG=1 adds the files that mostly wait for
 * the clock, and random tests of their usual size.
 */

const root = resolve(import.meta.dirname, '../..');
const folder = 'test/packets';
const waiting = ['expiry.test.ts', 'rates.test.ts'];
const files = readdirSync(join(root, folder))
  .filter((name) => name.endsWith('.test.ts') && (process.env.LONG || !waiting.includes(name)))
  .map((name) => `${folder}/${name}`);
const series = ['6.12', '6.1'] as const;

/** The guests run at once, a processor each; the first block starts them. */
let guests: ReadonlyMap<string, Promise<GuestResult>> | undefined;

function startGuests(): NonNullable<typeof guests> {
  const work = mkdtempSync(join(tmpdir(), 'headgate-suite-'));
  const program = join(work, 'suite.mjs');
  const bundled = bundleSuite(files, program);
  const boot = async (name: string): Promise<GuestResult> => {
    await bundled;
    return runInGuest(['sh', '-c', `modprobe -a tun veth && exec node --enable-source-maps ${program}`], {
      series: name,
      cwd: root,
      env: process.env.LONG ? {} : { SHORT: '1' },
      processors: 1,
      timeoutMs: 1_500_000,
    });
  };
  const there = series.filter((name) => whyMissing(`kernel-${name}`) === undefined);
  const started = new Map(there.map((name) => [name, boot(name)]));
  Promise.allSettled(started.values()).then(() => rmSync(work, { recursive: true }));
  return started;
}

describe.each(series)('Linux %s', (name) => {
  requires(
    'root',
    'qemu',
    'busybox',
    'cpio',
    'xz',
    'depmod',
    `kernel-${name}`,
  )('packets', () => {
    let guest: GuestResult;
    let results: readonly FileResult[];
    beforeAll(async () => {
      guests ??= startGuests();
      guest = await guests.get(name)!;
      results = resultsIn(guest.output);
    }, 1_600_000);

    it.each(files)('%s', (file) => {
      const result = results.find((one) => one.file === file);
      const end = `status ${guest.status}\n${guest.output.toString().slice(-2000)}\n${guest.console}`;
      expect(result, end).toBeDefined();
      expect(result!.failed.map((test) => `${test.name}: ${test.reason}`)).toEqual([]);
      expect(result!.skipped).toEqual([]);
      expect(result!.passed).toBeGreaterThan(0);
    });
  });
});
