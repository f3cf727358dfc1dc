import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { transformSync } from 'esbuild';
import { expect, test } from 'vitest';

const source = readFileSync(new URL('./small-heap.ts', import.meta.url), 'utf8');
const { code } = transformSync(source, { loader: 'ts', format: 'cjs' });

/** Megabytes that a process has for new objects when many were made and kept. */
function newSpaceAfter(before: string): number {
  const script = `${code}
    ${before}
    const { getHeapSpaceStatistics } = require('node:v8');
    const kept = [];
    for (let i = 0; i < 400_000; i++) kept.push({ i });
    console.log(getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space').space_size);`;
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' });
  expect(stderr).toBe('');
  return Number(stdout) / 2 ** 20;
}

test('the space for new objects stays as it is, whatever is made in it', () => {
  expect(newSpaceAfter('')).toBeGreaterThan(8);
  expect(newSpaceAfter('module.exports.keepHeapSmall()();')).toBeLessThan(8);
});
