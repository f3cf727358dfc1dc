import { closeSync, mkdtempSync, openSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type FileWatch, watchFiles } from '../../src/daemon/watch-files.ts';
import { hasWriter } from '../../src/sys/lease.ts';
import { requires } from '../requirements.ts';

requires('root')('a file that is watched', () => {
  let folder: string;
  let file: string;
  let told: number[];
  let watch: FileWatch;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'headgate-watch-'));
    file = join(folder, 'headgate.yaml');
    writeFileSync(file, 'one\n');
    told = [];
    watch = watchFiles(() => void told.push(performance.now()));
    watch.follow([file]);
  });
  afterEach(() => {
    watch.stop();
    rmSync(folder, { recursive: true });
  });

  it('is read when who writes it has closed it, also where that made a pause', async () => {
    const writing = openSync(file, 'w');
    for (const part of ['virtual', 'Servi', 'ces: []\n']) {
      writeSync(writing, part);
      await sleep(150);
    }
    expect(told).toEqual([]);
    closeSync(writing);
    await expect.poll(() => told.length).toBe(1);
  });

  it('is read though somebody keeps it open and does not write', async () => {
    const writing = openSync(file, 'a');
    writeSync(writing, 'two\n');
    await expect.poll(() => told.length, { timeout: 5000 }).toBe(1);
    closeSync(writing);
  });

  it('is read once where it is emptied and filled by another process', async () => {
    let emptyMs: number;
    // Who leaves it empty for a tenth of a second, as a busy machine may here, meant it.
    do {
      told.length = 0;
      const emptied = performance.now();
      writeFileSync(file, '');
      await sleep(50);
      writeFileSync(file, 'two\n');
      emptyMs = performance.now() - emptied;
      await expect.poll(() => told.length).toBeGreaterThan(0);
      await sleep(150);
    } while (emptyMs > 90);
    expect(told.length).toBe(1);
  });

  it('is read when who writes it has closed it, also where it has taken its place before', async () => {
    const writing = openSync(`${file}.new`, 'w');
    writeSync(writing, 'virtual');
    renameSync(`${file}.new`, file);
    await sleep(150);
    expect(told).toEqual([]);
    writeSync(writing, 'Servers: []\n');
    closeSync(writing);
    await expect.poll(() => told.length).toBe(1);
  });

  it('is read when another one took its place', async () => {
    writeFileSync(`${file}.new`, 'two\n');
    renameSync(`${file}.new`, file);
    await expect.poll(() => told.length).toBe(1);
  });
});

requires('root')('whether somebody writes to a file', () => {
  it('is told by the kernel, and nobody is stopped by the question', () => {
    const folder = mkdtempSync(join(tmpdir(), 'headgate-writer-'));
    const file = join(folder, 'one');
    expect(hasWriter(file)).toBeUndefined();
    writeFileSync(file, 'x');
    expect(hasWriter(file)).toBe(false);
    const reading = openSync(file, 'r');
    expect(hasWriter(file)).toBe(false);
    const writing = openSync(file, 'a');
    expect(hasWriter(file)).toBe(true);
    writeSync(writing, 'y');
    closeSync(writing);
    expect(hasWriter(file)).toBe(false);
    closeSync(reading);
    rmSync(folder, { recursive: true });
  });
});
